/**
 * The mail of one SMTP client on a milter connection: milter events into the
 * session's words, verdicts and edits back into milter replies.
 */
import type {
  AbortCause,
  CloseCause,
  ConnectEvent,
  MessageReply,
  MilterContext,
  MilterHandler,
} from "../milter/filter.ts";
import type { MilterReply } from "../milter/reply.ts";
import type { Client } from "../smtp/client.ts";
import { domainOf, isOutside } from "../smtp/outside.ts";
import { SmtpSession } from "../smtp/session.ts";
import { SharedSession } from "../smtp/shared-session.ts";
import { type DoorServices, milterReply, NO_ROOM } from "./door.ts";
import { IncomingMessage } from "./incoming-message.ts";

/** Where a connection's session may have been begun by the policy service. */
export interface Meeting {
  readonly session: (create: () => SharedSession) => SharedSession;
  /** The session is over. */
  readonly ended: (session: SharedSession) => void;
  /** The connection is over, and its client may be there still. */
  readonly kept: (session: SharedSession) => void;
}

export class SmtpMail implements MilterHandler {
  readonly #services: DoorServices;
  readonly #context: MilterContext;
  readonly #goesOn: boolean;
  /** Whether the message under way is kept; asked once its recipients are known. */
  #keeps: boolean | undefined;
  readonly #meeting: Meeting | undefined;
  #session: SharedSession | undefined;
  /** The client as a whole was refused: Postfix closes the connection and keeps the reply. */
  #refused = false;
  readonly #message: IncomingMessage;

  /** `goesOn`: there is something to do after CONNECT. */
  constructor(services: DoorServices, context: MilterContext, goesOn: boolean, meeting?: Meeting) {
    this.#services = services;
    this.#context = context;
    this.#goesOn = goesOn;
    this.#meeting = meeting;
    this.#message = new IncomingMessage(services, context);
  }

  async connect(event: ConnectEvent): Promise<MilterReply> {
    const { family, address, port, hostname } = event;
    const local = family === "unix" ? "127.0.0.1" : "unknown";
    const client = { address: address === "" || family === "unix" ? local : address, port, hostname };
    const create = () => this.#newSession(client);
    this.#session = this.#meeting?.session(create) ?? create();
    const reply = milterReply(await this.#session.start());
    this.#refused = reply.kind !== "continue";
    return reply.kind === "continue" && !this.#goesOn ? { kind: "accept" } : reply;
  }

  async helo(name: string): Promise<MilterReply> {
    const session = this.#current();
    session.globals.TLSVersion = this.#context.macro("{tls_version}") ?? "";
    const reply = milterReply(await session.helo(name));
    this.#refused = reply.kind !== "continue";
    return reply;
  }

  async mail(args: readonly string[]): Promise<MilterReply> {
    this.#forgetMessage();
    const session = this.#current();
    session.queueId = "";
    session.globals.TLSVersion = this.#context.macro("{tls_version}") ?? "";
    return milterReply(await session.mailFrom(args, this.#context.macro("{auth_authen}") ?? ""));
  }

  async rcpt(args: readonly string[]): Promise<MilterReply> {
    const session = this.#current();
    this.#learnQueueId();
    return milterReply(await session.rcptTo(args, this.#relayed(args[0] ?? "")));
  }

  async data(): Promise<MilterReply> {
    this.#learnQueueId();
    return milterReply(await this.#current().dataStart());
  }

  async unknown(line: string): Promise<MilterReply> {
    return milterReply(await this.#current().unrecognised(line));
  }

  header(name: Buffer, value: Buffer): undefined {
    const { wantsHeader, maxMessageSize } = this.#current();
    this.#message.header(name, value, wantsHeader, maxMessageSize);
  }

  body(chunk: Buffer): undefined {
    this.#message.body(chunk, this.#wanted(), this.#current().maxMessageSize);
  }

  async endOfMessage(): Promise<MessageReply> {
    const session = this.#current();
    this.#learnQueueId();
    const { QueueID } = session.globals;
    const reply = await this.#message.decide(session.id, QueueID, async (store, size) => {
      if (store.lost) {
        session.abandon();
        this.#services.decided?.(NO_ROOM.kind);
        return { edits: [], reply: milterReply(NO_ROOM) };
      }
      const { verdict, edits } = await session.message(store, size);
      return { edits, reply: milterReply(verdict) };
    });
    this.#keeps = undefined;
    return reply;
  }

  async abort(cause: AbortCause): Promise<void> {
    this.#forgetMessage();
    if (cause === "reset") await this.#current().rset();
    else this.#current().abandon();
  }

  async close(cause: CloseCause): Promise<void> {
    this.#forgetMessage();
    const session = this.#session;
    if (session === undefined) return;
    const quit = cause === "quit" || cause === "quitnc";
    if (this.#meeting !== undefined && !quit && cause !== "stopped") {
      session.milterGone(this.#refused);
      this.#meeting.kept(session);
      return;
    }
    this.#meeting?.ended(session);
    if (quit) await session.quit();
    await session.end();
  }

  #newSession(client: Client): SharedSession {
    return new SharedSession(new SmtpSession(this.#services, client, this.#services.newSessionId()));
  }

  /** The session; an MTA that leaves CONNECT out gets one for a client nobody knows. */
  #current(): SharedSession {
    this.#session ??= this.#newSession({ address: "unknown", port: 0, hostname: "" });
    return this.#session;
  }

  #learnQueueId(): void {
    const id = this.#context.macro("i");
    if (id !== undefined) this.#current().queueId = id;
  }

  #relayed(recipient: string): boolean | undefined {
    const { transports, ownDomains } = this.#services;
    const transport = this.#context.macro("{rcpt_mailer}");
    if (transport === undefined) return undefined;
    return isOutside(domainOf(recipient.replace(/^<(.*)>$/s, "$1")), transport, transports, ownDomains);
  }

  #wanted(): boolean {
    this.#keeps ??= this.#current().wantsMessage;
    return this.#keeps;
  }

  #forgetMessage(): void {
    this.#message.forget();
    this.#keeps = undefined;
  }
}
