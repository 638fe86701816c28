/**
 * A few bytes that a worker's main thread and its watchdog thread share: a
 * heartbeat, and which session, script and callback is running now.
 *
 * The main thread writes, the other only reads; nothing here waits for anyone.
 * Texts are byte strings, cut at their field's length. A reader that meets a
 * half-written field gets a wrong name, never an error.
 */

/** Whose Lua is running. `line` is 0 when it is not known. */
export interface Place {
  readonly session: string;
  readonly queue: string;
  readonly script: string;
  readonly callback: string;
  readonly line: number;
}

/** Words of the header, 32 bits each. */
const BEATS = 0;
const RUNNING = 1;
const LINE = 2;
const HEADER_BYTES = 16;

const FIELDS = ["session", "queue", "script", "callback"] as const;
/** A length byte and the text. */
const FIELD_BYTES = 96;

/** Written by the main thread. */
export class Vital {
  readonly shared = new SharedArrayBuffer(HEADER_BYTES + FIELDS.length * FIELD_BYTES);
  readonly #words = new Int32Array(this.shared, 0, HEADER_BYTES / 4);
  readonly #bytes = new Uint8Array(this.shared);
  /** What the fields hold, so that a name already there is not written again. */
  readonly #held: [string, string, string, string] = ["", "", "", ""];

  /** The event loop still turns. */
  beat(): void {
    Atomics.add(this.#words, BEATS, 1);
  }

  /** A callback begins to run, or goes on after it has waited. */
  enter(session: string, queue: string, script: string, callback: string): void {
    this.#write(0, session);
    this.#write(1, queue);
    this.#write(2, script);
    this.#write(3, callback);
    this.#words[LINE] = 0;
    this.#words[RUNNING] = 1;
  }

  /** The line that is running. */
  at(line: number): void {
    this.#words[LINE] = line;
  }

  /** It ended, or waits. */
  leave(): void {
    this.#words[RUNNING] = 0;
  }

  #write(field: 0 | 1 | 2 | 3, text: string): void {
    if (this.#held[field] === text) return;
    this.#held[field] = text;
    const bytes = this.#bytes;
    const start = HEADER_BYTES + field * FIELD_BYTES;
    const length = Math.min(text.length, FIELD_BYTES - 1);
    bytes[start] = length;
    for (let i = 0; i < length; i++) bytes[start + 1 + i] = text.charCodeAt(i);
  }
}

/** Read by the watchdog thread. */
export class VitalReader {
  readonly #words: Int32Array;
  readonly #bytes: Uint8Array;

  constructor(shared: SharedArrayBuffer) {
    this.#words = new Int32Array(shared, 0, HEADER_BYTES / 4);
    this.#bytes = new Uint8Array(shared);
  }

  /** Heartbeats so far; it only matters whether the number changes. */
  beats(): number {
    return Atomics.load(this.#words, BEATS);
  }

  /** What is running, undefined when no callback is. */
  place(): Place | undefined {
    if (Atomics.load(this.#words, RUNNING) === 0) return undefined;
    const [session = "", queue = "", script = "", callback = ""] = FIELDS.map((_, n) => this.#read(n));
    return { session, queue, script, callback, line: Atomics.load(this.#words, LINE) };
  }

  #read(field: number): string {
    const start = HEADER_BYTES + field * FIELD_BYTES;
    const length = Math.min(this.#bytes[start] ?? 0, FIELD_BYTES - 1);
    return String.fromCharCode(...this.#bytes.subarray(start + 1, start + 1 + length));
  }
}
