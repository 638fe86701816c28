/**
 * The attachments of a message: what they are called, how large they are
 * decoded, and their bytes.
 *
 * A MIME part is one when it is no container of parts and its header says so,
 * gives it a file name, or makes it anything but text. Attached messages
 * count, and so do the attachments inside them. Text that is none is searched
 * for files written into it (uuencode, BinHex); a TNEF part is listed, and so
 * is what it holds. Never an error: what cannot be read as it claims to be is
 * listed as an ordinary MIME attachment.
 */
import libmime from "libmime";
import { HqxReader } from "./binhex.ts";
import { bytesFrom, type EmbeddedFile, type FileReader, readText } from "./embedded.ts";
import type { MimePart } from "./part.ts";
import { atOnce, type Steps } from "./steps.ts";
import type { MessageStore } from "./store.ts";
import { tnefFiles } from "./tnef.ts";
import { decoded, decodedSize, range } from "./transfer.ts";
import { UuReader } from "./uuencode.ts";

/** Files in text are UUE and BINHEX, whole parts in these encodings MIMEUUE and MIMEBINHEX, files inside TNEF are TNEF. */
export type AttachmentType = "MIME" | "UUE" | "BINHEX" | "MIMEUUE" | "MIMEBINHEX" | "TNEF";

export interface Attachment {
  /** Position, from 1, in the structure of the part it was found in. */
  readonly section: number;
  /** UTF-8 byte string as the sender wrote it, so not safe as a file name; "" when there is none. */
  readonly name: string;
  /** "image/png"; for files in text and TNEF that do not say, what the name suggests. */
  readonly mimeType: string;
  /** Bytes, decoded. */
  readonly size: number;
  readonly type: AttachmentType;
  readonly part: MimePart;
  /** Which of the files of its type in the part, from 0. */
  readonly index: number;
  /** For TNEF: where the first byte lies in the decoded part. */
  readonly offset: number;
}

/** What is asked of a store here. */
type Source = Pick<MessageStore, "chunks">;
type Found = Pick<Attachment, "name" | "mimeType" | "size" | "type"> & { index?: number; offset?: number };

const UUENCODE = /^(x-)?uu(e|encode)$/;
const BINHEX_TYPES = /^application\/(mac-binhex(40)?|binhex4?)$/;
const TNEF_TYPES = /^application\/(vnd\.)?ms-tnef$/;
const TNEF_NAME = /^winmail\.dat$/i;

/** In document order. Reads the body of each attachment and of each text once. */
export function attachments(store: Source, parts: readonly MimePart[]): Attachment[] {
  return atOnce(attachmentSteps(store, parts));
}

/** The same, step by step; the store stays as it is meanwhile. */
export function* attachmentSteps(store: Source, parts: readonly MimePart[]): Steps<Attachment[]> {
  const list: Attachment[] = [];
  for (const [index, part] of parts.entries()) {
    for (const found of yield* filesOf(store, part))
      list.push({ section: index + 1, part, index: 0, offset: 0, ...found });
    yield;
  }
  return list;
}

/** The decoded bytes of an attachment, in pieces. */
export function decode(store: Source, attachment: Attachment): Iterable<Buffer> {
  const { part, type, index, offset, size } = attachment;
  const body = bodyOf(store, part);
  switch (type) {
    case "UUE":
    case "MIMEUUE":
      return bytesFrom(body, new UuReader(index));
    case "BINHEX":
    case "MIMEBINHEX":
      return bytesFrom(body, new HqxReader(type === "MIMEBINHEX", index));
    case "TNEF":
      return range(body, offset, offset + size);
    case "MIME":
      return body;
  }
}

function* filesOf(store: Source, part: MimePart): Steps<Found[]> {
  if (part.contentType === "multipart") return [];
  const mimeType = `${part.contentType}/${part.contentSubtype}`;
  const name = part.contentDispositionFilename || part.contentTypeFilename;
  if (UUENCODE.test(part.encoding)) {
    const file = yield* firstFile(store, part, new UuReader());
    if (file) return [{ name: name || file.name, mimeType, size: file.size, type: "MIMEUUE" }];
  }
  if (BINHEX_TYPES.test(mimeType)) {
    const file = yield* firstFile(store, part, new HqxReader(true));
    if (file) return [{ name: name || file.name, mimeType, size: file.size, type: "MIMEBINHEX" }];
  }
  if (!isAttachment(part)) return yield* filesInText(store, part);
  const size = yield* decodedSize(part.encoding, store.chunks(part.bodyStart, part.end));
  const whole: Found = { name, mimeType, size, type: "MIME" };
  const isTnef = TNEF_TYPES.test(mimeType) || TNEF_NAME.test(name);
  return isTnef ? [whole, ...(yield* filesInTnef(store, part))] : [whole];
}

function* firstFile(store: Source, part: MimePart, reader: FileReader): Steps<EmbeddedFile | undefined> {
  yield* readText(bodyOf(store, part), [reader]);
  return reader.files[0];
}

function* filesInText(store: Source, part: MimePart): Steps<Found[]> {
  const uu = new UuReader();
  const hqx = new HqxReader(false);
  yield* readText(bodyOf(store, part), [uu, hqx]);
  const listed =
    (type: AttachmentType) =>
    ({ name, size }: EmbeddedFile, index: number): Found => ({
      name,
      mimeType: typeByName(name),
      size,
      type,
      index,
    });
  return [...uu.files.map(listed("UUE")), ...hqx.files.map(listed("BINHEX"))];
}

function* filesInTnef(store: Source, part: MimePart): Steps<Found[]> {
  const files = yield* tnefFiles(bodyOf(store, part));
  return files.map(({ name, mimeType, start, end }, index) => ({
    name,
    mimeType: mimeType || typeByName(name),
    size: end - start,
    type: "TNEF",
    index,
    offset: start,
  }));
}

function bodyOf(store: Source, part: MimePart): Iterable<Buffer> {
  return decoded(part.encoding, store.chunks(part.bodyStart, part.end));
}

/** Whether a part that is no container counts as an attachment by what its header says. */
export function isAttachment(part: MimePart): boolean {
  if (part.contentDispositionFilename !== "" || part.contentTypeFilename !== "") return true;
  // RFC 2183 section 2.8: an unknown disposition is to be treated as "attachment".
  if (part.contentDisposition !== "" && part.contentDisposition !== "inline") return true;
  return part.contentType !== "text";
}

function typeByName(name: string): string {
  return libmime.detectMimeType(name);
}
