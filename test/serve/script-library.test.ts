/** What the primary takes into service, and what it refuses, from real files. */
import assert from "node:assert/strict";
import {
  mkdirSync,
  mkdtempSync,
  openSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { ScriptError } from "../../src/lua/errors.ts";
import type { ScriptCandidate } from "../../src/serve/messages.ts";
import { readSettled } from "../../src/serve/script-file.ts";
import { ScriptSlot } from "../../src/serve/script-library.ts";

const NAME = "SMTPSVR.LUA";

function scratch(context: TestContext): { directory: string; path: string } {
  const directory = mkdtempSync(join(tmpdir(), "library-"));
  context.after(() => rmSync(directory, { recursive: true }));
  return { directory, path: join(directory, NAME) };
}

/** In place of the trial: whatever has the word "bad" in it is broken. */
async function tryOut({ source, name }: ScriptCandidate): Promise<readonly string[]> {
  if (!source.includes("bad")) return ["Start"];
  throw new ScriptError(`${name}:1: bad`, {
    kind: "syntax",
    script: name,
    callback: "",
    line: 1,
    traceback: "",
  });
}

test("good, the same again, broken, good again", async (t) => {
  const { directory, path } = scratch(t);
  const slot = new ScriptSlot(NAME);
  const look = async (text: string) => {
    writeFileSync(path, text);
    return (await slot.load(directory, tryOut, true)).kind;
  };
  assert.equal(await look("good"), "loaded");
  const { version } = slot;
  assert.equal(await look("good"), "unchanged");
  assert.equal(await look("bad"), "refused");
  assert.equal(slot.version, version);
  assert.equal(slot.given().kind, "good");
  assert.equal(slot.problem?.details.line, 1);
  assert.equal(await look("good"), "unchanged", "back on disk is what is in service");
  assert.equal(slot.problem, undefined);
  assert.equal(await look("good 2"), "loaded");
});

test("broken from the start is broken in service; absent is absent", async (t) => {
  const { directory, path } = scratch(t);
  const slot = new ScriptSlot(NAME);
  assert.equal((await slot.load(directory, tryOut, true)).kind, "missing");
  assert.equal(slot.given().kind, "absent");
  writeFileSync(path, "bad");
  const outcome = await slot.load(directory, tryOut, true);
  assert.equal(outcome.kind === "refused" && outcome.kept, false);
  assert.equal(slot.given().kind, "broken");
});

test("a file that is gone takes its script out of service only where that is asked for", async (t) => {
  const { directory, path } = scratch(t);
  const slot = new ScriptSlot(NAME);
  writeFileSync(path, "good");
  await slot.load(directory, tryOut, true);
  rmSync(path);
  assert.equal((await slot.load(directory, tryOut, false)).kind, "missing");
  assert.equal(slot.given().kind, "good");
  assert.equal((await slot.load(directory, tryOut, true)).kind, "removed");
  assert.equal(slot.given().kind, "absent");
});

test("a directory that cannot be read takes nothing out of service", async (t) => {
  const { directory, path } = scratch(t);
  const slot = new ScriptSlot(NAME);
  writeFileSync(path, "good");
  await slot.load(directory, tryOut, true);
  assert.equal((await slot.load(join(directory, "none"), tryOut, true)).kind, "refused");
  assert.equal(slot.given().kind, "good");
});

test("an empty file replaces nothing, but may be all there is", async (t) => {
  const { directory, path } = scratch(t);
  const slot = new ScriptSlot(NAME);
  writeFileSync(path, "");
  assert.equal((await slot.load(directory, tryOut, true)).kind, "loaded");
  writeFileSync(path, "good");
  await slot.load(directory, tryOut, true);
  writeFileSync(path, " \n\n");
  const outcome = await slot.load(directory, tryOut, true);
  assert.match(
    outcome.kind === "refused" ? outcome.problem.message : "",
    /the file is empty; delete it and reload/,
  );
  assert.equal(slot.version?.source, "good");
});

test("switched off it is broken for workers, until another text comes", async (t) => {
  const { directory, path } = scratch(t);
  const slot = new ScriptSlot(NAME);
  writeFileSync(path, "good");
  await slot.load(directory, tryOut, true);
  const details = { kind: "stopped", script: NAME, callback: "", line: 0, traceback: "" } as const;
  slot.switchOff({ message: "off", details });
  assert.equal(slot.given().kind, "broken");
  await slot.load(directory, tryOut, true);
  assert.equal(slot.switchedOff, true);
  writeFileSync(path, "good 2");
  await slot.load(directory, tryOut, true);
  assert.equal(slot.given().kind, "good");
});

test("a file that is being written is read when it is whole", async (t) => {
  const { directory, path } = scratch(t);
  const file = openSync(path, "w");
  const lines = Array.from({ length: 20 }, (_, n) => `line ${n}\n`);
  const writing = setInterval(() => {
    const line = lines.shift();
    if (line !== undefined) writeSync(file, line);
    else clearInterval(writing);
  }, 10);
  const candidate = await readSettled(directory, NAME);
  assert.equal(lines.length, 0, "read after the last write");
  assert.match(candidate?.source ?? "", /^line 0\n(.|\n)*line 19\n$/);
});

test("a time stamp in the future is no reason to wait for ever", async (t) => {
  const { directory, path } = scratch(t);
  writeFileSync(path, "good");
  utimesSync(path, Date.now() / 1000 + 3600, Date.now() / 1000 + 3600);
  assert.equal((await readSettled(directory, NAME))?.source, "good");
});

test("a name that is no readable file is refused, not thrown", async (t) => {
  const { directory, path } = scratch(t);
  const slot = new ScriptSlot(NAME);
  mkdirSync(path);
  const outcome = await slot.load(directory, tryOut, true);
  assert.match(
    outcome.kind === "refused" ? outcome.problem.message : "",
    /cannot be read \(no regular file\)/,
  );
  rmSync(path, { recursive: true });
  symlinkSync(NAME, path);
  const looping = await slot.load(directory, tryOut, true);
  assert.match(looping.kind === "refused" ? looping.problem.message : "", /cannot be read \(ELOOP\)/);
});
