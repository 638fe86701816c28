/**
 * One milter session: commands in, handler calls, replies out. No sockets.
 *
 * Throws MilterProtocolError on what the peer got wrong, and the session is
 * then good for finish() alone; what a handler throws is reported and answered
 * with the failure reply. The order of commands is order.ts's business, what
 * may be answered answers.ts's.
 */
import { Answers, type PacketSink } from "./answers.ts";
import { decodeCommand, type MilterCommand } from "./command.ts";
import type { Packet } from "./decoder.ts";
import { type OnProblem, toProblem } from "./errors.ts";
import type {
  AbortCause,
  CloseCause,
  MessageReply,
  MilterFilter,
  MilterHandler,
  Transport,
} from "./filter.ts";
import { MacroTable } from "./macros.ts";
import { type Agreement, encodeAgreement, negotiate } from "./negotiate.ts";
import { SessionOrder } from "./order.ts";
import { actionNames, type MilterEvent, SMFIC_MAIL } from "./protocol.ts";
import { CONTINUE, type MilterReply, PACKET_PROGRESS, PACKET_TEMPFAIL, type ReplyEvent } from "./reply.ts";

export interface SessionOptions {
  readonly id: string;
  readonly transport: Transport;
  readonly filter: MilterFilter;
  readonly onProblem: OnProblem;
  readonly onFailure: MilterReply;
  readonly progressMs: number;
  readonly progress: "always" | "endOfMessage";
  /** The MTA has had the answer to the negotiation from somebody else. */
  readonly negotiated?: boolean;
}

/** A command that takes a reply. */
type EventCommand = MilterCommand & { readonly kind: ReplyEvent };
type Wait = undefined | Promise<undefined>;

export class MilterSession {
  readonly #options: SessionOptions;
  readonly #sink: PacketSink;
  readonly #macros = new MacroTable();
  readonly #order = new SessionOrder();
  #agreement: Agreement | undefined;
  #answers: Answers | undefined;
  #wanted: ReadonlySet<MilterEvent> = new Set();
  #handler: MilterHandler | undefined;
  /** Kind of the command under way, for reports. */
  #event = "";
  /** The event whose reply the MTA waits for. */
  #owed: ReplyEvent | undefined;
  #progressTimer: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(options: SessionOptions, sink: PacketSink) {
    this.#options = options;
    this.#sink = sink;
  }

  /** QUIT was received or finish() called. */
  get closed(): boolean {
    return this.#closed;
  }

  /** Nothing is lost if the session ends now. */
  get betweenMessages(): boolean {
    return this.#order.betweenMessages;
  }

  /**
   * Takes one packet. While the result, a promise, is pending no other packet may be given.
   *
   * @throws MilterProtocolError, and whatever needs() and open() of the filter throw
   */
  receive(packet: Packet): Wait {
    const command = decodeCommand(packet);
    this.#event = command.kind;
    this.#order.check(command.kind, packet.offset);
    this.#owed = this.#replyOwed(command);
    const cause = this.#order.endShownBy(command);
    const ended = cause === undefined ? undefined : this.#endTransaction(cause);
    return ended === undefined
      ? this.#dispatch(command)
      : this.#pending(ended).then(() => this.#dispatch(command));
  }

  /**
   * The connection has ended: tells the handler, once. May be called while a handler's promise is pending, whose
   * outcome then counts for nothing.
   */
  finish(cause: CloseCause, error?: Error): Wait {
    this.#closed = true;
    clearInterval(this.#progressTimer);
    const ended = this.#order.open ? this.#endTransaction(this.#order.lastCause()) : undefined;
    return ended === undefined ? this.#close(cause, error) : ended.then(() => this.#close(cause, error));
  }

  /** Answers the event under way, if the MTA waits for its reply, with tempfail. finish() must follow. */
  interrupt(): void {
    if (this.#owed === undefined) return;
    this.#report(new Error("cut off by the time limit of the stop"), "ERR_MILTER_STOPPED");
    this.#sink.write(PACKET_TEMPFAIL);
    this.#sink.flush();
  }

  #dispatch(command: MilterCommand): Wait {
    if (this.#closed) return undefined;
    this.#order.enter(command);
    switch (command.kind) {
      case "optneg":
        this.#negotiate(command);
        return undefined;
      case "macro":
        if (command.stage === SMFIC_MAIL) this.#macros.clearTransaction();
        this.#macros.set(command.stage, command.values);
        return undefined;
      case "abort":
        return undefined;
      case "quit":
        return this.finish("quit");
      case "quitnc":
        return this.#nextConnection();
      default:
        return this.#take(command);
    }
  }

  #negotiate(offer: MilterCommand & { kind: "optneg" }): void {
    const needs = this.#options.filter.needs();
    const agreement = negotiate(offer, needs, this.#options.transport);
    const { missing } = agreement;
    if (missing !== 0) {
      this.#report(new Error(`the MTA does not offer ${actionNames(missing)}`), "ERR_MILTER_ACTIONS");
    }
    const report = (error: unknown) => this.#report(error, "ERR_MILTER_HANDLER");
    this.#answers = new Answers(agreement, this.#options.onFailure, this.#sink, report);
    this.#agreement = agreement;
    this.#wanted = new Set(needs.events);
    this.#order.negotiated(agreement.steps);
    this.#handler = this.#open(agreement);
    if (this.#options.negotiated !== true) this.#sink.write(encodeAgreement(agreement));
  }

  #open(agreement: Agreement): MilterHandler {
    const { version, actions, steps } = agreement;
    const { id, transport, filter } = this.#options;
    const macro = (name: string) => this.#macros.get(name);
    return filter.open({ id, transport, version, actions, steps, macro });
  }

  /** The MTA keeps the negotiated options for its next client. */
  #nextConnection(): Wait {
    const closing = this.#close("quitnc");
    this.#macros.clear();
    this.#order.nextConnection();
    this.#answers?.nextConnection();
    return closing;
  }

  /** One event: to the handler, unless the answer is known without. */
  #take(command: EventCommand): Wait {
    const event = command.kind;
    const known = this.#answers!.known(event);
    if (known !== undefined) return this.#give(event, known);
    if (event !== "eom" && !this.#wanted.has(event)) return this.#give(event, CONTINUE);
    this.#handler ??= this.#open(this.#agreement!);
    let result: unknown;
    try {
      result = this.#call(this.#handler, command);
    } catch (error) {
      return this.#fail(event, error);
    }
    return isThenable(result) ? this.#settleLater(event, result) : this.#settle(event, result);
  }

  #call(handler: MilterHandler, command: EventCommand): unknown {
    switch (command.kind) {
      case "header":
        return handler.header?.(command.name, command.value);
      case "body":
        return handler.body?.(command.chunk);
      case "eom":
        if (command.chunk.length > 0) return this.#lastChunk(handler, command.chunk);
        return handler.endOfMessage?.();
      case "connect":
        return handler.connect?.(command.event);
      case "helo":
        return handler.helo?.(command.name);
      case "mail":
        return handler.mail?.(command.args);
      case "rcpt":
        return handler.rcpt?.(command.args);
      case "data":
        return handler.data?.();
      case "eoh":
        return handler.endOfHeaders?.();
      case "unknown":
        return handler.unknown?.(command.line);
    }
  }

  /** End of message may bring the rest of the body. A verdict on that is the reply. */
  async #lastChunk(handler: MilterHandler, chunk: Buffer): Promise<unknown> {
    if (this.#wanted.has("body")) {
      const reply = await handler.body?.(chunk);
      const goesOn = reply === undefined || reply.kind === "continue" || reply.kind === "skip";
      if (!goesOn) return { edits: [], reply };
    }
    return this.#closed ? undefined : handler.endOfMessage?.();
  }

  async #settleLater(event: ReplyEvent, promise: PromiseLike<unknown>): Promise<undefined> {
    let result: unknown;
    try {
      result = await this.#pending(promise);
    } catch (error) {
      if (!this.#closed) this.#fail(event, error);
      return;
    }
    if (!this.#closed) this.#settle(event, result);
  }

  #settle(event: ReplyEvent, result: unknown): undefined {
    if (event !== "eom" || result === undefined) {
      return this.#give(event, (result as MilterReply | undefined) ?? CONTINUE);
    }
    this.#order.answered(event, this.#answers!.giveMessage(result as MessageReply));
  }

  #give(event: ReplyEvent, reply: MilterReply): undefined {
    this.#order.answered(event, this.#answers!.give(event, reply));
  }

  #fail(event: ReplyEvent, error: unknown): undefined {
    this.#order.answered(event, this.#answers!.fail(event, error));
  }

  #endTransaction(cause: AbortCause): Wait {
    this.#order.endTransaction();
    this.#answers?.endTransaction();
    return this.#notify(
      (handler) => handler.abort?.(cause),
      () => this.#macros.clearTransaction(),
    );
  }

  #close(cause: CloseCause, error?: Error): Wait {
    const closing = this.#notify((handler) => handler.close?.(cause, error));
    this.#handler = undefined;
    return closing;
  }

  /** Calls something that gives no verdict; its errors are only reported. */
  #notify(call: (handler: MilterHandler) => unknown, then: () => void = () => {}): Wait {
    if (this.#handler === undefined) return undefined;
    try {
      const result = call(this.#handler);
      if (isThenable(result)) return this.#notified(result, then);
    } catch (error) {
      this.#report(error, "ERR_MILTER_HANDLER");
    }
    then();
    return undefined;
  }

  async #notified(promise: PromiseLike<unknown>, then: () => void): Promise<undefined> {
    try {
      await promise;
    } catch (error) {
      this.#report(error, "ERR_MILTER_HANDLER");
    }
    then();
  }

  /** Waits, and keeps the MTA waiting when it expects a reply. */
  async #pending<T>(promise: PromiseLike<T>): Promise<T> {
    const { progress, progressMs } = this.#options;
    if (this.#owed === undefined || (progress === "endOfMessage" && this.#owed !== "eom")) {
      return await promise;
    }
    this.#progressTimer = setInterval(() => {
      this.#sink.write(PACKET_PROGRESS);
      this.#sink.flush();
    }, progressMs);
    try {
      return await promise;
    } finally {
      clearInterval(this.#progressTimer);
    }
  }

  #replyOwed(command: MilterCommand): ReplyEvent | undefined {
    switch (command.kind) {
      case "macro":
        // MAIL comes along with its macros, which may be what ends the transaction before it.
        return command.stage === SMFIC_MAIL && !this.#answers!.isQuiet("mail") ? "mail" : undefined;
      case "optneg":
      case "abort":
      case "quit":
      case "quitnc":
        return undefined;
      default:
        return this.#answers!.isQuiet(command.kind) ? undefined : command.kind;
    }
  }

  #report(error: unknown, fallback: string): void {
    this.#options.onProblem(toProblem(error, fallback, this.#event, this.#options.id));
  }
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof (value as PromiseLike<unknown> | undefined)?.then === "function";
}
