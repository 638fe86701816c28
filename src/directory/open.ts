/** Opens the store that the configuration names. */
import { sqlitePath } from "../config/database.ts";
import type { Config } from "../config/load.ts";
import type { Log } from "../log.ts";
import { PostgresDatabase } from "./postgres.ts";
import { SqlStore } from "./sql-store.ts";
import { SqliteDatabase } from "./sqlite.ts";
import type { Store } from "./store.ts";

/**
 * @param config the table [store]
 * @param log hears of a new, empty SQLite file, which may be a surprise
 * @throws StoreUnavailable when the database cannot be used; the sentence says why
 */
export async function openStore(config: Config["store"], log?: Log): Promise<Store> {
  const path = sqlitePath(config.database);
  if (path === undefined) {
    return new SqlStore(
      await PostgresDatabase.open({
        url: config.database,
        passwordFile: config.password_file,
        timeoutMs: config.timeout_ms,
      }),
    );
  }
  return new SqlStore(
    await SqliteDatabase.open({
      path,
      group: config.group,
      timeoutMs: config.timeout_ms,
      onCreate: (file) => log?.warn("store made", { file, hint: "it is empty: no users, no settings" }),
    }),
  );
}

/** What `openStore` would use, as Store.name has it: for messages while nothing is open. */
export function storeName(config: Config["store"]): string {
  return config.database;
}
