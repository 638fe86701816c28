/**
 * Notices that mail moved: every message passes through active/, whoever sent
 * it and however it is parked. What it misses (mail taken off hold, a hashed
 * active/), the next scan sees.
 */
import { type FSWatcher, watch } from "node:fs";
import { join } from "node:path";
import { isQueueId } from "./queue-id.ts";

/** IDs of messages that came or went; `all`: too many to tell, or nobody can tell. */
export interface Changes {
  readonly ids: readonly string[];
  readonly all: boolean;
}

const MAX_IDS = 1_000;

export class QueueWatch {
  readonly #ids = new Set<string>();
  #watcher: FSWatcher | undefined;
  #many = false;
  #wake: () => void = () => {};

  constructor(queueDirectory: string) {
    try {
      const watcher = watch(join(queueDirectory, "active"), (_, name) => this.#note(name));
      watcher.on("error", () => this.close());
      watcher.unref();
      this.#watcher = watcher;
    } catch {}
  }

  /** Resolves when something has changed since the last call, or after `waitMs`. */
  async next(waitMs: number): Promise<Changes> {
    if (this.#ids.size === 0 && !this.#many) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, waitMs);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
    const changes = { ids: [...this.#ids], all: this.#many || this.#watcher === undefined };
    this.#ids.clear();
    this.#many = false;
    return changes;
  }

  close(): void {
    this.#watcher?.close();
    this.#watcher = undefined;
    this.#wake();
  }

  #note(name: string | null): void {
    if (!isQueueId(name)) return;
    if (this.#ids.size < MAX_IDS) this.#ids.add(name);
    else this.#many = true;
    this.#wake();
  }
}
