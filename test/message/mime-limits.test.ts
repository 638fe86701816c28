/**
 * Size and malice: many parts, deep nesting, messages made to cost a parser
 * more than linear time. Times are bounded only grossly: where one of these
 * is not linear, it takes minutes, not seconds.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { attachments } from "../../src/message/attachment.ts";
import { MIME_LIMITS, structure } from "../../src/message/mime.ts";
import { MessageStore } from "../../src/message/store.ts";

const MEGABYTES = process.env.POSTLUA_LONG ? 50 : 8;
const SIZE = MEGABYTES * 1_000_000;
const GROSS_LIMIT_MS = MEGABYTES * 1000;

const store = (text: string) => MessageStore.fromBytes(Buffer.from(text, "latin1"));
const fill = (text: string) => text.repeat(Math.ceil(SIZE / text.length));

test("10,000 parts are all there", () => {
  const parts = Array.from(
    { length: 10_000 },
    (_, i) => `--b\r\nContent-Type: a/b; name=${i}\r\n\r\nbody ${i}\r\n`,
  );
  const message = store(`Content-Type: multipart/mixed; boundary=b\r\n\r\n${parts.join("")}--b--\r\n`);
  const found = structure(message);
  assert.equal(found.parts.length, 10_001);
  assert.equal(found.complete, true);
  assert.equal(found.parts[10_000]?.path, "10000");
  assert.equal(found.parts[10_000]?.contentTypeFilename, "9999");
  for (const [i, { start, bodyStart, end }] of found.parts.slice(1).entries()) {
    assert.equal(message.slice(start, end).toString(), `Content-Type: a/b; name=${i}\r\n\r\nbody ${i}`);
    assert.equal(message.slice(bodyStart, end).toString(), `body ${i}`);
  }
});

test("100 multiparts and 100 messages, each inside the one before", () => {
  let text = "";
  for (let i = 0; i < 100; i++) text += `Content-Type: multipart/mixed; boundary=b${i}\r\n\r\n--b${i}\r\n`;
  const multiparts = structure(store(`${text}\r\nbody\r\n`));
  assert.equal(multiparts.parts.length, 101);
  assert.equal(multiparts.parts[100]?.path, Array(100).fill("1").join("."));
  const messages = structure(store(`${"Content-Type: message/rfc822\r\n\r\n".repeat(100)}\r\nbody\r\n`));
  assert.equal(messages.parts.length, 101);
  assert.equal(messages.parts[100]?.depth, 100);
  assert.equal(multiparts.complete && messages.complete, true);
});

test("limits on parts and depth are kept and said", () => {
  const many = store(`Content-Type: multipart/mixed; boundary=b\r\n\r\n${"--b\r\n\r\nx\r\n".repeat(30)}`);
  const few = structure(many, { maxParts: 10, maxDepth: 5 });
  assert.equal(few.parts.length, 10);
  assert.equal(few.complete, false);
  assert.equal(many.slice(few.parts[9]!.start, few.parts[9]!.end).toString(), "\r\nx");
  const deep = store(`${"Content-Type: message/rfc822\r\n\r\n".repeat(30)}\r\nbody\r\n`);
  const shallow = structure(deep, { maxParts: 100, maxDepth: 5 });
  assert.equal(shallow.parts.length, 6);
  assert.equal(shallow.complete, false);
  assert.equal(shallow.parts[5]?.end, deep.size);
});

const head = (boundary: string) => `Content-Type: multipart/mixed; boundary="${boundary}"\r\n\r\n`;
let nested = "";
for (let i = 0; i < 180; i++) nested += `${head(`boundary-${i}`)}--boundary-${i}\r\n`;

const BOMBS: [what: string, text: () => string][] = [
  ["lines of dashes under 180 open boundaries", () => `${nested}\r\n${fill("--boundary-999\r\n")}`],
  ["one long line of dashes", () => head("b") + fill("-")],
  ["empty lines", () => head("b") + fill("\r\n")],
  ["lines of one dash", () => head("b") + fill("\n-")],
  ["delimiters without end", () => head("b") + fill("--b\r\n")],
  ["nested multiparts without end", () => fill(`${head("b")}--b\r\n`)],
  ["messages in messages without end", () => fill("Content-Type: message/rfc822\r\n\r\n")],
  [
    "digests in digests without end",
    () => fill("Content-Type: multipart/digest; boundary=b\r\n\r\n--b\r\n\r\n"),
  ],
  ["header lines without end", () => `${head("b")}--b\r\n${fill("X: y\r\n")}`],
  ["one field folded without end", () => `${head("b")}--b\r\nContent-Type: a/b;\r\n${fill(" n=1;\r\n")}`],
  ["a boundary followed by white space", () => `${head("b")}--b${fill(" ")}\r\n`],
  ["base64 of padding", () => `Content-Type: a/b\r\nContent-Transfer-Encoding: base64\r\n\r\n${fill("a=")}`],
  [
    "quoted-printable of soft breaks",
    () => `Content-Type: a/b\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n${fill("=\r\n")}`,
  ],
  [
    "quoted-printable of white space",
    () => `Content-Type: a/b\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n${fill(" ")}`,
  ],
  ["begin lines that begin nothing", () => `\r\n${fill("begin 644 x\r\n")}`],
  ["uuencoded files without bytes", () => `\r\n${fill("begin 644 x\r\n`\r\nend\r\n")}`],
  ["one uuencoded file of lines of one byte", () => `\r\nbegin 644 x\r\n${fill("!80``\r\n")}`],
  ["BinHex announcements", () => `\r\n${fill("(This file must be converted\r\n:!\r\n")}`],
  [
    "BinHex runs",
    () => `\r\n(This file must be converted\r\n:"QPZ,Q*TEJ"849K868&$33!!)!!!!!!f+KS${fill("rrrr!rrr\r\n")}`,
  ],
  [
    "a TNEF of nothing",
    () => `Content-Type: application/ms-tnef\r\n\r\nx\x9f>"4\x12${fill("\x02\x0f\x80\0\0\0\0\0\0\0\0")}`,
  ],
];

for (const [what, text] of BOMBS) {
  test(`${MEGABYTES} MB of ${what}`, () => {
    const message = store(text());
    const since = performance.now();
    const { parts } = structure(message);
    attachments(message, parts);
    const ms = performance.now() - since;
    assert.ok(parts.length <= MIME_LIMITS.maxParts);
    assert.ok(ms < GROSS_LIMIT_MS, `${Math.round(ms)} ms`);
  });
}

test("100,000 header lines and a 50 MB body", () => {
  const message = new MessageStore();
  for (let i = 0; i < 100_000; i++) message.addHeader(`X-${i}`, ` ${i}`);
  message.addHeader("Content-Type", " multipart/mixed; boundary=b");
  message.endOfHeaders();
  message.addBody(
    Buffer.from("--b\r\nContent-Type: a/b; name=big\r\nContent-Transfer-Encoding: base64\r\n\r\n"),
  );
  const chunk = Buffer.from(`${"QUJD".repeat(19)}\r\n`.repeat(840));
  while (message.size < 52_000_000) message.addBody(chunk);
  message.addBody(Buffer.from("--b--\r\n"));
  const { parts } = structure(message);
  assert.deepEqual(
    parts.map((part) => part.path),
    ["", "1"],
  );
  const body = parts[1]!.end - parts[1]!.bodyStart + 2;
  assert.equal(attachments(message, parts)[0]?.size, (body / 78) * 57);
});
