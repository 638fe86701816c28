/**
 * The tables of a SQLite store, which lie in two files: what every commit
 * touches locks its whole file for a moment, and Postfix gives up at a lock,
 * so what scripts set for every message is kept apart from what Postfix reads.
 */
import {
  type Dialect,
  MIGRATIONS,
  migrate,
  SETTINGS_APART,
  SETTINGS_FILE_TABLES,
  versionOf,
} from "./schema.ts";
import type { StoreFiles } from "./sqlite-connection.ts";
import { StoreUnavailable } from "./store.ts";
import { first, run, type Work } from "./work.ts";

export const SQLITE: Dialect = {
  name: "sqlite",
  keyType: "TEXT",
  tableExists: (table) =>
    `SELECT 1 AS there FROM main.sqlite_master WHERE type = 'table' AND name = '${table}'`,
};

/** Whether the settings lie in their own file already, so that it has to be there. @throws StoreUnavailable */
export function* settingsAreApart(name: string): Work<boolean> {
  return (yield* versionOf(SQLITE, name)) >= SETTINGS_APART;
}

/** Whether nothing is left to do: looking costs no lock that others would notice. */
export function* isUpToDate(name: string): Work<boolean> {
  return (yield* versionOf(SQLITE, name)) === MIGRATIONS.length && (yield* hasTables());
}

/**
 * Brings both files to this version; to be run in one transaction that keeps
 * other writers out of both.
 * @returns whether there were tables for settings to be made anew, in a file that an admin has put there empty
 * @throws StoreUnavailable
 */
export function* bringUpToDate(name: string, files: StoreFiles): Work<boolean> {
  const version = yield* versionOf(SQLITE, name);
  const tables = yield* hasTables();
  if (version < SETTINGS_APART && tables) {
    throw new StoreUnavailable(
      `${files.settings} has settings in it, and ${files.main} is ` +
        `${version === 0 ? "empty" : "from before they were kept apart"}; ` +
        `put the ${files.main} back that belongs to it, or move ${files.settings} away`,
    );
  }
  yield* migrate(SQLITE, name);
  if (tables || version < SETTINGS_APART) return false;
  for (const statement of SETTINGS_FILE_TABLES) yield* run(statement);
  return true;
}

function* hasTables(): Work<boolean> {
  return (yield* first("SELECT 1 AS there FROM settings.sqlite_master WHERE type = 'table'")) !== undefined;
}
