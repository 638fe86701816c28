/**
 * A store's database in SQLite files: one for users and lists, and beside it
 * one for settings (sqlite-tables.ts says why), written in one transaction
 * where both change.
 *
 * journal_mode stays DELETE: in WAL mode Postfix's own sqlite: maps fail when
 * nobody has the file open. SQLite itself never waits for a lock here, since
 * that would stop the whole process: who meets a lock tries again later.
 * Reads have a connection of their own, which is never in a transaction.
 *
 * Nothing in this process may open the files beside SQLite: closing one would
 * take SQLite's locks away.
 */
import { lstatSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { settingsPath } from "../config/database.ts";
import { Connection, failure, isLocked, type StoreFiles } from "./sqlite-connection.ts";
import { prepareFile, prepareSettingsFile, type RunAs } from "./sqlite-file.ts";
import { bringUpToDate, isUpToDate, settingsAreApart } from "./sqlite-tables.ts";
import { StoreUnavailable } from "./store.ts";
import type { Database, Work } from "./work.ts";

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
/** While a commit waits for readers to end, nobody else can begin to read. */
const COMMIT_WAIT_MS = 1;

const NOT_SEEN = -1n;

/** How a transaction begins: with the lock of the file that it is about, so that two of them do not meet half-way. */
const BEGIN = {
  users: "BEGIN; DELETE FROM main.postlua_versions WHERE version < 0",
  /** Their first statement takes it. */
  settings: "BEGIN",
  both: "BEGIN IMMEDIATE",
} as const;

export class SqliteDatabase implements Database {
  readonly name: string;
  readonly #options: SqliteOptions;
  readonly #files: StoreFiles;
  #as: RunAs = (work) => work();
  #reader: Connection | undefined;
  #writer: Connection | undefined;
  #inodes: Readonly<Record<keyof StoreFiles, bigint>> = { main: NOT_SEEN, settings: NOT_SEEN };
  #lookedAt = Number.NEGATIVE_INFINITY;
  #opening: Promise<void> | undefined;
  /** The writes before this one. */
  #queue: Promise<unknown> = Promise.resolve();
  #closed = false;
  readonly #watchers = new Set<() => void>();
  #poll: NodeJS.Timeout | undefined;
  #seenVersion: string | undefined;

  private constructor(options: SqliteOptions) {
    this.#options = options;
    this.#files = { main: options.path, settings: settingsPath(options.path) };
    this.name = `sqlite:${options.path}`;
  }

  /** Opens or makes the files and brings its tables up to date. @throws StoreUnavailable */
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
    return this.#patiently(() => this.#open().reader.run(work()));
  }

  write<T>(work: () => Work<T>, { on }: { readonly on: "users" | "settings" }): Promise<T> {
    const written = this.#queue.then(async () => {
      await this.#ready();
      const result = await this.#transaction(on, work);
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

  /** Work, whole, with the lock that keeps other writers out; a file is closed to readers while it is committed only. */
  async #transaction<T>(begin: keyof typeof BEGIN, work: () => Work<T>): Promise<T> {
    let result: { readonly value: T } | undefined;
    const { writer } = this.#open();
    const about = begin === "settings" ? this.#files.settings : this.#files.main;
    const begun = (): { readonly value: T } => {
      try {
        writer.exec(BEGIN[begin]);
        return { value: writer.run(work()) };
      } catch (error) {
        // Who waits for a lock must not hold another one meanwhile.
        writer.rollBack();
        throw error;
      }
    };
    try {
      await this.#patiently(
        () => {
          result ??= begun();
          // Busy while others read; nobody new can begin to meanwhile.
          writer.exec("COMMIT", about);
        },
        () => (result === undefined ? LONGEST_WAIT_MS : COMMIT_WAIT_MS),
      );
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
    const { main, settings } = this.#files;
    try {
      // One alone at first: a journal mode is changed by who has nobody beside it.
      const apart = await this.#patiently(() => {
        this.#writer ??= new Connection(this.#files);
        this.#writer.useRollbackJournal("main");
        return this.#writer.run(settingsAreApart(this.name));
      });
      prepareSettingsFile(settings, main, !apart, this.#as);
      this.#inodes = { main: inodeOf(main) ?? NOT_SEEN, settings: inodeOf(settings) ?? NOT_SEEN };
      await this.#patiently(() => {
        this.#writer?.attach();
        this.#writer?.useRollbackJournal("settings");
        this.#reader ??= new Connection(this.#files);
        this.#reader.attach();
      });
      const { reader, writer } = this.#open();
      // Both look, so that they know the tables as they are, whoever has made them.
      const look = () => [reader, writer].every((connection) => connection.run(isUpToDate(this.name)));
      if (await this.#patiently(look)) return;
      const emptied = await this.#transaction("both", () => bringUpToDate(this.name, this.#files));
      await this.#patiently(look);
      if (emptied) this.#options.onCreate?.(settings);
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
    this.#seenVersion = undefined;
    this.#inodes = { main: NOT_SEEN, settings: NOT_SEEN };
    for (const connection of open) this.#as(() => connection?.close());
  }

  /** A file that was put in the other's place, such as a backup, is opened; a lost one is never made anew. */
  #lookAtFile(): void {
    const now = performance.now();
    if (now - this.#lookedAt < LOOK_EVERY_MS || this.#opening !== undefined) return;
    let replaced = false;
    for (const which of ["main", "settings"] as const) {
      const inode = inodeOf(this.#files[which]);
      const known = this.#inodes[which] !== NOT_SEEN;
      // The second file may still have to be made.
      if (inode === undefined && (known || which === "main")) {
        throw new StoreUnavailable(`${this.#files[which]} is gone; put it back`);
      }
      replaced ||= known && inode !== this.#inodes[which];
    }
    this.#lookedAt = now;
    if (replaced) {
      this.#drop();
      this.#tell();
    }
  }

  /** Runs what is synchronous, again and again while a file is locked. */
  async #patiently<T>(attempt: () => T, longestWaitMs: () => number = () => LONGEST_WAIT_MS): Promise<T> {
    const { path, timeoutMs } = this.#options;
    const end = performance.now() + timeoutMs;
    for (let wait = 1; ; wait = Math.min(wait * 2, longestWaitMs())) {
      try {
        return this.#as(attempt);
      } catch (error) {
        if (!isLocked(error) || performance.now() > end) throw failure(error, path, timeoutMs);
      }
      await delay(wait);
    }
  }

  #noteVersion(): void {
    try {
      this.#seenVersion = this.#as(() => this.#reader?.dataVersion());
    } catch {
      // Locked: the next look notices the same change once more.
    }
  }

  #lookForChanges(): void {
    try {
      this.#lookAtFile();
      const version = this.#as(() => this.#reader?.dataVersion());
      if (version === undefined || version === this.#seenVersion) return;
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

function inodeOf(path: string): bigint | undefined {
  try {
    return lstatSync(path, { bigint: true }).ino;
  } catch {
    return undefined;
  }
}
