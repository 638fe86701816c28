import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { fstatSync, mkdirSync, mkdtempSync, readdirSync, readlinkSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { MessageMemory } from "../../src/message/message-memory.ts";
import { MessageStore } from "../../src/message/store.ts";
import { cut, seeded } from "./helper.ts";

const directory = mkdtempSync(join(tmpdir(), "postlua-test-"));
after(() => rmSync(directory, { recursive: true }));

const MB = 1_000_000;
const roomy = () => new MessageMemory(100 * MB);

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
  ["in a file past 100 bytes", { spill: { directory, aboveBytes: 100, memory: roomy() } }],
  ["in a file past 300,000 bytes", { spill: { directory, aboveBytes: 300_000, memory: roomy() } }],
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

test("where no file can be made the message stays in memory, and says why", () => {
  const memory = new MessageMemory(100_000);
  const store = new MessageStore({ spill: { directory: join(directory, "none"), aboveBytes: 4, memory } });
  store.addBody(Buffer.from("1234"));
  assert.equal(store.problem, "");
  store.addBody(Buffer.from("5"));
  store.addBody(Buffer.from("6789"));
  assert.match(store.problem, /^ENOENT/);
  assert.equal(store.lost, false);
  assert.equal(whole(store), "\r\n123456789");
});

test("where neither file nor memory has room the message is given up, and its memory is free", () => {
  const memory = new MessageMemory(100_000);
  const store = new MessageStore({ spill: { directory: join(directory, "none"), aboveBytes: 4, memory } });
  const chunk = Buffer.alloc(30_000);
  for (let i = 0; i < 10; i++) store.addBody(chunk);
  assert.equal(store.lost, true);
  assert.equal(store.size, 0);
  assert.equal(memory.used, 0);
  store.close();
  assert.equal(memory.used, 0);
});

test("many messages below the limit of one stay within the limit of all", () => {
  const memory = new MessageMemory(2 * MB);
  const stores = Array.from({ length: 20 }, (_, n) => {
    const store = new MessageStore({ spill: { directory, aboveBytes: MB, memory } });
    for (let i = 0; i < 15; i++) store.addBody(Buffer.alloc(60_000, n + 1));
    return store;
  });
  assert.ok(memory.used > MB && memory.used <= memory.limit, `${memory.used}`);
  for (const [n, store] of stores.entries()) {
    assert.equal(store.problem, "");
    assert.ok(store.slice(2).equals(Buffer.alloc(900_000, n + 1)));
    store.close();
  }
  assert.equal(memory.used, 0);
});

test("the file has mode 0600 and no name at any time", () => {
  const store = new MessageStore({ spill: { directory, aboveBytes: 4, memory: roomy() } });
  store.addBody(Buffer.alloc(100));
  const [file = "", ...others] = readdirSync("/proc/self/fd").filter((fd) =>
    linkOf(fd).startsWith(directory),
  );
  assert.deepEqual(others, []);
  assert.match(linkOf(file), / \(deleted\)$/);
  const { mode, nlink } = fstatSync(Number(file));
  assert.equal(mode & 0o777, 0o600);
  assert.equal(nlink, 0);
  store.close();
});

function linkOf(fd: string): string {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`);
  } catch {
    // That of the listing itself.
    return "";
  }
}

test("a disk that fills up while the message is written: what is there goes back to memory", (t) => {
  const small = join(directory, "small");
  mkdirSync(small);
  const mounted = spawnSync("mount", ["-t", "tmpfs", "-o", "size=512k", "tmpfs", small]);
  if (mounted.status !== 0) return t.skip(`NOT RUN: no tmpfs can be mounted here: ${mounted.stderr}`);
  try {
    const body = Buffer.from(Array.from({ length: 3 * MB }, (_, i) => (i * 2654435761) >>> 24));
    for (const [limit, lost] of [
      [10 * MB, false],
      [2 * MB, true],
      [100_000, true],
    ] as const) {
      const memory = new MessageMemory(limit);
      const store = new MessageStore({ spill: { directory: small, aboveBytes: 50_000, memory } });
      for (const chunk of cut(body, seeded(3), 65_535)) store.addBody(chunk);
      assert.match(store.problem, /^ENOSPC/);
      assert.equal(store.lost, lost);
      if (!lost) assert.ok(store.slice(2).equals(body));
      store.close();
      assert.equal(memory.used, 0);
      // The file is gone: there is room again.
      writeFileSync(join(small, "x"), Buffer.alloc(400_000));
      rmSync(join(small, "x"));
    }
  } finally {
    spawnSync("umount", [small]);
    rmSync(small, { recursive: true });
  }
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
