/**
 * What a worker's watchdog thread tells the primary, one JSON line each, over
 * a pipe of its own (file descriptor 4): that it lives, what is running, and
 * why it is about to kill the process. The main thread has no part in it, so
 * the lines come while that is stuck.
 */
import type { Readable } from "node:stream";
import type { Place } from "./vital.ts";

/** The worker's end of the pipe. */
export const BLACK_BOX_FD = 4;

export type BlackBoxLine =
  | { readonly type: "alive"; readonly place?: Place }
  | {
      readonly type: "killing";
      readonly cause: "stuck" | "memory";
      readonly place?: Place;
      readonly detail: string;
    };

/** How many reports of what was running are kept: the last of them need not be the one that did the harm. */
const KEPT = 10;

/** The primary's end: what the last words of one worker say. */
export class BlackBox {
  /** Why the thread killed its process, once it has said so. */
  killing: (BlackBoxLine & { readonly type: "killing" }) | undefined;
  readonly #onLine: () => void;
  #places: Place[] = [];
  #rest = "";

  /** `onLine` is called for each sign of life. */
  constructor(pipe: Readable, onLine: () => void) {
    this.#onLine = onLine;
    pipe.setEncoding("latin1");
    pipe.on("data", (text: string) => this.#take(text));
    // A killed process may leave half a line and an error; what counts is that it is gone.
    pipe.on("error", () => {});
  }

  /** What ran most often in the last moments, undefined when nothing did. */
  place(): Place | undefined {
    if (this.killing?.place !== undefined) return this.killing.place;
    const counts = new Map<string, number>();
    let most: Place | undefined;
    for (const place of this.#places) {
      const key = `${place.session}\0${place.callback}`;
      const count = (counts.get(key) ?? 0) + 1;
      counts.set(key, count);
      const best = most === undefined ? 0 : (counts.get(`${most.session}\0${most.callback}`) ?? 0);
      if (count >= best) most = place;
    }
    return most;
  }

  #take(text: string): void {
    const lines = (this.#rest + text).split("\n");
    this.#rest = lines.pop() ?? "";
    for (const line of lines) {
      const parsed = parse(line);
      if (parsed !== undefined) this.#takeLine(parsed);
    }
  }

  #takeLine(line: BlackBoxLine): void {
    this.#onLine();
    if (line.type === "killing") this.killing = line;
    else if (line.place === undefined) this.#places = [];
    else this.#places = [...this.#places.slice(1 - KEPT), line.place];
  }
}

/** A script can find this pipe below /dev/fd; what it writes there must not reach further. */
function parse(line: string): BlackBoxLine | undefined {
  try {
    const value = JSON.parse(line) as BlackBoxLine | null;
    return value?.type === "alive" || value?.type === "killing" ? value : undefined;
  } catch {
    return undefined;
  }
}
