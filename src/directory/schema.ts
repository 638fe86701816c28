/**
 * The tables, and how a database of an earlier version becomes one of this
 * version. The same text serves SQLite and PostgreSQL: KEYTEXT stands for a text
 * column that is compared and sorted byte by byte.
 *
 * The views are what Postfix and Dovecot read (postfix/maps); they stay when
 * tables change. They keep to what SQLite 3.31 knows, because Postfix brings
 * its own, older SQLite.
 */
import { StoreUnavailable } from "./store.ts";
import { first, run, type Work } from "./work.ts";

type Statements = readonly string[];

/**
 * The tables of settings in SQLite, which lie in a file of their own, attached
 * as `settings` (sqlite-tables.ts says why). A user's are kept by the user's
 * name, so that a backup of one file alone gives nobody the settings of another.
 */
export const SETTINGS_FILE_TABLES: Statements = [
  `CREATE TABLE settings.settings (name_key TEXT PRIMARY KEY, name TEXT NOT NULL, value TEXT NOT NULL)`,
  `CREATE TABLE settings.user_settings (
     user_key TEXT NOT NULL,
     name_key TEXT NOT NULL,
     name TEXT NOT NULL,
     value TEXT NOT NULL,
     PRIMARY KEY (user_key, name_key)
   )`,
  `CREATE TABLE settings.definitions (
     name_key TEXT PRIMARY KEY,
     name TEXT NOT NULL,
     title TEXT NOT NULL,
     type TEXT NOT NULL,
     fallback TEXT NOT NULL
   )`,
];

/** From this version on they do. */
export const SETTINGS_APART = 3;

/** Statements that lead from version n to n + 1. What has been released is never changed, only added to. */
export const MIGRATIONS: readonly (Statements | Readonly<Record<Dialect["name"], Statements>>)[] = [
  [
    `CREATE TABLE users (
       id INTEGER PRIMARY KEY,
       name KEYTEXT NOT NULL,
       name_key KEYTEXT NOT NULL UNIQUE,
       mailbox KEYTEXT NOT NULL UNIQUE,
       enabled INTEGER NOT NULL,
       password TEXT
     )`,
    `CREATE TABLE lists (
       id INTEGER PRIMARY KEY,
       name KEYTEXT NOT NULL,
       name_key KEYTEXT NOT NULL UNIQUE
     )`,
    // One table for users' and lists' addresses, so that none can belong to two.
    `CREATE TABLE addresses (
       address KEYTEXT PRIMARY KEY,
       user_id INTEGER REFERENCES users (id) ON DELETE CASCADE,
       list_id INTEGER REFERENCES lists (id) ON DELETE CASCADE,
       position INTEGER NOT NULL,
       CHECK ((user_id IS NULL) <> (list_id IS NULL))
     )`,
    `CREATE INDEX addresses_of_users ON addresses (user_id, position)`,
    `CREATE INDEX addresses_of_lists ON addresses (list_id)`,
    `CREATE TABLE members (
       list_id INTEGER NOT NULL REFERENCES lists (id) ON DELETE CASCADE,
       member_key KEYTEXT NOT NULL,
       member KEYTEXT NOT NULL,
       position INTEGER NOT NULL,
       PRIMARY KEY (list_id, member_key)
     )`,
    `CREATE INDEX members_by_key ON members (member_key)`,
    `CREATE TABLE settings (
       name_key KEYTEXT PRIMARY KEY,
       name KEYTEXT NOT NULL,
       value TEXT NOT NULL
     )`,
    `CREATE TABLE user_settings (
       user_id INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
       name_key KEYTEXT NOT NULL,
       name KEYTEXT NOT NULL,
       value TEXT NOT NULL,
       PRIMARY KEY (user_id, name_key)
     )`,
    `CREATE VIEW mailboxes AS
       SELECT a.address, u.mailbox, u.name AS login
       FROM addresses a JOIN users u ON u.id = a.user_id
       WHERE u.enabled = 1`,
    `CREATE VIEW logins AS
       SELECT name_key AS login, name, password, mailbox
       FROM users WHERE enabled = 1`,
  ],
  [
    `CREATE TABLE definitions (
       name_key KEYTEXT PRIMARY KEY,
       name KEYTEXT NOT NULL,
       title TEXT NOT NULL,
       type TEXT NOT NULL,
       fallback TEXT NOT NULL
     )`,
    `ALTER TABLE addresses ADD COLUMN domain KEYTEXT NOT NULL DEFAULT ''`,
    `UPDATE addresses SET domain = substr(address, length(rtrim(address, replace(address, '@', ''))) + 1)`,
    `CREATE INDEX addresses_by_domain ON addresses (domain)`,
    // A user's address leads to the user's first one, so that two addresses of a user are one recipient and a
    // catch-all of the domain does not take it; a list's leads to its members, without disabled users.
    `CREATE VIEW aliases AS
       SELECT a.address, m.address AS target, 0 AS position
       FROM addresses a
       JOIN users u ON u.id = a.user_id AND u.enabled = 1
       JOIN addresses m ON m.user_id = u.id AND m.position = 0
     UNION ALL
       SELECT a.address, COALESCE(ua.address, u.name, la.address, m.member) AS target, m.position
       FROM addresses a
       JOIN members m ON m.list_id = a.list_id
       LEFT JOIN users u ON u.name_key = m.member_key
       LEFT JOIN addresses ua ON ua.user_id = u.id AND ua.position = 0
       LEFT JOIN lists l ON l.name_key = m.member_key
       LEFT JOIN addresses la ON la.list_id = l.id
       LEFT JOIN addresses oa ON oa.address = m.member_key
       LEFT JOIN users o ON o.id = oa.user_id
       WHERE COALESCE(u.enabled, o.enabled, 1) = 1`,
    `CREATE VIEW domains AS SELECT DISTINCT domain FROM addresses`,
  ],
  {
    sqlite: [
      ...SETTINGS_FILE_TABLES,
      `INSERT INTO settings.settings SELECT name_key, name, value FROM main.settings`,
      `INSERT INTO settings.user_settings
         SELECT u.name_key, s.name_key, s.name, s.value
         FROM main.user_settings s JOIN main.users u ON u.id = s.user_id`,
      `INSERT INTO settings.definitions SELECT name_key, name, title, type, fallback FROM main.definitions`,
      `DROP TABLE main.settings`,
      `DROP TABLE main.user_settings`,
      `DROP TABLE main.definitions`,
    ],
    postgres: [
      `ALTER TABLE user_settings ADD COLUMN user_key KEYTEXT REFERENCES users (name_key) ON DELETE CASCADE`,
      `UPDATE user_settings SET user_key = (SELECT name_key FROM users WHERE id = user_id)`,
      // Its keys go with it.
      `ALTER TABLE user_settings DROP COLUMN user_id`,
      `ALTER TABLE user_settings ADD PRIMARY KEY (user_key, name_key)`,
    ],
  },
];

/**
 * Brings the tables to this program's version; to be run in one exclusive
 * transaction. `target` is for tests.
 * @returns the version before, 0 for an empty database
 * @throws StoreUnavailable when the tables are those of a newer program, or another one's
 */
export function* migrate(
  dialect: Dialect,
  database: string,
  target: number = MIGRATIONS.length,
): Work<number> {
  const before = yield* versionOf(dialect, database);
  if (before === 0) {
    yield* run(
      "CREATE TABLE IF NOT EXISTS postlua_versions (version INTEGER PRIMARY KEY, migrated_at TEXT NOT NULL)",
    );
  }
  for (const [n, migration] of MIGRATIONS.slice(before, target).entries()) {
    for (const statement of "sqlite" in migration ? migration[dialect.name] : migration) {
      yield* run(statement.replaceAll("KEYTEXT", dialect.keyType));
    }
    yield* run("INSERT INTO postlua_versions VALUES ($1, $2)", before + n + 1, new Date().toISOString());
  }
  return before;
}

/** @returns 0 for an empty database. @throws StoreUnavailable when the tables are those of a newer program, or another one's */
export function* versionOf(dialect: Dialect, database: string): Work<number> {
  if ((yield* first(dialect.tableExists("postlua_versions"))) === undefined) {
    if ((yield* first(dialect.tableExists("users"))) === undefined) return 0;
    throw new StoreUnavailable(
      `${database}: there is a table "users" of another program; give postlua a database of its own`,
    );
  }
  const row = yield* first<{ version: number | null }>(
    "SELECT max(version) AS version FROM postlua_versions",
  );
  const version = row?.version ?? 0;
  if (version <= MIGRATIONS.length) return version;
  throw new StoreUnavailable(
    `${database}: its tables are of version ${version}, and this postlua knows version ${MIGRATIONS.length}; ` +
      "a newer postlua has been here, use that one",
  );
}

/** Where the two databases' SQL differs. */
export interface Dialect {
  readonly name: "sqlite" | "postgres";
  readonly keyType: string;
  /** A statement that gives a row when there is such a table. */
  tableExists(table: string): string;
}
