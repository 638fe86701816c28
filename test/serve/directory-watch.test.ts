import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { DirectoryWatch } from "../../src/serve/directory-watch.ts";

const TIMES = { pollMs: 50, settleMs: 30 };

interface Watched {
  readonly directory: string;
  readonly calls: number;
  /** The next call, which must come. */
  next(): Promise<unknown>;
}

async function watched(context: TestContext, times = TIMES): Promise<Watched> {
  const directory = join(mkdtempSync(join(tmpdir(), "watch-")), "scripts");
  mkdirSync(directory);
  writeFileSync(join(directory, "SMTPSVR.LUA"), "a = 1");
  const events = new EventTarget();
  let calls = 0;
  const watch = await DirectoryWatch.open(
    directory,
    () => {
      calls++;
      events.dispatchEvent(new Event("changed"));
    },
    { times },
  );
  // The watch alone keeps no process alive; a test that waits must.
  const alive = setInterval(() => {}, 1_000);
  context.after(() => {
    watch.close();
    clearInterval(alive);
    rmSync(join(directory, ".."), { recursive: true });
  });
  return {
    directory,
    get calls() {
      return calls;
    },
    next: () => once(events, "changed", { signal: AbortSignal.timeout(10_000) }),
  };
}

test("a changed, a new and a removed file are each told once", async (t) => {
  const watch = await watched(t);
  writeFileSync(join(watch.directory, "SMTPSVR.LUA"), "a = 22");
  await watch.next();
  writeFileSync(join(watch.directory, "other.lua"), "b = 1");
  await watch.next();
  rmSync(join(watch.directory, "other.lua"));
  await watch.next();
  assert.equal(watch.calls, 3);
});

test("a file put in place by rename is noticed, also with the same size", async (t) => {
  const watch = await watched(t);
  writeFileSync(join(watch.directory, "new"), "a = 2");
  renameSync(join(watch.directory, "new"), join(watch.directory, "SMTPSVR.LUA"));
  await watch.next();
  assert.equal(watch.calls, 1);
});

test("a file that is still being written is waited for", async (t) => {
  const watch = await watched(t, { pollMs: 50, settleMs: 60 });
  const path = join(watch.directory, "SMTPSVR.LUA");
  let writes = 0;
  const writing = setInterval(() => {
    writeFileSync(path, `a = ${"x".repeat(++writes)}`);
    if (writes === 20) clearInterval(writing);
  }, 10);
  await watch.next();
  assert.equal(writes, 20, "told after the last write");
  assert.equal(watch.calls, 1);
});

test("files that are no scripts are nobody's business", async (t) => {
  const watch = await watched(t);
  writeFileSync(join(watch.directory, "notes.txt"), "x");
  writeFileSync(join(watch.directory, "SMTPSVR.LUA"), "a = 333");
  await watch.next();
  assert.equal(watch.calls, 1);
});

test("a directory that is replaced by another is still watched", async (t) => {
  const watch = await watched(t);
  const { directory } = watch;
  renameSync(directory, `${directory}.old`);
  mkdirSync(directory);
  writeFileSync(join(directory, "SMTPSVR.LUA"), "a = 4444");
  await watch.next();
  const before = watch.calls;
  writeFileSync(join(directory, "SMTPSVR.LUA"), "a = 55555");
  await watch.next();
  assert.equal(watch.calls, before + 1);
});
