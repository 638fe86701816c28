/**
 * The attachments of a message: which parts are some, what they are called,
 * how large they are decoded, and their bytes.
 *
 * A part is an attachment when it is no container of parts and its header
 * says so, gives it a file name, or makes it anything but text. Attached
 * messages count, and so do the attachments inside them.
 */
import type { MimePart } from "./part.ts";
import type { MessageStore } from "./store.ts";
import { decoded, decodedSize } from "./transfer.ts";

export type AttachmentType = "MIME" | "UUE" | "BINHEX" | "MIMEUUE" | "MIMEBINHEX" | "TNEF";

export interface Attachment {
  /** Position, from 1, in the structure of the part it was found in. */
  readonly section: number;
  /** UTF-8 byte string as the sender wrote it, so not safe as a file name; "" when there is none. */
  readonly name: string;
  /** "image/png" */
  readonly mimeType: string;
  /** Bytes, decoded. */
  readonly size: number;
  readonly type: AttachmentType;
  readonly part: MimePart;
}

/** In document order. Reads the body of each attachment once, to count. */
export function attachments(store: MessageStore, parts: readonly MimePart[]): Attachment[] {
  const found: Attachment[] = [];
  for (const [index, part] of parts.entries()) {
    if (!isAttachment(part)) continue;
    found.push({
      section: index + 1,
      name: part.contentDispositionFilename || part.contentTypeFilename,
      mimeType: `${part.contentType}/${part.contentSubtype}`,
      size: decodedSize(part.encoding, store.chunks(part.bodyStart, part.end)),
      type: "MIME",
      part,
    });
  }
  return found;
}

/** The decoded bytes of an attachment, in pieces. */
export function decode(store: MessageStore, attachment: Attachment): Iterable<Buffer> {
  const { part } = attachment;
  return decoded(part.encoding, store.chunks(part.bodyStart, part.end));
}

function isAttachment(part: MimePart): boolean {
  if (part.contentType === "multipart") return false;
  if (part.contentDispositionFilename !== "" || part.contentTypeFilename !== "") return true;
  // RFC 2183 section 2.8: an unknown disposition is to be treated as "attachment".
  if (part.contentDisposition !== "" && part.contentDisposition !== "inline") return true;
  return part.contentType !== "text";
}
