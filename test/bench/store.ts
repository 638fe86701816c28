/**
 * The store: an import of 100,000 users and look-ups, beside plain inserts
 * and selects through the same driver in the same run. SQLite always,
 * PostgreSQL where a private server can be started.
 */
import { rmSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { Client } from "pg";
import { PrivateDatabase } from "../../postfix/private-database.ts";
import { Scratch } from "../../postfix/scratch.ts";
import { CONFIG } from "../../src/config/schema.ts";
import { openStore } from "../../src/directory/open.ts";
import type { NewUser, Store } from "../../src/directory/store.ts";

const USERS = 100_000;
const LOOKUPS = 20_000;
const defaults = CONFIG.parse({}).store;

function* users(): Iterable<NewUser> {
  for (let n = 0; n < USERS; n++) yield { name: `user-${n}`, addresses: [`user-${n}@example.com`] };
}

async function seconds(work: () => unknown): Promise<number> {
  const start = performance.now();
  await work();
  return (performance.now() - start) / 1000;
}

function some(n: number): string {
  return `user-${(n * 7919) % USERS}@example.com`;
}

async function measure(name: string, store: Store, rawInsert: number, rawSelect: number): Promise<void> {
  const imported = await seconds(() => store.importUsers(users()));
  const looked = await seconds(async () => {
    for (let n = 0; n < LOOKUPS; n++) await store.lookup(some(n));
  });
  const perSecond = Math.round(LOOKUPS / looked);
  console.log(
    `${name}: import of ${USERS} users ${imported.toFixed(2)} s, ${(imported / rawInsert).toFixed(1)} times plain inserts of two rows each; ` +
      `${perSecond} look-ups a second, each ${(looked / rawSelect).toFixed(1)} times a plain select`,
  );
}

const TABLES =
  "CREATE TABLE plain (id INTEGER PRIMARY KEY, name TEXT UNIQUE); CREATE TABLE plain2 (address TEXT PRIMARY KEY, id INTEGER)";

using scratch = { path: Scratch.create(), [Symbol.dispose]: () => scratch.path.remove() };
{
  const raw = new DatabaseSync(join(scratch.path.path, "raw.db"));
  raw.exec(TABLES);
  const insert = raw.prepare("INSERT INTO plain VALUES (?, ?)");
  const insert2 = raw.prepare("INSERT INTO plain2 VALUES (?, ?)");
  const inserted = await seconds(() => {
    let n = 0;
    for (const { name, addresses } of users()) {
      if (n % 2_000 === 0) raw.exec(n === 0 ? "BEGIN" : "COMMIT; BEGIN");
      insert.run(n, name);
      insert2.run(addresses[0] ?? "", n);
      n++;
    }
    raw.exec("COMMIT");
  });
  const select = raw.prepare("SELECT id FROM plain2 WHERE address = ?");
  const selected = await seconds(() => {
    for (let n = 0; n < LOOKUPS; n++) select.get(some(n));
  });
  raw.close();
  const file = join(scratch.path.path, "store", "postlua.db");
  const store = await openStore({ ...defaults, database: `sqlite:${file}` });
  await measure("SQLite", store, inserted, selected);
  await store.close();
  rmSync(file);
}

if (process.getuid?.() !== 0) console.log("PostgreSQL: NOT MEASURED, a private server needs root");
else {
  await using server = await PrivateDatabase.start();
  const database = await server.create("store");
  const { host, password } = { host: "127.0.0.1", password: server.password };
  const client = new Client({ host, password, port: server.port, user: "postlua", database: "store" });
  await client.connect();
  await client.query(`CREATE SCHEMA bench; SET search_path TO bench; ${TABLES}`);
  const all = [...users()];
  const inserted = await seconds(async () => {
    for (let n = 0; n < USERS; n += 2_000) {
      const part = all.slice(n, n + 2_000);
      const ids = part.map((_, i) => n + i);
      await client.query("BEGIN");
      await client.query("INSERT INTO plain SELECT * FROM unnest($1::int[], $2::text[])", [
        ids,
        part.map(({ name }) => name),
      ]);
      await client.query("INSERT INTO plain2 SELECT * FROM unnest($1::text[], $2::int[])", [
        part.map(({ addresses }) => addresses[0]),
        ids,
      ]);
      await client.query("COMMIT");
    }
  });
  const selected = await seconds(async () => {
    const text = "SELECT id FROM plain2 WHERE address = $1";
    for (let n = 0; n < LOOKUPS; n++) await client.query({ name: "plain", text, values: [some(n)] });
  });
  await client.end();
  const store = await openStore({ ...defaults, database, password_file: server.passwordFile });
  await measure("PostgreSQL", store, inserted, selected);
  await store.close();
}
