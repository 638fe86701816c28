/**
 * Postfix's own notices read back: bounces, delay warnings, delivery reports,
 * their copies for the postmaster (all multipart/report, RFC 6522 and 3464),
 * and the plain transcripts of sessions that had errors.
 *
 * Told from other mail by what Postfix alone writes, whatever a bounce
 * template says: sender, boundary, X-Postfix-Queue-ID. A local user can write
 * the same; it then counts as a notice. Strings are UTF-8 byte strings.
 */
import { encodeText } from "../bytes.ts";
import { decodedSubject, decodeHeaderText, structuredValue, utf8Text } from "./header-text.ts";
import { HeaderFields } from "./headers.ts";
import { type MimePart, structure } from "./mime.ts";
import { textOf } from "./replace-text.ts";
import type { MessageStore } from "./store.ts";
import { type TextPart, textPart } from "./text-part.ts";

export type NoticeKind =
  | "bounce"
  | "delay"
  | "success"
  | "verify"
  | "bounce copy"
  | "delay copy"
  | "double bounce"
  | "server session"
  | "client session";

/** The numbers that stand for each kind, for ever: scripts keep them in tables. */
export const NOTICE_NUMBERS: Readonly<Record<NoticeKind, number>> = {
  bounce: 1,
  delay: 2,
  success: 3,
  verify: 4,
  "bounce copy": 5,
  "delay copy": 6,
  "double bounce": 7,
  "server session": 8,
  "client session": 9,
};

/** What became of one recipient of the original message; for sessions, who was at the other end. */
export interface NoticeRecipient {
  readonly address: string;
  /** "5.1.1", "" when there is none. */
  readonly status: string;
  /** As one line, without its type. */
  readonly diagnostic: string;
  /** Whether `diagnostic` is what another server said. */
  readonly remote: boolean;
}

export interface Notice {
  readonly kind: NoticeKind;
  readonly subject: string;
  /** Of the original message; "" for sessions. */
  readonly queueId: string;
  /** At least one. */
  readonly recipients: readonly NoticeRecipient[];
  /** The human-readable part, the whole message for sessions; or why it cannot be written into. */
  readonly part: TextPart | { readonly why: string };
  /** Its text, lines ending in "\n"; "" when it cannot be read either. */
  readonly text: string;
}

/** Whether an envelope sender is one that notices come from. `doubleBounce` is Postfix's double_bounce_sender. */
export function isNoticeSender(sender: string, doubleBounce: string): boolean {
  if (sender === "") return true;
  const at = sender.lastIndexOf("@");
  return (at < 0 ? sender : sender.slice(0, at)).toLowerCase() === doubleBounce.toLowerCase();
}

/** @returns undefined when the message, whose sender isNoticeSender(), is no notice of Postfix's */
export function readNotice(store: MessageStore, sender: string): Notice | undefined {
  const { parts } = structure(store);
  const [whole] = parts;
  if (whole === undefined) return undefined;
  const type = structuredValue(store.headers.first("content-type")?.value ?? "");
  if (type.value === "multipart/report") return readReport(store, sender, parts, whole.boundary);
  return sender === "" ? undefined : readTranscript(store, parts, whole);
}

function readReport(
  store: MessageStore,
  sender: string,
  parts: readonly MimePart[],
  boundary: string,
): Notice | undefined {
  const [part, status] = parts.filter(({ parent }) => parent === 0);
  if (part?.contentType !== "text" || status?.contentType !== "message") return undefined;
  if (!/^(?:global-)?delivery-status$/.test(status.contentSubtype)) return undefined;
  const [message, ...groups] = statusGroups(store.slice(status.bodyStart, status.end));
  const queueId = message === undefined ? "" : queueIdOf(message);
  if (message === undefined || queueId === "" || !boundary.startsWith(`${queueId}.`)) return undefined;
  const recipients = groups.filter((group) => group.first("final-recipient") !== undefined);
  const [first] = recipients;
  if (first === undefined) return undefined;
  const originalSender = typed(message, /^x-.+-sender$/).text;
  return {
    kind: reportKind(line(first, "action").toLowerCase(), sender === "", originalSender),
    subject: decodedSubject(store.headers),
    queueId,
    recipients: recipients.map(readRecipient),
    ...readText(store, parts, part),
  };
}

/** Groups of fields with blank lines between them (RFC 3464 section 2.1). */
function statusGroups(bytes: Buffer): HeaderFields[] {
  const groups: HeaderFields[] = [];
  for (let rest = bytes; rest.length > 0; ) {
    const { headers, bodyStart } = HeaderFields.parse(rest);
    if (headers.length > 0) groups.push(headers);
    if (bodyStart === 0) break;
    rest = rest.subarray(bodyStart);
  }
  return groups;
}

/** X-Postfix-Queue-ID; the name in the middle is Postfix's mail_name. */
function queueIdOf(message: HeaderFields): string {
  for (const field of message) {
    if (/^x-.+-queue-id$/i.test(field.name)) return /^[0-9A-Za-z]+$/.exec(field.value.trim())?.[0] ?? "";
  }
  return "";
}

function reportKind(action: string, toSender: boolean, originalSender: string): NoticeKind {
  const delayed = action === "delayed";
  if (!toSender) {
    if (delayed) return "delay copy";
    // How Postfix writes the null sender here.
    return /^(?:mailer-daemon(?:@.*)?)?$/i.test(originalSender) ? "double bounce" : "bounce copy";
  }
  if (delayed) return "delay";
  if (action === "deliverable" || action === "undeliverable") return "verify";
  return action === "failed" ? "bounce" : "success";
}

function readRecipient(group: HeaderFields): NoticeRecipient {
  const diagnostic = typed(group, /^diagnostic-code$/);
  return {
    address: typed(group, /^final-recipient$/).text,
    status: line(group, "status"),
    diagnostic: diagnostic.text,
    remote: diagnostic.type === "smtp",
  };
}

/** A field "type; text". */
function typed(group: HeaderFields, name: RegExp): { type: string; text: string } {
  for (const field of group) {
    if (!name.test(field.name.toLowerCase())) continue;
    const [, type = "", text = ""] = /^([^;]*);?(.*)$/.exec(oneLine(field.value)) ?? [];
    return { type: type.trim().toLowerCase(), text: text.trim() };
  }
  return { type: "", text: "" };
}

function line(group: HeaderFields, name: string): string {
  return oneLine(group.first(name)?.value ?? "");
}

/** Postfix wraps lines between words and indents what goes on. */
function oneLine(raw: string): string {
  return utf8Text(raw.replace(/\r?\n[ \t]*/g, " ")).trim();
}

/** A transcript says nothing of itself but its subject and the form of its lines. */
function readTranscript(
  store: MessageStore,
  parts: readonly MimePart[],
  whole: MimePart,
): Notice | undefined {
  const subject = decodedSubject(store.headers);
  const found = /^.+ (?:SMTP|LMTP|QMQP) (server|client): errors from (\S+)$/.exec(subject);
  if (found === null || whole.contentType !== "text") return undefined;
  const from = decodeHeaderText(store.headers.first("from")?.value ?? "");
  if (!/\bmailer-daemon\b/i.test(from)) return undefined;
  const { part, text } = readText(store, parts, whole);
  const error = firstError(text);
  return {
    kind: found[1] === "server" ? "server session" : "client session",
    subject,
    queueId: "",
    recipients: [
      {
        address: found[2] ?? "",
        status: /^\d{3}[ -](\d\.\d{1,3}\.\d{1,3})\b/.exec(error)?.[1] ?? "",
        diagnostic: error,
        remote: found[1] === "client",
      },
    ],
    part,
    text,
  };
}

/** The first refusal in a transcript, else why the session ended. Lines that go on are indented further. */
function firstError(text: string): string {
  const [, reply] = /^ (?:In|Out): +([45]\d\d[ -].*(?:\n {5,}.*)*)/m.exec(text) ?? [];
  const error = reply ?? /^Session aborted, reason: (.*)$/m.exec(text)?.[1] ?? "";
  return error.replace(/\s+/g, " ").trim();
}

function readText(
  store: MessageStore,
  parts: readonly MimePart[],
  part: MimePart,
): Pick<Notice, "part" | "text"> {
  const text = textPart(store, parts, part);
  if ("why" in text) return { part: text, text: "" };
  return { part: text, text: encodeText(textOf(text).replace(/\r\n?/g, "\n")) };
}
