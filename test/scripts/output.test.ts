import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { ScriptError } from "../../src/lua/errors.ts";
import { errorEntry, OutputFiles } from "../../src/scripts/output.ts";

function scratch(context: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), "output-"));
  context.after(() => rmSync(directory, { recursive: true }));
  return directory;
}

function files(directory: string): { output: OutputFiles; problems: string[] } {
  const problems: string[] = [];
  return { output: new OutputFiles(directory, (problem) => problems.push(problem)), problems };
}

test("what is printed is in LUA.OUT byte by byte, what failed in LUAERRORS.LOG, once closed", async (t) => {
  const directory = scratch(t);
  const { output, problems } = files(directory);
  output.print("one\n");
  output.print("\x00\xff\n");
  output.error("entry\n");
  await output.close();
  assert.equal(readFileSync(join(directory, "LUA.OUT"), "latin1"), "one\n\x00\xff\n");
  assert.equal(readFileSync(join(directory, "LUAERRORS.LOG"), "latin1"), "entry\n");
  assert.deepEqual(problems, []);
});

test("files appear with the first word only, readable for the group", async (t) => {
  const directory = scratch(t);
  const { output } = files(directory);
  output.print("x\n");
  await output.close();
  assert.deepEqual(readdirSync(directory), ["LUA.OUT"]);
  assert.equal(statSync(join(directory, "LUA.OUT")).mode & 0o777, 0o640);
});

test("what is there already is kept; a file moved away is begun anew", async (t) => {
  const directory = scratch(t);
  const path = join(directory, "LUA.OUT");
  writeFileSync(path, "old\n");
  for (const word of ["a\n", "b\n"]) {
    const { output } = files(directory);
    output.print(word);
    await output.close();
  }
  assert.equal(readFileSync(path, "utf8"), "old\na\nb\n");
  const { output } = files(directory);
  output.print("c\n");
  await output.close();
  rmSync(path);
  const { output: after } = files(directory);
  after.print("d\n");
  await after.close();
  assert.equal(readFileSync(path, "utf8"), "d\n");
});

test("a file rotates at 16 MB and three old ones are kept", async (t) => {
  const directory = scratch(t);
  const { output, problems } = files(directory);
  const chunk = "x".repeat(1024 * 1024);
  for (let n = 0; n < 6; n++) {
    writeFileSync(join(directory, "LUA.OUT"), `${n}`.padEnd(16 * 1024 * 1024 - 10, "."));
    output.print(chunk);
    // Closing writes what waits; the object goes on.
    await output.close();
  }
  assert.deepEqual(readdirSync(directory).sort(), ["LUA.OUT", "LUA.OUT.1", "LUA.OUT.2", "LUA.OUT.3"]);
  assert.equal(statSync(join(directory, "LUA.OUT")).size, chunk.length);
  assert.equal(readFileSync(join(directory, "LUA.OUT.1"), "latin1")[0], "5");
  assert.equal(readFileSync(join(directory, "LUA.OUT.3"), "latin1")[0], "3");
  assert.deepEqual(problems, []);
});

test("a directory that cannot be written costs the output and is told once", async (t) => {
  const directory = join(scratch(t), "missing");
  const { output, problems } = files(directory);
  output.print("lost\n");
  await output.close();
  output.print("lost, too\n");
  await output.close();
  assert.equal(problems.length, 1);
  assert.match(problems[0] ?? "", /LUA\.OUT cannot be written \(ENOENT.*script output is lost meanwhile$/);
  mkdirSync(directory);
  output.print("kept\n");
  await output.close();
  assert.equal(readFileSync(join(directory, "LUA.OUT"), "utf8"), "kept\n");
});

test("more than memory should hold is dropped, and how much is told", async (t) => {
  const directory = scratch(t);
  const { output, problems } = files(directory);
  const megabyte = "y".repeat(1024 * 1024);
  for (let n = 0; n < 10; n++) output.print(megabyte);
  await output.close();
  assert.equal(statSync(join(directory, "LUA.OUT")).size, 4 * megabyte.length);
  assert.match(problems[0] ?? "", /LUA\.OUT takes output too slowly; 6291456 bytes are lost/);
});

test("a full disk costs the output, is told, and is over when there is room again", async (t) => {
  const directory = scratch(t);
  const mounted = spawnSync("mount", ["-t", "tmpfs", "-o", "size=64k", "tmpfs", directory]);
  if (mounted.status !== 0) return t.skip(`no tmpfs can be mounted here: ${mounted.stderr}`);
  try {
    const { output, problems } = files(directory);
    writeFileSync(join(directory, "ballast"), "b".repeat(40 * 1024));
    output.print(`${"z".repeat(60 * 1024)}\n`);
    await output.close();
    assert.match(problems[0] ?? "", /LUA\.OUT cannot be written \(ENOSPC/);
    rmSync(join(directory, "ballast"));
    output.print("room\n");
    await output.close();
    assert.match(readFileSync(join(directory, "LUA.OUT"), "latin1"), /room\n$/);
  } finally {
    spawnSync("umount", [directory]);
  }
});

test("an entry has one line of facts, and every line below it is indented", () => {
  const error = new ScriptError("SMTPSVR.LUA:3: boom\nsecond line", {
    kind: "budget",
    budget: "cpu",
    script: "SMTPSVR.LUA",
    callback: "",
    line: 3,
    traceback: "stack traceback:\n\t[C]: ?",
  });
  const entry = errorEntry(error, { session: "s-1", queue: "" }, new Date(0));
  assert.equal(
    entry,
    [
      "1970-01-01T00:00:00.000Z session=s-1 queue=- script=SMTPSVR.LUA callback=(top level) line=3 error=budget:cpu",
      "    SMTPSVR.LUA:3: boom",
      "    second line",
      "    stack traceback:",
      "    \t[C]: ?",
      "",
    ].join("\n"),
  );
});
