/**
 * Replies, filter to MTA: values to packets, and back for those who play the
 * MTA. Edits, which may precede the reply to end of message, are in edit.ts.
 *
 * A value that an MTA would call malformed never becomes bytes: MilterReplyError
 * is thrown instead. Replies that a peer does not know are replaced by the next
 * best thing, as told at encodeReply.
 */
import { MilterProtocolError, MilterReplyError } from "./errors.ts";
import {
  type MilterEvent,
  SMFIR_ACCEPT,
  SMFIR_CONTINUE,
  SMFIR_DISCARD,
  SMFIR_PROGRESS,
  SMFIR_REJECT,
  SMFIR_REPLYCODE,
  SMFIR_SHUTDOWN,
  SMFIR_SKIP,
  SMFIR_TEMPFAIL,
} from "./protocol.ts";
import { packet } from "./writer.ts";

export type SimpleKind =
  | "continue"
  /** No more events: for this message, or after connect and helo for this session. */
  | "accept"
  /** 550 5.7.1 in the MTA's own words. */
  | "reject"
  /** 451 4.7.1 in the MTA's own words. */
  | "tempfail"
  /** Accept towards the client, deliver to nobody. From mail on. */
  | "discard"
  /** No more events of this kind in this message. At rcpt, header and body. */
  | "skip"
  /** Both end the SMTP session with 421. */
  | "connfail"
  | "shutdown";

export interface ReplyCode {
  readonly kind: "replycode";
  /** 400 to 599; 421 also ends the SMTP session. */
  readonly code: number;
  /** "5.7.1", of the same class as the code, or "". */
  readonly enhanced: string;
  /** Byte strings without CR, LF and NUL: 1 to 32 of at most 980 bytes. */
  readonly lines: readonly string[];
}

export type MilterReply = { readonly kind: SimpleKind } | ReplyCode;

/** What a reply means for the transaction: it goes on, needs no more events, or is refused. */
export type Verdict = "go" | "done" | "refuse";

export function verdictOf(reply: MilterReply): Verdict {
  if (reply.kind === "continue" || reply.kind === "skip") return "go";
  return reply.kind === "accept" || reply.kind === "discard" ? "done" : "refuse";
}

/** Events that take a reply. */
export type ReplyEvent = MilterEvent | "eom";

/** Limits of libmilter's smfi_setmlreply, which Sendmail was built for. Postfix takes more. */
export const MAX_REPLY_LINES = 32;
export const MAX_REPLY_LINE = 980;

export const CONTINUE: MilterReply = { kind: "continue" };
export const TEMPFAIL: MilterReply = { kind: "tempfail" };

/** Packets without data, made once; never written to. */
const PACKET_CONTINUE = packet(SMFIR_CONTINUE);
export const PACKET_PROGRESS = packet(SMFIR_PROGRESS);
export const PACKET_TEMPFAIL = packet(SMFIR_TEMPFAIL);
const PACKET_ACCEPT = packet(SMFIR_ACCEPT);
const PACKET_REJECT = packet(SMFIR_REJECT);
const PACKET_DISCARD = packet(SMFIR_DISCARD);
const PACKET_SKIP = packet(SMFIR_SKIP);
const PACKET_SHUTDOWN = packet(SMFIR_SHUTDOWN);
const PACKET_421 = packet(SMFIR_REPLYCODE, "421 4.3.2 Service shutting down");

const CONTENT_EVENTS: ReadonlySet<ReplyEvent> = new Set(["header", "eoh", "body", "eom"]);
const SKIP_EVENTS: ReadonlySet<ReplyEvent> = new Set(["rcpt", "header", "body"]);
const SESSION_EVENTS: ReadonlySet<ReplyEvent> = new Set(["connect", "helo", "unknown"]);

/**
 * The packet for `reply` at `event`.
 *
 * - "shutdown" at header, eoh, body and eom, and for version 2, becomes a 421 reply code: Postfix before 3.11.6
 *   takes SMFIR_SHUTDOWN in answer to message content for success and loses the message.
 * - "connfail" becomes a 421 reply code, since neither Postfix nor Sendmail knows SMFIR_CONN_FAIL.
 * - "accept" at unknown becomes "continue": outside a transaction it would leave Postfix's smtpd in a state
 *   where the next MAIL makes it panic.
 * - "skip" without `maySkip` (SMFIP_SKIP negotiated) becomes "continue"; the session then ignores those events.
 *
 * @throws MilterReplyError
 */
export function encodeReply(
  reply: MilterReply,
  event: ReplyEvent,
  version: number,
  maySkip: boolean,
): Buffer {
  switch (reply.kind) {
    case "continue":
      return PACKET_CONTINUE;
    case "accept":
      return event === "unknown" ? PACKET_CONTINUE : PACKET_ACCEPT;
    case "reject":
      return PACKET_REJECT;
    case "tempfail":
      return PACKET_TEMPFAIL;
    case "discard":
      if (SESSION_EVENTS.has(event)) throw meaningless(reply.kind, event);
      return PACKET_DISCARD;
    case "skip":
      if (!SKIP_EVENTS.has(event)) throw meaningless(reply.kind, event);
      return maySkip ? PACKET_SKIP : PACKET_CONTINUE;
    case "connfail":
      return PACKET_421;
    case "shutdown":
      return version < 3 || CONTENT_EVENTS.has(event) ? PACKET_421 : PACKET_SHUTDOWN;
    case "replycode":
      return packet(SMFIR_REPLYCODE, replyText(reply));
    default: {
      const kind = JSON.stringify((reply as { kind?: unknown }).kind);
      throw new MilterReplyError("ERR_MILTER_REPLY_KIND", "kind", `there is no reply ${kind}`);
    }
  }
}

function meaningless(kind: string, event: ReplyEvent): MilterReplyError {
  return new MilterReplyError("ERR_MILTER_REPLY_KIND", "kind", `"${kind}" has no meaning at ${event}`);
}

/**
 * The text of SMFIR_REPLYCODE: the code on each line, lines joined by CRLF, each % doubled because Sendmail
 * uses the text as a format string (Postfix halves them again).
 *
 * @throws MilterReplyError
 */
export function replyText(reply: ReplyCode): string {
  const { code, enhanced, lines } = reply;
  if (!Number.isInteger(code) || code < 400 || code > 599) {
    throw new MilterReplyError("ERR_MILTER_REPLY_CODE", "code", `400 to 599 expected, got ${code}`);
  }
  const wide = /^([45])\.\d{1,3}\.\d{1,3}$/.exec(enhanced);
  const digit = String(code)[0];
  if (enhanced !== "" && wide?.[1] !== digit) {
    const text = `"" or ${digit}.x.y expected, got ${JSON.stringify(enhanced)}`;
    throw new MilterReplyError("ERR_MILTER_REPLY_ENHANCED", "enhanced", text);
  }
  if (lines.length === 0 || lines.length > MAX_REPLY_LINES) {
    const text = `1 to ${MAX_REPLY_LINES} lines expected, got ${lines.length}`;
    throw new MilterReplyError("ERR_MILTER_REPLY_TEXT", "lines", text);
  }
  const last = lines.length - 1;
  return lines
    .map((line, index) => {
      checkLine(line, `lines[${index}]`);
      const status = enhanced === "" ? impliedStatus(line, digit) : `${enhanced} `;
      return `${code}${index === last ? " " : "-"}${status}${line.replaceAll("%", "%%")}`;
    })
    .join("\r\n");
}

function checkLine(line: string, field: string): void {
  if (/[\0\r\n]|[^\0-\xff]/.test(line)) {
    const text = "CR, LF, NUL or a character above 255";
    throw new MilterReplyError("ERR_MILTER_REPLY_TEXT", field, text);
  }
  if (line.length > MAX_REPLY_LINE) {
    const text = `${line.length} bytes, more than the limit of ${MAX_REPLY_LINE}`;
    throw new MilterReplyError("ERR_MILTER_REPLY_TEXT", field, text);
  }
}

/**
 * Postfix takes a digit after the code for the enhanced status, and one of another class for a malformed reply
 * that spoils the whole session. Such a text gets the status which libmilter supplies by default.
 */
function impliedStatus(line: string, digit: string | undefined): string {
  return /^\d/.test(line) && line[0] !== digit ? `${digit}.0.0 ` : "";
}

/**
 * The reverse of replyText, as strict as the strictest Postfix (3.11.7: every line begins with the same code,
 * only the last with a space behind it). `offset` is where the text began in the stream.
 *
 * @throws MilterProtocolError
 */
export function parseReplyText(text: string, offset: number): ReplyCode {
  const lines = text.split("\r\n");
  const code = text.slice(0, 3);
  let enhanced: string | undefined;
  let at = offset;
  const texts = lines.map((line, index) => {
    const separator = index === lines.length - 1 ? " " : "-";
    const parts = /^([45]\d\d)([ -])(?:([45]\.\d{1,3}\.\d{1,3})(?: |$))?([^\0\r\n]*)$/.exec(line);
    const foreign = parts?.[3] === undefined && /^\d/.test(parts?.[4] ?? "") && parts?.[4]?.[0] !== code[0];
    const wrongClass = parts?.[3] !== undefined && parts[3][0] !== code[0];
    if (parts === null || parts[1] !== code || parts[2] !== separator || foreign || wrongClass) {
      const shown = JSON.stringify(line.slice(0, 80));
      throw new MilterProtocolError(
        "ERR_MILTER_FIELD_VALUE",
        at,
        "SMFIR_REPLYCODE text",
        `malformed ${shown}`,
      );
    }
    enhanced ??= parts[3] ?? "";
    at += line.length + 2;
    const status = parts[3] === undefined || parts[3] === enhanced ? "" : `${parts[3]} `;
    return status + parts[4]!.replaceAll("%%", "%");
  });
  return { kind: "replycode", code: Number(code), enhanced: enhanced ?? "", lines: texts };
}
