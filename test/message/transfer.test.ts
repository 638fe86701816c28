import assert from "node:assert/strict";
import { test } from "node:test";
import { atOnce } from "../../src/message/steps.ts";
import { decoded, decodedSize } from "../../src/message/transfer.ts";
import { cut, seeded } from "./helper.ts";

const CASES: [encoding: string, what: string, raw: string, bytes: string][] = [
  ["base64", "whole groups", "aGVsbG8h", "hello!"],
  ["base64", "one byte left", "aA==", "h"],
  ["base64", "two bytes left", "aGU=", "he"],
  ["base64", "no padding", "aGU", "he"],
  ["base64", "a single digit", "aGVsa", "hel"],
  ["base64", "lines", "aGVs\r\nbG8h\r\n", "hello!"],
  ["base64", "bytes that do not belong", "aG-V!s\xffb\0G8_h", "hello!"],
  ["base64", "padded texts in a row", "aA==aGU=aGVs", "hhehel"],
  ["base64", "padding alone", "====\r\n==", ""],
  ["base64", "nothing", "", ""],
  ["quoted-printable", "escapes", "gr=C3=bcn", "gr\xc3\xbcn"],
  ["quoted-printable", "soft line breaks", "a=\r\nb=\nc\r\n", "abc\r\n"],
  ["quoted-printable", "a soft line break at the end", "a=\r\n", "a"],
  ["quoted-printable", "white space at line ends", "a  \r\nb\t\n  c ", "a\r\nb\n  c"],
  ["quoted-printable", "broken escapes", "=zz=4=", "=zz=4"],
  ["quoted-printable", "raw 8-bit bytes", "\xe4=E4", "\xe4\xe4"],
  ["7bit", "anything", "=41\r\n", "=41\r\n"],
  ["", "anything", "x\0", "x\0"],
  ["x-unknown", "anything", "aA==", "aA=="],
];

for (const [encoding, what, raw, bytes] of CASES) {
  test(`${encoding || "no encoding"}: ${what}, whole and byte by byte`, () => {
    const whole = Buffer.from(raw, "latin1");
    const single = Array.from(whole, (byte) => Buffer.of(byte));
    for (const pieces of [[whole], single]) {
      assert.equal(Buffer.concat([...decoded(encoding, pieces)]).toString("latin1"), bytes);
      assert.equal(atOnce(decodedSize(encoding, pieces)), bytes.length);
    }
  });
}

test("random bytes come back from both encodings however these are cut", () => {
  for (let seed = 1; seed < 60; seed++) {
    const random = seeded(seed);
    const bytes = Buffer.from(Array.from({ length: random(3000) }, () => random(256)));
    const base64 = bytes.toString("base64").replace(/.{1,76}/g, "$&\r\n");
    const quoted = [...bytes].map((byte) => `=${byte.toString(16).padStart(2, "0").toUpperCase()}`).join("");
    for (const [encoding, text] of [
      ["base64", base64],
      ["quoted-printable", quoted.replace(/.{1,72}/g, "$&=\r\n")],
    ] as const) {
      const pieces = cut(Buffer.from(text), random, 200);
      assert.ok(Buffer.concat([...decoded(encoding, pieces)]).equals(bytes), `${encoding}, seed ${seed}`);
      assert.equal(atOnce(decodedSize(encoding, pieces)), bytes.length);
    }
  }
});

test("quoted-printable gives the same however random text is cut", () => {
  for (let seed = 1; seed < 4000; seed++) {
    const random = seeded(seed);
    const text = Array.from(
      { length: random(60) },
      () => ["=", " ", "\t", "\r\n", "\n", "4", "1", "x"][random(8)],
    ).join("");
    const raw = Buffer.from(text);
    const whole = Buffer.concat([...decoded("quoted-printable", [raw])]);
    const pieces = Buffer.concat([...decoded("quoted-printable", cut(raw, random, 5))]);
    assert.equal(pieces.toString(), whole.toString(), JSON.stringify(text));
  }
});
