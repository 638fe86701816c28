import assert from "node:assert/strict";
import { test } from "node:test";
import { structure } from "../../src/message/mime.ts";
import { MessageReader } from "../../src/message/reader.ts";
import { MessageStore } from "../../src/message/store.ts";

function reader(raw: string): MessageReader {
  const store = MessageStore.fromBytes(Buffer.from(raw, "latin1"), { verbatim: true });
  return new MessageReader(store, structure(store).parts);
}

test("lines come with their line ends as received, and the position moves behind them", () => {
  const lines = reader("A: 1\r\n\r\none\ntwo\r\n\xe4\0");
  assert.deepEqual(lines.lines(1), { count: 1, text: "A: 1\r\n" });
  assert.deepEqual(lines.lines(2), { count: 2, text: "\r\none\n" });
  assert.equal(lines.position, 12);
  assert.deepEqual(lines.lines(10), { count: 2, text: "two\r\n\xe4\0" });
  assert.deepEqual(lines.lines(1), { count: 0, text: "" });
  lines.reset();
  assert.deepEqual(lines.lines(Number.POSITIVE_INFINITY), {
    count: 5,
    text: "A: 1\r\n\r\none\ntwo\r\n\xe4\0",
  });
});

test("no lines, part of a line, and offsets out of range", () => {
  const lines = reader("abc\r\ndef\r\n");
  for (const wanted of [0, -1, 0.9, Number.NaN])
    assert.deepEqual(lines.lines(wanted), { count: 0, text: "" });
  for (const [offset, position, text] of [
    [4, 4, "\n"],
    [7.9, 7, "f\r\n"],
    [-5, 0, "abc\r\n"],
    [10, 10, ""],
    [1e15, 10, ""],
    [Number.NaN, 0, "abc\r\n"],
    [Number.NEGATIVE_INFINITY, 0, "abc\r\n"],
  ] as const) {
    lines.seek(offset);
    assert.equal(lines.position, position);
    assert.equal(lines.lines(1).text, text);
  }
});

test("lines over many blocks of a large message, one by one", () => {
  const store = new MessageStore();
  store.addHeader("A", " 1");
  const line = Buffer.from(`${"x".repeat(97)}\r\n`);
  for (let i = 0; i < 20_000; i++) store.addBody(line);
  const lines = new MessageReader(store, []);
  assert.equal(lines.lines(2).text, "A: 1\r\n\r\n");
  for (let i = 0; i < 20_000; i++) assert.equal(lines.lines(1).text.length, 99);
  assert.deepEqual(lines.lines(1), { count: 0, text: "" });
});

test("parts by path: exact bytes, header and body apart", () => {
  const raw =
    'Content-Type: multipart/mixed; boundary="b"\r\n\r\n--b\r\nX: y\r\n\r\none\r\n--b\r\n\r\ntwo\r\n--b--\r\n';
  const message = reader(raw);
  assert.equal(message.part("")?.toString(), raw);
  assert.equal(message.part("1")?.toString(), "X: y\r\n\r\none");
  assert.equal(message.partHeader("1")?.toString(), "X: y\r\n\r\n");
  assert.equal(message.partBody("1")?.toString(), "one");
  assert.equal(message.part("2")?.toString(), "\r\ntwo");
  for (const path of ["3", "1.1", "0", "__proto__", "1 "]) assert.equal(message.part(path), undefined);
});

test("a message without parts is part 1", () => {
  const message = reader("A: 1\r\n\r\nbody");
  assert.equal(message.part("1")?.toString(), "A: 1\r\n\r\nbody");
  assert.equal(message.partBody("1")?.toString(), "body");
});
