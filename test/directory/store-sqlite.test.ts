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

interface Place {
  readonly directory: string;
  /** Of users and lists. */
  readonly file: string;
  readonly settings: string;
  readonly config: StoreConfig;
}

function place(): Place {
  const directory = join(scratchDirectory(), `file-${++count}`);
  const file = join(directory, "postlua.db");
  mkdirSync(directory, { mode: 0o755 });
  const config = storeConfig({ database: `sqlite:${file}`, timeout_ms: 200 });
  return { directory, file, settings: join(directory, "postlua-settings.db"), config };
}

const unavailable = (words: RegExp) => (error: Error) => {
  assert.equal(error.name, "StoreUnavailable", String(error.stack));
  assert.match(error.message, words);
  return true;
};

for (const which of ["file", "settings"] as const) {
  test(`a lock of another process is waited for without stopping this one, and then given up: ${which}`, async () => {
    const where = place();
    const { config } = where;
    const store = await openStore(config);
    const patient = await openStore({ ...config, timeout_ms: 30_000 });
    await store.addUser({ name: "joe", addresses: [] });
    await store.setSetting("mailbox", "0/", { create: true });
    const read =
      which === "file"
        ? async (one: Store) => (await one.user("joe"))?.mailbox
        : (one: Store) => one.setting("mailbox");
    const write =
      which === "file"
        ? async (one: Store, mailbox: string) => one.changeUser("joe", { mailbox })
        : async (one: Store, mailbox: string) => void (await one.setSetting("mailbox", mailbox));
    const locked = unavailable(new RegExp(`^${where[which]} was locked by another process for 200 ms`));
    const other = new DatabaseSync(where[which]);
    other.exec("BEGIN EXCLUSIVE");
    const waiting = [read(patient), write(patient, "2/"), read(patient)];
    let turns = 0;
    const timer = setInterval(() => turns++, 5);
    timer.unref();
    await assert.rejects(read(store), locked);
    await assert.rejects(write(store, "3/"), locked);
    await assert.rejects(openStore(config), locked);
    assert.ok(turns > 20, `${turns} turns of the event loop`);
    other.exec("COMMIT");
    await Promise.all(waiting);
    assert.equal(await read(store), "2/");
    // A reader in the middle of its rows holds up the end of a write, not its beginning.
    other.exec("BEGIN; SELECT * FROM sqlite_master");
    await assert.rejects(write(store, "4/"), locked);
    assert.equal(await read(store), "2/");
    other.close();
    await write(store, "5/");
    assert.equal(await read(store), "5/");
    await store.close();
    await patient.close();
  });
}

test("what is set leaves the file alone that Postfix reads, and what opens a store does, too", async () => {
  const { file, config } = place();
  const store = await openStore(config);
  await store.addUser({ name: "joe", addresses: ["joe@example.com"] });
  // While somebody reads, nothing can be committed to that file.
  const postfix = new DatabaseSync(file);
  postfix.exec("BEGIN; SELECT * FROM users");
  await assert.rejects(store.addUser({ name: "ann", addresses: [] }), unavailable(/was locked/));
  const before = statSync(file, { bigint: true }).mtimeNs;
  assert.equal(await store.setSetting("a", "1", { create: true }), true);
  assert.equal(await store.setUserSetting("joe", "b", "2", { create: true }), true);
  assert.equal(await store.setUserSetting("joe", "b", "3"), true);
  assert.equal(await store.removeUserSetting("joe", "b"), true);
  assert.equal(await store.removeSetting("a"), true);
  await store.define([{ name: "c", title: "", type: "string", fallback: "" }]);
  const second = await openStore(config);
  assert.equal((await second.definitions()).length, 1);
  assert.equal(statSync(file, { bigint: true }).mtimeNs, before);
  postfix.close();
  await second.close();
  await store.close();
});

test("each of the two files counts: changed by another, and changes to both are one", async () => {
  const { file, settings, config } = place();
  const store = await openStore(config);
  await store.addUser({ name: "joe", addresses: [] });
  await store.setUserSetting("joe", "a", "1", { create: true });
  const second = await openStore(config);
  for (const change of [
    () => second.setUserSetting("joe", "a", "2"),
    () => second.changeUser("joe", { enabled: false }),
  ]) {
    await new Promise<void>((heard) => {
      const stop = store.watch(() => {
        stop();
        heard();
      });
      void change();
    });
  }
  // The settings can be read and not written, so that the user can be removed in one file only, and is in none.
  const reader = new DatabaseSync(settings);
  reader.exec("BEGIN; SELECT * FROM user_settings");
  await assert.rejects(store.removeUser("joe"), unavailable(/was locked/));
  reader.close();
  assert.equal((await second.user("joe"))?.name, "joe");
  assert.equal(await second.userSetting("joe", "a"), "2");
  assert.equal(await store.removeUser("joe"), true);
  assert.equal(await second.userSetting("joe", "a"), undefined);
  for (const path of [file, settings]) assert.ok(!existsSync(`${path}-journal`));
  await store.close();
  await second.close();
});

test("the file of settings may be damaged, lost, left over, or put there empty", async () => {
  const { file, settings, config } = place();
  const store = await openStore(config);
  await store.addUser({ name: "joe", addresses: [] });
  await store.setSetting("a", "1", { create: true });
  assert.equal(statSync(settings).mode & 0o777, 0o600);
  // Lost under a running service, then a backup in its place.
  copyFileSync(settings, `${settings}.backup`);
  renameSync(settings, `${settings}.away`);
  for (let gone = false; !gone; ) {
    const answer = await store.setting("a").catch((error: Error) => error);
    gone = answer instanceof Error;
    if (gone) unavailable(/postlua-settings.db is gone; put it back/)(answer as Error);
  }
  await assert.rejects(
    openStore(config),
    unavailable(/-settings.db is missing, and has the settings of the users/),
  );
  assert.ok(!existsSync(settings));
  renameSync(`${settings}.backup`, settings);
  assert.equal(await store.setting("a"), "1");
  await store.close();
  writeFileSync(settings, "This is no database, and long enough to be looked at.".repeat(100));
  await assert.rejects(openStore(config), unavailable(/-settings.db is no SQLite database, or damaged/));
  rmSync(settings);
  mkdirSync(settings);
  await assert.rejects(openStore(config), unavailable(/-settings.db is no ordinary file/));
  rmSync(settings, { recursive: true });
  // An admin who has no backup begins anew.
  writeFileSync(settings, "");
  const anew = await openStore(config);
  assert.equal(await anew.setting("a"), undefined);
  assert.deepEqual(await anew.userNames(), ["joe"]);
  assert.equal(await anew.setSetting("a", "2", { create: true }), true);
  await anew.close();
  // New users must not begin with settings of others.
  rmSync(file);
  await assert.rejects(
    openStore(config),
    unavailable(/-settings.db has settings in it, and .*postlua.db is empty/),
  );
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
  const { directory, file, settings, config } = place();
  chownSync(directory, NOBODY, NOBODY);
  const store = await openStore({ ...config, group: "postfix" });
  await store.addUser({ name: "joe", addresses: [] });
  const { uid, mode, gid } = statSync(file);
  assert.equal(uid, NOBODY);
  assert.equal(mode & 0o777, 0o640);
  assert.equal(String(gid), execFileSync("getent", ["group", "postfix"], { encoding: "utf8" }).split(":")[2]);
  assert.equal(process.geteuid?.(), 0);
  assert.equal(statSync(settings).uid, NOBODY);
  assert.equal(statSync(settings).mode & 0o777, 0o600);
  await store.close();
  // The service, as that user, writes it.
  const script = `
    import { openStore } from ${JSON.stringify(join(import.meta.dirname, "../../src/directory/open.ts"))};
    const store = await openStore(${JSON.stringify(config)});
    await store.addUser({ name: "by-the-service", addresses: [] });
    await store.setSetting("by-the-service", "1", { create: true });
    await store.close();`;
  const service = spawnSync(process.execPath, ["--input-type=module", "-e", script], {
    uid: NOBODY,
    gid: NOBODY,
    encoding: "utf8",
  });
  assert.equal(service.status, 0, service.stderr);
  // What cannot be written says so, and is still read.
  chmodSync(file, 0o440);
  chmodSync(settings, 0o400);
  const readOnly = await openStore(config);
  assert.equal((await readOnly.user("by-the-service"))?.name, "by-the-service");
  await assert.rejects(
    readOnly.setSetting("a", "1", { create: true }),
    unavailable(/postlua-settings.db cannot be written; look at its owner/),
  );
  await assert.rejects(
    readOnly.addUser({ name: "late", addresses: [] }),
    unavailable(/postlua.db cannot be written; look at its owner/),
  );
  await readOnly.close();
  chownSync(settings, 0, 0);
  await assert.rejects(
    openStore(config),
    unavailable(/-settings.db belongs to root, and .*postlua.db does not/),
  );
  chownSync(settings, NOBODY, NOBODY);
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
