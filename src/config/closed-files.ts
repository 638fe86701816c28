/**
 * Files that scripts must not reach, whatever name they give them: the
 * store's, with its password hashes, and those of processes below /proc, by
 * which a program reads and changes its own memory.
 *
 * A file is known by what it is, not by how it is spelled: by device and inode
 * where it exists, else by its directory and name, so that nobody puts one of
 * SQLite's own files beside a database. It has to be asked before a file is
 * opened: closing one takes SQLite's locks away. Programs that a script starts
 * are not held back.
 */
import { lstatSync, readlinkSync, realpathSync, type Stats, statSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { settingsPath, sqlitePath } from "./database.ts";

/** What a name must not lead to. */
export interface StoreConfig {
  readonly database: string;
  readonly password_file?: string | undefined;
}

/** The files of `store`, absolute paths. */
export function storeFiles({ database, password_file }: StoreConfig): string[] {
  const main = sqlitePath(database);
  const files = main === undefined ? [] : [main, settingsPath(main)];
  return password_file === undefined ? files : [...files, resolve(password_file)];
}

/** What SQLite puts beside a database. */
const BESIDE = ["", "-journal", "-wal", "-shm"];
const MOST_LINKS = 40;

export class ClosedFiles {
  readonly #files: readonly { readonly directory: string; readonly name: string }[];

  /** @param paths absolute; what SQLite puts beside them is closed, too */
  constructor(paths: readonly string[]) {
    this.#files = paths.map((path) => ({ directory: dirname(path), name: basename(path) }));
  }

  /** Whether `path`, to be opened or made, is closed. */
  holds(path: Buffer | string): boolean {
    const name = typeof path === "string" ? Buffer.from(path) : path;
    if (name.includes(0)) return false;
    const stats = statOf(name);
    if (stats !== undefined && (this.#isOne(stats) || isOfProcess(name, stats))) return true;
    return this.#isNamed(followed(name));
  }

  /** Whether the entry `path`, to be removed or renamed, is closed, or leads to what is. */
  holdsEntry(path: Buffer): boolean {
    if (path.includes(0)) return false;
    const stats = statOf(path, lstatSync);
    if (stats?.isDirectory() === true) return this.#files.some(({ directory }) => isAbove(stats, directory));
    return (stats !== undefined && this.#isOne(stats)) || this.#isNamed(path.toString("latin1"));
  }

  #isOne(stats: Stats): boolean {
    return this.#files.some(({ directory, name }) =>
      BESIDE.some((suffix) => same(stats, statOf(join(directory, name + suffix)))),
    );
  }

  /** `path` has a character for each byte. */
  #isNamed(path: string): boolean {
    const entry = basename(path);
    const candidates = this.#files.filter(({ name }) => {
      const bytes = Buffer.from(name).toString("latin1");
      return entry === bytes || entry.startsWith(`${bytes}-`);
    });
    if (candidates.length === 0) return false;
    const parent = statOf(Buffer.from(dirname(path), "latin1"));
    return parent !== undefined && candidates.some(({ directory }) => same(parent, statOf(directory)));
  }
}

function statOf(
  path: Buffer | string,
  look: typeof statSync | typeof lstatSync = statSync,
): Stats | undefined {
  try {
    return look(path);
  } catch {
    return undefined;
  }
}

function same(one: Stats, other: Stats | undefined): boolean {
  return one.ino === other?.ino && one.dev === other.dev;
}

/** Where opening would end up: links of the last component lead on, also to what is not there yet. */
function followed(path: Buffer): string {
  let at = path.toString("latin1");
  for (let n = 0; n < MOST_LINKS; n++) {
    try {
      const target = readlinkSync(Buffer.from(at, "latin1"), "latin1");
      at = target.startsWith("/") ? target : `${dirname(at)}/${target}`;
    } catch {
      return at;
    }
  }
  return at;
}

function isAbove(stats: Stats, directory: string): boolean {
  for (let at = directory; ; at = dirname(at)) {
    if (same(stats, statOf(at))) return true;
    if (at === dirname(at)) return false;
  }
}

function isOfProcess(path: Buffer, stats: Stats): boolean {
  const proc = statOf("/proc");
  if (proc === undefined || proc.dev !== stats.dev || proc.dev === statOf("/")?.dev) return false;
  try {
    return /^\/proc\/\d+\//.test(realpathSync(path, "latin1"));
  } catch {
    return true;
  }
}
