/**
 * The two databases that tests of the store run on: SQLite files in a scratch
 * directory, and a real PostgreSQL server, started when it is first needed.
 */
import { join } from "node:path";
import { after, type TestContext, test } from "node:test";
import { PrivateDatabase } from "../../postfix/private-database.ts";
import { Scratch } from "../../postfix/scratch.ts";
import { CONFIG } from "../../src/config/schema.ts";
import { openStore } from "../../src/directory/open.ts";
import type { Store } from "../../src/directory/store.ts";

export type StoreConfig = Parameters<typeof openStore>[0];

export interface Backend {
  readonly name: "SQLite" | "PostgreSQL";
  /** The configuration of a new, empty database. */
  fresh(): Promise<StoreConfig>;
}

export function storeConfig(values: Partial<StoreConfig>): StoreConfig {
  return { ...CONFIG.parse({}).store, ...values };
}

let scratch: Scratch | undefined;
let server: Promise<PrivateDatabase> | undefined;
let created: Promise<string> | undefined;
let count = 0;

export function scratchDirectory(): string {
  scratch ??= Scratch.create();
  return scratch.path;
}

export function postgresServer(): Promise<PrivateDatabase> {
  server ??= PrivateDatabase.start();
  return server;
}

after(async () => {
  await (await server)?.remove();
  scratch?.remove();
});

export const SQLITE: Backend = {
  name: "SQLite",
  async fresh() {
    count++;
    return storeConfig({ database: `sqlite:${join(scratchDirectory(), `store-${count}`, "postlua.db")}` });
  },
};

const POSTGRES: Backend = {
  name: "PostgreSQL",
  async fresh() {
    // Much quicker than a database for each test; those of a file run one after another.
    const database = await postgresServer();
    created ??= database.create("store");
    const url = await created;
    await database.query("DROP SCHEMA IF EXISTS postlua CASCADE; DROP TABLE IF EXISTS counted", "store");
    return storeConfig({ database: url, password_file: database.passwordFile });
  },
};

/** One test for each of the two; PostgreSQL, which needs root, is skipped with a loud line for other users. */
export function onBoth(name: string, body: (backend: Backend, context: TestContext) => Promise<void>): void {
  test(`SQLite: ${name}`, (context) => body(SQLITE, context));
  onPostgres(name, (context) => body(POSTGRES, context));
}

export function onPostgres(name: string, body: (context: TestContext) => Promise<void>): void {
  if (process.getuid?.() === 0) {
    test(`PostgreSQL: ${name}`, body);
    return;
  }
  process.stderr.write(`\n*** NOT RUN: PostgreSQL: ${name}: a private server needs root ***\n\n`);
  test(`PostgreSQL: ${name}`, { skip: "a private server needs root" }, () => {});
}

/** Opens a store for the time of a test. */
export async function withStore(
  backend: Backend,
  body: (store: Store, config: StoreConfig) => Promise<void>,
): Promise<void> {
  const config = await backend.fresh();
  const store = await openStore(config);
  try {
    await body(store, config);
  } finally {
    await store.close();
  }
}
