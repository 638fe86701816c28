import assert from "node:assert/strict";
import { PassThrough } from "node:stream";
import { test } from "node:test";
import { BlackBox, type BlackBoxLine } from "../../src/serve/black-box.ts";
import type { Place } from "../../src/serve/vital.ts";

function place(session: string, callback = "DoRCPTTO"): Place {
  return { session, queue: "", script: "SMTPSVR.LUA", callback, line: 0 };
}

function box(): {
  box: BlackBox;
  write(text: string): void;
  say(line: BlackBoxLine): void;
  alive: () => number;
} {
  const pipe = new PassThrough();
  let alive = 0;
  const made = new BlackBox(pipe, () => alive++);
  const write = (text: string) => pipe.write(Buffer.from(text, "latin1"));
  return { box: made, write, say: (line) => write(`${JSON.stringify(line)}\n`), alive: () => alive };
}

test("what ran most often in the last moments is what is named; ties go to the later", async () => {
  const { box: made, say, alive } = box();
  for (const session of ["a", "b", "b", "c", "c"]) say({ type: "alive", place: place(session) });
  await new Promise(setImmediate);
  assert.equal(alive(), 5);
  assert.equal(made.place()?.session, "c");
  for (let n = 0; n < 12; n++) say({ type: "alive", place: place("d") });
  await new Promise(setImmediate);
  assert.equal(made.place()?.session, "d");
});

test("a moment without a callback ends the suspicion", async () => {
  const { box: made, say } = box();
  say({ type: "alive", place: place("a") });
  say({ type: "alive" });
  await new Promise(setImmediate);
  assert.equal(made.place(), undefined);
});

test("the last words name the culprit themselves", async () => {
  const { box: made, say } = box();
  say({ type: "alive", place: place("a") });
  say({ type: "killing", cause: "stuck", detail: "x", place: place("b") });
  await new Promise(setImmediate);
  assert.equal(made.killing?.cause, "stuck");
  assert.equal(made.place()?.session, "b");
});

test("lines come in pieces; nonsense and half lines are nobody's business", async () => {
  const { box: made, write, alive } = box();
  const line = JSON.stringify({ type: "alive", place: place("\xe4") });
  for (const piece of [
    line.slice(0, 5),
    line.slice(5),
    "\nrubbish\n",
    "null\n7\n",
    '{"type":"other"}\n',
    '{"type":',
  ]) {
    write(piece);
  }
  await new Promise(setImmediate);
  assert.equal(alive(), 1);
  assert.equal(made.place()?.session, "\xe4");
});
