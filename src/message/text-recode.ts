/** Writes a text anew, with an insertion: charset and transfer encoding as they were where they can hold it. */
import { UTF_8 } from "./charset.ts";
import type { Steps } from "./steps.ts";
import type { TextPart } from "./text-part.ts";
import type { TextSurvey } from "./text-survey.ts";
import { range } from "./transfer.ts";
import { encodeBase64, encodeQuotedPrintable } from "./transfer-encode.ts";

export interface Recoded {
  readonly encoding: "quoted-printable" | "base64";
  readonly pieces: Buffer[];
}

/** `insertion` is in UTF-8, and so will be the text, where `toUtf8` is set. The text is valid in its charset. */
export function* recoded(
  text: TextPart,
  { place }: TextSurvey,
  insertion: Buffer,
  toUtf8: boolean,
): Steps<Recoded> {
  const content = function* (): Generator<Buffer> {
    const part = (from: number, to: number) => {
      const bytes = range(text.bytes(), from, to);
      return toUtf8 ? utf8(text.charset.decode(bytes)) : bytes;
    };
    yield* part(0, place.offset);
    yield insertion;
    yield* part(place.offset, Number.POSITIVE_INFINITY);
  };
  const encoding = text.encoding === "" ? yield* shorter(content()) : text.encoding;
  // The end of a message has to be the end of a line.
  const endLine = text.part.parent < 0;
  const encode = encoding === "base64" ? encodeBase64 : encodeQuotedPrintable;
  const pieces: Buffer[] = [];
  for (const piece of encode(content(), endLine)) {
    pieces.push(piece);
    yield;
  }
  return { encoding, pieces };
}

function* utf8(texts: Iterable<string>): Generator<Buffer> {
  for (const text of texts) yield UTF_8.encode(text)!;
}

/** Quoted-printable stays readable, so base64 has to save something. */
function* shorter(pieces: Iterable<Buffer>): Steps<Recoded["encoding"]> {
  let bytes = 0;
  let escaped = 0;
  for (const piece of pieces) {
    bytes += piece.length;
    for (let i = 0; i < piece.length; i++) escaped += piece[i]! >> 7;
    yield;
  }
  return bytes + 2 * escaped > (bytes * 4) / 3 + 100 ? "base64" : "quoted-printable";
}
