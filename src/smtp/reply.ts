/**
 * Result strings of scripts, `NNN[ X.Y.Z] text`, into replies (manual,
 * "SMTP Server Script"; RFC 5321 section 4.2, RFC 3463 for X.Y.Z).
 */
import type { Reply } from "./verdict.ts";

/** What a result string asks for. Problems are for the log; a reply is always fit for the wire. */
export type ResultText =
  /** Nothing said: the default stands. */
  | { readonly kind: "default" }
  | { readonly kind: "refuse"; readonly reply: Reply; readonly problem: string }
  /** 2xx or 3xx: a positive text, which no milter can deliver. */
  | { readonly kind: "positive"; readonly text: string }
  /** No code at all: accepted, with a warning. */
  | { readonly kind: "uncoded"; readonly text: string }
  /** Something that starts like a refusal and is none. */
  | { readonly kind: "malformed"; readonly problem: string };

/** RFC 5321 allows 512 bytes a reply line, code, separator and CRLF included. */
const MAX_TEXT = 505;
/** What MTAs take from a milter in one reply. */
const MAX_LINES = 32;
const TOO_MANY = `only the first ${MAX_LINES} lines of the reply are sent`;

/** Reads a result string (a byte string). Never throws. */
export function parseResult(result: string): ResultText {
  const text = result.replace(/^[\t ]+|[\s\0]+$/g, "");
  if (text === "") return { kind: "default" };
  const code = /^(\d{3})(?![0-9A-Za-z])/.exec(text);
  if (code === null) {
    if (/^[45]\d\d/.test(text)) {
      return {
        kind: "malformed",
        problem: `"${clip(text)}" starts like a refusal, but its code is not followed by a space`,
      };
    }
    return { kind: "uncoded", text };
  }
  const number = Number(code[1]);
  if (number >= 200 && number < 400) return { kind: "positive", text };
  if (number < 400 || number > 599) {
    return {
      kind: "malformed",
      problem: `reply code ${number} in "${clip(text)}" is not 2xx, 3xx, 4xx or 5xx`,
    };
  }
  return refusal(number, text.slice(3));
}

function refusal(code: number, rest: string): ResultText {
  let problem = "";
  const raw = rest.split(/\r\n|\n|\r/);
  let enhanced = "";
  const lines: string[] = [];
  raw.slice(0, MAX_LINES).forEach((line, i) => {
    // A script may write the code on every line, as it will stand on the wire.
    const repeated = i > 0 && line.startsWith(String(code)) && /^\d{3}(?:[ -]|$)/.test(line);
    let text = (repeated ? line.slice(3) : line).replace(/^[ -]/, "");
    const status = /^([245])\.\d{1,3}\.\d{1,3}(?=\s|$)/.exec(text);
    if (status !== null) {
      if (status[1] !== String(code)[0])
        problem ||= `status ${status[0]} does not go with code ${code}; it is left out`;
      else if (enhanced === "") enhanced = status[0];
      text = text.slice(status[0].length).trimStart();
    }
    const clean = text.replace(/[\x00-\x08\x0b-\x1f\x7f]/g, "?");
    if (clean !== text) problem ||= "control characters in the reply are replaced by ?";
    for (const piece of pieces(clean, MAX_TEXT - enhanced.length)) lines.push(piece);
  });
  if (raw.length > MAX_LINES || lines.length > MAX_LINES) problem = TOO_MANY;
  return { kind: "refuse", reply: { code, enhanced, lines: lines.slice(0, MAX_LINES) }, problem };
}

function pieces(text: string, length: number): string[] {
  if (text.length <= length) return [text];
  const out: string[] = [];
  for (let at = 0; at < text.length; at += length) out.push(text.slice(at, at + length));
  return out;
}

function clip(text: string): string {
  return text.length > 60 ? `${text.slice(0, 60)}...` : text;
}

/** The reply for a text that refuses whatever it says: it may bring its own 4xx or 5xx code, else it gets `standard`'s. */
export function refusalReply(text: string, standard: Reply): Reply {
  const parsed = parseResult(text);
  if (parsed.kind === "refuse") return parsed.reply;
  const line = text
    .replace(/[\x00-\x1f\x7f]+/g, " ")
    .trim()
    .slice(0, MAX_TEXT - standard.enhanced.length);
  return line === "" ? standard : { ...standard, lines: [line] };
}

/** A one-line reply of our own. */
export function reply(code: number, enhanced: string, text: string): Reply {
  return { code, enhanced, lines: [text] };
}

/** The reply as one line of text for logs, e.g. "550 5.7.1 No / second line". */
export function replyText(value: Reply): string {
  const status = value.enhanced === "" ? "" : `${value.enhanced} `;
  return `${value.code} ${status}${value.lines.join(" / ")}`;
}
