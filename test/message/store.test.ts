import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { MessageStore } from "../../src/message/store.ts";
import { cut, seeded } from "./helper.ts";

const directory = mkdtempSync(join(tmpdir(), "postlua-test-"));
after(() => rmSync(directory, { recursive: true }));

const whole = (store: MessageStore) => store.slice(0).toString("latin1");

test("a milter's fields and body chunks become the bytes of the message", () => {
  const store = new MessageStore();
  store.addHeader("Subject", " hello\n\tworld");
  store.addHeader(Buffer.from("X"), Buffer.from(":"));
  store.endOfHeaders();
  store.addBody(Buffer.from("a\r\n"));
  store.addBody(Buffer.from("b\r\n"));
  assert.equal(whole(store), "Subject: hello\r\n\tworld\r\nX::\r\n\r\na\r\nb\r\n");
  assert.equal(store.size, 37);
  assert.equal(store.bodyStart, 31);
  assert.equal(store.headers.first("subject")?.value, "hello\r\n\tworld");
});

test("without leading space from the milter, one space follows the colon", () => {
  const store = new MessageStore({ leadingSpace: false });
  store.addHeader("A", "1");
  store.endOfHeaders();
  assert.equal(whole(store), "A: 1\r\n\r\n");
});

test("a message without fields or body", () => {
  const store = new MessageStore();
  assert.equal(store.size, 0);
  store.endOfHeaders();
  assert.equal(whole(store), "\r\n");
  assert.equal(MessageStore.fromBytes(Buffer.alloc(0)).size, 0);
  assert.equal(whole(MessageStore.fromBytes(Buffer.alloc(0))), "");
});

test("a body chunk ends the headers, a field after that is the caller's mistake", () => {
  const store = new MessageStore();
  store.addBody(Buffer.from("x"));
  assert.equal(whole(store), "\r\nx");
  assert.throws(() => store.addHeader("A", " 1"), /after the end of the headers/);
});

test("body bytes are copied: the caller's buffer may be used again", () => {
  const store = new MessageStore();
  const buffer = Buffer.from("one");
  store.addBody(buffer);
  buffer.write("two");
  store.addBody(buffer);
  assert.equal(whole(store), "\r\nonetwo");
});

for (const [where, options] of [
  ["in memory", {}],
  ["in a file past 100 bytes", { spill: { directory, aboveBytes: 100 } }],
  ["in a file past 300,000 bytes", { spill: { directory, aboveBytes: 300_000 } }],
] as const) {
  test(`every slice of a large body ${where} has the right bytes`, () => {
    const random = seeded(7);
    const body = Buffer.from(Array.from({ length: 1_500_000 }, (_, i) => (i * 2654435761) >>> 24));
    const store = new MessageStore(options);
    store.addHeader("A", " 1");
    store.endOfHeaders();
    for (const chunk of cut(body, random, 65_535)) store.addBody(chunk);
    const raw = Buffer.concat([Buffer.from("A: 1\r\n\r\n"), body]);
    assert.equal(store.size, raw.length);
    assert.ok(store.slice(0).equals(raw));
    for (let i = 0; i < 2000; i++) {
      const start = random(raw.length + 10);
      const end = start + random(i % 10 === 0 ? raw.length : 300);
      assert.ok(store.slice(start, end).equals(raw.subarray(start, end)), `${start} to ${end}`);
      if (i % 50 === 0)
        assert.ok(Buffer.concat([...store.chunks(start, end)]).equals(raw.subarray(start, end)));
    }
    assert.equal(store.slice(5, 2).length, 0);
    assert.equal(store.slice(-9, 3).toString(), "A: ");
    assert.deepEqual(readdirSync(directory), [], "the file has no name");
    store.close();
    assert.equal(store.size, 0);
  });
}

test("a directory that is not there fails when the body outgrows memory", () => {
  const store = new MessageStore({ spill: { directory: join(directory, "none"), aboveBytes: 4 } });
  store.addBody(Buffer.from("1234"));
  assert.throws(() => store.addBody(Buffer.from("5")), { code: "ENOENT" });
});

const FILES: [what: string, raw: string, seen: string, bodyStart: number][] = [
  ["CRLF", "A: 1\r\n\r\nb\r\n", "A: 1\r\n\r\nb\r\n", 8],
  ["bare LF", "A: 1\n\nb\n", "A: 1\r\n\r\nb\r\n", 8],
  ["mixed line ends", "A: 1\r\n\nb\r\r\nc\n\n", "A: 1\r\n\r\nb\r\r\nc\r\n\r\n", 8],
  ["no last line end", "A: 1\n\nb", "A: 1\r\n\r\nb\r\n", 8],
  ["no blank line", "A: 1\nb\n", "A: 1\r\n\r\nb\r\n", 8],
  ["header only", "A: 1\n", "A: 1\r\n\r\n", 8],
  ["body only", "b\n", "\r\nb\r\n", 2],
  ["a first line with leading white space", " A: 1\n", "\r\n A: 1\r\n", 2],
  ["an mbox From line", "From a@b Thu\nA: 1\n\n", "X-Mailbox-Line: From a@b Thu\r\nA: 1\r\n\r\n", 38],
  ["a single LF", "\n", "\r\n", 2],
  ["a single CR", "\r", "\r\n\r\r\n", 2],
];

for (const [what, raw, seen, bodyStart] of FILES) {
  test(`a file with ${what} is seen as the MTA would show it`, () => {
    const store = MessageStore.fromBytes(Buffer.from(raw));
    assert.equal(whole(store), seen);
    assert.equal(store.bodyStart, bodyStart);
    assert.equal(whole(MessageStore.fromBytes(Buffer.from(raw), { verbatim: true })), raw);
  });
}
