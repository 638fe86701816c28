import assert from "node:assert/strict";
import { test } from "node:test";
import { HqxReader } from "../../src/message/binhex.ts";
import { bytesFrom, readText } from "../../src/message/embedded.ts";
import { atOnce } from "../../src/message/steps.ts";
import { cut, seeded } from "./helper.ts";

const DIGITS = "!\"#$%&'()*+,-012345689@ABCDEFGHIJKLMNPQRSTUVXYZ[`abcdefhijklmpqr";
const ANNOUNCED = "(This file must be converted with BinHex 4.0)\r\n\r\n";

/** Digits of a file (RFC 1741), runs shortened, checksums left zero: nobody here reads them. */
function encode(name: string, data: Buffer, claimed = data.length): string {
  const header = Buffer.alloc(1 + name.length + 1 + 18 + 2);
  header.writeUInt8(name.length);
  header.write(`${name}\0TEXTttxt`, 1, "latin1");
  header.writeUInt32BE(claimed, name.length + 12);
  const plain = Buffer.concat([header, data, Buffer.alloc(4)]);
  const packed: number[] = [];
  for (let i = 0; i < plain.length; ) {
    let run = 1;
    while (run < 255 && plain[i + run] === plain[i]) run++;
    packed.push(plain[i]!);
    if (plain[i] === 0x90) packed.push(0);
    if (run > 3) packed.push(0x90, run);
    i += run > 3 ? run : 1;
  }
  let digits = "";
  for (let i = 0; i < packed.length; i += 3) {
    const bits = (packed[i]! << 16) | ((packed[i + 1] ?? 0) << 8) | (packed[i + 2] ?? 0);
    for (const shift of [18, 12, 6, 0].slice(0, Math.min(packed.length - i, 3) + 1))
      digits += DIGITS[(bits >> shift) & 63];
  }
  return `:${digits}:`.replace(/.{64}/g, "$&\r\n");
}

function found(text: string, bare = false): [string, string][] {
  const whole = Buffer.from(text, "latin1");
  const single = Array.from(whole, (byte) => Buffer.of(byte));
  const [files, same] = [[whole], single].map((pieces) => {
    const reader = new HqxReader(bare);
    atOnce(readText(pieces, [reader]));
    return reader.files.map(({ name, size }, index): [string, string] => {
      const bytes = Buffer.concat([...bytesFrom(pieces, new HqxReader(bare, index))]);
      assert.equal(bytes.length, size);
      return [name, bytes.toString("latin1")];
    });
  });
  assert.deepEqual(files, same);
  return files!;
}

test("a file that macutils' binhex made", () => {
  const text =
    "(This file must be converted; you knew that already.)\n\n" +
    ':"QPZ,Q*TEJ"849K868&$33#3"3d!!!!!f+KSC@aXEj!!N!#3!(G[FQaNSDd!!!:\n';
  assert.deepEqual(found(text), [["in.bin", "hello\x90\x90\x90world"]]);
});

const CASES: [what: string, text: string, bare: boolean, files: [string, string][]][] = [
  [
    "announced in text",
    `Hi,\r\n${ANNOUNCED}${encode("a.txt", Buffer.from("hello"))}\r\nbye\r\n`,
    false,
    [["a.txt", "hello"]],
  ],
  ["not announced in text", `Hi,\r\n${encode("a.txt", Buffer.from("hello"))}\r\n`, false, []],
  ["announced, but nothing follows", `${ANNOUNCED}Sorry, I forgot it.\r\n`, false, []],
  ["announced, but no digits follow", `${ANNOUNCED}: see above\r\n`, false, []],
  ["a part of its own, bare", encode("a.txt", Buffer.from("hello")), true, [["a.txt", "hello"]]],
  [
    "a part of its own, text in front",
    `Some words\r\n${encode("a.txt", Buffer.from("hello"))}`,
    true,
    [["a.txt", "hello"]],
  ],
  [
    "two files",
    `${ANNOUNCED}${encode("a", Buffer.from("1"))}\r\n${ANNOUNCED}${encode("b", Buffer.from("2"))}\r\n`,
    false,
    [
      ["a", "1"],
      ["b", "2"],
    ],
  ],
  ["an empty file", ANNOUNCED + encode("none", Buffer.alloc(0)), false, [["none", ""]]],
  [
    "a file that breaks off",
    ANNOUNCED + encode("a.txt", Buffer.from("hello"), 99).slice(0, 45),
    false,
    [["a.txt", "hello"]],
  ],
  ["a name of no length", ANNOUNCED + encode("", Buffer.from("hello")), false, []],
  ["an impossible length", ANNOUNCED + encode("a", Buffer.from("hello"), 0xffffffff), false, []],
];

for (const [what, text, bare, files] of CASES) {
  test(`BinHex: ${what}`, () => {
    const listed = found(text, bare);
    // A file that breaks off may bring bytes of what was cut with it.
    assert.deepEqual(
      what.includes("breaks off") ? listed.map(([name, bytes]) => [name, bytes.slice(0, 5)]) : listed,
      files,
    );
  });
}

test("random files with runs come back however their text is cut", () => {
  for (let seed = 1; seed <= 200; seed++) {
    const random = seeded(seed);
    const data = Buffer.concat(
      Array.from({ length: random(40) }, () =>
        Buffer.alloc(1 + random(600), random(3) === 0 ? 0x90 : random(256)),
      ),
    );
    const pieces = cut(Buffer.from(ANNOUNCED + encode(`${seed}.bin`, data), "latin1"), random, 300);
    const reader = new HqxReader(false);
    atOnce(readText(pieces, [reader]));
    assert.deepEqual(
      reader.files.map(({ name, size }) => [name, size]),
      [[`${seed}.bin`, data.length]],
    );
    assert.ok(Buffer.concat([...bytesFrom(pieces, new HqxReader(false, 0))]).equals(data), `seed ${seed}`);
  }
});
