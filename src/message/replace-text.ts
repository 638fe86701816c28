/**
 * A text part's text, read as a whole and replaced as a whole: transfer
 * encoding and charset stay as they are where they can carry the new text,
 * else quoted-printable and UTF-8 take their place. No other byte of the
 * message changes.
 */
import { isAscii } from "node:buffer";
import { UTF_8 } from "./charset.ts";
import type { Edit } from "./edit.ts";
import { changedBlock, type HeaderChange, headerEdits } from "./part-header.ts";
import type { TextPart, TextSource } from "./text-part.ts";
import { encodeBase64, encodeQuotedPrintable } from "./transfer-encode.ts";

/** RFC 5322 section 2.1.1. */
const MAX_LINE = 998;

/** The text, line ends as they came; bytes that are none of its charset make it windows-1252. */
export function textOf(text: TextPart): string {
  try {
    return [...text.charset.decode(text.bytes())].join("");
  } catch {
    return new TextDecoder("windows-1252").decode(Buffer.concat([...text.bytes()]));
  }
}

/** Edits that make `content`, whose line ends become CRLF, the text; undefined when the header defies it. */
export function replaceText(source: TextSource, text: TextPart, content: string): Edit[] | undefined {
  const lines = content.replace(/\r\n?|\n/g, "\r\n");
  const own = text.charset.encode(lines);
  const bytes = own ?? UTF_8.encode(lines)!;
  const encoding = text.encoding === "" && !canStandAsIs(text, bytes) ? "quoted-printable" : text.encoding;
  const change: HeaderChange = {
    ...(own === undefined ? { charset: UTF_8.name } : {}),
    ...(encoding === text.encoding ? {} : { encoding }),
  };
  const { part, headers } = text;
  const isWhole = part.parent < 0;
  const body = encoded(encoding, bytes, isWhole);
  if (isWhole) {
    const edits = headerEdits(headers, change);
    return edits === undefined ? undefined : [...edits, { kind: "replaceBody", body }];
  }
  const block = changedBlock(headers, change);
  if (block === undefined) return undefined;
  const pieces = [
    source.slice(source.bodyStart, part.start),
    block,
    source.slice(part.start + headers.bytes.length, part.bodyStart),
    body,
    source.slice(part.end),
  ];
  return [{ kind: "replaceBody", body: Buffer.concat(pieces) }];
}

function encoded(encoding: TextPart["encoding"], bytes: Buffer, endLine: boolean): Buffer {
  if (encoding === "") return bytes;
  const encode = encoding === "base64" ? encodeBase64 : encodeQuotedPrintable;
  return Buffer.concat([...encode([bytes], endLine)]);
}

/** Whether `bytes`, lines with CRLF, may stand in the message without transfer encoding. */
function canStandAsIs(text: TextPart, bytes: Buffer): boolean {
  if (!isAscii(bytes) && !text.eightBit) return false;
  if (bytes.includes(0)) return false;
  const lines = bytes.toString("latin1").split("\r\n");
  return lines.every((line) => {
    if (line.length > MAX_LINE) return false;
    return !(line.startsWith("--") && text.boundaries.some((boundary) => line.startsWith(boundary, 2)));
  });
}
