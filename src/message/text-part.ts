/**
 * A body text with what its header says about how it is written, and the
 * decoded bytes of its text. What cannot be read for certain is not read: the
 * reason is a sentence for the log.
 */
import { type Charset, charsetOf } from "./charset.ts";
import { structuredValue } from "./header-text.ts";
import { HeaderFields } from "./headers.ts";
import type { MimePart } from "./part.ts";
import type { MessageStore } from "./store.ts";
import { decoded, isCleanBase64 } from "./transfer.ts";

export type TextSource = Pick<MessageStore, "headers" | "bodyStart" | "size" | "chunks" | "slice">;

export interface TextPart {
  readonly part: MimePart;
  readonly html: boolean;
  readonly charset: Charset;
  /** "" for text that stands there as it is. */
  readonly encoding: "" | "quoted-printable" | "base64";
  /** The header allows 8-bit bytes in text that stands there as it is. */
  readonly eightBit: boolean;
  /** RFC 3676 section 4: lines that end in a space go on in the next. */
  readonly flowed: boolean;
  readonly headers: HeaderFields;
  /** Boundaries of the multiparts around it. */
  readonly boundaries: readonly string[];
  /** The decoded bytes, read anew at each call. */
  bytes(): Iterable<Buffer>;
}

/** `part` is one of `parts` and a text. Returns why it cannot be written into, otherwise. */
export function textPart(
  source: TextSource,
  parts: readonly MimePart[],
  part: MimePart,
): TextPart | { readonly why: string } {
  const isWhole = part.parent < 0;
  const parsed = isWhole
    ? { headers: source.headers, separated: source.headers.bytes.length < source.bodyStart }
    : HeaderFields.parse(source.slice(part.start, part.bodyStart));
  const { headers } = parsed;
  if (!parsed.separated) return { why: "no blank line ends its header" };
  for (const name of ["Content-Type", "Content-Transfer-Encoding"]) {
    if (headers.all(name).length > 1) return { why: `it has more than one ${name}` };
  }
  if (headers.first("Content-MD5") !== undefined) return { why: "it has a Content-MD5" };
  const type = structuredValue(headers.first("Content-Type")?.value ?? "text/plain");
  if (type.value !== `${part.contentType}/${part.contentSubtype}`) {
    return { why: "its Content-Type makes no sense" };
  }
  const charset = charsetOf(part.charset);
  if (charset === undefined) return { why: `its charset ${part.charset} is unknown` };
  const encoding = part.encoding;
  const raw = () => source.chunks(part.bodyStart, part.end);
  if (encoding === "base64" && !isCleanBase64(raw())) return { why: "its base64 is broken" };
  const boundaries: string[] = [];
  for (let at = part.parent; at >= 0; at = parts[at]!.parent) {
    if (parts[at]!.boundary !== "") boundaries.push(parts[at]!.boundary);
  }
  const html = part.contentSubtype === "html";
  const text = {
    part,
    html,
    charset,
    flowed: !html && type.raw("format").trim().toLowerCase() === "flowed",
    headers,
    boundaries,
    bytes: () => decoded(encoding, raw()),
  };
  switch (encoding) {
    case "base64":
    case "quoted-printable":
      return { ...text, encoding, eightBit: false };
    case "":
    case "7bit":
    case "8bit":
    case "binary":
      return { ...text, encoding: "", eightBit: encoding === "8bit" || encoding === "binary" };
    default:
      return { why: `its transfer encoding ${encoding} is unknown` };
  }
}
