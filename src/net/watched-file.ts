/**
 * A small text file that is read again when it has changed: resolv.conf and
 * hosts, which DHCP clients and admins rewrite under a running service. The
 * file is looked at no more than every few seconds; an unreadable file counts
 * as empty.
 */
import { readFile, stat } from "node:fs/promises";

const LOOK_EVERY_MS = 5000;

export class WatchedFile<T> {
  readonly #path: string;
  readonly #parse: (text: string) => T;
  readonly #lookEveryMs: number;
  #value: T;
  #stamp = "";
  #lookedAt = Number.NEGATIVE_INFINITY;
  #looking: Promise<void> | undefined;

  constructor(path: string, parse: (text: string) => T, lookEveryMs = LOOK_EVERY_MS) {
    this.#path = path;
    this.#parse = parse;
    this.#lookEveryMs = lookEveryMs;
    this.#value = parse("");
  }

  async get(): Promise<T> {
    if (performance.now() - this.#lookedAt >= this.#lookEveryMs) {
      this.#looking ??= this.#look().finally(() => {
        this.#looking = undefined;
      });
      await this.#looking;
    }
    return this.#value;
  }

  async #look(): Promise<void> {
    try {
      const { mtimeMs, size, ino } = await stat(this.#path);
      const stamp = `${mtimeMs} ${size} ${ino}`;
      if (stamp !== this.#stamp) {
        this.#value = this.#parse(await readFile(this.#path, "latin1"));
        this.#stamp = stamp;
      }
    } catch {
      this.#value = this.#parse("");
      this.#stamp = "";
    }
    this.#lookedAt = performance.now();
  }
}
