/**
 * The files inside a TNEF stream, the "winmail.dat" of Microsoft mail
 * programs (MS-OXTNEF): names, types, and where their bytes lie in the
 * stream. Messages attached inside are looked into as well.
 *
 * Only what describes attachments is read; the message text and its
 * properties are not. Every length is checked before it is used; what does not
 * fit ends the reading, with the files found so far.
 */
import { encodeText } from "../bytes.ts";
import { fileName } from "./header-text.ts";

export interface TnefFile {
  /** UTF-8 byte string; "" when the stream has none. */
  readonly name: string;
  /** "image/png", "" when the stream does not say. */
  readonly mimeType: string;
  /** Where the bytes lie in the stream, end exclusive. */
  readonly start: number;
  readonly end: number;
}

/** The files in `stream`; none when it is no TNEF. */
export function tnefFiles(stream: Buffer): TnefFile[] {
  const files: TnefFile[] = [];
  readStream(stream, 0, stream.length, 0, files);
  return files;
}

const SIGNATURE = 0x223e9f78;
const LEVEL_ATTACHMENT = 2;
const ATT_ATTACH_DATA = 0x800f;
const ATT_ATTACH_TITLE = 0x8010;
const ATT_ATTACH_REND_DATA = 0x9002;
const ATT_ATTACHMENT = 0x9005;
const PR_ATTACH_DATA = 0x3701;
const PR_ATTACH_FILENAME = 0x3704;
const PR_ATTACH_LONG_FILENAME = 0x3707;
const PR_ATTACH_MIME_TAG = 0x370e;
const PT_OBJECT = 0x0d;
const PT_STRING8 = 0x1e;
const PT_UNICODE = 0x1f;
const PT_BINARY = 0x102;
const MULTIPLE_VALUES = 0x1000;
/** Property types of fixed size: bytes, padding to four included. */
const FIXED_SIZES = new Map([
  [0x02, 4],
  [0x03, 4],
  [0x04, 4],
  [0x05, 8],
  [0x06, 8],
  [0x07, 8],
  [0x0a, 4],
  [0x0b, 4],
  [0x14, 8],
  [0x40, 8],
  [0x48, 16],
]);
/** Interface identifier of a message, in front of the stream of an attached one. */
const IID_IMESSAGE = Buffer.from("0703020000000000c000000000000046", "hex");
const MAX_DEPTH = 20;
const MAX_FILES = 10_000;

interface Draft {
  title: string;
  longName: string;
  shortName: string;
  mimeType: string;
  start: number;
  end: number;
  /** The stream of an attached message. */
  inner: { start: number; end: number } | undefined;
}

function readStream(stream: Buffer, start: number, end: number, depth: number, files: TnefFile[]): void {
  if (end - start < 6 || stream.readUInt32LE(start) !== SIGNATURE) return;
  let draft: Draft | undefined;
  const finish = () => {
    if (!draft || files.length >= MAX_FILES) return;
    const { inner, title, longName, shortName, mimeType } = draft;
    if (inner) {
      if (depth < MAX_DEPTH) readStream(stream, inner.start, inner.end, depth + 1, files);
    } else if (draft.end >= 0) {
      files.push({ name: longName || title || shortName, mimeType, start: draft.start, end: draft.end });
    }
  };
  // Level, identifier, type, length; behind the data a checksum of two bytes.
  for (let at = start + 6; at + 9 <= end; ) {
    const level = stream[at];
    const attribute = stream.readUInt16LE(at + 1);
    const from = at + 9;
    const to = from + stream.readUInt32LE(at + 5);
    if (to > end || (level !== 1 && level !== LEVEL_ATTACHMENT)) break;
    if (level === LEVEL_ATTACHMENT) {
      if (attribute === ATT_ATTACH_REND_DATA || !draft) {
        finish();
        draft = { title: "", longName: "", shortName: "", mimeType: "", start: 0, end: -1, inner: undefined };
      }
      if (attribute === ATT_ATTACH_TITLE) draft.title = text8(stream, from, to);
      if (attribute === ATT_ATTACHMENT) readProperties(stream, from, to, draft);
      if (attribute === ATT_ATTACH_DATA) {
        draft.start = from;
        draft.end = to;
      }
    }
    at = to + 2;
  }
  finish();
}

/** Properties of an attachment. Stops at the first that does not fit. */
function readProperties(stream: Buffer, start: number, end: number, draft: Draft): void {
  if (end - start < 4) return;
  const count = stream.readUInt32LE(start);
  let at = start + 4;
  for (let i = 0; i < count && at + 4 <= end; i++) {
    const type = stream.readUInt16LE(at);
    const id = stream.readUInt16LE(at + 2);
    at += 4;
    if (id >= 0x8000) at = skipPropertyName(stream, at, end);
    const fixed = FIXED_SIZES.get(type & ~MULTIPLE_VALUES);
    const isVariable = fixed === undefined;
    let values = 1;
    if (isVariable || (type & MULTIPLE_VALUES) !== 0) {
      if (at + 4 > end) return;
      values = stream.readUInt32LE(at);
      at += 4;
    }
    if (!isVariable) {
      at += fixed * values;
      continue;
    }
    for (let value = 0; value < values; value++) {
      if (at + 4 > end) return;
      const from = at + 4;
      const to = from + stream.readUInt32LE(at);
      if (to > end) return;
      takeProperty(stream, id, type, from, to, draft);
      at = to + (-(to - from) & 3);
    }
  }
}

/** A named property has its name here: 16 bytes, a kind, then a number or a counted text. */
function skipPropertyName(stream: Buffer, at: number, end: number): number {
  if (at + 24 > end) return end;
  if (stream.readUInt32LE(at + 16) === 0) return at + 24;
  const length = stream.readUInt32LE(at + 20);
  return at + 24 + length + (-length & 3);
}

function takeProperty(
  stream: Buffer,
  id: number,
  type: number,
  from: number,
  to: number,
  draft: Draft,
): void {
  if (id === PR_ATTACH_DATA && (type === PT_OBJECT || type === PT_BINARY)) {
    const isMessage = stream.subarray(from, Math.min(from + IID_IMESSAGE.length, to)).equals(IID_IMESSAGE);
    if (isMessage) draft.inner = { start: from + IID_IMESSAGE.length, end: to };
    else if (draft.end < 0) {
      // An object begins with its interface identifier.
      draft.start = type === PT_OBJECT ? Math.min(from + IID_IMESSAGE.length, to) : from;
      draft.end = to;
    }
    return;
  }
  if (type !== PT_STRING8 && type !== PT_UNICODE) return;
  const text = type === PT_UNICODE ? text16(stream, from, to) : text8(stream, from, to);
  if (id === PR_ATTACH_LONG_FILENAME) draft.longName = text;
  else if (id === PR_ATTACH_FILENAME) draft.shortName = text;
  else if (id === PR_ATTACH_MIME_TAG) draft.mimeType = text.toLowerCase();
}

function text8(stream: Buffer, from: number, to: number): string {
  return fileName(untilNul(stream.toString("latin1", from, to)));
}

function text16(stream: Buffer, from: number, to: number): string {
  return fileName(encodeText(untilNul(stream.toString("utf16le", from, to))));
}

function untilNul(text: string): string {
  const at = text.indexOf("\0");
  return at < 0 ? text : text.slice(0, at);
}
