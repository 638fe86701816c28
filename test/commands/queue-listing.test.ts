/** The queue as a table and as rows; and that the half with rights loads no Lua. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { dirname, join, normalize } from "node:path";
import { test } from "node:test";
import { listing, rowOf } from "../../src/commands/queue-listing.ts";
import { UNCHANGED } from "../../src/queue/actions.ts";
import type { QueuedMessage } from "../../src/queue/client.ts";
import { NEW_ENTRY } from "../../src/queue/journal.ts";
import type { Planned } from "../../src/queue/plan.ts";

const MESSAGE = {
  id: "4jXbgC4KgkzJmqs",
  size: 1234,
  arrivalTime: 1_700_000_000,
  sender: "a\x1b[31mb@x.test",
  recipients: [
    { address: "c@y.test", state: "todo" },
    { address: "d@y.test", state: "done" },
  ],
} as unknown as QueuedMessage;

const PLANNED: Planned = {
  message: MESSAGE,
  position: 1,
  foreign: undefined,
  decision: { kind: "send", last: false },
  actions: { ...UNCHANGED, priority: 100, reason: "first\xe2\x80\xa6\r\n\x07" },
  entry: undefined,
  destinations: ["smtp:y.test"],
};
const entry = {
  ...NEW_ENTRY,
  retries: 3,
  lastTryMs: 1_700_000_100_000,
  nextTryMs: 1_700_000_400_000,
  lastReason: "no",
};

test("rows: states, times, and nothing of a message's that moves a terminal", () => {
  const row = rowOf(PLANNED);
  assert.deepEqual(
    [row.position, row.state, row.priority, row.reason, row.sender, row.recipients],
    [1, "send", 100, "first… ", "a [31mb@x.test", ["c@y.test"]],
  );
  const state = (decision: Planned["decision"], foreign?: Planned["foreign"]) =>
    rowOf({ ...PLANNED, decision, foreign, entry }).state;
  assert.equal(state({ kind: "send", last: true }), "last try");
  assert.equal(state({ kind: "skip" }), "skip");
  assert.equal(state({ kind: "expire" }), "bounce");
  assert.equal(state({ kind: "refuse", words: "w" }), "bounce");
  assert.equal(state(undefined, "held"), "on hold");
  const waits = rowOf({
    ...PLANNED,
    entry,
    position: undefined,
    decision: { kind: "wait", untilMs: 1_700_000_400_000 },
  });
  assert.deepEqual(
    [waits.position, waits.retries, waits.last_try, waits.next_try, waits.last_error],
    [0, 3, "2023-11-14T22:15:00.000Z", "2023-11-14T22:20:00.000Z", "no"],
  );
});

test("the table: columns, sums, colours and the terminal's size only where there is one", () => {
  assert.equal(listing([], { colour: true }), "the queue is empty\n");
  const rows = [rowOf(PLANNED), rowOf({ ...PLANNED, position: undefined, decision: { kind: "skip" } })];
  const lines = listing(rows, { colour: false }).split("\n");
  assert.equal(lines.length, 5);
  assert.match(lines[1] ?? "", /^ {2}1 {2}4jXbgC4KgkzJmqs {2}send {3} 100 +0 +1234 +smtp:y\.test +first…$/);
  assert.match(lines[2] ?? "", /^ {2}- {2}4jXbgC4KgkzJmqs {2}skip /);
  assert.equal(lines[3], "2 messages: 1 send, 1 skip");
  const live = listing([...rows, ...rows, ...rows], { colour: true, width: 30, height: 6 }).split("\n");
  assert.match(live[1] ?? "", /^\x1b\[32m.{30}\x1b\[0m$/);
  assert.equal(live.at(-2), "6 messages: 3 send, 3 skip; 3 not shown");
});

const SRC = join(import.meta.dirname, "../../src");

/** Files that are loaded with `file`, types and what is imported later left out. */
function loadedWith(file: string, seen = new Set<string>()): Set<string> {
  if (seen.has(file)) return seen;
  seen.add(file);
  const text = readFileSync(file, "utf8");
  for (const [, names = "", path = ""] of text.matchAll(
    /^(?:import|export) (?!type )([^;]*?) ?from "(\.[^"]+)"/gms,
  )) {
    const values = names
      .replace(/[{}]/g, "")
      .split(",")
      .filter((name) => !/^\s*(type |$)/.test(name));
    if (values.length > 0) loadedWith(normalize(join(dirname(file), path)), seen);
  }
  return seen;
}

test("the half with rights loads no Lua and no script", () => {
  for (const start of ["commands/queue.ts", "commands/queue-line.ts", "commands/queue-install.ts"]) {
    const loaded = [...loadedWith(join(SRC, start))].map((file) => file.slice(SRC.length + 1));
    assert.ok(loaded.length > 3, loaded.join());
    assert.deepEqual(
      loaded.filter((file) => /^(lua|scripts|helpers|serve|smtp)\//.test(file)),
      [],
      start,
    );
  }
  const other = [...loadedWith(join(SRC, "commands/queue-scripts.ts"))];
  assert.ok(other.includes(join(SRC, "lua/engine.ts")), other.join());
});
