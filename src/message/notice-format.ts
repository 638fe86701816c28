/**
 * A notice's text as a format with %1, %2 ... and its parameters (manual,
 * "ProcessError()"), and a format filled in again.
 *
 * The first four parameters are recipient, status, diagnostic and queue ID;
 * each further recipient adds its address, status and diagnostic: %5, %6, %7.
 */
import type { Notice, NoticeRecipient } from "./notice.ts";

export interface NoticeFormat {
  /** A percent sign is "%%". */
  readonly format: string;
  readonly parameters: readonly string[];
}

/** %99 is the last that can be written; recipients beyond that stay as they stand in the text. */
const MAX_RECIPIENTS = 32;

/** What an end of the text may be replaced with. */
interface Value {
  readonly number: number;
  readonly pattern: RegExp;
}

export function noticeFormat({ text, recipients, queueId }: Notice): NoticeFormat {
  const listed = recipients.slice(0, MAX_RECIPIENTS);
  const parameters: string[] = [];
  const pieces: string[] = [];
  let at = 0;
  const queue = queueId === "" ? [] : [{ number: 4, pattern: whole(queueId) }];
  const take = (end: number, values: readonly Value[]) => {
    pieces.push(replaced(text.slice(at, end), values, text[end] ?? ""));
    at = end;
  };
  let values: readonly Value[] = queue;
  for (const [n, recipient] of listed.entries()) {
    const first = n === 0 ? 1 : 3 * n + 2;
    const { address, status, diagnostic } = recipient;
    parameters.push(address, status, diagnostic);
    if (n === 0) parameters.push(queueId);
    const start = text.indexOf(`<${address}>`, at);
    // A template may show no recipients; then their values are looked for in all of the text.
    if (start >= 0) take(start, values);
    values = [...valuesOf(recipient, first), ...queue];
  }
  take(text.length, values);
  return { format: pieces.join(""), parameters };
}

/** `format` with its parameters put in. A number without a parameter stays as it is. */
export function fillIn(format: string, parameters: readonly string[]): string {
  return format.replace(/%(%|\d{1,2})/g, (found, what: string) => {
    if (what === "%") return "%";
    const value = parameters[Number(what) - 1];
    if (value !== undefined) return value;
    const short = what.length === 2 ? parameters[Number(what[0]) - 1] : undefined;
    return short === undefined ? found : short + what[1];
  });
}

/** The longest first: a diagnostic may hold the address and the status. */
function valuesOf({ address, status, diagnostic }: NoticeRecipient, first: number): Value[] {
  const values: Value[] = [];
  if (diagnostic !== "") values.push({ number: first + 2, pattern: wrapped(diagnostic) });
  if (address !== "") values.push({ number: first, pattern: whole(address) });
  if (status !== "") values.push({ number: first + 1, pattern: whole(status) });
  return values;
}

/** Postfix wraps the text between words. */
function wrapped(value: string): RegExp {
  return new RegExp(value.split(/\s+/).map(escaped).join("\\s+"), "g");
}

/** `value` where it is no part of something longer. */
function whole(value: string): RegExp {
  return new RegExp(`(?<![\\w.@+-])${escaped(value)}(?![\\w@-]|\\.\\w)`, "g");
}

function escaped(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|/-]/g, "\\$&");
}

/** `next` is what follows in the text: a digit there would make another number of a placeholder at the end. */
function replaced(text: string, values: readonly Value[], next: string): string {
  const [value, ...others] = values;
  if (value === undefined) return text.replaceAll("%", "%%");
  const pieces: string[] = [];
  let at = 0;
  for (const found of text.matchAll(value.pattern)) {
    const end = found.index + found[0].length;
    if (/\d/.test(text[end] ?? next)) continue;
    pieces.push(replaced(text.slice(at, found.index), others, "%"), `%${value.number}`);
    at = end;
  }
  pieces.push(replaced(text.slice(at), others, next));
  return pieces.join("");
}
