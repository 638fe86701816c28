/**
 * Actions: what a policy server may answer (Postfix access(5), "ACCEPT
 * ACTIONS" to "OTHER ACTIONS"), as values, made into the one line that Postfix
 * reads, and read again for tests and clients.
 *
 * Postfix takes an action that it cannot read for a configuration error and
 * answers 451 to the client; so whatever could be misread is refused here.
 */
import { PolicyActionError } from "./errors.ts";

export type PolicyAction =
  /** No opinion: the next restriction decides. */
  | { readonly kind: "dunno" }
  /** Permits; in smtpd_relay_restrictions that grants relaying. */
  | { readonly kind: "ok" }
  /** Goes on for Postfix's own destinations, refuses others with "Relay access denied". */
  | { readonly kind: "rejectUnauthDestination" }
  /** 400 to 599; the lines of the text are joined. Postfix puts "<x>: ... rejected: " before it. */
  | {
      readonly kind: "refuse";
      readonly reply: { readonly code: number; readonly enhanced: string; readonly lines: readonly string[] };
    }
  | { readonly kind: "deferIfPermit"; readonly text: string }
  /** "transport:destination". */
  | { readonly kind: "filter"; readonly destination: string }
  | { readonly kind: "redirect"; readonly address: string }
  | { readonly kind: "bcc"; readonly address: string }
  | { readonly kind: "hold"; readonly text: string }
  | { readonly kind: "discard"; readonly text: string }
  /** "Name: value". */
  | { readonly kind: "prepend"; readonly header: string };

export const DUNNO: PolicyAction = { kind: "dunno" };

/** Longer texts are cut: the whole reply should fit into the 512 bytes of RFC 5321, with what Postfix adds. */
const MAX_TEXT = 400;

/**
 * The answer to one request, with its empty line.
 * @throws PolicyActionError
 */
export function encodeAction(action: PolicyAction): Buffer {
  return Buffer.from(`action=${actionText(action)}\n\n`, "latin1");
}

/** The action as Postfix reads it. @throws PolicyActionError */
export function actionText(action: PolicyAction): string {
  switch (action.kind) {
    case "dunno":
      return "DUNNO";
    case "ok":
      return "OK";
    case "rejectUnauthDestination":
      return "reject_unauth_destination";
    case "refuse":
      return refusal(action.reply);
    case "deferIfPermit":
      return withText("DEFER_IF_PERMIT", action.text);
    case "hold":
      return withText("HOLD", action.text);
    case "discard":
      return withText("DISCARD", action.text);
    case "filter":
      return `FILTER ${matching(action.destination, /^[\w.-]+:[!-~]*$/, "transport:destination")}`;
    case "redirect":
      return `REDIRECT ${matching(action.address, ADDRESS, "an address user@domain")}`;
    case "bcc":
      return `BCC ${matching(action.address, ADDRESS, "an address user@domain")}`;
    case "prepend":
      return `PREPEND ${utf8(matching(action.header, HEADER, "a header line, Name: value"))}`;
  }
}

const ADDRESS = /^[!-~\x80-\xff]+@[!-~\x80-\xff]+$/;
const HEADER = /^[!-9;-~]{1,100}:[\t -~\x80-\xff]{0,900}$/;

function refusal({
  code,
  enhanced,
  lines,
}: {
  code: number;
  enhanced: string;
  lines: readonly string[];
}): string {
  if (!Number.isInteger(code) || code < 400 || code > 599) {
    throw new PolicyActionError(`a refusal's code is 400 to 599, not ${code}`);
  }
  if (enhanced !== "" && !/^[45]\.\d{1,3}\.\d{1,3}$/.test(enhanced)) {
    throw new PolicyActionError(`not an enhanced status code: ${JSON.stringify(enhanced)}`);
  }
  const text = clean(lines.join(" "));
  // Postfix does not take a code without text for a refusal.
  return `${code} ${enhanced === "" ? "" : `${enhanced} `}${text === "" ? "Access denied" : text}`;
}

function withText(verb: string, text: string): string {
  const cleaned = clean(text);
  return cleaned === "" ? verb : `${verb} ${cleaned}`;
}

function matching(text: string, pattern: RegExp, expected: string): string {
  if (pattern.test(text)) return text;
  throw new PolicyActionError(`${expected} expected, found ${JSON.stringify(text.slice(0, 100))}`);
}

function clean(text: string): string {
  const line = text.replace(/[\x00-\x1f\x7f]+/g, " ").trim();
  return utf8(line.length > MAX_TEXT ? `${line.slice(0, MAX_TEXT - 3)}...` : line);
}

/** With smtputf8_enable Postfix refuses an action that is not UTF-8 as a whole. */
function utf8(text: string): string {
  if (!/[\x80-\xff]/.test(text)) return text;
  const decoded = Buffer.from(text, "latin1").toString("utf8");
  return decoded.includes("\ufffd") ? text.replace(/[\x80-\xff]+/g, "?") : text;
}

/** The action of an answer, as text: what a client does. @returns undefined until the answer is complete */
export function decodeAnswer(
  bytes: string,
): { readonly action: string; readonly length: number } | undefined {
  const end = bytes.indexOf("\n\n");
  if (end < 0) return undefined;
  const line = bytes
    .slice(0, end)
    .split("\n")
    .findLast((text) => text.startsWith("action="));
  return { action: line?.slice("action=".length) ?? "", length: end + 2 };
}
