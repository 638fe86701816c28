/**
 * The charset of a text part: its bytes to text and text to its bytes, both
 * strictly. Reading follows the Encoding Standard, as mail programs do (what
 * calls itself iso-8859-1 is windows-1252), and knows only its charsets;
 * those in which ASCII is not ASCII, UTF-16 for one, count as unknown.
 */
import { isAscii } from "node:buffer";
import iconv from "iconv-lite";
import { toBytes } from "../bytes.ts";

export interface Charset {
  /** In lower case; "" for us-ascii and for text that names no charset. */
  readonly name: string;
  /** The text of `pieces`, which are cut anywhere. @throws TypeError where the bytes are none of this charset */
  decode(pieces: Iterable<Buffer>): Generator<string>;
  /** Undefined when a character is not in this charset. */
  encode(text: string): Buffer | undefined;
}

const ASCII_NAMES = /^(|us-ascii|ascii|ansi_x3\.4-19(68|86)|iso646-us|us|cp367|ibm367|csascii)$/;
/** In these ASCII bytes are not what they seem. */
const NOT_ASCII = ["utf-16le", "utf-16be", "x-user-defined"];
const ASCII_TEXT = /^[\x00-\x7f]*$/;

/** The charset called `name`, in lower case; undefined when it is unknown. */
export function charsetOf(name: string): Charset | undefined {
  if (ASCII_NAMES.test(name)) return ASCII;
  let encoding: string;
  try {
    ({ encoding } = new TextDecoder(name));
  } catch {
    return undefined;
  }
  if (NOT_ASCII.includes(encoding)) return undefined;
  return {
    name,
    decode: (pieces) => decode(encoding, pieces),
    encode: encoding === "utf-8" ? (text) => Buffer.from(text) : (text) => encode(name, encoding, text),
  };
}

/** 8-bit bytes in such text could mean anything; they are read as windows-1252. */
const ASCII: Charset = {
  name: "",
  decode: (pieces) => decode("windows-1252", pieces),
  encode: (text) => (ASCII_TEXT.test(text) ? toBytes(text) : undefined),
};

export const UTF_8 = charsetOf("utf-8")!;

function* decode(encoding: string, pieces: Iterable<Buffer>): Generator<string> {
  const decoder = new TextDecoder(encoding, { fatal: true, ignoreBOM: true });
  // Until the first other byte, ASCII need not be decoded, but where escapes give it another meaning.
  let plain = encoding !== "iso-2022-jp";
  for (const piece of pieces) {
    plain &&= isAscii(piece);
    yield plain ? piece.toString("latin1") : decoder.decode(piece, { stream: true });
  }
  yield decoder.decode();
}

function encode(name: string, encoding: string, text: string): Buffer | undefined {
  if (ASCII_TEXT.test(text)) return toBytes(text);
  const known = [name, encoding].find((label) => iconv.encodingExists(label));
  if (known === undefined) return undefined;
  const bytes = iconv.encode(text, known);
  // It must come back the same both ways: by the letter of the charset, and as mail programs read it.
  const same = iconv.decode(bytes, known) === text && new TextDecoder(encoding).decode(bytes) === text;
  return same ? bytes : undefined;
}
