/** What can be wrong with the file of a SQLite store, and whose it is. */
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import {
  chmodSync,
  chownSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { test } from "node:test";
import { openStore } from "../../src/directory/open.ts";
import type { Store } from "../../src/directory/store.ts";
import { type StoreConfig, scratchDirectory, storeConfig } from "./backends.ts";

let count = 0;

function place(): { readonly directory: string; readonly file: string; readonly config: StoreConfig } {
  const directory = join(scratchDirectory(), `file-${++count}`);
  const file = join(directory, "postlua.db");
  mkdirSync(directory, { mode: 0o755 });
  return { directory, file, config: storeConfig({ database: `sqlite:${file}`, timeout_ms: 200 }) };
}

const unavailable = (words: RegExp) => (error: Error) => {
  assert.equal(error.name, "StoreUnavailable", String(error.stack));
  assert.match(error.message, words);
  return true;
};

test("a lock of another process is waited for without stopping this one, and then given up", async () => {
  const { file, config } = place();
  const store = await openStore(config);
  const patient = await openStore({ ...config, timeout_ms: 30_000 });
  await store.setSetting("a", "1", { create: true });
  const other = new DatabaseSync(file);
  other.exec("BEGIN EXCLUSIVE");
  const waiting = [patient.setting("a"), patient.setSetting("a", "2"), patient.userNames()];
  let turns = 0;
  const timer = setInterval(() => turns++, 5);
  await assert.rejects(store.setting("a"), unavailable(/was locked by another process for 200 ms/));
  await assert.rejects(store.setSetting("a", "3"), unavailable(/was locked/));
  await assert.rejects(openStore(config), unavailable(/was locked/));
  clearInterval(timer);
  assert.ok(turns > 20, `${turns} turns of the event loop`);
  other.exec("COMMIT");
  assert.deepEqual((await Promise.all(waiting)).slice(1), [true, []]);
  assert.equal(await store.setting("a"), "2");
  // A reader in the middle of its rows holds up the end of a write, not its beginning.
  other.exec("BEGIN; SELECT * FROM settings");
  await assert.rejects(store.setSetting("a", "4"), unavailable(/was locked/));
  assert.equal(await store.setting("a"), "2");
  other.close();
  assert.equal(await store.setSetting("a", "5"), true);
  await store.close();
  await patient.close();
});

test("a damaged file, another format, a directory and a link in its place are refused in words", async () => {
  const { directory, file, config } = place();
  writeFileSync(file, "This is no database, and long enough to be looked at.".repeat(100));
  await assert.rejects(openStore(config), unavailable(/is no SQLite database, or damaged/));
  rmSync(file);
  mkdirSync(file);
  await assert.rejects(openStore(config), unavailable(/is no ordinary file/));
  rmSync(file, { recursive: true });
  writeFileSync(join(directory, "elsewhere"), "");
  symlinkSync(join(directory, "elsewhere"), file);
  await assert.rejects(openStore(config), unavailable(/is no ordinary file/));
  rmSync(file);
  const store = await openStore(config);
  await store.importUsers(Array.from({ length: 2_000 }, (_, n) => ({ name: `user${n}`, addresses: [] })));
  await store.close();
  const size = statSync(file).size;
  execFileSync(
    "dd",
    [
      "if=/dev/zero",
      `of=${file}`,
      "bs=4096",
      "seek=3",
      `count=${Math.floor(size / 4096) - 3}`,
      "conv=notrunc",
    ],
    { stdio: "ignore" },
  );
  const damaged = await openStore(config).catch((error: unknown) => error);
  if (damaged instanceof Error) unavailable(/damaged|cannot be used/)(damaged);
  else {
    await assert.rejects((damaged as Store).userNames(), unavailable(/is damaged|cannot be used/));
    await (damaged as Store).close();
  }
});

test("a path that leads nowhere is refused in words", async () => {
  await assert.rejects(
    openStore(storeConfig({ database: "sqlite:/proc/nothing/postlua.db" })),
    unavailable(/the directory \/proc\/nothing cannot be made \(ENOENT\)/),
  );
  const { file, directory } = place();
  writeFileSync(file, "");
  await assert.rejects(
    openStore(storeConfig({ database: `sqlite:${file}/postlua.db` })),
    unavailable(/cannot be/),
  );
  await assert.rejects(
    openStore(storeConfig({ database: `sqlite:${directory}/x.db`, group: "no-such-group" })),
    unavailable(/store.group: there is no group "no-such-group"/),
  );
});

test("a file that is lost under a running service is never an empty answer; one put in its place is read", async () => {
  const { file, config } = place();
  const store = await openStore(config);
  await store.addUser({ name: "joe", addresses: [] });
  copyFileSync(file, `${file}.backup`);
  await store.addUser({ name: "ann", addresses: [] });
  renameSync(file, `${file}.away`);
  // It is looked at once a second.
  for (let gone = false; !gone; ) {
    const answer = await store.user("joe").catch((error: Error) => error);
    gone = answer instanceof Error;
    if (gone) unavailable(/is gone; put it back/)(answer as Error);
    else assert.equal((answer as { name: string }).name, "joe");
  }
  assert.ok(!existsSync(file));
  let told = 0;
  store.watch(() => told++);
  renameSync(`${file}.backup`, file);
  assert.deepEqual(await store.userNames(), ["joe"]);
  assert.ok(told > 0);
  await store.close();
});

test("a database in WAL mode, which Postfix cannot read, is brought back", async () => {
  const { file, config } = place();
  await (await openStore(config)).close();
  const other = new DatabaseSync(file);
  other.exec("PRAGMA journal_mode = WAL");
  other.close();
  const store = await openStore(config);
  await store.setSetting("a", "1", { create: true });
  await store.close();
  const again = new DatabaseSync(file);
  assert.equal(again.prepare("PRAGMA journal_mode").get()?.journal_mode, "delete");
  again.close();
});

test("what root does with the file leaves it to its directory's owner", {
  skip: process.getuid?.() !== 0 && "NOT RUN: needs root",
}, async () => {
  const NOBODY = 65_534;
  const { directory, file, config } = place();
  chownSync(directory, NOBODY, NOBODY);
  const store = await openStore({ ...config, group: "postfix" });
  await store.addUser({ name: "joe", addresses: [] });
  const { uid, mode, gid } = statSync(file);
  assert.equal(uid, NOBODY);
  assert.equal(mode & 0o777, 0o640);
  assert.equal(String(gid), execFileSync("getent", ["group", "postfix"], { encoding: "utf8" }).split(":")[2]);
  assert.equal(process.geteuid?.(), 0);
  await store.close();
  // The service, as that user, writes it.
  const script = `
    import { openStore } from ${JSON.stringify(join(import.meta.dirname, "../../src/directory/open.ts"))};
    const store = await openStore(${JSON.stringify(config)});
    await store.addUser({ name: "by-the-service", addresses: [] });
    await store.close();`;
  const service = spawnSync(process.execPath, ["--input-type=module", "-e", script], {
    uid: NOBODY,
    gid: NOBODY,
    encoding: "utf8",
  });
  assert.equal(service.status, 0, service.stderr);
  // What cannot be written says so, and is still read.
  chmodSync(file, 0o440);
  const readOnly = await openStore(config);
  assert.equal((await readOnly.user("by-the-service"))?.name, "by-the-service");
  await assert.rejects(
    readOnly.setSetting("a", "1", { create: true }),
    unavailable(/cannot be written; look at its owner/),
  );
  await readOnly.close();
  chownSync(file, 0, 0);
  await assert.rejects(openStore(config), unavailable(/belongs to root, and its directory does not/));
});

test("root is led to no other file by who owns the directory", {
  skip: process.getuid?.() !== 0 && "NOT RUN: needs root",
}, async () => {
  const { directory } = place();
  const secret = place();
  chownSync(directory, 65_534, 65_534);
  chmodSync(secret.directory, 0o700);
  await (await openStore(secret.config)).close();
  const config = storeConfig({ database: `sqlite:${join(directory, "linked.db")}` });
  symlinkSync(secret.file, join(directory, "linked.db"));
  await assert.rejects(openStore(config), unavailable(/no ordinary file/));
});
