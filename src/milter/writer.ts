/**
 * Builds packets. Strings are byte strings; what may stand in them is the
 * caller's business (edit.ts and reply.ts check before they come here).
 */

/** One field of a packet: a byte string with its NUL, raw bytes, or a number of 32 bits in network order. */
export type Field = string | Uint8Array | number;

/** A packet: length, code, fields. */
export function packet(code: number, ...fields: readonly Field[]): Buffer {
  let length = 1;
  for (const field of fields) {
    if (typeof field === "number") length += 4;
    else length += typeof field === "string" ? field.length + 1 : field.length;
  }
  const bytes = Buffer.allocUnsafe(4 + length);
  bytes.writeUInt32BE(length, 0);
  bytes[4] = code;
  let at = 5;
  for (const field of fields) {
    if (typeof field === "number") {
      at = bytes.writeUInt32BE(field >>> 0, at);
    } else if (typeof field === "string") {
      at += bytes.write(field, at, "latin1");
      bytes[at++] = 0;
    } else {
      bytes.set(field, at);
      at += field.length;
    }
  }
  return bytes;
}
