/** Long work leaves others their turn: a step does no more than a piece of the message. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { attachmentSteps } from "../../src/message/attachment.ts";
import { structureSteps } from "../../src/message/mime.ts";
import { atOnce, inTurns, type Steps } from "../../src/message/steps.ts";
import { MessageStore } from "../../src/message/store.ts";
import * as write from "./tnef-writer.ts";

const SIZE = 4_000_000;
const PIECE = 256 * 1024;
const fill = (text: string) => text.repeat(Math.ceil(SIZE / text.length));
const winmail = write.stream(write.file("a.bin", Buffer.alloc(SIZE)));

const BODIES: [what: string, message: string][] = [
  ["base64", `Content-Type: a/b\r\nContent-Transfer-Encoding: base64\r\n\r\n${fill("QUJDREVG\r\n")}`],
  [
    "quoted-printable",
    `Content-Type: a/b\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n${fill("x=E4y\r\n")}`,
  ],
  ["plain text", `\r\n${fill("Hello\r\n")}`],
  ["an uuencoded file", `\r\nbegin 644 x\r\n${fill("#86)C\r\n")}`],
  ["a binary part", `Content-Type: a/b\r\n\r\n${fill("\0\xff\r\n")}`],
  ["TNEF", `Content-Type: application/ms-tnef\r\n\r\n${winmail.toString("latin1")}`],
];

function count<T>(steps: Steps<T>): { steps: number; value: T } {
  for (let n = 1; ; n++) {
    const step = steps.next();
    if (step.done === true) return { steps: n, value: step.value };
  }
}

for (const [what, message] of BODIES) {
  test(`listing ${what}: a step for each piece`, () => {
    const store = MessageStore.fromBytes(Buffer.from(message, "latin1"), { verbatim: true });
    const { parts } = atOnce(structureSteps(store));
    const { steps } = count(attachmentSteps(store, parts));
    assert.ok(steps >= Math.floor(SIZE / PIECE), `${steps} steps`);
  });
}

test("reading the structure: a step for each piece", () => {
  const message = `Content-Type: multipart/mixed; boundary=b\r\n\r\n${fill("--b\r\n\r\nx\r\n")}`;
  const { steps, value } = count(structureSteps(MessageStore.fromBytes(Buffer.from(message))));
  assert.ok(steps >= Math.floor(SIZE / PIECE) || !value.complete, `${steps} steps`);
  const long = `Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n${fill("-- \r\n")}`;
  assert.ok(
    count(structureSteps(MessageStore.fromBytes(Buffer.from(long)))).steps >= Math.floor(SIZE / PIECE),
  );
});

test("in turns: others run in between, and the result is the same", async () => {
  function* work(): Steps<number> {
    for (let i = 0; i < 40; i++) {
      for (const end = performance.now() + 1; performance.now() < end; );
      yield;
    }
    return 40;
  }
  let turns = 0;
  let over = false;
  const turn = () => {
    turns++;
    if (!over) setImmediate(turn);
  };
  setImmediate(turn);
  assert.equal(await inTurns(work()), 40);
  over = true;
  assert.ok(turns >= 4, `${turns} turns`);
  assert.equal(atOnce(work()), 40);
});

test("in turns: what a step throws rejects", async () => {
  // biome-ignore lint/correctness/useYield: it fails before
  function* work(): Steps<number> {
    throw new Error("x");
  }
  await assert.rejects(inTurns(work()), /^Error: x$/);
});
