/**
 * Notices that Lua files in a directory have changed, once they have settled:
 * the kernel's word is taken as a hint, a slow look at the files as the proof,
 * which also works where the kernel says nothing (network file systems, a
 * directory that was replaced, no watches left).
 */
import { type FSWatcher, readdirSync, statSync, watch } from "node:fs";
import { join } from "node:path";

export interface WatchTimes {
  /** Between two looks without any hint, milliseconds. */
  readonly pollMs: number;
  /** Files must have stayed the same for so long. */
  readonly settleMs: number;
}

const TIMES: WatchTimes = { pollMs: 3_000, settleMs: 300 };

export class DirectoryWatch {
  readonly #directory: string;
  readonly #changed: () => void;
  readonly #times: WatchTimes;
  /** What was there when `changed` was last called. */
  #known: string;
  /** What was there at the last look, if that differs from #known. */
  #unsettled: string | undefined;
  #watcher: FSWatcher | undefined;
  #timer: NodeJS.Timeout | undefined;
  /** The next look comes within settleMs. */
  #soon = false;

  /** `changed` is called when the files differ from those at the last call, or at the start. */
  constructor(directory: string, changed: () => void, times = TIMES) {
    this.#directory = directory;
    this.#changed = changed;
    this.#times = times;
    this.#known = fingerprint(directory);
    this.#wait(times.pollMs);
    this.#listen();
  }

  close(): void {
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
    if (this.#soon) return;
    this.#soon = true;
    this.#wait(this.#times.settleMs);
  }

  #wait(ms: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#look(), ms).unref();
  }

  #look(): void {
    if (this.#watcher === undefined) this.#listen();
    const now = fingerprint(this.#directory);
    const settled = now === this.#unsettled;
    if (now === this.#known) this.#unsettled = undefined;
    else if (settled) {
      this.#known = now;
      this.#unsettled = undefined;
      this.#changed();
    } else this.#unsettled = now;
    this.#soon = this.#unsettled !== undefined;
    this.#wait(this.#soon ? this.#times.settleMs : this.#times.pollMs);
  }
}

/** Names, sizes, times and inodes of the Lua files; "" when the directory cannot be read. */
function fingerprint(directory: string): string {
  try {
    const names = readdirSync(directory).filter((name) => /\.lua$/i.test(name));
    return names.map((name) => `${name} ${state(join(directory, name))}`).join("\n");
  } catch {
    return "";
  }
}

function state(path: string): string {
  try {
    const { mtimeMs, ctimeMs, size, ino } = statSync(path);
    return `${mtimeMs} ${ctimeMs} ${size} ${ino}`;
  } catch {
    return "gone";
  }
}
