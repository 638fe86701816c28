/**
 * What can go wrong, by whose fault: MilterProtocolError is the peer's (the
 * connection closes), MilterReplyError is the filter's own (the message is
 * answered with the failure reply, the connection lives on). Anything else
 * that a handler throws counts as the filter's fault, too. All of them reach
 * the owner as a MilterProblem through `onProblem`.
 */

/** Codes of MilterProtocolError. */
export type ProtocolErrorCode =
  /** A packet of length 0, which has not even a command code. */
  | "ERR_MILTER_LENGTH_ZERO"
  /** A packet longer than `maxPacket`. */
  | "ERR_MILTER_LENGTH_LIMIT"
  /** The stream ended inside a packet. */
  | "ERR_MILTER_TRUNCATED"
  /** A command or reply code that no version defines. */
  | "ERR_MILTER_CODE"
  /** A packet ends before a field that must be there. */
  | "ERR_MILTER_FIELD_SHORT"
  /** A string without its terminating NUL. */
  | "ERR_MILTER_FIELD_NUL"
  /** Bytes left over after the last field. */
  | "ERR_MILTER_FIELD_EXTRA"
  /** A field with an impossible value. */
  | "ERR_MILTER_FIELD_VALUE"
  /** A command that may not come at this point of the session. */
  | "ERR_MILTER_ORDER"
  /** A protocol version that is not spoken here. */
  | "ERR_MILTER_VERSION";

/** The peer broke the protocol. */
export class MilterProtocolError extends Error {
  override name = "MilterProtocolError";
  readonly code: ProtocolErrorCode;
  /** Bytes from the start of the stream. */
  readonly offset: number;
  /** Which field, e.g. "SMFIC_HELO name"; "length" and "code" for the frame itself. */
  readonly field: string;

  constructor(code: ProtocolErrorCode, offset: number, field: string, message: string) {
    super(`${field} at byte ${offset}: ${message}`);
    this.code = code;
    this.offset = offset;
    this.field = field;
  }
}

/** Codes of MilterReplyError. */
export type ReplyErrorCode =
  /** A reply kind that does not exist or has no meaning at this event. */
  | "ERR_MILTER_REPLY_KIND"
  /** A reply code outside 400 to 599. */
  | "ERR_MILTER_REPLY_CODE"
  /** An enhanced status code that is malformed or of another class than the code. */
  | "ERR_MILTER_REPLY_ENHANCED"
  /** Reply text with CR, LF or NUL, without lines, with too long or too many lines. */
  | "ERR_MILTER_REPLY_TEXT"
  /** A reply to an event that was negotiated as quiet; it is sent at a later event where that is possible. */
  | "ERR_MILTER_REPLY_QUIET"
  /** An edit that the MTA did not offer. */
  | "ERR_MILTER_EDIT_ACTION"
  /** An edit whose kind or fields cannot be sent. */
  | "ERR_MILTER_EDIT_VALUE"
  /** Not fatal: the MTA lacks something and the next best was sent. */
  | "ERR_MILTER_DEGRADED";

/** The filter answered something that must not or cannot be sent. */
export class MilterReplyError extends Error {
  override name = "MilterReplyError";
  readonly code: ReplyErrorCode;
  /** Which part, e.g. "lines[2]" or "edits[0].name". */
  readonly field: string;

  constructor(code: ReplyErrorCode, field: string, message: string) {
    super(`${field}: ${message}`);
    this.code = code;
    this.field = field;
  }
}

/** One report to the owner. Nothing needs to be done about it: the session has already taken care. */
export interface MilterProblem {
  /**
   * The error's code, or ERR_MILTER_HANDLER (a handler threw), ERR_MILTER_ACTIONS (the MTA does not offer what
   * `needs` asks for), ERR_MILTER_SOCKET, ERR_MILTER_IDLE (idle time-out), ERR_MILTER_BUSY (maxConnections),
   * ERR_MILTER_STOPPED (a command was cut off by the time limit of an orderly stop).
   */
  readonly code: string;
  /** Event under way, e.g. "rcpt"; "" when none was. */
  readonly event: string;
  /** Id of the connection, "" for the listener itself. */
  readonly id: string;
  readonly error: Error;
}

export type OnProblem = (problem: MilterProblem) => void;

/** A problem from whatever was thrown. `fallback` is the code for errors that have none of ours. */
export function toProblem(thrown: unknown, fallback: string, event: string, id: string): MilterProblem {
  const error = thrown instanceof Error ? thrown : new Error(`thrown: ${String(thrown)}`);
  const own = error instanceof MilterProtocolError || error instanceof MilterReplyError;
  return { code: own ? error.code : fallback, event, id, error };
}
