/**
 * What lies in the queue: each message of the queues incoming, active,
 * deferred and hold, with what changed since the scan before. Only files that
 * are new or were touched are read; the others cost one look at the directory
 * and one at the file.
 *
 * Never locks and never waits for Postfix, which moves files meanwhile: what
 * was known and is not found, and what is found twice, is looked for once
 * more before it is called gone. maildrop is not looked at (not yet Postfix's),
 * nor is corrupt (not any more).
 */
import { lstatSync, readdirSync, type Stats } from "node:fs";
import { join } from "node:path";
import {
  entryOf,
  isComplete,
  type QueueEntry,
  type QueueFile,
  QueueFileError,
  type ReadOptions,
  readQueueFile,
} from "./queue-file.ts";
import { isQueueId, placesInQueue } from "./queue-id.ts";

/** Queues whose mail this program knows of, in the order of a message's way. */
export const QUEUES = ["incoming", "active", "deferred", "hold"] as const;
export type QueueName = (typeof QUEUES)[number];

/** A message that is new, or whose content or envelope cannot be told from new. */
export interface Found {
  readonly queue: QueueName;
  /** Of its file, absolute. */
  readonly path: string;
  readonly file: QueueFile;
}

/** A known message that moved, was tried or was touched: what of it may be different. */
export interface Moved {
  readonly entry: QueueEntry;
  readonly queue: QueueName;
  readonly path: string;
  /** When its file was read again; recipients' states and the warning time may differ from before, nothing else. */
  readonly file: QueueFile | undefined;
}

export interface Batch {
  readonly found: readonly Found[];
  /** May hold what an earlier batch, or this one, had as found. */
  readonly moved: readonly Moved[];
}

export interface Unreadable {
  readonly id: string;
  readonly queue: QueueName;
  /** Names the file, and the byte where it is no queue file. */
  readonly problem: string;
}

export interface ScanResult {
  /** Known messages that are in none of the queues any more. */
  readonly gone: readonly string[];
  /** Files that cannot be read or are none; told again at each scan. */
  readonly unreadable: readonly Unreadable[];
  /** Messages in the queue now, those that cannot be read left out. */
  readonly total: number;
}

/** All that is remembered of a message; the reader of the results keeps the rest. */
interface Known {
  queue: QueueName;
  /** Path below the queue directory. */
  path: string;
  inode: number;
  fileSize: number;
  mtimeMs: number;
  /** Deferred again within the same second, a message has the same mtime. */
  ctimeMs: number;
  /** Its last change was long enough ago to be told from a later one. */
  settled: boolean;
  /** What can change while size and times stay, as one string. */
  content: string;
  mode: number;
  readonly arrival: string;
  scan: number;
}

export interface ScanOptions extends ReadOptions {
  /** Called with what is new, in the order in which it was seen, so that nothing piles up. May wait. */
  readonly onBatch: (batch: Batch) => Promise<void> | void;
  /** Forget what is known: everything counts as found, nothing as gone. */
  readonly fresh?: boolean;
  /** Looks for these messages alone, and leaves the others as they are known. */
  readonly only?: readonly string[];
  /** Messages in one batch; default 200. */
  readonly batch?: number;
}

/** A file system's clock is as coarse as this: two changes within it can look like one. */
export const CLOCK_TICK_MS = 20;
/** Longest stretch of work before other events get their turn. */
const SLICE_MS = 8;
const HASH_DIRECTORY = /^[0-9A-Za-z]$/;
const DEEPEST = 8;

export class QueueScanner {
  readonly #directory: string;
  readonly #hashed: ReadonlySet<string>;
  readonly #known = new Map<string, Known>();
  /** Subdirectories deep that queues were found to be. */
  readonly #depths = new Set([0, 1]);
  readonly #now: () => number;
  #scan = 0;
  #running: Promise<unknown> = Promise.resolve();

  /** @param directory Postfix's queue_directory @param hashed hash_queue_names, to look there first; never relied on */
  constructor(directory: string, hashed: readonly string[] = ["deferred", "defer"], now = Date.now) {
    this.#directory = directory;
    this.#now = now;
    this.#hashed = new Set(hashed);
  }

  get size(): number {
    return this.#known.size;
  }

  /**
   * Scans once; scans asked for meanwhile follow one after another.
   *
   * @throws a system error when the queue directory itself cannot be read
   */
  scan(options: ScanOptions): Promise<ScanResult> {
    const next = this.#running.then(() => this.#scanOnce(options));
    this.#running = next.catch(() => {});
    return next;
  }

  /** Reads one message wherever it lies, known or not; undefined when it is nowhere or still being written. @throws QueueFileError */
  read(id: string, options: ReadOptions = {}): Found | undefined {
    for (let look = 0; look < LOOKS; look++) {
      const at = this.locate(id);
      if (at === undefined) return undefined;
      const path = join(this.#directory, at.path);
      const file = readQueueFile(path, options);
      if (file !== "gone") return file === "unfinished" ? undefined : { queue: at.queue, path, file };
    }
    return undefined;
  }

  /**
   * Where a message lies now; undefined when it is in none of the queues. A message that moves on between two looks
   * can be missed, so that several rounds must miss it.
   */
  locate(id: string): { readonly queue: QueueName; readonly path: string; readonly stat: Stats } | undefined {
    if (!isQueueId(id)) return undefined;
    for (let look = 1; look <= LOOKS; look++) {
      for (const queue of QUEUES) {
        for (const place of this.#places(id, queue, look === LOOKS)) {
          const path = `${queue}/${place}`;
          const stat = this.#stat(path);
          if (stat !== undefined) return { queue, path, stat };
        }
      }
    }
    return undefined;
  }

  /** One look, where active/ is not hashed, as is Postfix's default. */
  isActive(id: string): boolean {
    return isQueueId(id) && this.#stat(`active/${id}`) !== undefined;
  }

  async #scanOnce(options: ScanOptions): Promise<ScanResult> {
    const scan = ++this.#scan;
    if (options.fresh === true) this.#known.clear();
    const unreadable = new Map<string, Unreadable>();
    let found: Found[] = [];
    let moved: Moved[] = [];
    const deliver = async (): Promise<void> => {
      const batch = { found, moved };
      found = [];
      moved = [];
      await options.onBatch(batch);
    };
    let sliceEnd = performance.now() + SLICE_MS;
    const batch = options.batch ?? 200;
    const take = (id: string, queue: QueueName, path: string): boolean => {
      try {
        const result = this.#look(id, queue, path, scan, options);
        if (result === undefined) return false;
        unreadable.delete(id);
        if ("entry" in result) moved.push(result);
        else found.push(result);
      } catch (error) {
        if (!(error instanceof QueueFileError) && (error as NodeJS.ErrnoException).syscall === undefined)
          throw error;
        unreadable.set(id, { id, queue, problem: (error as Error).message });
        this.#known.delete(id);
      }
      return true;
    };
    // What is not where it was a moment ago has moved, or is gone.
    const follow = (id: string): void => {
      for (let at = this.locate(id); at !== undefined; at = this.locate(id)) {
        if (take(id, at.queue, at.path) || this.#known.get(id)?.scan === scan) return;
        if (!isComplete(at.stat)) return;
      }
    };
    const pause = async (): Promise<void> => {
      if (found.length + moved.length >= batch) await deliver();
      if (performance.now() < sliceEnd) return;
      await new Promise(setImmediate);
      sliceEnd = performance.now() + SLICE_MS;
    };
    for (const [id, at] of options.only === undefined ? this.#list() : []) {
      if (!take(id, at.queue, at.path) && this.#known.get(id)?.scan !== scan) follow(id);
      await pause();
    }
    const gone: string[] = [];
    for (const id of options.only ?? this.#known.keys()) {
      const known = this.#known.get(id);
      if (known?.scan === scan) continue;
      follow(id);
      if (known !== undefined && this.#known.get(id)?.scan !== scan && !unreadable.has(id)) {
        gone.push(id);
        this.#known.delete(id);
      }
      await pause();
    }
    if (found.length + moved.length > 0) await deliver();
    return { gone, unreadable: [...unreadable.values()], total: this.#known.size };
  }

  /** Looks at one file; undefined when nothing about it is new, or when it is not there any more. */
  #look(
    id: string,
    queue: QueueName,
    path: string,
    scan: number,
    options: ReadOptions,
  ): Found | Moved | undefined {
    const stat = this.#stat(path);
    if (stat === undefined || !isComplete(stat)) return undefined;
    const known = this.#known.get(id);
    const same =
      known !== undefined &&
      known.inode === stat.ino &&
      known.fileSize === stat.size &&
      known.mtimeMs === stat.mtimeMs &&
      known.ctimeMs === stat.ctimeMs;
    if (same && known.settled) {
      known.scan = scan;
      if (known.queue === queue && known.mode === stat.mode) return undefined;
      known.queue = queue;
      known.path = path;
      known.mode = stat.mode;
      return { entry: entryOf(id, stat), queue, path: join(this.#directory, path), file: undefined };
    }
    const absolute = join(this.#directory, path);
    const file = readQueueFile(absolute, options);
    if (file === "gone" || file === "unfinished") return undefined;
    const arrival = `${file.arrivalTime}.${file.arrivalMicroseconds}`;
    const { ino: inode, size: fileSize, mtimeMs, ctimeMs, mode } = stat;
    const settled = this.#isSettled(stat);
    const content = contentOf(file);
    this.#known.set(id, {
      queue,
      path,
      inode,
      fileSize,
      mtimeMs,
      ctimeMs,
      settled,
      content,
      mode,
      arrival,
      scan,
    });
    // A short ID may have been given to another message.
    const other = known?.inode !== inode || known.fileSize !== fileSize || known.arrival !== arrival;
    if (other) return { queue, path: absolute, file };
    if (same && known.queue === queue && known.mode === mode && known.content === content) return undefined;
    return { entry: entryOf(id, stat), queue, path: absolute, file };
  }

  #isSettled(stat: Stats): boolean {
    return Math.abs(this.#now() - stat.ctimeMs) >= CLOCK_TICK_MS;
  }

  /**
   * Every ID with the last place where it was seen. Mail goes from deferred/ to active/ and back, or by way of
   * incoming/: deferred/ is listed before and after the others, so that whoever was in none of the lists must have
   * moved twice within them.
   */
  #list(): Map<string, { readonly queue: QueueName; readonly path: string }> {
    const all = new Map<string, { readonly queue: QueueName; readonly path: string }>();
    for (const queue of ["deferred", "hold", "incoming", "active", "deferred", "hold"] as const) {
      this.#walk(queue, "", 0, (id, path) => all.set(id, { queue, path }));
    }
    return all;
  }

  /** All of a queue, hashed or not, whatever hash_queue_names and hash_queue_depth say now or said before. */
  #walk(queue: QueueName, below: string, depth: number, see: (id: string, path: string) => void): void {
    const directory = `${queue}/${below}`;
    let names: string[];
    try {
      names = readdirSync(join(this.#directory, directory));
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      // A subdirectory may go, and may be none; the queue itself is always there.
      if (depth > 0 && (code === "ENOENT" || code === "ENOTDIR")) return;
      throw error;
    }
    if (depth > 0) this.#depths.add(depth);
    for (const name of names) {
      if (isQueueId(name)) see(name, `${directory}${name}`);
      else if (HASH_DIRECTORY.test(name) && depth < DEEPEST) {
        this.#walk(queue, `${below}${name}/`, depth + 1, see);
      }
    }
  }

  /** Where to look, likeliest first; with `all`, also at depths of hashing that no queue had when it was listed. */
  #places(id: string, queue: QueueName, all: boolean): readonly string[] {
    const places = placesInQueue(id).filter((place) => all || this.#depths.has(place.split("/").length - 1));
    return this.#hashed.has(queue) ? places : [id, ...places.filter((place) => place !== id)];
  }

  #stat(path: string): Stats | undefined {
    try {
      return lstatSync(join(this.#directory, path), { throwIfNoEntry: false });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOTDIR") return undefined;
      throw error;
    }
  }
}

const LOOKS = 4;

function contentOf({ recipients, warnTime }: QueueFile): string {
  const letters = recipients.map(({ state }) => state[0]).join("");
  return warnTime === 0 ? letters : `${letters} ${warnTime}`;
}
