/** The journal: what it keeps, over ends of every kind. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { Journal, readJournal } from "../../src/queue/journal.ts";
import { keptLog } from "./harness.ts";

const directory = mkdtempSync(join(tmpdir(), "postlua-journal-"));
after(() => rmSync(directory, { recursive: true }));
let count = 0;
const newPath = () => join(directory, `${++count}.sqlite`);
const open = (path: string) => {
  const log = keptLog();
  return { journal: new Journal({ path, log }), log };
};
const key = (id: string, arrivalTime = 1_700_000_000) => ({ id, arrivalTime, arrivalMicroseconds: 7 });

test("what was written is there again; another message with the same ID is another one", () => {
  const path = newPath();
  const { journal } = open(path);
  journal.change(key("A1"), {
    retries: 3,
    stage: "last",
    lastReason: "450 \u00e4",
    priority: -1.5,
    skipped: true,
  });
  journal.change(key("A2"), { reason: "x" });
  journal.alive(123_000);
  journal.close();
  const again = open(path).journal;
  assert.deepEqual(
    { ...again.get(key("A1")) },
    {
      ...again.get(key("A2")),
      retries: 3,
      stage: "last",
      lastReason: "450 \u00e4",
      priority: -1.5,
      skipped: true,
      reason: "",
    },
  );
  assert.equal(again.get(key("A1", 1_700_000_001)), undefined);
  assert.deepEqual(again.unfinished(), ["A1"]);
  assert.equal(again.heartbeat.plannedMs, 123_000);
  assert.ok(again.heartbeat.aliveMs > 0);
  again.keep(new Set(["A2"]));
  assert.equal(again.get(key("A1")), undefined);
  const seen = readJournal(path);
  assert.deepEqual([...seen.entries.keys()], ["A2"]);
  assert.deepEqual(seen.heartbeat, again.heartbeat);
  again.close();
});

test("a process killed right after a change has written it, and what it left can be read", () => {
  const path = newPath();
  const module = JSON.stringify(join(import.meta.dirname, "../../src/queue/journal.ts"));
  const program = `
    import { Journal } from ${module};
    const log = { error() {}, warn() {}, info() {}, debug() {} };
    const journal = new Journal({ path: ${JSON.stringify(path)}, log });
    for (let i = 0; i < 200; i++) journal.change({ id: "A" + i, arrivalTime: 1, arrivalMicroseconds: 0 }, { retries: i });
    process.kill(process.pid, "SIGKILL");
  `;
  const { signal } = spawnSync(process.execPath, ["--input-type=module", "-e", program]);
  assert.equal(signal, "SIGKILL");
  const { journal, log } = open(path);
  assert.equal(journal.get({ id: "A199", arrivalTime: 1, arrivalMicroseconds: 0 })?.retries, 199);
  assert.deepEqual(log.lines, []);
  journal.close();
});

test("a damaged file is put aside and said; mail goes on", () => {
  const path = newPath();
  writeFileSync(path, "this is no database, and long enough not to be taken for an empty one".repeat(50));
  const { journal, log } = open(path);
  journal.change(key("A1"), { retries: 1 });
  assert.match(log.lines.join("\n"), /the file is damaged; a new one is begun/);
  journal.change(key("A2"), { retries: 2 });
  journal.close();
  assert.ok(existsSync(`${path}.damaged`));
  const seen = readJournal(path);
  assert.deepEqual([...seen.entries.keys()].sort(), ["A1", "A2"]);
});

test("without a place to write, everything is remembered all the same", () => {
  const { journal, log } = open(join(directory, "no", "such", "directory.sqlite"));
  for (let i = 0; i < 50; i++) journal.change(key(`A${i}`), { retries: i });
  assert.equal(journal.get(key("A49"))?.retries, 49);
  assert.equal(journal.isSaved, false);
  assert.equal(log.lines.length, 1);
  assert.match(log.lines[0] ?? "", /cannot be written.* path=\S+no\/such/);
  journal.close();
});
