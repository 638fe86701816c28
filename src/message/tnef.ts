/**
 * The files inside a TNEF stream, the "winmail.dat" of Microsoft mail
 * programs (MS-OXTNEF): names, types, and where their bytes lie in the
 * stream. Messages attached inside are looked into as well.
 *
 * Only what describes attachments is read; the message text, its properties
 * and the files themselves are passed over, a piece in memory at a time. Every
 * length is checked before it is used; what does not fit ends the reading,
 * with the files found so far.
 */
import { encodeText } from "../bytes.ts";
import { ForwardReader } from "./forward-reader.ts";
import { fileName } from "./header-text.ts";
import type { Steps } from "./steps.ts";

export interface TnefFile {
  /** UTF-8 byte string; "" when the stream has none. */
  readonly name: string;
  /** "image/png", "" when the stream does not say. */
  readonly mimeType: string;
  /** Where the bytes lie in the stream, end exclusive. */
  readonly start: number;
  readonly end: number;
}

/** The files in the stream that `pieces` are together; none when it is no TNEF. */
export function tnefFiles(pieces: Iterable<Buffer>): Steps<TnefFile[]> {
  return readStream(new ForwardReader(pieces), Number.POSITIVE_INFINITY, 0);
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
/** No name or type is longer. */
const MAX_TEXT = 64 * 1024;

interface Draft {
  title: string;
  longName: string;
  shortName: string;
  mimeType: string;
  start: number;
  end: number;
  /** What is in the attached message that it is. */
  inner: TnefFile[] | undefined;
}

const draftOf = (): Draft => ({
  title: "",
  longName: "",
  shortName: "",
  mimeType: "",
  start: 0,
  end: -1,
  inner: undefined,
});

/** Reads a stream that ends at `end` of the reader, or with it. */
function* readStream(reader: ForwardReader, end: number, depth: number): Steps<TnefFile[]> {
  const files: TnefFile[] = [];
  if (end - reader.at < 6 || reader.take(6)?.readUInt32LE() !== SIGNATURE) return files;
  let draft: Draft | undefined;
  const finish = () => {
    if (!draft) return;
    const { inner, title, longName, shortName, mimeType, start, end } = draft;
    const found = inner ?? (end < 0 ? [] : [{ name: longName || title || shortName, mimeType, start, end }]);
    files.push(...found.slice(0, MAX_FILES - files.length));
  };
  // Level, identifier, type, length; behind the data a checksum of two bytes.
  while (reader.at + 9 <= end) {
    const head = reader.take(9);
    if (head === undefined) break;
    const level = head[0];
    const attribute = head.readUInt16LE(1);
    const from = reader.at;
    const to = from + head.readUInt32LE(5);
    if (to > end || (level !== 1 && level !== LEVEL_ATTACHMENT)) break;
    if (level === LEVEL_ATTACHMENT) {
      if (attribute === ATT_ATTACH_REND_DATA || !draft) {
        finish();
        draft = draftOf();
      }
      // Counts only when all of it is there.
      const changed: Draft = { ...draft };
      if (attribute === ATT_ATTACH_TITLE) changed.title = text8(reader.take(Math.min(to - from, MAX_TEXT)));
      if (attribute === ATT_ATTACHMENT) yield* readProperties(reader, to, depth, changed);
      if (attribute === ATT_ATTACH_DATA) {
        changed.start = from;
        changed.end = to;
      }
      if (!(yield* reader.skipTo(to))) break;
      draft = changed;
    }
    if (!(yield* reader.skipTo(Math.min(to + 2, end)))) break;
  }
  finish();
  return files;
}

/** Properties of an attachment, up to `end`. Stops at the first that does not fit. */
function* readProperties(reader: ForwardReader, end: number, depth: number, draft: Draft): Steps<void> {
  const number = () => (reader.at + 4 > end ? undefined : reader.take(4)?.readUInt32LE());
  const count = number() ?? 0;
  for (let i = 0; i < count; i++) {
    const tag = number();
    if (tag === undefined) return;
    const type = tag & 0xffff;
    const id = tag >>> 16;
    if (id >= 0x8000) yield* skipPropertyName(reader, end);
    const fixed = FIXED_SIZES.get(type & ~MULTIPLE_VALUES);
    const values = fixed === undefined || (type & MULTIPLE_VALUES) !== 0 ? number() : 1;
    if (values === undefined) return;
    if (fixed !== undefined) {
      yield* reader.skipTo(Math.min(reader.at + fixed * values, end));
      continue;
    }
    for (let value = 0; value < values; value++) {
      const length = number();
      const from = reader.at;
      if (length === undefined || from + length > end) return;
      yield* takeProperty(reader, id, type, from + length, depth, draft);
      const more = yield* reader.skipTo(Math.min(from + length + (-length & 3), end));
      if (!more) return;
    }
  }
}

/** A named property has its name here: 16 bytes, a kind, then a number or a counted text. */
function* skipPropertyName(reader: ForwardReader, end: number): Steps<void> {
  const head = reader.at + 24 > end ? undefined : reader.take(24);
  if (head === undefined) {
    yield* reader.skipTo(end);
  } else if (head.readUInt32LE(16) !== 0) {
    const length = head.readUInt32LE(20);
    yield* reader.skipTo(Math.min(reader.at + length + (-length & 3), end));
  }
}

/** The value lies from here to `to`. */
function* takeProperty(
  reader: ForwardReader,
  id: number,
  type: number,
  to: number,
  depth: number,
  draft: Draft,
): Steps<void> {
  const from = reader.at;
  if (id === PR_ATTACH_DATA && (type === PT_OBJECT || type === PT_BINARY)) {
    const identifier = reader.take(Math.min(IID_IMESSAGE.length, to - from));
    if (identifier?.equals(IID_IMESSAGE)) {
      draft.inner = depth < MAX_DEPTH ? yield* readStream(reader, to, depth + 1) : [];
    } else if (draft.end < 0) {
      // An object begins with its interface identifier.
      draft.start = type === PT_OBJECT ? Math.min(from + IID_IMESSAGE.length, to) : from;
      draft.end = to;
    }
    return;
  }
  const wanted = id === PR_ATTACH_LONG_FILENAME || id === PR_ATTACH_FILENAME || id === PR_ATTACH_MIME_TAG;
  if (!wanted || (type !== PT_STRING8 && type !== PT_UNICODE)) return;
  const bytes = reader.take(Math.min(to - from, MAX_TEXT));
  const text = type === PT_UNICODE ? text16(bytes) : text8(bytes);
  if (id === PR_ATTACH_LONG_FILENAME) draft.longName = text;
  else if (id === PR_ATTACH_FILENAME) draft.shortName = text;
  else draft.mimeType = text.toLowerCase();
}

function text8(bytes: Buffer | undefined): string {
  return fileName(untilNul(bytes?.toString("latin1") ?? ""));
}

function text16(bytes: Buffer | undefined): string {
  return fileName(encodeText(untilNul(bytes?.toString("utf16le") ?? "")));
}

function untilNul(text: string): string {
  const at = text.indexOf("\0");
  return at < 0 ? text : text.slice(0, at);
}
