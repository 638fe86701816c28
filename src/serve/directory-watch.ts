/**
 * Notices that Lua files in a directory have changed, once they have settled:
 * the kernel's word is taken as a hint, a slow look at the files as the proof,
 * which also works where the kernel says nothing (network file systems, a
 * directory that was replaced, no watches left). A file system that hangs holds
 * up the looking and nothing else.
 */
import { type FSWatcher, watch } from "node:fs";
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";

export interface WatchTimes {
  /** Between two looks without any hint, milliseconds. */
  readonly pollMs: number;
  /** Files must have stayed the same for so long. */
  readonly settleMs: number;
}

export interface WatchOptions {
  readonly times?: WatchTimes;
  /** What is compared; never rejects. Default: the Lua files in the directory. */
  readonly fingerprint?: () => Promise<string>;
}

const TIMES: WatchTimes = { pollMs: 3_000, settleMs: 300 };

export class DirectoryWatch {
  readonly #directory: string;
  readonly #changed: () => void;
  readonly #times: WatchTimes;
  readonly #fingerprint: () => Promise<string>;
  /** What was there when `changed` was last called, or at the start. */
  #known: string;
  /** What was there at the last look, if that differs from #known. */
  #unsettled: string | undefined;
  #watcher: FSWatcher | undefined;
  #timer: NodeJS.Timeout | undefined;
  /** The next look comes within settleMs, or is under way. */
  #soon = true;
  /** Something happened since the last look began. */
  #hinted = false;
  #closed = false;

  /**
   * From when this resolves, `changed` is called when the files differ from those at the last call, or from those
   * that there were then.
   */
  static async open(
    directory: string,
    changed: () => void,
    { times = TIMES, fingerprint = () => luaFiles(directory) }: WatchOptions = {},
  ): Promise<DirectoryWatch> {
    const watch = new DirectoryWatch(directory, changed, { times, fingerprint }, await fingerprint());
    watch.#listen();
    watch.#wait(times.settleMs);
    return watch;
  }

  private constructor(
    directory: string,
    changed: () => void,
    { times, fingerprint }: Required<WatchOptions>,
    known: string,
  ) {
    this.#directory = directory;
    this.#changed = changed;
    this.#times = times;
    this.#fingerprint = fingerprint;
    this.#known = known;
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#watcher?.close();
    this.#watcher = undefined;
  }

  #listen(): void {
    try {
      this.#watcher = watch(this.#directory, { persistent: false }, () => {
        this.#hint();
      });
      this.#watcher.on("error", () => this.#unlisten());
    } catch {
      // No such directory, or no watches left: looking will do.
    }
  }

  #unlisten(): void {
    this.#watcher?.close();
    this.#watcher = undefined;
  }

  /** Something happened there: a look is due soon, not put off by what else happens. */
  #hint(): void {
    this.#hinted = true;
    if (this.#soon) return;
    this.#soon = true;
    this.#wait(this.#times.settleMs);
  }

  #wait(ms: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.#look(), ms).unref();
  }

  async #look(): Promise<void> {
    if (this.#watcher === undefined) this.#listen();
    this.#soon = true;
    this.#hinted = false;
    const now = await this.#fingerprint();
    if (this.#closed) return;
    if (now === this.#known) this.#unsettled = undefined;
    else if (now === this.#unsettled) {
      this.#known = now;
      this.#unsettled = undefined;
      this.#changed();
    } else this.#unsettled = now;
    this.#soon = this.#hinted || this.#unsettled !== undefined;
    this.#wait(this.#soon ? this.#times.settleMs : this.#times.pollMs);
  }
}

/** Names, sizes, times and inodes of the Lua files; "" when the directory cannot be read. */
async function luaFiles(directory: string): Promise<string> {
  try {
    const names = (await readdir(directory)).filter((name) => /\.lua$/i.test(name));
    const lines = names.map(async (name) => `${name} ${await fileState(join(directory, name))}`);
    return (await Promise.all(lines)).join("\n");
  } catch {
    return "";
  }
}

/** A file as far as it can be told from outside. */
export async function fileState(path: string): Promise<string> {
  try {
    const { mtimeMs, ctimeMs, size, ino } = await stat(path);
    return `${mtimeMs} ${ctimeMs} ${size} ${ino}`;
  } catch {
    return "gone";
  }
}
