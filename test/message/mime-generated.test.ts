/** Structures of generated messages, whose generator knows every path and offset. */
import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { MessageMemory } from "../../src/message/message-memory.ts";
import { type MimePart, structure } from "../../src/message/mime.ts";
import { MessageStore } from "../../src/message/store.ts";
import { cut, generate, readInChunks, seeded, storeInChunks } from "./helper.ts";

const ROUNDS = process.env.POSTLUA_LONG ? 20_000 : 600;
const directory = mkdtempSync(join(tmpdir(), "postlua-test-"));
after(() => rmSync(directory, { recursive: true }));

function plain(part: MimePart) {
  const { path, contentType, contentSubtype, start, bodyStart, end, depth, parent } = part;
  return { path, type: `${contentType}/${contentSubtype}`, start, bodyStart, end, depth, parent };
}

for (const [name, lineEnd] of [
  ["CRLF", "\r\n"],
  ["bare LF", "\n"],
] as const) {
  test(`every part of ${ROUNDS} nested messages with ${name} has its path and its exact bytes`, () => {
    for (let seed = 1; seed <= ROUNDS; seed++) {
      const { raw, parts } = generate(seeded(seed), lineEnd);
      const found = structure(MessageStore.fromBytes(raw, { verbatim: true }));
      assert.deepEqual(found.parts.map(plain), parts, `seed ${seed}\n${raw.toString("latin1")}`);
      assert.equal(found.complete, true);
    }
  });
}

test("how the body is cut into chunks changes nothing", () => {
  for (let seed = 1; seed <= ROUNDS; seed++) {
    const { raw, parts } = generate(seeded(seed), seed % 2 === 0 ? "\n" : "\r\n");
    const store = MessageStore.fromBytes(raw, { verbatim: true });
    const source = readInChunks(store, (body) => cut(body, seeded(seed), seed % 3 === 0 ? 1 : 40));
    assert.deepEqual(structure(source).parts.map(plain), parts, `seed ${seed}\n${raw.toString("latin1")}`);
  }
});

const memory = new MessageMemory(1_000_000);

test("a store filled by a milter, in memory or in a file, holds the same bytes and parts", () => {
  for (let seed = 1; seed <= ROUNDS / 4; seed++) {
    const { raw, parts } = generate(seeded(seed));
    const random = seeded(seed);
    const options = seed % 2 === 0 ? { spill: { directory, aboveBytes: random(200), memory } } : {};
    const store = storeInChunks(raw, (body) => cut(body, random, 100), options);
    assert.ok(store.slice(0).equals(raw), `seed ${seed}`);
    assert.deepEqual(structure(store).parts.map(plain), parts, `seed ${seed}`);
    store.close();
  }
  assert.deepEqual(readdirSync(directory), []);
  assert.equal(memory.used, 0);
});

test("the generator makes what it is for", () => {
  const all = Array.from({ length: 200 }, (_, seed) => generate(seeded(seed)).parts).flat();
  assert.ok(all.length > 1000, `${all.length} parts`);
  assert.ok(all.some((part) => part.depth >= 5));
  assert.ok(all.some((part) => /^\d+\.\d+\.\d+\.1$/.test(part.path)));
});

test("the parts of a closed multipart, put together with its delimiters, are its body", () => {
  const bodies = ["first", "", "--\r\n-- \r\n", "Content-Type: x/y\r\n\r\nthird\r\n"];
  const body = `preamble\r\n${bodies.map((text) => `--b\r\n\r\n${text}\r\n`).join("")}--b--\r\nepilogue\r\n`;
  const raw = Buffer.from(`Content-Type: multipart/mixed; boundary=b\r\n\r\n${body}`);
  const store = MessageStore.fromBytes(raw);
  const [whole, ...parts] = structure(store).parts;
  let rebuilt = "preamble\r\n";
  for (const part of parts) rebuilt += `--b\r\n${store.slice(part.start, part.end).toString("latin1")}\r\n`;
  assert.equal(
    `${rebuilt}--b--\r\nepilogue\r\n`,
    store.slice(whole!.bodyStart, whole!.end).toString("latin1"),
  );
  assert.deepEqual(
    parts.map((part) => store.slice(part.bodyStart, part.end).toString("latin1")),
    bodies,
  );
});
