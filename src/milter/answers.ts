/**
 * Answers of one session: encodes what a handler returned, replaces what
 * cannot be sent by the failure reply, and keeps back what may not be sent yet.
 *
 * A verdict given at a quiet event (no reply may be sent there) is held for the
 * next event that takes one, so that a filter works the same whether the MTA
 * offers quiet events or not. Likewise a skip: where the MTA was not told, the
 * events of that kind are answered without asking the handler.
 */
import { encodeEdits } from "./edit.ts";
import { MilterReplyError } from "./errors.ts";
import type { MessageReply } from "./filter.ts";
import { type Agreement, NO_REPLY } from "./negotiate.ts";
import { SMFIP_SKIP } from "./protocol.ts";
import {
  CONTINUE,
  encodeReply,
  type MilterReply,
  PACKET_TEMPFAIL,
  type ReplyEvent,
  type Verdict,
  verdictOf,
} from "./reply.ts";

/** Where packets go. What is written need not leave before flush(). */
export interface PacketSink {
  write(packet: Buffer): void;
  flush(): void;
}

export class Answers {
  readonly #agreement: Agreement;
  readonly #onFailure: MilterReply;
  readonly #sink: PacketSink;
  readonly #report: (error: unknown) => void;
  #skipped: ReplyEvent | undefined;
  #heldSession: MilterReply | undefined;
  #heldMessage: MilterReply | undefined;

  constructor(
    agreement: Agreement,
    onFailure: MilterReply,
    sink: PacketSink,
    report: (error: unknown) => void,
  ) {
    this.#agreement = agreement;
    this.#onFailure = onFailure;
    this.#sink = sink;
    this.#report = report;
  }

  /** The MTA does not wait for a reply to this event, and none may be sent. */
  isQuiet(event: ReplyEvent): boolean {
    return event !== "eom" && (this.#agreement.steps & NO_REPLY[event]) !== 0;
  }

  /** The answer to an event that the handler need not see. */
  known(event: ReplyEvent): MilterReply | undefined {
    if (this.#skipped !== undefined) {
      if (this.#skipped === event) return CONTINUE;
      this.#skipped = undefined;
    }
    return this.#heldSession ?? this.#heldMessage;
  }

  /** Sends a reply or keeps it back. The result is what the MTA makes of it. */
  give(event: ReplyEvent, reply: MilterReply): Verdict {
    if (this.isQuiet(event)) {
      const held = reply === this.#heldSession || reply === this.#heldMessage;
      if (reply.kind === "skip") this.#skipped = event;
      else if (reply.kind !== "continue" && !held) this.#hold(event, reply);
      return "go";
    }
    let packet: Buffer;
    try {
      packet = this.#encode(reply, event);
    } catch (error) {
      return this.fail(event, error);
    }
    if (reply.kind === "skip") this.#skipped = event;
    this.#sink.write(packet);
    return verdictOf(reply);
  }

  /** Edits and reply to end of message. Nothing leaves unless all of it is well-formed. */
  giveMessage(message: MessageReply): Verdict {
    const { edits, reply } = message;
    try {
      const last = this.#encode(reply, "eom");
      if (reply.kind === "continue" || reply.kind === "accept") {
        const { version, actions, steps } = this.#agreement;
        const rules = { version, actions, steps, onDegraded: this.#report };
        for (const packet of encodeEdits(edits, rules)) this.#sink.write(packet);
      }
      this.#sink.write(last);
    } catch (error) {
      return this.fail("eom", error);
    }
    return verdictOf(reply);
  }

  /** Reports an error and gives the failure reply. */
  fail(event: ReplyEvent, error: unknown): Verdict {
    this.#report(error);
    if (this.isQuiet(event)) {
      this.#keep(event, this.#onFailure);
      return "go";
    }
    try {
      this.#sink.write(this.#encode(this.#onFailure, event));
      return verdictOf(this.#onFailure);
    } catch {
      this.#sink.write(PACKET_TEMPFAIL);
      return "refuse";
    }
  }

  endTransaction(): void {
    this.#skipped = undefined;
    this.#heldMessage = undefined;
  }

  nextConnection(): void {
    this.#heldSession = undefined;
  }

  #encode(reply: MilterReply, event: ReplyEvent): Buffer {
    const { version, steps } = this.#agreement;
    return encodeReply(reply, event, version, (steps & SMFIP_SKIP) !== 0);
  }

  /** A verdict on one recipient or one unknown command cannot be given at a later event. */
  #hold(event: ReplyEvent, reply: MilterReply): void {
    try {
      this.#encode(reply, event);
      if (event === "unknown" || (event === "rcpt" && verdictOf(reply) === "refuse")) {
        const text = `"${reply.kind}" cannot be sent: ${event} is quiet`;
        throw new MilterReplyError("ERR_MILTER_REPLY_QUIET", "kind", text);
      }
      this.#keep(event, reply);
    } catch (error) {
      this.fail(event, error);
    }
  }

  #keep(event: ReplyEvent, reply: MilterReply): void {
    if (event === "connect" || event === "helo") this.#heldSession ??= reply;
    else if (event !== "unknown") this.#heldMessage ??= reply;
  }
}
