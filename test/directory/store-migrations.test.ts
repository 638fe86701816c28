/** Databases of other versions: brought up to this one, or refused. */
import assert from "node:assert/strict";
import { mkdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { sqlitePath } from "../../src/config/database.ts";
import { openStore } from "../../src/directory/open.ts";
import { MIGRATIONS } from "../../src/directory/schema.ts";
import { type Backend, onBoth, postgresServer, type StoreConfig } from "./backends.ts";

const VERSION_1 = readFileSync(join(import.meta.dirname, "version-1.sql"), "utf8");

/** Runs SQL without a store, as somebody else would. */
async function runSql(config: StoreConfig, sql: string): Promise<Record<string, unknown>[]> {
  const path = sqlitePath(config.database);
  if (path === undefined) {
    const name = new URL(config.database).pathname.slice(1);
    const own = `SET ROLE postlua; SET search_path TO postlua;`;
    const results: unknown = await (await postgresServer()).query(`${own}${sql}`, name);
    return (results ?? []) as Record<string, unknown>[];
  }
  mkdirSync(dirname(path), { recursive: true });
  const database = new DatabaseSync(path);
  try {
    database.exec(sql);
    return [];
  } finally {
    database.close();
  }
}

async function version1(backend: Backend): Promise<StoreConfig> {
  const config = await backend.fresh();
  const postgres = backend.name === "PostgreSQL";
  const schema = postgres ? "CREATE SCHEMA postlua;" : "";
  await runSql(config, schema + VERSION_1.replaceAll("KEYTEXT", postgres ? 'TEXT COLLATE "C"' : "TEXT"));
  return config;
}

onBoth(
  "version 1 becomes this version with all that is in it, also when several open it at once",
  async (backend) => {
    const config = await version1(backend);
    const stores = await Promise.all([1, 2, 3].map(() => openStore(config)));
    const [store] = stores;
    assert.ok(store !== undefined);
    assert.deepEqual(await store.userNames(), ["ann", "Joe"]);
    assert.equal(await store.passwordHash("joe"), "{PLAIN}old");
    assert.deepEqual(await store.list("all"), {
      name: "All",
      address: "all@example.com",
      members: ["Joe", "out@example.net"],
    });
    assert.equal(await store.userSetting("ann", "FORWARDS"), "a@b.c");
    assert.equal(await store.setting("SpamThreshold"), "5");
    await store.addUser({ name: "new", addresses: ["new@example.com"] });
    await store.define([{ name: "x", title: "", type: "string", fallback: "" }]);
    for (const each of stores) await each.close();
    // It is this version's now: what Postfix reads is there, filled from the old rows.
    await runSql(
      config,
      "CREATE TABLE counted (domains INTEGER CHECK (domains = 2), aliases INTEGER CHECK (aliases = 5))",
    );
    await runSql(
      config,
      "INSERT INTO counted SELECT (SELECT count(*) FROM domains), (SELECT count(*) FROM aliases)",
    );
    const again = await openStore(config);
    await again.close();
  },
);

onBoth("tables of a newer version are refused and stay as they are", async (backend) => {
  const config = await backend.fresh();
  await (await openStore(config)).close();
  await runSql(config, `INSERT INTO postlua_versions VALUES (${MIGRATIONS.length + 1}, 'later')`);
  await assert.rejects(openStore(config), {
    name: "StoreUnavailable",
    message: /its tables are of version 4, and this postlua knows version 3; a newer postlua/,
  });
});

onBoth("another program's tables are refused", async (backend) => {
  const config = await backend.fresh();
  const schema = backend.name === "PostgreSQL" ? "CREATE SCHEMA postlua;" : "";
  await runSql(config, `${schema}CREATE TABLE users (who TEXT)`);
  await assert.rejects(openStore(config), {
    name: "StoreUnavailable",
    message: /table "users" of another program/,
  });
});
