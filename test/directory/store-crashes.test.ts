/**
 * Processes killed while they change both files of a SQLite store: at every
 * step that shows in their directory, one after another.
 */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, readFileSync, watch } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { test } from "node:test";
import { openStore } from "../../src/directory/open.ts";
import { type StoreConfig, scratchDirectory, storeConfig } from "./backends.ts";

const WORKER = join(import.meta.dirname, "store-worker.ts");
const VERSION_1 = readFileSync(join(import.meta.dirname, "version-1.sql"), "utf8");

let count = 0;

function place(): { readonly directory: string; readonly file: string; readonly config: StoreConfig } {
  const directory = join(scratchDirectory(), `crash-${++count}`);
  mkdirSync(directory);
  const file = join(directory, "postlua.db");
  return { directory, file, config: storeConfig({ database: `sqlite:${file}`, timeout_ms: 20_000 }) };
}

/** Runs a worker, and kills it at the `step`th change of the directory's names. @returns the names that changed, in order */
async function killedAt(
  step: number,
  directory: string,
  config: StoreConfig,
  action: string,
): Promise<string[]> {
  const steps: string[] = [];
  const child = spawn(process.execPath, [WORKER, JSON.stringify(config), action, "u"], { stdio: "ignore" });
  const watcher = watch(directory, (event, name) => {
    if (event !== "rename") return;
    steps.push(String(name));
    if (steps.length >= step) child.kill("SIGKILL");
  });
  await once(child, "exit");
  watcher.close();
  return steps;
}

test("a move of the settings into their own file happens whole or not at all", async () => {
  const seen = new Set<string>();
  for (let step = 1; step <= 7; step++) {
    const { directory, file, config } = place();
    const old = new DatabaseSync(file);
    old.exec(VERSION_1.replaceAll("KEYTEXT", "TEXT"));
    old.exec(`WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)
      INSERT INTO user_settings SELECT 7, 'x' || i, 'X' || i, i FROM n`);
    old.close();
    for (const name of await killedAt(step, directory, config, "")) seen.add(name.replace(/-mj.*/, "-mj"));
    const store = await openStore(config);
    assert.equal((await store.userSettings("ann")).size, 3_001, `killed at step ${step}`);
    assert.equal(await store.setting("SpamThreshold"), "5");
    assert.equal(await store.passwordHash("joe"), "{PLAIN}old");
    await store.close();
  }
  // Or the kills have all come too early.
  for (const name of ["postlua.db-journal", "postlua-settings.db-journal", "postlua.db-mj"]) {
    assert.ok(seen.has(name), `${name} is not among ${[...seen]}`);
  }
});

test("a user and the user's settings go together", async () => {
  const { directory, config } = place();
  const names = Array.from({ length: 200 }, (_, n) => `u${n}`);
  const store = await openStore(config);
  await store.importUsers(names.map((name) => ({ name, addresses: [] })));
  for (const name of names.slice(0, 60)) await store.setUserSetting(name, "a", "1", { create: true });
  await store.close();
  for (let round = 0; round < 6; round++) {
    await killedAt(3 + round * 5, directory, config, "remove");
    const after = await openStore(config);
    const users = new Set(await after.userNames());
    for (const name of names.slice(0, 60)) {
      assert.equal(await after.userSetting(name, "a"), users.has(name) ? "1" : undefined, name);
    }
    await after.close();
  }
});
