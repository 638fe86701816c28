/**
 * Header values made readable: unfolded, RFC 2047 words and RFC 2231
 * parameters decoded, 8-bit bytes nobody declared taken as UTF-8 or else
 * windows-1252. Results are UTF-8 byte strings. Never throws: what cannot be
 * decoded stays as it was.
 *
 * The decoding is libmime's; its functions are linear in the length of the value.
 */

import { isUtf8 } from "node:buffer";
import libmime from "libmime";
import { encodeText, toBytes } from "../bytes.ts";
import type { HeaderFields } from "./headers.ts";

const WINDOWS_1252 = new TextDecoder("windows-1252");
/** Longer values are folded (RFC 5322 section 2.1.1). */
const MAX_ASCII_VALUE = 900;
const ASCII = /^[\x00-\x7f]*$/;

/** A structured value (Content-Type and the like): main value in lower case, parameter names in lower case. */
export interface StructuredValue {
  readonly value: string;
  /** A parameter as it stood there, quotes removed; "" when absent. */
  raw(name: string): string;
  /** A parameter decoded (RFC 2231, and RFC 2047 as many mailers do); "" when absent. */
  decoded(name: string): string;
}

/** The first Subject, unfolded and decoded; "" when there is none. */
export function decodedSubject(headers: HeaderFields): string {
  const field = headers.first("subject");
  return field ? decodeHeaderText(field.value) : "";
}

/** A raw value, folds and all, as one line of UTF-8. CR, LF and NUL that were hidden in encoded words become spaces. */
export function decodeHeaderText(raw: string): string {
  return oneLine(decodeWords(readableText(unfold(raw)))).trim();
}

/** A file name found outside of headers, as one line of UTF-8. Nothing in it is decoded. */
export function fileName(raw: string): string {
  return oneLine(readableText(raw)).trim();
}

/** A byte string of an undeclared charset as UTF-8. */
export function utf8Text(raw: string): string {
  return encodeText(readableText(raw));
}

/**
 * A header value for `text`, UTF-8: what is not ASCII in RFC 2047 words, folds as "\n" where words or a
 * very long line make them necessary. Line breaks and NUL become spaces. `taken`: columns before the value.
 */
export function encodeHeaderText(text: string, taken: number): string {
  const line = readableText(text)
    .replace(/[\r\n\0]+/g, " ")
    .trim();
  if (ASCII.test(line) && line.length + taken < MAX_ASCII_VALUE) return line;
  const words = libmime.encodeWords(line, "Q", 52);
  return libmime
    .foldLines(`${" ".repeat(taken)}${words}`, 76)
    .slice(taken)
    .replace(/\r?\n/g, "\n");
}

/** Removes the line ends of folds; the white space after them stays (RFC 5322 section 2.2.3). */
export function unfold(raw: string): string {
  return raw.includes("\n") ? raw.replace(/\r?\n/g, "") : raw;
}

/** Parses a raw value with parameters. Comments are dropped; a parameter given twice keeps its first value. */
export function structuredValue(raw: string): StructuredValue {
  const bytes = unfold(raw);
  const text = readableText(bytes);
  // Where the text was read as UTF-8, bytes come back by writing it as UTF-8.
  const asBytes = text === bytes ? (value: string) => value : encodeText;
  const parsed = parse(text);
  return {
    value: asBytes(parsed.value).trim().toLowerCase(),
    raw: (name) => asBytes(own(parsed.params, name)),
    decoded: (name) => {
      const value = own(parsed.params, name);
      return oneLine(parsed.decodedParams.includes(name) ? value : decodeWords(value));
    },
  };
}

interface Parsed {
  readonly value: string;
  readonly params: Readonly<Record<string, string>>;
  readonly decodedParams: readonly string[];
}

function parse(text: string): Parsed {
  try {
    return libmime.parseHeaderValue(text, { stripComments: true });
  } catch {
    return { value: text, params: {}, decodedParams: [] };
  }
}

function own(params: Readonly<Record<string, string>>, name: string): string {
  return Object.hasOwn(params, name) ? params[name]! : "";
}

function decodeWords(text: string): string {
  if (!text.includes("=?")) return text;
  try {
    return libmime.decodeWords(text);
  } catch {
    return text;
  }
}

/** Ordinary text of a byte string whose charset nobody declared. */
export function readableText(byteString: string): string {
  if (ASCII.test(byteString)) return byteString;
  const bytes = toBytes(byteString);
  return isUtf8(bytes) ? bytes.toString("utf8") : WINDOWS_1252.decode(bytes);
}

function oneLine(text: string): string {
  return encodeText(text.replace(/[\r\n\0]+/g, " "));
}
