/** One worker at a time: the lock between processes, also when its holder is killed. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { workerFiles } from "../../src/queue/files.ts";
import { isLock, lockHolder, takeLock, waitForLock } from "../../src/queue/lock.ts";

const directory = mkdtempSync(join(tmpdir(), "postlua-lock-"));
after(() => rmSync(directory, { recursive: true }));

test("one holder, whom others can name; free again when released", () => {
  const path = join(directory, "a.lock");
  assert.equal(lockHolder(path), undefined);
  const lock = takeLock(path, "--watch", new Date(0));
  assert.ok(isLock(lock));
  const holder = { pid: process.pid, since: "1970-01-01T00:00:00.000Z", doing: "--watch" };
  assert.deepEqual({ ...takeLock(path, "--once") }, holder);
  assert.deepEqual({ ...lockHolder(path) }, holder);
  lock.release();
  assert.equal(lockHolder(path), undefined);
  const next = takeLock(path, "--once");
  assert.ok(isLock(next));
  assert.equal(lockHolder(path)?.doing, "--once");
  next.release();
});

test("a killed holder lets go, and who waits gets it", async () => {
  const path = join(directory, "b.lock");
  const module = join(import.meta.dirname, "../../src/queue/lock.ts");
  const code = `import(${JSON.stringify(module)}).then(({ takeLock }) => {
    globalThis.lock = takeLock(${JSON.stringify(path)}, "--watch");
    console.log("held");
    setInterval(() => {}, 1000);
  })`;
  const child = spawn(process.execPath, ["-e", code], { stdio: ["ignore", "pipe", "inherit"] });
  await once(child.stdout, "data");
  assert.equal(lockHolder(path)?.pid, child.pid);
  const gaveUp = await waitForLock(path, "--once", AbortSignal.abort());
  assert.equal(gaveUp, undefined);
  const waiting = waitForLock(path, "--once", new AbortController().signal);
  child.kill("SIGKILL");
  const lock = await waiting;
  assert.ok(lock !== undefined);
  assert.equal(lockHolder(path)?.pid, process.pid);
  lock.release();
});

test("what is no lock file is an error, and no place is two instances'", () => {
  const path = join(directory, "c.lock");
  writeFileSync(path, "no database at all ".repeat(100));
  assert.throws(() => takeLock(path, "--once"), /not a database/);
  const one = workerFiles("/d", "/var/spool/postfix");
  assert.deepEqual(one, {
    journal: "/d/queue-var-spool-postfix.db",
    lock: "/d/queue-var-spool-postfix.lock",
  });
  assert.notEqual(workerFiles("/d", "/var/spool/postfix-out").lock, one.lock);
  assert.equal(workerFiles("/d", `${directory}/.`).lock, workerFiles("/d", directory).lock);
});
