/**
 * Keeps scripts from using up the process's memory.
 *
 * V8's heap and the bytes outside it (strings) are looked at together: every
 * slice of instructions, and whenever many bytes of strings have been made
 * since. When they pass the limit, garbage is collected once; when that does
 * not help, the callback that asks for more ends. V8 would abort the process.
 */
import { getHeapStatistics, setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { Breach, type Breakable } from "./breach.ts";
import type { LuaState } from "./vm.ts";

/** Strings made between two looks. */
const BYTES_BETWEEN_LOOKS = 16 * 1024 * 1024;
/** A full collection takes tens to hundreds of milliseconds; garbage is not worth more than this often. */
const MS_BETWEEN_COLLECTIONS = 500;
/** What V8 keeps of its limit for new objects; a full old generation ends the process all the same. */
const YOUNG_BYTES = 192 * 1024 * 1024;
/** V8 gives up some way below its limit. */
const USABLE = 0.75;

export class Memory {
  /** Heap and bytes outside it that this process may hold. */
  readonly maxBytes: number;
  /** Made at the start: the context it comes from needs memory of its own. */
  readonly #collectGarbage: () => void;
  #made = 0;
  #lastCollection = Number.NEGATIVE_INFINITY;
  /** A callback has been ended for its memory, and nobody has collected that since: the next one must not pay for it. */
  #leftovers = false;

  /** `maxBytes` counts as far as V8's own limit allows. */
  constructor(maxBytes: number) {
    const most = (getHeapStatistics().heap_size_limit - YOUNG_BYTES) * USABLE;
    this.maxBytes = Math.min(maxBytes, most);
    setFlagsFromString("--expose-gc");
    this.#collectGarbage = runInNewContext("gc") as () => void;
  }

  /** Told of a string of `bytes` that is about to exist. */
  made(task: Breakable, L: LuaState, bytes: number): void {
    this.#made += bytes;
    if (this.#made >= BYTES_BETWEEN_LOOKS) this.look(task, L);
  }

  /** Throws the breach when the process holds too much. */
  look(task: Breakable, L: LuaState): void {
    this.#made = 0;
    if (held() <= this.maxBytes) return;
    if (this.#leftovers || performance.now() - this.#lastCollection > MS_BETWEEN_COLLECTIONS) {
      this.collect();
      this.#leftovers = false;
      if (held() <= this.maxBytes) return;
    }
    this.#leftovers = true;
    const limit = Math.round(this.maxBytes / 1024 / 1024);
    task.throwBreach(
      L,
      new Breach("memory", "memory", `not enough memory (limit ${limit} MB for all scripts)`),
    );
  }

  /** Collects garbage, whatever it costs. */
  collect(): void {
    this.#collectGarbage();
    this.#lastCollection = performance.now();
  }
}

/** Bytes in use by this process's JavaScript: heap and what hangs on it. */
export function held(): number {
  const { used_heap_size, external_memory } = getHeapStatistics();
  return used_heap_size + external_memory;
}
