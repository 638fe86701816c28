/** Scans of a queue that others change: what is new, what moved, what is gone. */
import assert from "node:assert/strict";
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  renameSync,
  rmSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { type Batch, QUEUES, QueueScanner } from "../../src/queue/scan.ts";
import { buildQueueFile, place } from "./build.ts";

function queueDirectory(context: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), "postlua-scan-"));
  for (const queue of QUEUES) mkdirSync(join(directory, queue));
  context.after(() => rmSync(directory, { recursive: true }));
  return directory;
}

interface Seen {
  readonly found: string[];
  readonly moved: string[];
  readonly gone: readonly string[];
  readonly unreadable: readonly string[];
  readonly total: number;
}

async function scan(scanner: QueueScanner, onBatch?: (batch: Batch) => void, fresh = false): Promise<Seen> {
  const found: string[] = [];
  const moved: string[] = [];
  const result = await scanner.scan({
    fresh,
    batch: 3,
    onBatch: (batch) => {
      found.push(...batch.found.map(({ queue, file }) => `${queue} ${file.id}`));
      moved.push(...batch.moved.map(({ queue, entry }) => `${queue} ${entry.id}`));
      onBatch?.(batch);
    },
  });
  const unreadable = result.unreadable.map(({ problem }) => problem);
  return { found: found.sort(), moved: moved.sort(), gone: result.gone, unreadable, total: result.total };
}

/** A scanner for whom no file was changed just now: such files it reads once more, since file systems' clocks are coarse. */
const later = (directory: string) => new QueueScanner(directory, undefined, () => Date.now() + 60_000);

const NOTHING = { found: [], moved: [], gone: [], unreadable: [] };

test("a message deferred again within the same second is noticed", async (context) => {
  const directory = queueDirectory(context);
  const path = place(directory, { path: "deferred/8/8ABCDEF01" }, buildQueueFile());
  const scanner = new QueueScanner(directory);
  await scan(scanner);
  const bytes = buildQueueFile();
  bytes[bytes.indexOf("R\x0eto@remote.test")] = 0x44;
  writeFileSync(path, bytes);
  utimesSync(path, 1_700_000_300, 1_700_000_300);
  let states = "";
  const { moved } = await scan(scanner, (batch) => {
    states = batch.moved[0]?.file?.recipients.map(({ state }) => state).join() ?? "";
  });
  assert.deepEqual([moved, states], [["deferred 8ABCDEF01"], "done"]);
});

test("a second scan brings what is new, what moved and what is gone", async (context) => {
  const directory = queueDirectory(context);
  place(directory, { path: "deferred/8/8ABCDEF01" }, buildQueueFile());
  place(directory, { path: "deferred/9/9ABCDEF02" }, buildQueueFile());
  place(directory, { path: "deferred/A/B/AABCDEF03" }, buildQueueFile());
  place(directory, { path: "active/BABCDEF04" }, buildQueueFile());
  place(directory, { path: "incoming/CABCDEF05", mode: 0o600 }, Buffer.from("half"));
  place(directory, { path: "hold/DABCDEF06" }, buildQueueFile());
  place(directory, { path: "deferred/8/not-an-id" }, Buffer.from("x"));
  const scanner = later(directory);
  assert.deepEqual(await scan(scanner), {
    ...NOTHING,
    found: [
      "active BABCDEF04",
      "deferred 8ABCDEF01",
      "deferred 9ABCDEF02",
      "deferred AABCDEF03",
      "hold DABCDEF06",
    ],
    total: 5,
  });
  assert.deepEqual(await scan(scanner), { ...NOTHING, total: 5 });
  renameSync(join(directory, "deferred/8/8ABCDEF01"), join(directory, "active/8ABCDEF01"));
  utimesSync(join(directory, "deferred/9/9ABCDEF02"), 1, 1_700_009_000);
  chmodSync(join(directory, "hold/DABCDEF06"), 0o710);
  unlinkSync(join(directory, "active/BABCDEF04"));
  place(directory, { path: "incoming/CABCDEF05" }, buildQueueFile());
  assert.deepEqual(await scan(scanner), {
    found: ["incoming CABCDEF05"],
    moved: ["active 8ABCDEF01", "deferred 9ABCDEF02", "hold DABCDEF06"],
    gone: ["BABCDEF04"],
    unreadable: [],
    total: 5,
  });
  assert.equal((await scan(scanner, undefined, true)).found.length, 5);
});

test("a short ID given to another message is another message", async (context) => {
  const directory = queueDirectory(context);
  const path = place(directory, { path: "deferred/8/8ABCDEF01" }, buildQueueFile({ arrival: 1_700_000_000 }));
  const scanner = later(directory);
  await scan(scanner);
  writeFileSync(path, buildQueueFile({ arrival: 1_700_000_001 }));
  const { found, moved } = await scan(scanner);
  assert.deepEqual([found, moved], [["deferred 8ABCDEF01"], []]);
});

test("a file that was changed a moment ago is read once more, and news only if it is different", async (context) => {
  const directory = queueDirectory(context);
  place(directory, { path: "deferred/8/8ABCDEF01" }, buildQueueFile());
  const scanner = new QueueScanner(directory);
  assert.equal((await scan(scanner)).found.length, 1);
  assert.deepEqual(await scan(scanner), { ...NOTHING, total: 1 });
});

test("a file that cannot be read is told at each scan and counts for nothing", async (context) => {
  const directory = queueDirectory(context);
  place(directory, { path: "deferred/8/8ABCDEF01" }, Buffer.from("rubbish rubbish"));
  place(directory, { path: "deferred/9/9ABCDEF02" }, buildQueueFile());
  const scanner = later(directory);
  for (let round = 0; round < 2; round++) {
    const { unreadable, total, gone } = await scan(scanner);
    assert.match(unreadable.join(), /^\S+\/deferred\/8\/8ABCDEF01: at byte \d+: /);
    assert.deepEqual([total, gone], [1, []]);
  }
});

test("mail that moves while it is scanned is found, once, and never called gone", async (context) => {
  const directory = queueDirectory(context);
  const ids = Array.from({ length: 40 }, (_, i) => `8ABCDE${String(i).padStart(2, "0")}F`);
  for (const id of ids) place(directory, { path: `deferred/8/${id}` }, buildQueueFile());
  const scanner = later(directory);
  // Everything changes its queue at each batch, back and forth.
  let away = false;
  const stir = () => {
    for (const id of ids) {
      const places = [join(directory, "deferred/8", id), join(directory, "active", id)];
      const [from = "", to = ""] = away ? places.reverse() : places;
      renameSync(from, to);
    }
    away = !away;
  };
  const first = await scan(scanner, stir);
  assert.equal(first.found.length, ids.length);
  assert.equal(first.total, ids.length);
  for (let round = 0; round < 5; round++) {
    const next = await scan(scanner, stir);
    assert.deepEqual([next.found, next.gone, next.total], [[], [], ids.length]);
    stir();
  }
});

test("a queue directory that is not there is an error, not an empty queue", async () => {
  await assert.rejects(scan(new QueueScanner("/nonexistent/queue")), /ENOENT/);
});

test("one message is found wherever it lies", async (context) => {
  const directory = queueDirectory(context);
  place(directory, { path: "deferred/8/A/8ABCDEF01" }, buildQueueFile());
  place(directory, { path: "hold/9ABCDEF02" }, buildQueueFile());
  const scanner = later(directory);
  assert.equal(scanner.locate("8ABCDEF01")?.path, "deferred/8/A/8ABCDEF01");
  assert.equal(scanner.read("9ABCDEF02")?.queue, "hold");
  for (const id of ["8ABCDEF09", "../hold/9ABCDEF02", ""]) assert.equal(scanner.locate(id), undefined);
});
