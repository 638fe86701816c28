/**
 * Mail that did not come by SMTP, as cleanup(8) shows it to non_smtpd_milters:
 * what users hand to sendmail(1), and Postfix's own notices. One message a
 * connection; envelope and content are collected, and everything is decided
 * at the end of the message.
 *
 * Notices go to ERRORS.LUA, everything else through SMTPSVR.LUA. A notice is
 * never refused, and neither is what may be one, whatever fails here.
 */

import { isNoticeSender, type Notice, readNotice } from "../message/notice.ts";
import type { MessageStore } from "../message/store.ts";
import { encodeEdits } from "../milter/edit.ts";
import type {
  CloseCause,
  ConnectEvent,
  MessageReply,
  MilterContext,
  MilterHandler,
} from "../milter/filter.ts";
import { Decisions } from "../smtp/decide.ts";
import { processNotice } from "../smtp/notice.ts";
import { SmtpSession } from "../smtp/session.ts";
import { playSubmission } from "../smtp/submission.ts";
import { CONTINUE, type MessageResult } from "../smtp/verdict.ts";
import { type DoorServices, milterReply, NO_ROOM } from "./door.ts";
import { IncomingMessage } from "./incoming-message.ts";

/** How cleanup(8) introduces mail that has no client (src/cleanup/cleanup_milter.c). */
export function isInternal({ family, address, port }: ConnectEvent): boolean {
  return family === "inet" && address === "127.0.0.1" && port === 0;
}

/** What happens to internal mail: what is collected of it follows from that. */
export interface InternalWork {
  /** ERRORS.LUA or [errors] has a use for notices. */
  readonly notices: boolean;
  /** SMTPSVR.LUA or a rule has a say in submissions. */
  readonly submissions: boolean;
  /** The content of submissions is looked at. */
  readonly content: boolean;
}

export class InternalMail implements MilterHandler {
  readonly #services: DoorServices;
  readonly #context: MilterContext;
  readonly #work: InternalWork;
  readonly #id: string;
  #hostname = "";
  #sender = "";
  #recipients: string[] = [];
  #maybeNotice = false;
  readonly #message: IncomingMessage;
  #session: SmtpSession | undefined;

  constructor(services: DoorServices, context: MilterContext, work: InternalWork) {
    this.#services = services;
    this.#context = context;
    this.#work = work;
    this.#id = services.newSessionId();
    this.#message = new IncomingMessage(services, context);
  }

  helo(name: string): undefined {
    this.#hostname = name;
  }

  mail([sender = ""]: readonly string[]): undefined {
    this.#message.forget();
    this.#sender = bare(sender);
    this.#recipients = [];
    this.#maybeNotice = isNoticeSender(this.#sender, this.#services.doubleBounceSender);
  }

  rcpt([recipient = ""]: readonly string[]): undefined {
    this.#recipients.push(bare(recipient));
  }

  header(name: Buffer, value: Buffer): undefined {
    this.#message.header(name, value, this.#keeps());
  }

  body(chunk: Buffer): undefined {
    this.#message.body(chunk, this.#keeps());
  }

  endOfMessage(): Promise<MessageReply> {
    return this.#message.decide(this.#id, this.#queueId(), async (store, size) => {
      const { verdict, edits } = await this.#decide(store, size);
      this.#services.decided?.(verdict.kind);
      return { edits, reply: milterReply(verdict) };
    });
  }

  abort(): void {
    this.#message.forget();
  }

  async close(_cause: CloseCause): Promise<void> {
    this.#message.forget();
    await this.#session?.end();
  }

  async #decide(store: MessageStore, size: number): Promise<MessageResult> {
    if (store.lost) return { verdict: this.#maybeNotice ? CONTINUE : NO_ROOM, edits: [] };
    if (this.#maybeNotice) {
      try {
        const result = await this.#notice(store);
        // Edits that cannot be sent would otherwise end in the failure reply.
        encodeEdits(result?.edits ?? [], this.#context);
        if (result !== undefined) return result;
      } catch (error) {
        // A bug of ours; the notice must not suffer.
        const { stack, message } = error as Error;
        this.#services.log.error("notice", {
          session: this.#id,
          queue: this.#queueId(),
          problem: stack ?? message,
        });
        return { verdict: CONTINUE, edits: [] };
      }
    }
    return this.#submission(store, size);
  }

  /** @returns undefined for mail that is no notice */
  async #notice(store: MessageStore): Promise<MessageResult | undefined> {
    const unchanged = { verdict: CONTINUE, edits: [] };
    // Without its content nobody can tell.
    if (!this.#keeps()) return unchanged;
    const notice: Notice | undefined = readNotice(store, this.#sender);
    if (notice === undefined) return undefined;
    if (!this.#work.notices) return unchanged;
    const decisions = new Decisions(this.#services, this.#id);
    decisions.queue = this.#queueId();
    const globals = { SessionID: this.#id, QueueID: decisions.queue };
    const mail = { sender: this.#sender, recipients: this.#recipients, store, notice };
    return processNotice(this.#services, mail, { globals }, decisions);
  }

  async #submission(store: MessageStore, size: number): Promise<MessageResult> {
    if (!this.#work.submissions) return { verdict: CONTINUE, edits: [] };
    const client = {
      address: "127.0.0.1",
      port: 0,
      hostname: this.#hostname,
      submission: "sendmail",
    } as const;
    this.#session = new SmtpSession(this.#services, client, this.#id);
    this.#session.queueId = this.#queueId();
    return playSubmission(this.#session, {
      hostname: this.#hostname,
      sender: this.#sender,
      recipients: this.#recipients,
      store,
      size,
    });
  }

  /** Whether the content of this message may be needed. */
  #keeps(): boolean {
    return this.#work.content || (this.#maybeNotice && this.#work.notices);
  }

  #queueId(): string {
    return this.#context.macro("i") ?? "";
  }
}

/** cleanup(8) leaves the <> out. */
function bare(address: string): string {
  return /^<(.*)>$/s.exec(address)?.[1] ?? address;
}
