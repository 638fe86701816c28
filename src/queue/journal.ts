/**
 * What the queue itself does not keep: how often a message was tried, when it
 * is tried next, what CheckFile last said, and what was under way when the
 * worker ended. A SQLite file of its own, keyed by queue ID and arrival time,
 * since short IDs are given out again.
 *
 * Mail never waits for the journal: all of it is in memory, too, and what
 * cannot be written (disk full, file damaged) is said once a minute and
 * written later. Without the file, retries count from 0. One process writes
 * it; others may read.
 */
import { renameSync } from "node:fs";
import { DatabaseSync, type StatementSync } from "node:sqlite";
import type { Log } from "../log.ts";
import type { QueueFile } from "./queue-file.ts";

/**
 * What is under way, written before it is begun.
 * try: released. last: released, and to be expired when it comes back. failed: the last try failed.
 * expire: marked as expired and released, for Postfix to bounce it.
 */
export type Stage = "" | "try" | "last" | "failed" | "expire";

/** Times are milliseconds since 1970, 0 for never. */
export interface Entry {
  readonly stage: Stage;
  /** When the stage was entered. */
  readonly stageMs: number;
  /** Real tries that failed. */
  readonly retries: number;
  readonly lastTryMs: number;
  /** Of the defer log that told of it. */
  readonly logMs: number;
  readonly nextTryMs: number;
  /** Postfix's words about it. */
  readonly lastReason: string;
  /** CheckFile's last answer. */
  readonly skipped: boolean;
  readonly priority: number;
  readonly reason: string;
  /** Since when CheckFile has been skipping it without a pause. */
  readonly skippedSinceMs: number;
}

export const NEW_ENTRY: Entry = {
  stage: "",
  stageMs: 0,
  retries: 0,
  lastTryMs: 0,
  logMs: 0,
  nextTryMs: 0,
  lastReason: "",
  skipped: false,
  priority: 50,
  reason: "",
  skippedSinceMs: 0,
};

type Keyed = Pick<QueueFile, "id" | "arrivalTime" | "arrivalMicroseconds">;

/** What a reader, such as the failsafe, gets to know of the worker. Milliseconds since 1970. */
export interface Heartbeat {
  /** The worker's last sign of life; 0 when there was none. */
  readonly aliveMs: number;
  /** When it said that it would run next; 0 when it did not. */
  readonly plannedMs: number;
}

export interface JournalOptions {
  readonly path: string;
  readonly log: Log;
  readonly now?: () => number;
}

const SCHEMA = `
  CREATE TABLE IF NOT EXISTS message (
    id TEXT NOT NULL, arrival TEXT NOT NULL,
    stage TEXT NOT NULL, stage_ms REAL NOT NULL, retries INTEGER NOT NULL, last_try_ms REAL NOT NULL,
    log_ms REAL NOT NULL, next_try_ms REAL NOT NULL, last_reason TEXT NOT NULL, skipped INTEGER NOT NULL,
    priority REAL NOT NULL, reason TEXT NOT NULL, skipped_since_ms REAL NOT NULL,
    PRIMARY KEY (id, arrival)) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS fact (name TEXT PRIMARY KEY, value REAL NOT NULL) WITHOUT ROWID;
`;
const PUT = `INSERT OR REPLACE INTO message VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`;
const REMOVE = "DELETE FROM message WHERE id = ? AND arrival = ?";
const FACT = "INSERT OR REPLACE INTO fact VALUES (?, ?)";

const AGAIN_AFTER_MS = 5_000;
const TELL_EVERY_MS = 60_000;
const SQLITE_CORRUPT = 11;
const SQLITE_NOTADB = 26;

interface Row {
  readonly id: string;
  readonly arrival: string;
  /** undefined: to be removed. */
  readonly entry: Entry | undefined;
}

interface Statements {
  readonly database: DatabaseSync;
  readonly put: StatementSync;
  readonly remove: StatementSync;
  readonly fact: StatementSync;
}

export class Journal {
  readonly #path: string;
  readonly #log: Log;
  readonly #now: () => number;
  #open: Statements | undefined;
  readonly #entries = new Map<string, { readonly arrival: string; readonly entry: Entry }>();
  /** Not yet written, by ID and arrival. */
  readonly #unsaved = new Map<string, Row>();
  readonly #facts = new Map<string, number>();
  #batches = 0;
  #failedAt = Number.NEGATIVE_INFINITY;
  #toldAt = Number.NEGATIVE_INFINITY;

  /** Opens or makes the file, and reads it. Never throws: without a file it goes on in memory, and says so. */
  constructor(options: JournalOptions) {
    this.#path = options.path;
    this.#log = options.log;
    this.#now = options.now ?? Date.now;
    this.#save();
  }

  /** What is known of a message; undefined when nothing is. */
  get(message: Keyed): Entry | undefined {
    const known = this.#entries.get(message.id);
    return known?.arrival === arrivalOf(message) ? known.entry : undefined;
  }

  /** Written at once: what must be known after a kill. */
  change(message: Keyed, changes: Partial<Entry>): Entry {
    const entry = this.remember(message, changes);
    this.#save();
    return entry;
  }

  /** Written with the next change, or by save(): what can be found out again. */
  remember(message: Keyed, changes: Partial<Entry>): Entry {
    const arrival = arrivalOf(message);
    const entry = { ...(this.get(message) ?? NEW_ENTRY), ...changes };
    this.#entries.set(message.id, { arrival, entry });
    this.#unsaved.set(`${message.id} ${arrival}`, { id: message.id, arrival, entry });
    return entry;
  }

  save(): void {
    this.#save();
  }

  /** IDs of messages that something was under way with. */
  unfinished(): string[] {
    return [...this.#entries].filter(([, { entry }]) => entry.stage !== "").map(([id]) => id);
  }

  /** Forgets messages that are in the queue no more. */
  forget(ids: Iterable<string>): void {
    this.batch(() => {
      for (const id of ids) {
        const known = this.#entries.get(id);
        if (known === undefined) continue;
        this.#entries.delete(id);
        this.#write({ id, arrival: known.arrival, entry: undefined });
      }
    });
  }

  /** Forgets all messages but these. */
  keep(there: { has(id: string): boolean }): void {
    this.forget([...this.#entries.keys()].filter((id) => !there.has(id)));
  }

  /** A sign of life. @param plannedMs when the next session will be; undefined leaves it as it was said */
  alive(plannedMs?: number): void {
    this.batch(() => {
      this.#facts.set("alive", this.#now());
      if (plannedMs !== undefined) this.#facts.set("planned", plannedMs);
      this.#save();
    });
  }

  get heartbeat(): Heartbeat {
    return { aliveMs: this.#facts.get("alive") ?? 0, plannedMs: this.#facts.get("planned") ?? 0 };
  }

  /** Everything that `work` changes is written at once. */
  batch(work: () => void): void {
    this.#batches++;
    try {
      work();
    } finally {
      if (--this.#batches === 0) this.#save();
    }
  }

  /** Whether all that is known is in the file. */
  get isSaved(): boolean {
    return this.#open !== undefined && this.#unsaved.size === 0;
  }

  close(): void {
    this.#failedAt = Number.NEGATIVE_INFINITY;
    this.#save();
    this.#drop();
  }

  #write(row: Row): void {
    this.#unsaved.set(`${row.id} ${row.arrival}`, row);
    if (this.#batches === 0) this.#save();
  }

  #save(): void {
    if (this.#batches > 0) return;
    const now = performance.now();
    if (now < this.#failedAt + AGAIN_AFTER_MS) return;
    try {
      this.#open ??= this.#load();
      this.#saveRows(this.#open);
      this.#failedAt = Number.NEGATIVE_INFINITY;
    } catch (error) {
      this.#failedAt = now;
      this.#fail(error as Error);
    }
  }

  #saveRows({ database, put, remove, fact }: Statements): void {
    if (this.#unsaved.size === 0 && this.#facts.size === 0) return;
    database.exec("BEGIN IMMEDIATE");
    for (const { id, arrival, entry } of this.#unsaved.values()) {
      if (entry === undefined) remove.run(id, arrival);
      else put.run(id, arrival, ...valuesOf(entry));
    }
    for (const [name, value] of this.#facts) fact.run(name, value);
    database.exec("COMMIT");
    this.#unsaved.clear();
  }

  #load(): Statements {
    const database = openFile(this.#path);
    try {
      for (const row of readRows(database)) {
        if (!this.#entries.has(row.id) && !this.#unsaved.has(`${row.id} ${row.arrival}`))
          this.#entries.set(row.id, row);
      }
      for (const { name, value } of database.prepare("SELECT name, value FROM fact").all()) {
        if (!this.#facts.has(name as string)) this.#facts.set(name as string, value as number);
      }
      const [put, remove, fact] = [PUT, REMOVE, FACT].map((sql) => database.prepare(sql));
      return { database, put: put!, remove: remove!, fact: fact! };
    } catch (error) {
      database.close();
      throw error;
    }
  }

  #fail(error: Error): void {
    this.#drop();
    const code = (error as { errcode?: number }).errcode;
    if (code === SQLITE_CORRUPT || code === SQLITE_NOTADB) this.#putAside();
    const now = performance.now();
    if (now < this.#toldAt + TELL_EVERY_MS) return;
    this.#toldAt = now;
    this.#log.error("queue journal: cannot be written; retries are kept in memory only", {
      path: this.#path,
      reason: error.message,
    });
  }

  /** A damaged file is kept for whoever wants to look, and a new one begun. */
  #putAside(): void {
    const aside = `${this.#path}.damaged`;
    try {
      for (const suffix of ["-wal", "-shm", ""]) {
        try {
          renameSync(`${this.#path}${suffix}`, `${aside}${suffix}`);
        } catch (error) {
          if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
        }
      }
      for (const [id, { arrival, entry }] of this.#entries)
        this.#unsaved.set(`${id} ${arrival}`, { id, arrival, entry });
      this.#failedAt = Number.NEGATIVE_INFINITY;
      this.#log.error("queue journal: the file is damaged; a new one is begun", { path: this.#path, aside });
    } catch {}
  }

  #drop(): void {
    try {
      this.#open?.database.close();
    } catch {}
    this.#open = undefined;
  }
}

/** All of a journal that another process writes; undefined when there is none. @throws a system or SQLite error */
export function readJournal(path: string): { entries: Map<string, Entry>; heartbeat: Heartbeat } {
  const database = new DatabaseSync(path, { readOnly: true });
  try {
    const entries = new Map<string, Entry>();
    for (const { id, entry } of readRows(database)) entries.set(id, entry);
    const facts = new Map(
      database
        .prepare("SELECT name, value FROM fact")
        .all()
        .map(({ name, value }) => [name as string, value as number]),
    );
    return {
      entries,
      heartbeat: { aliveMs: facts.get("alive") ?? 0, plannedMs: facts.get("planned") ?? 0 },
    };
  } finally {
    database.close();
  }
}

function openFile(path: string): DatabaseSync {
  const database = new DatabaseSync(path, { timeout: 2_000 });
  try {
    // A killed process leaves nothing half written; a power cut may cost the last seconds, which the queue knows.
    database.exec(`PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; ${SCHEMA}`);
    return database;
  } catch (error) {
    database.close();
    throw error;
  }
}

function* readRows(database: DatabaseSync): Generator<{ id: string; arrival: string; entry: Entry }> {
  for (const row of database.prepare("SELECT * FROM message").iterate()) {
    const entry: Entry = {
      stage: row.stage as Stage,
      stageMs: row.stage_ms as number,
      retries: row.retries as number,
      lastTryMs: row.last_try_ms as number,
      logMs: row.log_ms as number,
      nextTryMs: row.next_try_ms as number,
      lastReason: row.last_reason as string,
      skipped: row.skipped === 1,
      priority: row.priority as number,
      reason: row.reason as string,
      skippedSinceMs: row.skipped_since_ms as number,
    };
    yield { id: row.id as string, arrival: row.arrival as string, entry };
  }
}

function valuesOf(entry: Entry): (string | number)[] {
  const { stage, stageMs, retries, lastTryMs, logMs, nextTryMs, lastReason } = entry;
  const { skipped, priority, reason, skippedSinceMs } = entry;
  const times = [stageMs, retries, lastTryMs, logMs, nextTryMs];
  return [stage, ...times, lastReason, skipped ? 1 : 0, priority, reason, skippedSinceMs];
}

function arrivalOf({ arrivalTime, arrivalMicroseconds }: Keyed): string {
  return `${arrivalTime}.${arrivalMicroseconds}`;
}
