import assert from "node:assert/strict";
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { text } from "node:stream/consumers";
import { test } from "node:test";
import { BlackBox } from "../../src/serve/black-box.ts";
import { Silence } from "../../src/serve/watchdog.ts";

const FIXTURE = join(import.meta.dirname, "watched-process.ts");

interface Outcome {
  readonly code: number | null;
  readonly signal: string | null;
  readonly output: string;
  readonly box: BlackBox;
  readonly alive: number;
}

async function run(what: string, format = "json", meanwhile: (child: ChildProcess) => void = () => {}) {
  const child = fork(FIXTURE, [what, format], { stdio: ["ignore", "pipe", "inherit", "ipc", "pipe"] });
  let alive = 0;
  const box = new BlackBox(child.stdio[4] as Readable, () => {
    if (alive++ === 0) meanwhile(child);
  });
  const output = text(child.stdout as Readable);
  const [code, signal] = (await once(child, "close")) as [number | null, string | null];
  return { code, signal, output: await output, box, alive } satisfies Outcome;
}

const PLACE = { session: "session-1", queue: "4QID", script: "SMTPSVR.LUA", callback: "DoRCPTTO", line: 17 };

test("a main thread that spins is named in the log and to the primary, and killed", async () => {
  const { signal, output, box } = await run("spin");
  assert.equal(signal, "SIGKILL");
  const { event, level, session, queue, script, callback, line } = JSON.parse(output);
  assert.deepEqual(
    { event, level, session, queue, script, callback, line },
    { event: "worker stuck, killed", level: "error", ...PLACE },
  );
  assert.equal(box.killing?.cause, "stuck");
  assert.deepEqual(box.place(), PLACE);
});

test("on a terminal the line is text", async () => {
  const { output } = await run("spin", "text");
  assert.match(
    output,
    /^\S+ error worker stuck, killed worker=\d+ session=session-1 queue=4QID script=SMTPSVR.LUA /,
  );
});

test("a process that takes too much memory is killed though its event loop turns", async () => {
  const { signal, output, box } = await run("memory");
  assert.equal(signal, "SIGKILL");
  assert.equal(JSON.parse(output).event, "worker over its memory, killed");
  assert.equal(box.killing?.cause, "memory");
  assert.match(box.killing?.detail ?? "", /^the process holds \d+ of 250 MB$/);
});

test("a busy main thread whose event loop turns is left alone", async () => {
  const { code, output, alive } = await run("busy");
  assert.equal(code, 0);
  assert.equal(output, "");
  assert.ok(alive > 2, `${alive} signs of life`);
});

test("a process stopped and continued is not taken for stuck", async () => {
  const { code, output } = await run("busy", "json", (child) => {
    child.kill("SIGSTOP");
    setTimeout(() => child.kill("SIGCONT"), 1_500);
  });
  assert.equal(code, 0);
  assert.equal(output, "");
});

test("silence is counted by ticks: a clock that jumps is no silence", () => {
  const silence = new Silence(100, 0);
  assert.equal(silence.tick(100), 100);
  assert.equal(silence.tick(60_000), 300, "a minute in which nothing ran counts as two ticks");
  silence.heard();
  assert.equal(silence.tick(60_100), 100);
});
