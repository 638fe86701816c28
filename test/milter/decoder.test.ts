import assert from "node:assert/strict";
import { test } from "node:test";
import { DEFAULT_MAX_PACKET, PacketDecoder } from "../../src/milter/decoder.ts";
import { decodeAll, raw, testCuts } from "./feed.ts";

function hasCode(code: string, offset?: number) {
  return (error: { code?: string; offset?: number; field?: string }) =>
    error.code === code &&
    (offset === undefined || error.offset === offset) &&
    typeof error.field === "string";
}

testCuts("a packet of length 1 has a code and no data", (cut) => {
  const packets = decodeAll(raw("Q"), cut);
  assert.deepEqual(packets, [{ code: 0x51, data: Buffer.alloc(0), offset: 0 }]);
});

testCuts("packets keep their order and their place in the stream", (cut) => {
  const packets = decodeAll(Buffer.concat([raw("H", "a\0"), raw("A"), raw("B", "xyz")]), cut);
  assert.deepEqual(
    packets.map(({ code, data, offset }) => [String.fromCharCode(code), data.toString("latin1"), offset]),
    [
      ["H", "a\0", 0],
      ["A", "", 7],
      ["B", "xyz", 12],
    ],
  );
});

testCuts("length 0 is refused where it stands", (cut) => {
  const bytes = Buffer.concat([raw("A"), Buffer.from([0, 0, 0, 0, 0x41])]);
  assert.throws(() => decodeAll(bytes, cut), hasCode("ERR_MILTER_LENGTH_ZERO", 5));
});

testCuts("the longest packet passes, one byte more does not", (cut) => {
  assert.equal(decodeAll(raw("B", "x".repeat(99)), cut, 100)[0]?.data.length, 99);
  assert.throws(() => decodeAll(raw("B", "x".repeat(100)), cut, 100), hasCode("ERR_MILTER_LENGTH_LIMIT", 0));
});

testCuts("the limit is 1 MiB by default", (cut) => {
  const most = Buffer.concat([Buffer.from([0, 0x10, 0, 0, 0x42]), Buffer.alloc(DEFAULT_MAX_PACKET - 1, 7)]);
  assert.equal(decodeAll(most, cut)[0]?.data.length, DEFAULT_MAX_PACKET - 1);
  assert.throws(
    () => decodeAll(Buffer.from([0, 0x10, 0, 1, 0x42]), cut),
    hasCode("ERR_MILTER_LENGTH_LIMIT", 0),
  );
  assert.throws(
    () => decodeAll(Buffer.from([0xff, 0xff, 0xff, 0xff, 0x42]), cut),
    hasCode("ERR_MILTER_LENGTH_LIMIT", 0),
  );
});

testCuts("a length beyond the limit is refused before the code has come", (cut) => {
  const bytes = Buffer.from([0x7f, 0xff, 0xff, 0xff]);
  const decoder = new PacketDecoder();
  for (const chunk of cut(bytes)) decoder.push(chunk);
  if (cut(bytes).length === 1) decoder.push(Buffer.from([0x42]));
  assert.throws(() => decoder.next(), hasCode("ERR_MILTER_LENGTH_LIMIT", 0));
});

testCuts("a stream that ends inside a packet is reported, at every byte of it", (cut) => {
  const bytes = Buffer.concat([raw("A"), raw("H", "mail\0")]);
  for (let end = 6; end < bytes.length; end++) {
    assert.throws(() => decodeAll(bytes.subarray(0, end), cut), hasCode("ERR_MILTER_TRUNCATED", end));
  }
  assert.equal(decodeAll(bytes.subarray(0, 5), cut).length, 1);
});

test("every way of cutting a stream in two gives the same packets", () => {
  const bytes = Buffer.concat([raw("M", "<a@b>\0SIZE=1\0"), raw("B", "x".repeat(70)), raw("E"), raw("A")]);
  const whole = decodeAll(bytes, (all) => [all]);
  for (let at = 1; at < bytes.length; at++) {
    assert.deepEqual(
      decodeAll(bytes, (all) => [all.subarray(0, at), all.subarray(at)]),
      whole,
    );
  }
});

test("a body of several reads is put together, whatever their sizes", () => {
  const body = Buffer.alloc(300_000, "0123456789");
  const head = Buffer.from([0, 0, 0, 0, 0x42]);
  head.writeUInt32BE(body.length + 1);
  const bytes = Buffer.concat([head, body, raw("A")]);
  for (const size of [1000, 65_536, 65_537, 200_000]) {
    const pieces = Array.from({ length: Math.ceil(bytes.length / size) }, (_, i) =>
      bytes.subarray(i * size, (i + 1) * size),
    );
    const packets = decodeAll(bytes, () => pieces);
    assert.equal(packets.length, 2);
    assert.ok(packets[0]?.data.equals(body));
  }
});

test("packets within one chunk are views of it", () => {
  const bytes = raw("B", "hello");
  const [packet] = decodeAll(bytes, (all) => [all]);
  assert.equal(packet?.data.buffer, bytes.buffer);
});

test("an announced length takes no memory before its bytes come", () => {
  const decoder = new PacketDecoder({ maxPacket: 1024 ** 3 });
  const before = process.memoryUsage().arrayBuffers;
  decoder.push(Buffer.from([0x3f, 0xff, 0xff, 0xff, 0x42, 1, 2, 3]));
  assert.equal(decoder.next(), undefined);
  assert.ok(process.memoryUsage().arrayBuffers - before < 10 * 1024 * 1024);
});

test("maxPacket must be a length", () => {
  for (const maxPacket of [0, -1, 1.5, Number.NaN, 2 ** 32]) {
    assert.throws(() => new PacketDecoder({ maxPacket }), /maxPacket: expected/);
  }
});
