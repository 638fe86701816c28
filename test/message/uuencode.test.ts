import assert from "node:assert/strict";
import { test } from "node:test";
import { bytesFrom, MAX_FILES_IN_TEXT, readText } from "../../src/message/embedded.ts";
import { atOnce } from "../../src/message/steps.ts";
import { UuReader } from "../../src/message/uuencode.ts";
import { cut, seeded } from "./helper.ts";

/** What stands in a text: [name, bytes] of each file, found whole and byte by byte. */
function found(text: string): [string, string][] {
  const whole = Buffer.from(text, "latin1");
  const single = Array.from(whole, (byte) => Buffer.of(byte));
  const [files, same] = [[whole], single].map((pieces) => {
    const reader = new UuReader();
    atOnce(readText(pieces, [reader]));
    return reader.files.map(({ name, size }, index): [string, string] => {
      const bytes = Buffer.concat([...bytesFrom(pieces, new UuReader(index))]);
      assert.equal(bytes.length, size);
      return [name, bytes.toString("latin1")];
    });
  });
  assert.deepEqual(files, same);
  return files!;
}

/** As uuencode(1) writes it; `zero` is the digit 0. */
function encode(name: string, bytes: Buffer, zero = "`", lineEnd = "\r\n"): string {
  const digit = (value: number) => ((value & 63) === 0 ? zero : String.fromCharCode(0x20 + (value & 63)));
  let text = `begin 644 ${name}${lineEnd}`;
  for (let at = 0; at < bytes.length; at += 45) {
    const line = bytes.subarray(at, at + 45);
    text += digit(line.length);
    for (let i = 0; i < line.length; i += 3) {
      const bits = (line[i]! << 16) | ((line[i + 1] ?? 0) << 8) | (line[i + 2] ?? 0);
      text += digit(bits >> 18) + digit(bits >> 12) + digit(bits >> 6) + digit(bits);
    }
    text += lineEnd;
  }
  return `${text}${digit(0)}${lineEnd}end${lineEnd}`;
}

const CASES: [what: string, text: string, files: [string, string][]][] = [
  ["nothing", "just text\r\nbegin\r\nend\r\n", []],
  ["a file alone", "begin 644 a.txt\n%:&5L;&\\\n`\nend\n", [["a.txt", "hello"]]],
  [
    "text around it",
    "Hi,\r\n\r\nbegin 755 a b.txt \r\n%:&5L;&\\\r\n`\r\nend\r\n-- \r\nAnn\r\n",
    [["a b.txt", "hello"]],
  ],
  [
    "several",
    "begin 644 a\n!80``\n`\nend\ntext\nbegin 0644 b\n!8@``\n`\nend\n",
    [
      ["a", "a"],
      ["b", "b"],
    ],
  ],
  ["an empty file", "begin 644 none\n`\nend\n", [["none", ""]]],
  ["a file without a line of length 0", "begin 644 a\n!80``\nend\n", [["a", "a"]]],
  ["an empty line for the length 0", "begin 644 a\n!80``\n\nend\n", [["a", "a"]]],
  ["a file that breaks off", "begin 644 a\n!80``\n", [["a", "a"]]],
  ["a file that breaks off in text", "begin 644 a\n!80``\nlower case text\nend\n", [["a", "a"]]],
  [
    "a file that begins where another breaks off",
    "begin 644 a\n!80``\nbegin 644 b\n!8@``\n`\nend\n",
    [
      ["a", "a"],
      ["b", "b"],
    ],
  ],
  ["base64", "begin-base64 644 a.txt\naGVs\nbG8=\n====\ntext\n", [["a.txt", "hello"]]],
  ["stripped trailing spaces", "begin 644 a\n#   !\n#\n`\nend\n", [["a", "\0\0\x01\0\0\0"]]],
  ["a check character", "begin 644 a\n!80``*\n`\nend\n", [["a", "a"]]],
  ["prose that begins so", "begin 644 times and\nyou will see\nend\n", []],
  ["shouted prose", "begin 644 SHOUTING\nTHIS IS NO FILE\nend\n", []],
  ["begin in mid-line", "> begin 644 a\n!80``\n`\nend\n", []],
  ["no mode", "begin a\n!80``\n`\nend\n", []],
  ["no name", "begin 644 \n!80``\n`\nend\n", []],
  ["nothing between", "begin 644 a\nend\n", []],
  ["an 8-bit name", "begin 644 gr\xfcn\n!80``\n`\nend\n", [["gr\xc3\xbcn", "a"]]],
];

for (const [what, text, files] of CASES)
  test(`uuencode: ${what}`, () => assert.deepEqual(found(text), files));

test("random files come back however their text is cut", () => {
  for (let seed = 1; seed <= 200; seed++) {
    const random = seeded(seed);
    const files = Array.from({ length: 1 + random(3) }, () =>
      Buffer.from(
        Array.from({ length: random(seed % 10 === 0 ? 100_000 : 200) }, () => random(random(2) * 255 + 1)),
      ),
    );
    const text = files
      .map(
        (bytes, i) => `words\n${encode(`${i}.bin`, bytes, seed % 2 ? " " : "`", seed % 3 ? "\n" : "\r\n")}`,
      )
      .join("");
    const pieces = cut(Buffer.from(text, "latin1"), random, 500);
    const reader = new UuReader();
    atOnce(readText(pieces, [reader]));
    assert.deepEqual(
      reader.files.map(({ size }) => size),
      files.map(({ length }) => length),
      `seed ${seed}`,
    );
    for (const [i, bytes] of files.entries()) {
      assert.ok(
        Buffer.concat([...bytesFrom(pieces, new UuReader(i))]).equals(bytes),
        `seed ${seed} file ${i}`,
      );
    }
  }
});

test("a text of countless files lists a thousand", () => {
  const reader = new UuReader();
  atOnce(readText([Buffer.from("begin 644 a\n`\nend\n".repeat(MAX_FILES_IN_TEXT * 3))], [reader]));
  assert.equal(reader.files.length, MAX_FILES_IN_TEXT);
});
