/** The queue-file parser on files that no Postfix writes, or has not finished, or has lost. */
import assert from "node:assert/strict";
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { headerData, headerLines } from "../../src/queue/header.ts";
import { type QueueFile, QueueFileError, readQueueFile } from "../../src/queue/queue-file.ts";
import { buildQueueFile, record } from "./build.ts";

const directory = mkdtempSync(join(tmpdir(), "postlua-queue-file-"));
after(() => rmSync(directory, { recursive: true }));
const path = join(directory, "8ABCDEF01");

function read(bytes: Uint8Array, maxHeaderBytes?: number): QueueFile {
  writeFileSync(path, bytes);
  chmodSync(path, 0o700);
  const file = readQueueFile(path, maxHeaderBytes === undefined ? {} : { maxHeaderBytes });
  assert.ok(typeof file === "object");
  return file;
}

function refused(bytes: Uint8Array, problem: RegExp, offset?: number): void {
  assert.throws(
    () => read(bytes),
    (error) => {
      assert.ok(error instanceof QueueFileError, String(error));
      assert.equal(error.file, path);
      assert.match(error.message, problem);
      assert.ok(error.message.startsWith(`${path}: at byte ${error.offset}: `));
      if (offset !== undefined) assert.equal(error.offset, offset);
      return true;
    },
  );
}

const pointer = (offset: number) => record("p", String(offset).padStart(15));

test("a built file says what was put in", () => {
  const file = read(
    buildQueueFile({ recipients: ["a@x.test", "b@y.test"], header: ["Subject: a", " b", "X: 1"] }),
  );
  assert.equal(file.id, "8ABCDEF01");
  assert.equal(file.sender, "from@example.test");
  assert.deepEqual(
    file.recipients.map(({ address, state, original, dsnOriginal }) => [
      address,
      state,
      original,
      dsnOriginal,
    ]),
    [
      ["a@x.test", "todo", "a@x.test", "rfc822;a@x.test"],
      ["b@y.test", "todo", "b@y.test", "rfc822;b@y.test"],
    ],
  );
  assert.deepEqual([file.arrivalTime, file.arrivalMicroseconds], [1_700_000_000, 123_456]);
  assert.deepEqual(headerLines(file.header), ["Subject: a\n b", "X: 1"]);
  assert.equal(file.attributes.log_client_address, "192.0.2.1");
});

test("cut off at any byte, a file is refused and never misread", () => {
  const whole = buildQueueFile({ recipients: ["a@x.test"], body: ["one", "two"] });
  for (let length = 0; length < whole.length; length++) {
    refused(whole.subarray(0, length), /ends (within|before)|jump to byte/);
  }
});

test("any byte changed gives a file or a clear refusal, soon", () => {
  const whole = buildQueueFile({ recipients: ["a@x.test"], header: ["Subject: a", " b"] });
  for (let at = 0; at < whole.length; at++) {
    for (const value of [0, 0x70, 0xff]) {
      const bytes = Buffer.from(whole);
      bytes[at] = value;
      try {
        read(bytes);
      } catch (error) {
        assert.ok(error instanceof QueueFileError, `byte ${at} = ${value}: ${error}`);
      }
    }
  }
});

test("what is no queue file is refused with the place where that shows", () => {
  refused(Buffer.from("From: somebody\n\nhello\n"), /record of \d+ bytes|ends within|type "F"/);
  refused(Buffer.alloc(100_000), /a record of type 0 in the envelope/, 0);
  refused(record("C", "1 2 3 4"), /ends before its end record/);
  refused(record("C", "a b c"), /a size record "a b c"/, 0);
  refused(record("C", "-1 2 3"), /a size record/, 0);
  refused(Buffer.concat([record("S", "x"), record("M")]), /content begins without a size record/);
  refused(Buffer.concat([record("A", "novalue")]), /an attribute without a name: "novalue"/, 0);
  refused(Buffer.from([0x53, 0xff, 0xff, 0xff, 0xff, 0x01]), /a record length of more than four bytes/, 0);
  refused(Buffer.from([0x53, 0xff, 0xff, 0xff, 0x7f]), /a record of 268435455 bytes/, 0);
  const mismatch = buildQueueFile();
  mismatch.write("      9", 24, "latin1");
  refused(mismatch, /the size record says/);
});

test("pointers are followed within limits", () => {
  refused(pointer(0).fill(0x39, 2), /a jump to byte 999999999999999 of a file with 17/, 0);
  refused(record("p", "x"), /a pointer record "x"/, 0);
  const loop = Buffer.concat([record("T", "1 1"), pointer(5)]);
  refused(loop, /more than 20000 pointer records/);
});

test("fields may lie in the heap behind the end, and padding between them", () => {
  const head = ["Subject: before"];
  const plain = buildQueueFile({
    header: [...head, "X-Replace: a value with room for a pointer", "X-Last: z"],
  });
  const at = plain.indexOf("X-Replace") - 2;
  const length = plain[at + 1] as number;
  const next = at + 2 + length;
  const heap = Buffer.concat([record("N", "X-New: one"), record("N", "\ttwo"), pointer(next)]);
  const padding = record("w", "0".repeat(next - at - 17 - 2));
  const edited = Buffer.concat([
    plain.subarray(0, at),
    pointer(plain.length),
    padding,
    plain.subarray(next),
    heap,
  ]);
  assert.deepEqual(headerLines(read(edited).header), [...head, "X-New: one\n\ttwo", "X-Last: z"]);
});

test("a header longer than the limit is cut at a record, and says so", () => {
  const file = read(
    buildQueueFile({ header: Array.from({ length: 99 }, (_, i) => `X-${i}: ${"v".repeat(90)}`) }),
    1_000,
  );
  assert.equal(file.headerComplete, false);
  assert.ok(file.header.length <= 1_000 && file.header.startsWith("X-0: vvv"));
  assert.equal(file.recipients.length, 1);
});

test("more than any window: 20,000 recipients and a header of 200 kB", () => {
  const recipients = Array.from({ length: 20_000 }, (_, i) => `r${i}@remote.test`);
  const file = read(buildQueueFile({ recipients, header: [`X-Long: ${"x".repeat(200_000)}`, "X-Next: y"] }));
  assert.equal(file.recipients.length, 20_000);
  assert.equal(file.recipients[19_999]?.address, "r19999@remote.test");
  assert.equal(headerLines(file.header).length, 2);
});

test("a file still being written, and one that is gone, are told apart", () => {
  writeFileSync(path, buildQueueFile());
  chmodSync(path, 0o600);
  assert.equal(readQueueFile(path), "unfinished");
  assert.equal(readQueueFile(join(directory, "8ABCDEF02")), "gone");
});

test("mode bits are flags", () => {
  writeFileSync(path, buildQueueFile());
  chmodSync(path, 0o750);
  const file = readQueueFile(path);
  assert.ok(typeof file === "object");
  assert.deepEqual([file.expire, file.unthrottle], [true, true]);
});

test("header data: last of several, names in lower case, folds kept", () => {
  const data = headerData(headerLines("Received: one\nSubject: a\n b\nreceived:two\nX-Empty:\nX-Space : v "));
  assert.deepEqual(
    [...data],
    [
      ["received", "two"],
      ["subject", "a\n b"],
      ["x-empty", ""],
      ["x-space", "v"],
    ],
  );
  assert.deepEqual(headerLines(""), []);
});
