/**
 * One MIME part: what its header says (RFC 2045, 2046, 2183) and where its
 * bytes lie. Filled in by the scanner in mime.ts; read-only for everybody else.
 */
import { structuredValue } from "./header-text.ts";

/** Offsets count from the first byte of the message. Strings are byte strings, decoded names are UTF-8. */
export interface MimePart {
  /** IMAP style (RFC 3501 section 6.4.5): "1.2"; "" for the whole of a multipart message. */
  readonly path: string;
  /** Lower case; "text" and "plain" (in a digest "message" and "rfc822") when the header does not say or makes no sense. */
  readonly contentType: string;
  readonly contentSubtype: string;
  readonly contentTypeFilename: string;
  /** Lower case, "" when absent. */
  readonly contentDisposition: string;
  readonly contentDispositionFilename: string;
  /** Transfer encoding in lower case, "" when absent. */
  readonly encoding: string;
  /** Lower case, "" when absent. */
  readonly charset: string;
  /** The part's first header byte. */
  readonly start: number;
  /** The first byte after the blank line; `end` when there is no body. */
  readonly bodyStart: number;
  /** One past the last byte; the line end before a delimiter line belongs to the delimiter. */
  readonly end: number;
  /** 0 for the message, one more for each multipart or message around the part. */
  readonly depth: number;
  /** Index in the structure of the part around this one, -1 for the first. */
  readonly parent: number;
  /** True for a multipart whose parts, or a message/rfc822 whose content, is listed too. */
  readonly container: boolean;
  /** Of a multipart, as a byte string; "" when it has no usable one, and for every other part. */
  readonly boundary: string;
}

/** The raw header values a part is described by; "" when absent. */
export interface PartHeader {
  type: string;
  disposition: string;
  encoding: string;
}

/** A part while the scanner still works on it. */
export type PartDraft = { -readonly [key in keyof MimePart]: MimePart[key] };

const TOKEN_PAIR = /^([!#$%&'*+\-.^_`{|}~0-9a-z]+)\/([!#$%&'*+\-.^_`{|}~0-9a-z]+)$/;
/** Nothing that would have to be parsed. */
const PLAIN_ENCODING = /^[a-z0-9-]*$/;
/** RFC 2046 allows 70; mailers that exceed it exist, but a delimiter has to fit a line. */
const MAX_BOUNDARY = 990;

/** Fills in what `header` says. `inDigest`: the part stands in a multipart/digest (RFC 2046 section 5.1.5). */
export function describe(part: PartDraft, header: PartHeader, inDigest: boolean): void {
  part.contentType = inDigest ? "message" : "text";
  part.contentSubtype = inDigest ? "rfc822" : "plain";
  if (header.type !== "") {
    const type = structuredValue(header.type);
    const pair = TOKEN_PAIR.exec(type.value);
    if (pair) {
      part.contentType = pair[1]!;
      part.contentSubtype = pair[2]!;
    }
    part.contentTypeFilename = type.decoded("name");
    part.charset = type.raw("charset").trim().toLowerCase();
    if (part.contentType === "multipart") {
      const boundary = type.raw("boundary").trimEnd();
      if (boundary.length <= MAX_BOUNDARY) part.boundary = boundary;
    }
  }
  if (header.disposition !== "") {
    const disposition = structuredValue(header.disposition);
    part.contentDisposition = disposition.value;
    part.contentDispositionFilename = disposition.decoded("filename");
  }
  const encoding = header.encoding.trim().toLowerCase();
  part.encoding = PLAIN_ENCODING.test(encoding) ? encoding : structuredValue(encoding).value;
}

/** A part that starts at `start`, without a description. */
export function draft(path: string, start: number, depth: number, parent: number): PartDraft {
  return {
    path,
    contentType: "",
    contentSubtype: "",
    contentTypeFilename: "",
    contentDisposition: "",
    contentDispositionFilename: "",
    encoding: "",
    charset: "",
    start,
    bodyStart: start,
    end: start,
    depth,
    parent,
    container: false,
    boundary: "",
  };
}

/** True for a part whose body is a whole message in plain sight (RFC 2046 section 5.2.1, RFC 6532). */
export function holdsMessage(part: MimePart): boolean {
  if (part.contentType !== "message") return false;
  if (part.contentSubtype !== "rfc822" && part.contentSubtype !== "global") return false;
  return /^(|7bit|8bit|binary)$/.test(part.encoding);
}
