/**
 * What a filter is, to the rest of this package: an object that says what it
 * needs and opens one handler per connection. Shapes only.
 *
 * Strings are byte strings: JavaScript strings whose char codes are bytes.
 * Message content (headers, body) comes as Buffers instead, views of what was
 * read from the socket: they are never written to again, so a handler may keep
 * them, and nothing is copied unless a packet was spread over several reads.
 * (A kept view keeps the whole read, at most 64 kB, alive.)
 */
import type { MilterEdit } from "./edit.ts";
import type { MacroStage, MilterEvent } from "./protocol.ts";
import type { MilterReply } from "./reply.ts";

export interface FilterNeeds {
  /** The MTA is told to leave out all others. */
  readonly events: readonly MilterEvent[];
  /**
   * Events that only collect: where the MTA offers it, it does not wait for a reply (but for "data" over TCP, see
   * negotiate.ts). A verdict returned at such an event is kept for the next event that can carry it.
   */
  readonly quiet: readonly MilterEvent[];
  /** SMFIF_ bits that the edits will need. */
  readonly actions: number;
  /** Macros to ask for by stage, "i" or "{client_addr}" (braces may be left out); other stages get the MTA's own list. */
  readonly macros?: Partial<Readonly<Record<MacroStage, readonly string[]>>>;
  /**
   * Header values keep the white space after the colon, both ways. Where the MTA cannot do that
   * (SMFIP_HDR_LEADSPC missing in MilterContext.steps), values come without one leading space, and one leading
   * space is taken off the values of edits.
   */
  readonly leadingSpace: boolean;
  /** Also show recipients which the MTA itself refuses; a reply to these has no effect. */
  readonly rejectedRecipients?: boolean;
}

export interface MilterFilter {
  /** Asked at each negotiation. */
  needs(): FilterNeeds;
  /** Called after the negotiation, and again for the next client when an MTA reuses the connection (QUIT_NC). */
  open(context: MilterContext): MilterHandler;
}

export interface MilterContext {
  readonly id: string;
  readonly transport: Transport;
  /** Negotiated: protocol version, SMFIF_ bits, SMFIP_ bits. */
  readonly version: number;
  readonly actions: number;
  readonly steps: number;
  /**
   * The latest value of a macro, "{client_addr}" or "client_addr", from whatever stage sent it. Those of MAIL and
   * later are forgotten when the transaction ends.
   */
  macro(name: string): string | undefined;
}

export type Transport = "unix" | "tcp";

export interface ConnectEvent {
  /** Name from the DNS, or "[address]" when there is none (Sendmail's habit, which Postfix follows). */
  readonly hostname: string;
  readonly family: "inet" | "inet6" | "unix" | "unknown";
  /** IP address or socket path; "" when unknown. */
  readonly address: string;
  /** 0 when unknown, e.g. for mail that did not come by SMTP. */
  readonly port: number;
}

/** Why a transaction ended. */
export type AbortCause =
  /** End of message was answered, or the MTA gave the message up after DATA. */
  | "message"
  /** The client sent RSET. */
  | "reset"
  /** The client sent HELO or EHLO inside the transaction. */
  | "helo"
  /** The session ended inside the transaction. */
  | "end";

/** Why a handler is closed. */
export type CloseCause =
  /** The MTA ended the session. */
  | "quit"
  /** The MTA ended the session and will use the connection for the next. */
  | "quitnc"
  /** The MTA closed the connection without a word. Postfix does so after a final reply to CONNECT or HELO. */
  | "closed"
  /** The peer broke the protocol, the socket failed or the idle time-out passed. */
  | "error"
  /** This side stopped. */
  | "stopped";

// Nothing is the same as "continue"; `void` stands for functions without a return value.
// biome-ignore-start lint/suspicious/noConfusingVoidType: see above
type Reply = MilterReply | undefined | void | Promise<MilterReply | undefined | void>;
type Done = void | undefined | Promise<void | undefined>;
type MessageResult = MessageReply | undefined | void | Promise<MessageReply | undefined | void>;
// biome-ignore-end lint/suspicious/noConfusingVoidType: see above

export interface MessageReply {
  /** Applied in order, all sent with the reply in one write. Left out when the reply refuses or discards. */
  readonly edits: readonly MilterEdit[];
  readonly reply: MilterReply;
}

/**
 * One connection's callbacks. Calls never overlap: while a promise is pending nothing else is called, but for
 * close("stopped") when the time limit of an orderly stop cuts it off. Anything thrown or rejected is reported
 * and answered with the failure reply (`onFailure`, default tempfail).
 */
export interface MilterHandler {
  connect?(event: ConnectEvent): Reply;
  /** HELO or EHLO: the protocol does not tell which. */
  helo?(name: string): Reply;
  /** `args`: "<sender>" as the client typed it, then its ESMTP parameters. A refusal ends the transaction. */
  mail?(args: readonly string[]): Reply;
  /** `args`: "<recipient>", then parameters. A refusal concerns this recipient alone. */
  rcpt?(args: readonly string[]): Reply;
  /** A refusal leaves the transaction open: the client may send DATA again. */
  data?(): Reply;
  /** A command the MTA does not know; Postfix before 3.10 gives its first word only. */
  unknown?(line: string): Reply;
  /** Bytes, folds as LF and white space. Return nothing, rather than a promise, to keep this path fast. */
  header?(name: Buffer, value: Buffer): Reply;
  endOfHeaders?(): Reply;
  body?(chunk: Buffer): Reply;
  endOfMessage?(): MessageResult;
  /** Exactly once after each mail() that was not refused, also when the MTA never says so. */
  abort?(cause: AbortCause): Done;
  /** Exactly once, last. `error` for cause "error". */
  close?(cause: CloseCause, error?: Error): Done;
}
