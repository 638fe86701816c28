/**
 * Notices sent lately, so that repeats can be dropped ([errors] repeat_after).
 * In the memory of one process: each worker counts by itself, and a restart
 * forgets. The oldest are forgotten first when there are too many.
 */

const MAX_KEYS = 10_000;

export class Repeats {
  readonly #withinMs: number;
  readonly #now: () => number;
  /** Key to the time it was sent, oldest first. */
  readonly #sent = new Map<string, number>();

  /** `withinMs` 0 drops nothing. `now` in milliseconds. */
  constructor(withinMs: number, now: () => number = () => performance.now()) {
    this.#withinMs = withinMs;
    this.#now = now;
  }

  get active(): boolean {
    return this.#withinMs > 0;
  }

  /** Whether a notice with this key was sent within the time. */
  has(key: string): boolean {
    const sent = this.#sent.get(key);
    return sent !== undefined && this.#now() - sent < this.#withinMs;
  }

  /** A notice with this key is being sent now. */
  add(key: string): void {
    if (!this.active) return;
    this.#sent.delete(key);
    this.#sent.set(key, this.#now());
    for (const oldest of this.#sent.keys()) {
      if (this.#sent.size <= MAX_KEYS) break;
      this.#sent.delete(oldest);
    }
  }
}
