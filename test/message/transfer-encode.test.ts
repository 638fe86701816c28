/** What is encoded here is decoded by others to the same bytes, and fits into any mail. */
import assert from "node:assert/strict";
import { test } from "node:test";
import libqp from "libqp";
import { decoded, isCleanBase64 } from "../../src/message/transfer.ts";
import { encodeBase64, encodeQuotedPrintable } from "../../src/message/transfer-encode.ts";
import { cut, type Random, seeded } from "./helper.ts";

const encode = (encoder: typeof encodeBase64, pieces: Iterable<Buffer>, endLine = false) =>
  Buffer.concat([...encoder(pieces, endLine)]).toString("latin1");

const QP: [text: string, encoded: string][] = [
  ["", ""],
  ["a=b\r\n", "a=3Db\r\n"],
  ["a \r\nb\t\r\nc ", "a=20\r\nb=09\r\nc=20"],
  ["a b", "a b"],
  ["a\nb\rc\r\r\nd\r", "a=0Ab=0Dc=0D\r\nd=0D"],
  ["\r\n\r\n", "\r\n\r\n"],
  ["--b\r\n-- \r\nx--", "=2D-b\r\n=2D-=20\r\nx--"],
  ["\0\x7f\xff", "=00=7F=FF"],
  ["x".repeat(75), "x".repeat(75)],
  ["x".repeat(76), `${"x".repeat(75)}=\r\nx`],
  [`${"x".repeat(75)}--b`, `${"x".repeat(75)}=\r\n=2D-b`],
  [`${"x".repeat(73)}\xff`, `${"x".repeat(73)}=\r\n=FF`],
  [`${"x".repeat(74)} \r\n`, `${"x".repeat(74)}=\r\n=20\r\n`],
];

for (const [text, encoded] of QP) {
  test(`quoted-printable of ${JSON.stringify(text)}`, () => {
    assert.equal(encode(encodeQuotedPrintable, [Buffer.from(text, "latin1")]), encoded);
  });
}

const PIECES = [
  "\r\n",
  "\n",
  "\r",
  " ",
  "\t",
  "-",
  "--",
  "=",
  "a",
  "word",
  "\xff",
  "\0",
  ".",
  "x".repeat(70),
];

function bytes(random: Random): Buffer {
  return Buffer.from(
    Array.from({ length: random(60) }, () => PIECES[random(PIECES.length)]).join(""),
    "latin1",
  );
}

test("random bytes come back, however they are cut; lines are short and none begins as a delimiter", () => {
  for (let seed = 1; seed <= 2000; seed++) {
    const random = seeded(seed);
    const input = bytes(random);
    const pieces = cut(input, random, 20);
    for (const endLine of [false, true]) {
      const qp = encode(encodeQuotedPrintable, pieces, endLine);
      assert.deepEqual(libqp.decode(Buffer.from(qp)), input, JSON.stringify(qp));
      const base64 = encode(encodeBase64, pieces, endLine);
      assert.deepEqual(Buffer.from(base64, "base64"), input);
      assert.deepEqual(Buffer.concat([...decoded("base64", [Buffer.from(base64)])]), input);
      assert.ok(isCleanBase64([Buffer.from(base64)]));
      for (const text of [qp, base64]) {
        assert.match(text, /^[\t\r\n -~]*$/);
        assert.ok(!/[\t ]\r\n|[\t ]$|\r(?!\n)|(?<!\r)\n/.test(text));
        for (const line of text.split("\r\n")) assert.ok(line.length <= 76 && !line.startsWith("-"), line);
        if (endLine && text !== "") assert.ok(text.endsWith("\r\n"));
      }
    }
  }
});

const BASE64: [text: string, clean: boolean][] = [
  ["", true],
  ["QUI=", true],
  ["QUI", true],
  [" QU\r\nJD\t", true],
  ["Q", false],
  ["QUI==", false],
  ["QQ==", true],
  ["Q===", false],
  ["QUI=QUI=", false],
  ["QUI=\r\n-- \r\nlist footer", false],
  ["QUJD*", false],
];

for (const [text, clean] of BASE64) {
  test(`${JSON.stringify(text)} is ${clean ? "" : "no "}clean base64`, () => {
    for (const size of [1, 3, 100])
      assert.equal(isCleanBase64(cut(Buffer.from(text), () => size - 1, 1)), clean);
  });
}
