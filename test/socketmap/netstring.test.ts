/** Netstrings: each case in one chunk and byte by byte, and whatever bytes there are. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { encodeNetstring, NetstringDecoder, SocketmapError } from "../../src/socketmap/netstring.ts";
import { random } from "../net/servers.ts";

const LONG = process.env.POSTLUA_LONG !== undefined;
const MAX = 20;

/** What comes out of `text` pushed in pieces, or the code of the error that ends it. */
function decode(text: string, size: number): string[] {
  const decoder = new NetstringDecoder(MAX);
  const out: string[] = [];
  const take = () => {
    for (let payload = decoder.next(); payload !== undefined; payload = decoder.next()) {
      out.push(payload.toString("latin1"));
    }
  };
  try {
    const bytes = Buffer.from(text, "latin1");
    for (let at = 0; at < bytes.length; at += size) {
      decoder.push(bytes.subarray(at, at + size));
      take();
    }
    decoder.end();
  } catch (error) {
    assert.ok(error instanceof SocketmapError);
    out.push(error.code);
  }
  return out;
}

const CASES: readonly (readonly [string, readonly string[]])[] = [
  ["", []],
  ["0:,", [""]],
  ["5:hello,", ["hello"]],
  ["5:hello,3:a,b,0:,", ["hello", "a,b", ""]],
  [`20:${"x".repeat(20)},`, ["x".repeat(20)]],
  ["19:\0\xff:,1234567890abcde,", ["\0\xff:,1234567890abcde"]],
  ["21:", ["ERR_SOCKETMAP_TOO_LONG"]],
  ["99999999999999999999999", ["ERR_SOCKETMAP_TOO_LONG"]],
  ["5:hello;", ["ERR_SOCKETMAP_MALFORMED"]],
  ["5:hello6", ["ERR_SOCKETMAP_MALFORMED"]],
  [":,", ["ERR_SOCKETMAP_MALFORMED"]],
  ["05:hello,", ["ERR_SOCKETMAP_MALFORMED"]],
  ["-1:,", ["ERR_SOCKETMAP_MALFORMED"]],
  ["5 :hello,", ["ERR_SOCKETMAP_MALFORMED"]],
  ["GET / HTTP/1.0\r\n\r\n", ["ERR_SOCKETMAP_MALFORMED"]],
  ["1:a,GET", ["a", "ERR_SOCKETMAP_MALFORMED"]],
  ["5:hell", ["ERR_SOCKETMAP_TRUNCATED"]],
  ["5:hello", ["ERR_SOCKETMAP_TRUNCATED"]],
  ["5", ["ERR_SOCKETMAP_TRUNCATED"]],
];

for (const [text, expected] of CASES) {
  test(`decoder - ${JSON.stringify(text.slice(0, 30))}`, () => {
    for (const size of [1, 2, 3, text.length || 1])
      assert.deepEqual(decode(text, size), expected, `by ${size}`);
  });
}

test("decoder - an error names the offset in the stream, and stays", () => {
  const decoder = new NetstringDecoder(MAX);
  decoder.push(Buffer.from("2:ab,3:abcd"));
  assert.equal(decoder.next()?.toString(), "ab");
  assert.throws(() => decoder.next(), /a comma expected at offset 10/);
  decoder.push(Buffer.from("1:a,"));
  assert.throws(() => decoder.next(), /a comma expected at offset 10/);
});

test("decoder - what is encoded comes back, however it is cut; random bytes give payloads or an error", () => {
  const next = random(7);
  const below = (n: number) => Math.floor(next() * n);
  for (let round = 0; round < (LONG ? 100_000 : 2_000); round++) {
    const payloads = Array.from({ length: below(5) }, () =>
      Buffer.from(Array.from({ length: below(MAX + 1) }, () => below(256))),
    );
    const stream = Buffer.concat(payloads.map((payload) => encodeNetstring(payload))).toString("latin1");
    const size = 1 + below(30);
    assert.deepEqual(
      decode(stream, size),
      payloads.map((payload) => payload.toString("latin1")),
    );
    const spoilt = [...stream];
    for (let n = 0; n <= below(3); n++)
      spoilt[below(spoilt.length + 1)] = "0123456789:,x\0\n"[below(15)] ?? "x";
    const text = spoilt.join("");
    assert.deepEqual(decode(text, size), decode(text, text.length || 1));
  }
});
