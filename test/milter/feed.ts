/** Ways to put bytes into a decoder, so that each case runs in one chunk and byte by byte. */
import { test } from "node:test";
import { type Packet, PacketDecoder } from "../../src/milter/decoder.ts";

export type Cut = (bytes: Buffer) => Buffer[];

export const CUTS: Readonly<Record<string, Cut>> = {
  "in one chunk": (bytes) => [bytes],
  "byte by byte": (bytes) => Array.from(bytes, (byte) => Buffer.of(byte)),
};

/** Registers a test for each way of cutting. */
export function testCuts(title: string, body: (cut: Cut) => void | Promise<void>): void {
  for (const [name, cut] of Object.entries(CUTS)) test(`${title} (${name})`, () => body(cut));
}

/** All packets of `bytes`, and the end of the stream. Throws what the decoder throws. */
export function decodeAll(bytes: Buffer, cut: Cut, maxPacket?: number): Packet[] {
  const decoder = new PacketDecoder(maxPacket === undefined ? {} : { maxPacket });
  const packets: Packet[] = [];
  for (const chunk of cut(bytes)) {
    decoder.push(chunk);
    for (let packet = decoder.next(); packet !== undefined; packet = decoder.next()) packets.push(packet);
  }
  decoder.end();
  return packets;
}

/** A packet from its code letter and its data, a byte string. */
export function raw(code: string, data = ""): Buffer {
  const bytes = Buffer.alloc(5 + data.length);
  bytes.writeUInt32BE(1 + data.length, 0);
  bytes.write(code, 4, "latin1");
  bytes.write(data, 5, "latin1");
  return bytes;
}

/** The only packet of `bytes`. */
export function onePacket(bytes: Buffer, cut: Cut): Packet {
  const [packet, ...others] = decodeAll(bytes, cut);
  if (packet === undefined || others.length > 0) throw new Error(`${others.length + 1} packets`);
  return packet;
}
