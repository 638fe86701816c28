/**
 * Byte strings: JavaScript strings whose char codes are bytes (0 to 255).
 *
 * Everything that comes off the wire or out of Lua is kept in this form, so
 * that nothing is lost to a charset nobody declared. Only logs and terminals
 * turn byte strings into readable text.
 */

/** The bytes of `text`, a byte string. Char codes above 255 are a caller's bug; their low byte is kept. */
export function toBytes(text: string): Buffer {
  return Buffer.from(text, "latin1");
}

/** The byte string of `bytes`, whole or from `start` (inclusive) to `end` (exclusive). */
export function fromBytes(bytes: Uint8Array, start = 0, end = bytes.length): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("latin1", start, end);
}

/** A byte string from ordinary text: its UTF-8 encoding. */
export function encodeText(text: string): string {
  return Buffer.from(text, "utf8").toString("latin1");
}

/** Readable text of a byte string: UTF-8 where it is valid, else each byte as its Latin-1 character. */
export function decodeText(byteString: string): string {
  if (/^[\x00-\x7f]*$/.test(byteString)) return byteString;
  const text = Buffer.from(byteString, "latin1").toString("utf8");
  return text.includes("\ufffd") ? byteString : text;
}
