/** Whatever the bytes are: no error, offsets in bounds and in order, parts inside the part around them. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { attachments, decode } from "../../src/message/attachment.ts";
import { decodedSubject } from "../../src/message/header-text.ts";
import { structure } from "../../src/message/mime.ts";
import { applyModifiers } from "../../src/message/modifiers.ts";
import { MessageReader } from "../../src/message/reader.ts";
import { MessageStore } from "../../src/message/store.ts";
import { cut, generate, readInChunks, seeded } from "./helper.ts";
import { mutate, TOKENS } from "./mutate.ts";

const ROUNDS = process.env.POSTLUA_LONG ? 100_000 : 3000;
const MESSAGES = new URL("../messages/", import.meta.url);
const files = readdirSync(MESSAGES)
  .filter((name) => name.endsWith(".eml"))
  .map((name) => readFileSync(new URL(name, MESSAGES)));
function check(store: MessageStore): void {
  const { parts } = structure(store);
  assert.ok(parts.length >= 1);
  const ends: number[] = [];
  for (const [index, part] of parts.entries()) {
    assert.ok(
      0 <= part.start && part.start <= part.bodyStart && part.bodyStart <= part.end && part.end <= store.size,
    );
    assert.equal(part.parent < index, true);
    const around = parts[part.parent];
    if (around) {
      assert.ok(around.container);
      assert.ok(
        part.start >= around.bodyStart && part.end <= around.end,
        `part ${part.path} outside ${around.path}`,
      );
      assert.ok(part.start >= (ends[part.parent] ?? 0), `part ${part.path} begins before its neighbour ends`);
      ends[part.parent] = part.end;
      assert.ok(part.depth > around.depth);
    }
  }
  assert.equal(new Set(parts.map((part) => part.path)).size, parts.length, "no path twice");
  for (const attachment of attachments(store, parts)) {
    assert.equal(parts[attachment.section - 1], attachment.part);
    const size = Buffer.concat([...decode(store, attachment)]).length;
    assert.equal(size, attachment.size);
  }
  const reader = new MessageReader(store, parts);
  for (const { path } of parts) assert.ok(reader.part(path));
  assert.match(decodedSubject(store.headers), /^[\x01-\xff]*$/);
  applyModifiers(store.headers, ["X-A: 1", "subject:", "-Subject: x", "#received: a"]);
}

test(`${ROUNDS} mutated messages`, () => {
  for (let seed = 1; seed <= ROUNDS; seed++) {
    const random = seeded(seed);
    const origin = random(2) === 0 ? files[random(files.length)]! : generate(random).raw;
    const raw = mutate(origin, random);
    try {
      const store = MessageStore.fromBytes(raw, { verbatim: seed % 2 === 0 });
      check(store);
      const source = readInChunks(store, (body) => cut(body, random, seed % 5 === 0 ? 1 : 50));
      if (raw.length < 20_000) assert.deepEqual(structure(source), structure(store), "cut into chunks");
    } catch (error) {
      throw new Error(`seed ${seed}: ${JSON.stringify(raw.toString("latin1"))}`, { cause: error });
    }
  }
});

test("random bytes and tokens", () => {
  for (let seed = 1; seed <= ROUNDS; seed++) {
    const random = seeded(seed);
    const start = random(2) === 0 ? "Content-Type: multipart/mixed; boundary=b\r\n\r\n" : "";
    const tokens = Array.from({ length: random(40) }, () => TOKENS[random(TOKENS.length)]!);
    check(MessageStore.fromBytes(Buffer.from(start + tokens.join(""), "latin1"), { verbatim: true }));
  }
});
