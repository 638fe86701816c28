import assert from "node:assert/strict";
import { test } from "node:test";
import { atOnce } from "../../src/message/steps.ts";
import { tnefFiles } from "../../src/message/tnef.ts";
import { cut, seeded } from "./helper.ts";
import * as write from "./tnef-writer.ts";

const bytes = (text: string) => Buffer.from(text, "latin1");

const files = (stream: Buffer, pieces: readonly Buffer[] = [stream]) => atOnce(tnefFiles(pieces));

/** "name type text" of each file. */
function found(stream: Buffer): string[] {
  return files(stream).map(({ name, mimeType, start, end }) => {
    return `${name} ${mimeType} ${stream.toString("latin1", start, end)}`;
  });
}

const LONG_NAME = 0x3707;
const SHORT_NAME = 0x3704;
const MIME_TAG = 0x370e;
const DATA = 0x3701;
const inner = write.stream(write.file("inner.txt", bytes("inside")));
const attachment = (...properties: Buffer[]) => [
  write.attribute(2, write.ATT_REND_DATA, Buffer.alloc(14)),
  write.attribute(2, write.ATT_ATTACHMENT, write.list(...properties)),
];

const CASES: [what: string, stream: Buffer, files: string[]][] = [
  ["nothing", Buffer.alloc(0), []],
  ["something else", bytes("PK\x03\x04 no TNEF at all"), []],
  ["no attachment", write.stream(write.attribute(1, 0x8004, bytes("subject\0"))), []],
  ["a file", write.stream(write.file("a.txt", bytes("hello"))), ["a.txt  hello"]],
  ["two files", write.stream(write.file("a", bytes("1")), write.file("b", bytes("2"))), ["a  1", "b  2"]],
  ["an empty file", write.stream(write.file("a", Buffer.alloc(0))), ["a  "]],
  [
    "the long name, and a type",
    write.stream(
      write.file(
        "LONGNA~1.TXT",
        bytes("x"),
        write.counted(0x1e, LONG_NAME, bytes("long name.txt\0")),
        write.counted(0x1e, MIME_TAG, bytes("Text/Plain\0")),
      ),
    ),
    ["long name.txt text/plain x"],
  ],
  [
    "a long name in Unicode",
    write.stream(write.file("a", bytes("x"), write.counted(0x1f, LONG_NAME, write.utf16("grün €.txt")))),
    [`${Buffer.from("grün €.txt").toString("latin1")}  x`],
  ],
  ["an 8-bit title", write.stream(write.file("gr\xfcn", bytes("x"))), ["gr\xc3\xbcn  x"]],
  [
    "other properties on the way: fixed, named, with several values",
    write.stream(
      write.file(
        "a",
        bytes("x"),
        write.property(0x03, 0x0e20, write.uint32(1)),
        write.property(0x0b, 0x7fff, write.uint32(1)),
        write.property(0x40, 0x3007, Buffer.alloc(8)),
        write.property(0x1003, 0x1234, Buffer.concat([write.uint32(3), Buffer.alloc(12)])),
        write.counted(0x101e, 0x1235, bytes("one\0"), bytes("two two\0")),
        write.named(0x03, 7, write.uint32(1)),
        write.named(0x03, "a name", write.uint32(1)),
        write.counted(0x102, 0x3702, Buffer.alloc(5)),
        write.counted(0x1e, SHORT_NAME, bytes("short\0")),
        write.counted(0x1e, LONG_NAME, bytes("found behind them\0")),
      ),
    ),
    ["found behind them  x"],
  ],
  [
    "a file in its properties",
    write.stream(
      ...attachment(
        write.counted(0x102, DATA, bytes("hello")),
        write.counted(0x1e, SHORT_NAME, bytes("s\0")),
      ),
    ),
    ["s  hello"],
  ],
  [
    "an object in its properties",
    write.stream(
      ...attachment(write.counted(0x0d, DATA, Buffer.concat([Buffer.alloc(16, 1), bytes("object")]))),
    ),
    ["  object"],
  ],
  [
    "an attached message: the files inside",
    write.stream(
      write.file("outer", bytes("1")),
      ...attachment(
        write.counted(0x0d, DATA, Buffer.concat([write.IID_IMESSAGE, inner])),
        write.counted(0x1e, LONG_NAME, bytes("a message\0")),
      ),
      write.file("last", bytes("2")),
    ),
    ["outer  1", "inner.txt  inside", "last  2"],
  ],
  [
    "a stream that breaks off inside data",
    write.stream(write.file("a", bytes("1")), write.file("b", bytes("hello"))).subarray(0, -5),
    ["a  1"],
  ],
  [
    "garbage behind it",
    Buffer.concat([write.stream(write.file("a", bytes("1"))), Buffer.alloc(100, 0xff)]),
    ["a  1"],
  ],
];

for (const [what, stream, files] of CASES)
  test(`TNEF: ${what}`, () => assert.deepEqual(found(stream), files));

test("messages in messages without end are left at a depth", () => {
  let stream = write.stream(write.file("deepest", bytes("x")));
  for (let i = 0; i < 100; i++)
    stream = write.stream(
      ...attachment(write.counted(0x0d, DATA, Buffer.concat([write.IID_IMESSAGE, stream]))),
    );
  assert.deepEqual(found(stream), []);
});

test("mutated streams never throw, and files lie inside the stream", () => {
  const streams = CASES.map(([, stream]) => stream).filter(({ length }) => length > 20);
  for (let seed = 1; seed <= 5000; seed++) {
    const random = seeded(seed);
    const stream = Buffer.from(streams[random(streams.length)]!);
    for (let i = random(6); i >= 0; i--)
      stream[random(3) === 0 ? random(stream.length) : 6 + (random(60) % (stream.length - 6))] = [
        0,
        1,
        2,
        0x7f,
        0xff,
        random(256),
      ][random(6)]!;
    const seen = stream.subarray(0, random(4) === 0 ? random(stream.length) : stream.length);
    const whole = files(seen);
    for (const { start, end } of whole) {
      assert.ok(0 <= start && start <= end && end <= seen.length, `seed ${seed}`);
    }
    assert.deepEqual(files(seen, cut(seen, random, 20)), whole, `seed ${seed}, cut into pieces`);
  }
});
