/** Writes TNEF streams (MS-OXTNEF) for tests. */

export const ATT_DATA = 0x800f;
export const ATT_TITLE = 0x8010;
export const ATT_REND_DATA = 0x9002;
export const ATT_ATTACHMENT = 0x9005;
export const IID_IMESSAGE = Buffer.from("0703020000000000c000000000000046", "hex");

export function stream(...attributes: Buffer[]): Buffer {
  return Buffer.concat([Buffer.from("789f3e223412", "hex"), ...attributes]);
}

/** `level`: 1 the message, 2 an attachment. */
export function attribute(level: number, id: number, data: Buffer): Buffer {
  const head = Buffer.alloc(9);
  head.writeUInt8(level);
  head.writeUInt16LE(id, 1);
  head.writeUInt16LE(6, 3);
  head.writeUInt32LE(data.length, 5);
  const checksum = Buffer.alloc(2);
  checksum.writeUInt16LE(data.reduce((sum, byte) => (sum + byte) & 0xffff, 0));
  return Buffer.concat([head, data, checksum]);
}

/** One attachment by its title and data. */
export function file(title: string, data: Buffer, ...properties: Buffer[]): Buffer {
  return Buffer.concat([
    attribute(2, ATT_REND_DATA, Buffer.alloc(14)),
    attribute(2, ATT_TITLE, Buffer.from(`${title}\0`, "latin1")),
    attribute(2, ATT_DATA, data),
    ...(properties.length > 0 ? [attribute(2, ATT_ATTACHMENT, list(...properties))] : []),
  ]);
}

/** A list of properties. */
export function list(...properties: Buffer[]): Buffer {
  return Buffer.concat([uint32(properties.length), ...properties]);
}

export function property(type: number, id: number, value: Buffer): Buffer {
  return Buffer.concat([tag(type, id), value]);
}

/** A property of variable size: text, bytes or an object. */
export function counted(type: number, id: number, ...values: Buffer[]): Buffer {
  const padded = values.flatMap((value) => [uint32(value.length), value, Buffer.alloc(-value.length & 3)]);
  return Buffer.concat([tag(type, id), uint32(values.length), ...padded]);
}

/** A property with a name of its own: a text, or a number. */
export function named(type: number, name: string | number, value: Buffer): Buffer {
  const text = Buffer.from(`${name}\0`, "utf16le");
  const key =
    typeof name === "number"
      ? Buffer.concat([uint32(0), uint32(name)])
      : Buffer.concat([uint32(1), uint32(text.length), text, Buffer.alloc(-text.length & 3)]);
  return Buffer.concat([tag(type, 0x8001), Buffer.alloc(16, 0xee), key, value]);
}

export function utf16(text: string): Buffer {
  return Buffer.from(`${text}\0`, "utf16le");
}

function tag(type: number, id: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt16LE(type);
  bytes.writeUInt16LE(id, 2);
  return bytes;
}

export function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}
