/**
 * A store's database in a SQLite file, by node:sqlite.
 *
 * journal_mode stays DELETE: in WAL mode Postfix's own sqlite: maps fail when
 * nobody has the file open. SQLite itself never waits for a lock here, since
 * that would stop the whole process: who meets a lock tries again later.
 * Reads have a connection of their own, which is never in a transaction.
 *
 * Nothing in this process may open the file beside SQLite: closing it would
 * take SQLite's locks away.
 */
import { lstatSync } from "node:fs";
import { DatabaseSync, type StatementSync } from "node:sqlite";
import { setTimeout as delay } from "node:timers/promises";
import { pathToFileURL } from "node:url";
import { type Dialect, migrate } from "./schema.ts";
import { codeOf, prepareFile, type RunAs } from "./sqlite-file.ts";
import { StoreUnavailable } from "./store.ts";
import { type Database, NotUnique, type Row, type Step, type Value, type Work } from "./work.ts";

export const SQLITE: Dialect = {
  keyType: "TEXT",
  tableExists: (table) => `SELECT 1 AS there FROM sqlite_master WHERE type = 'table' AND name = '${table}'`,
};

export interface SqliteOptions {
  readonly path: string;
  /** Group that may read the file; for a new file only. */
  readonly group?: string | undefined;
  /** How long a lock is waited for. */
  readonly timeoutMs: number;
  /** How often changes by other processes are looked for; default 500. */
  readonly pollMs?: number;
  /** Called when a new, empty file was made. */
  readonly onCreate?: (path: string) => void;
}

const POLL_MS = 500;
/** A file put in another one's place is noticed within this time. */
const LOOK_EVERY_MS = 1_000;
const LONGEST_WAIT_MS = 20;

const SQLITE_BUSY = 5;
const SQLITE_LOCKED = 6;
const SQLITE_CONSTRAINT_PRIMARYKEY = 1555;
const SQLITE_CONSTRAINT_UNIQUE = 2067;

export class SqliteDatabase implements Database {
  readonly name: string;
  readonly #options: SqliteOptions;
  #as: RunAs = (work) => work();
  #reader: Connection | undefined;
  #writer: Connection | undefined;
  #inode = -1n;
  #lookedAt = Number.NEGATIVE_INFINITY;
  #opening: Promise<void> | undefined;
  /** The writes before this one. */
  #queue: Promise<unknown> = Promise.resolve();
  #closed = false;
  readonly #watchers = new Set<() => void>();
  #poll: NodeJS.Timeout | undefined;
  #seenVersion: Value = null;

  private constructor(options: SqliteOptions) {
    this.#options = options;
    this.name = `sqlite:${options.path}`;
  }

  /** Opens or makes the file and brings its tables up to date. @throws StoreUnavailable */
  static async open(options: SqliteOptions): Promise<SqliteDatabase> {
    const database = new SqliteDatabase(options);
    const { as, made } = prepareFile(options.path, options.group);
    database.#as = as;
    await database.#ready();
    if (made) options.onCreate?.(options.path);
    return database;
  }

  async read<T>(work: () => Work<T>): Promise<T> {
    await this.#ready();
    return this.#patiently(() => runThrough(this.#open().reader, work()));
  }

  write<T>(work: () => Work<T>): Promise<T> {
    const written = this.#queue.then(async () => {
      await this.#ready();
      const result = await this.#transaction(work);
      this.#noteVersion();
      this.#tell();
      return result;
    });
    this.#queue = written.catch(() => {});
    return written;
  }

  watch(changed: () => void): () => void {
    // The same function may watch twice.
    const watcher = () => changed();
    this.#watchers.add(watcher);
    if (this.#poll === undefined) {
      this.#noteVersion();
      this.#poll = setInterval(() => this.#lookForChanges(), this.#options.pollMs ?? POLL_MS);
      this.#poll.unref();
    }
    return () => {
      this.#watchers.delete(watcher);
      if (this.#watchers.size > 0) return;
      clearInterval(this.#poll);
      this.#poll = undefined;
    };
  }

  async close(): Promise<void> {
    await this.#queue;
    this.#closed = true;
    clearInterval(this.#poll);
    this.#watchers.clear();
    this.#drop();
  }

  /** Work, whole, with the lock that keeps other writers out; the file is closed to readers while it is committed only. */
  async #transaction<T>(work: () => Work<T>): Promise<T> {
    let result: { readonly value: T } | undefined;
    const { writer } = this.#open();
    try {
      await this.#patiently(() => {
        if (result === undefined) {
          writer.rollBack();
          writer.exec("BEGIN IMMEDIATE");
          result = { value: runThrough(writer, work()) };
        }
        // Busy while others read; nobody new can begin to meanwhile.
        writer.exec("COMMIT");
      });
    } catch (error) {
      this.#rollBack(writer);
      throw error;
    }
    return (result as unknown as { value: T }).value;
  }

  #rollBack(writer: Connection): void {
    try {
      this.#as(() => writer.rollBack());
    } catch {
      this.#drop();
    }
  }

  /** Both connections, once they are open and the tables are known to be right. */
  async #ready(): Promise<void> {
    if (this.#closed) throw new StoreUnavailable(`${this.name} is closed`);
    this.#lookAtFile();
    if (this.#reader !== undefined && this.#opening === undefined) return;
    this.#opening ??= this.#connect().finally(() => {
      this.#opening = undefined;
    });
    await this.#opening;
  }

  async #connect(): Promise<void> {
    try {
      this.#inode = inodeOf(this.#options.path) ?? -1n;
      await this.#patiently(() => {
        this.#reader ??= new Connection(this.#options.path);
        this.#writer ??= new Connection(this.#options.path);
        this.#writer.useRollbackJournal();
      });
      await this.#transaction(() => migrate(SQLITE, this.name));
    } catch (error) {
      this.#drop();
      throw error;
    }
  }

  #open(): { reader: Connection; writer: Connection } {
    if (this.#reader === undefined || this.#writer === undefined) {
      throw new StoreUnavailable(`${this.name} is closed`);
    }
    return { reader: this.#reader, writer: this.#writer };
  }

  #drop(): void {
    const open = [this.#reader, this.#writer];
    this.#reader = undefined;
    this.#writer = undefined;
    this.#seenVersion = null;
    for (const connection of open) this.#as(() => connection?.close());
  }

  /** A file that was put in the other's place, such as a backup, is opened; a lost one is never made anew. */
  #lookAtFile(): void {
    const now = performance.now();
    if (now - this.#lookedAt < LOOK_EVERY_MS || this.#opening !== undefined) return;
    const inode = inodeOf(this.#options.path);
    if (inode === undefined) throw new StoreUnavailable(`${this.#options.path} is gone; put it back`);
    this.#lookedAt = now;
    if (inode !== this.#inode && this.#reader !== undefined) {
      this.#drop();
      this.#tell();
    }
  }

  /** Runs what is synchronous, again and again while the file is locked. */
  async #patiently<T>(attempt: () => T): Promise<T> {
    const end = performance.now() + this.#options.timeoutMs;
    for (let wait = 1; ; wait = Math.min(wait * 2, LONGEST_WAIT_MS)) {
      try {
        return this.#as(attempt);
      } catch (error) {
        const code = primaryCode(error);
        const locked = code === SQLITE_BUSY || code === SQLITE_LOCKED;
        if (!locked || performance.now() > end) throw this.#failure(error);
      }
      await delay(wait);
    }
  }

  #failure(error: unknown): unknown {
    if (codeOf(error) === "ERR_INVALID_STATE") {
      return new StoreUnavailable(`${this.#options.path} was closed, or replaced by another file, meanwhile`);
    }
    const code = primaryCode(error);
    if (code === undefined) return error;
    const extended = (error as SqliteError).errcode;
    if (extended === SQLITE_CONSTRAINT_UNIQUE || extended === SQLITE_CONSTRAINT_PRIMARYKEY) {
      return new NotUnique((error as Error).message);
    }
    const said = (error as Error).message;
    const words = FAILURES[code]?.replace("TIME", `${this.#options.timeoutMs} ms`);
    return new StoreUnavailable(`${this.#options.path} ${words ?? "cannot be used"} (SQLite: ${said})`, {
      cause: error,
    });
  }

  #noteVersion(): void {
    try {
      this.#seenVersion = this.#as(() => this.#reader?.dataVersion()) ?? null;
    } catch {
      // Locked: the next look notices the same change once more.
    }
  }

  #lookForChanges(): void {
    try {
      this.#lookAtFile();
      const version = this.#as(() => this.#reader?.dataVersion()) ?? null;
      if (version === null || version === this.#seenVersion) return;
      this.#seenVersion = version;
      this.#tell();
    } catch {
      // Locked or gone: whoever reads is told; the next look may see more.
    }
  }

  #tell(): void {
    for (const watcher of [...this.#watchers]) watcher();
  }
}

interface SqliteError extends Error {
  /** The extended result code. */
  readonly errcode: number;
}

function primaryCode(error: unknown): number | undefined {
  return codeOf(error) === "ERR_SQLITE_ERROR" ? (error as SqliteError).errcode & 0xff : undefined;
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

function inodeOf(path: string): bigint | undefined {
  try {
    return lstatSync(path, { bigint: true }).ino;
  } catch {
    return undefined;
  }
}

function runThrough<T>(connection: Connection, work: Work<T>): T {
  let next = work.next();
  while (next.done !== true) next = work.next(connection.execute(next.value));
  return next.value;
}

class Connection {
  readonly #database: DatabaseSync;
  readonly #statements = new Map<string, Statement>();

  constructor(path: string) {
    // A file that is not there must not be made: it would be an empty answer.
    const url = pathToFileURL(path);
    url.search = "mode=rw";
    this.#database = new DatabaseSync(url, { timeout: 0, enableForeignKeyConstraints: true });
  }

  exec(sql: string): void {
    this.#database.exec(sql);
  }

  /** Only what is committed leaves the cache: before that readers must not be in the way. */
  useRollbackJournal(): void {
    this.exec("PRAGMA cache_spill = OFF");
    const mode = this.#database.prepare("PRAGMA journal_mode").get()?.journal_mode;
    if (mode !== "delete") this.exec("PRAGMA journal_mode = DELETE");
  }

  execute(step: Step): Row[] {
    if ("sql" in step) return this.#prepare(step.sql).all(step.values);
    const columns = Object.keys(step.columns);
    const marks = columns.map((_, n) => `$${n + 1}`);
    const insert = this.#prepare(`INSERT INTO ${step.into} (${columns.join()}) VALUES (${marks.join()})`);
    for (const row of step.rows) insert.run(row);
    return [];
  }

  dataVersion(): Value {
    return this.#prepare("PRAGMA data_version").all([])[0]?.data_version ?? null;
  }

  rollBack(): void {
    if (this.#database.isTransaction) this.exec("ROLLBACK");
  }

  close(): void {
    this.#statements.clear();
    this.#database.close();
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
