/**
 * One connection to the two files of a SQLite store, by node:sqlite. It never
 * waits: who meets a lock is told so by the error, which also carries the file
 * that it is about.
 */
import { DatabaseSync, type StatementSync } from "node:sqlite";
import { pathToFileURL } from "node:url";
import { codeOf } from "./sqlite-file.ts";
import { StoreUnavailable } from "./store.ts";
import { NotUnique, type Row, type Step, type Value, type Work } from "./work.ts";

/** The file of users and lists, which Postfix and Dovecot read, and that of settings, which is postlua's alone. */
export interface StoreFiles {
  readonly main: string;
  readonly settings: string;
}

const SETTINGS_TABLES = /\b(?:settings|user_settings|definitions)\b/;

export class Connection {
  readonly #files: StoreFiles;
  readonly #database: DatabaseSync;
  readonly #statements = new Map<string, Statement>();
  #attached = false;

  constructor(files: StoreFiles) {
    this.#files = files;
    this.#database = located(files.main, () => {
      return new DatabaseSync(existing(files.main), { timeout: 0, enableForeignKeyConstraints: true });
    });
  }

  /** Opens the second file, too, as the schema `settings`. */
  attach(): void {
    if (this.#attached) return;
    const { settings } = this.#files;
    located(settings, () => {
      this.#database.prepare("ATTACH ? AS settings").run(existing(settings).href);
    });
    this.#attached = true;
  }

  /** @param about the file that a failure is of */
  exec(sql: string, about = this.#fileOf(sql)): void {
    located(about, () => this.#database.exec(sql));
  }

  /** Only what is committed leaves the cache: before that readers must not be in the way. */
  useRollbackJournal(schema: "main" | "settings"): void {
    this.exec(`PRAGMA ${schema}.cache_spill = OFF`);
    const mode = this.#prepare(`PRAGMA ${schema}.journal_mode`).all([])[0]?.journal_mode;
    if (mode !== "delete") this.exec(`PRAGMA ${schema}.journal_mode = DELETE`);
  }

  run<T>(work: Work<T>): T {
    let next = work.next();
    while (next.done !== true) next = work.next(this.#execute(next.value));
    return next.value;
  }

  /** Changes when somebody else has changed one of the files. */
  dataVersion(): string {
    const versions = ["main", "settings"].map(
      (name) => this.#prepare(`PRAGMA ${name}.data_version`).all([])[0]?.data_version,
    );
    return versions.join();
  }

  rollBack(): void {
    if (this.#database.isTransaction) this.#database.exec("ROLLBACK");
  }

  close(): void {
    this.#statements.clear();
    this.#database.close();
  }

  #execute(step: Step): Row[] {
    if ("sql" in step) return located(this.#fileOf(step.sql), () => this.#prepare(step.sql).all(step.values));
    const columns = Object.keys(step.columns);
    const marks = columns.map((_, n) => `$${n + 1}`);
    const insert = this.#prepare(`INSERT INTO ${step.into} (${columns.join()}) VALUES (${marks.join()})`);
    located(this.#fileOf(step.into), () => {
      for (const row of step.rows) insert.run(row);
    });
    return [];
  }

  #fileOf(sql: string): string {
    return SETTINGS_TABLES.test(sql) ? this.#files.settings : this.#files.main;
  }

  #prepare(sql: string): Statement {
    let statement = this.#statements.get(sql);
    if (statement === undefined) {
      statement = new Statement(this.#database, sql);
      this.#statements.set(sql, statement);
    }
    return statement;
  }
}

/** A file that is not there must not be made: it would be an empty answer. */
function existing(path: string): URL {
  const url = pathToFileURL(path);
  url.search = "mode=rw";
  return url;
}

/** A prepared statement that takes PostgreSQL's numbered parameters. */
class Statement {
  readonly #statement: StatementSync;
  readonly #order: number[] = [];

  constructor(database: DatabaseSync, sql: string) {
    const own = sql.replace(/\$(\d+)/g, (_, number) => {
      this.#order.push(Number(number) - 1);
      return "?";
    });
    this.#statement = database.prepare(own);
  }

  all(values: readonly Value[]): Row[] {
    return this.#statement.all(...this.#arrange(values)) as Row[];
  }

  run(values: readonly Value[]): void {
    this.#statement.run(...this.#arrange(values));
  }

  #arrange(values: readonly Value[]): Value[] {
    return this.#order.map((n) => values[n] ?? null);
  }
}

// ---------------------------------------------------------------- failures

interface SqliteError extends Error {
  /** The extended result code. */
  readonly errcode: number;
  file?: string;
}

function located<T>(file: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (primaryCode(error) !== undefined) (error as SqliteError).file ??= file;
    throw error;
  }
}

const SQLITE_BUSY = 5;
const SQLITE_LOCKED = 6;
const SQLITE_CONSTRAINT_PRIMARYKEY = 1555;
const SQLITE_CONSTRAINT_UNIQUE = 2067;

function primaryCode(error: unknown): number | undefined {
  return codeOf(error) === "ERR_SQLITE_ERROR" ? (error as SqliteError).errcode & 0xff : undefined;
}

/** Whether somebody holds a lock, so that it may work in a moment. */
export function isLocked(error: unknown): boolean {
  const code = primaryCode(error);
  return code === SQLITE_BUSY || code === SQLITE_LOCKED;
}

/** The error in words for the admin, where it is the database's. */
export function failure(error: unknown, main: string, timeoutMs: number): unknown {
  if (codeOf(error) === "ERR_INVALID_STATE") {
    return new StoreUnavailable(`${main} was closed, or replaced by another file, meanwhile`);
  }
  const code = primaryCode(error);
  if (code === undefined) return error;
  const { errcode, message, file = main } = error as SqliteError;
  if (errcode === SQLITE_CONSTRAINT_UNIQUE || errcode === SQLITE_CONSTRAINT_PRIMARYKEY) {
    return new NotUnique(message);
  }
  const words = FAILURES[code]?.replace("TIME", `${timeoutMs} ms`) ?? "cannot be used";
  return new StoreUnavailable(`${file} ${words} (SQLite: ${message})`, { cause: error });
}

const FAILURES: Readonly<Record<number, string>> = {
  3: "may not be opened; look at its owner and mode",
  5: "was locked by another process for TIME",
  6: "was locked by another process for TIME",
  8: "cannot be written; look at its owner and mode, at those of its directory, and whether the disk is read-only",
  10: "cannot be read or written; the disk reports errors",
  11: "is damaged; put a backup in its place",
  13: "cannot be written; the disk is full",
  14: "cannot be opened; look at its owner and mode, and at those of its directory",
  26: "is no SQLite database, or damaged; put a backup in its place",
};
