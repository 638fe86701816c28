/**
 * One worker at a time for an instance: a lock on a small SQLite file, which
 * the kernel lets go of when its process ends, however that happens. The file
 * also says who holds it, for the words that a second worker leaves with.
 */
import { existsSync, lstatSync } from "node:fs";
import { DatabaseSync } from "node:sqlite";
import { setTimeout as delay } from "node:timers/promises";

export interface Holder {
  readonly pid: number;
  /** ISO 8601. */
  readonly since: string;
  /** Such as "--watch". */
  readonly doing: string;
}

export interface Lock {
  release(): void;
}

const POLL_MS = 200;

/**
 * Takes the lock at `path`, or tells who has it.
 *
 * @throws Error from SQLite when the file cannot be opened or is none of its own
 */
export function takeLock(path: string, doing: string, now = new Date()): Lock | Holder {
  const database = open(path, false);
  try {
    database.exec("CREATE TABLE IF NOT EXISTS holder (pid INTEGER, since TEXT, doing TEXT)");
    database.exec("BEGIN IMMEDIATE; DELETE FROM holder");
    database.prepare("INSERT INTO holder VALUES (?, ?, ?)").run(process.pid, now.toISOString(), doing);
    database.exec("COMMIT");
    // Held for as long as this stays open; others can still read.
    database.exec("BEGIN IMMEDIATE");
    return { release: () => database.close() };
  } catch (error) {
    const holder = isBusy(error) ? (readHolder(database) ?? UNKNOWN) : undefined;
    database.close();
    if (holder === undefined) throw error;
    return holder;
  }
}

/** Takes the lock as soon as it is free; undefined when `signal` came first. */
export async function waitForLock(
  path: string,
  doing: string,
  signal: AbortSignal,
): Promise<Lock | undefined> {
  while (!signal.aborted) {
    const got = takeLock(path, doing);
    if (isLock(got)) return got;
    await delay(POLL_MS, undefined, { signal }).catch(() => {});
  }
  return undefined;
}

export function isLock(got: Lock | Holder): got is Lock {
  return "release" in got;
}

/** Who holds the lock now; undefined when nobody does. */
export function lockHolder(path: string): Holder | undefined {
  if (!existsSync(path) || !lstatSync(path).isFile()) return undefined;
  const database = open(path, false);
  try {
    database.exec("BEGIN IMMEDIATE; ROLLBACK");
    return undefined;
  } catch (error) {
    if (!isBusy(error)) throw error;
    return readHolder(database) ?? UNKNOWN;
  } finally {
    database.close();
  }
}

const UNKNOWN: Holder = { pid: 0, since: "", doing: "" };

function open(path: string, readOnly: boolean): DatabaseSync {
  return new DatabaseSync(path, { readOnly, timeout: 100 });
}

function readHolder(database: DatabaseSync): Holder | undefined {
  try {
    return database.prepare("SELECT pid, since, doing FROM holder").get() as Holder | undefined;
  } catch {
    return undefined;
  }
}

function isBusy(error: unknown): boolean {
  return (error as { errcode?: number }).errcode === 5;
}
