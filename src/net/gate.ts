/**
 * A counting gate: at most `limit` holders at once, others wait in order.
 * It bounds sockets and processes; waiting ends with the caller's signal.
 */

export class Gate {
  readonly #limit: number;
  #inside = 0;
  readonly #waiting = new Set<() => void>();

  constructor(limit: number) {
    if (!Number.isInteger(limit) || limit < 1)
      throw new RangeError(`gate limit: expected 1 or more, got ${limit}`);
    this.#limit = limit;
  }

  /** True when the caller is in and owes a leave(); false when `signal` ended the wait. */
  enter(signal: AbortSignal): Promise<boolean> {
    if (signal.aborted) return Promise.resolve(false);
    if (this.#inside < this.#limit) {
      this.#inside++;
      return Promise.resolve(true);
    }
    return new Promise((resolve) => {
      const admit = () => {
        signal.removeEventListener("abort", giveUp);
        resolve(true);
      };
      const giveUp = () => {
        this.#waiting.delete(admit);
        resolve(false);
      };
      this.#waiting.add(admit);
      signal.addEventListener("abort", giveUp, { once: true });
    });
  }

  leave(): void {
    for (const admit of this.#waiting) {
      this.#waiting.delete(admit);
      admit();
      return;
    }
    this.#inside--;
  }
}

/** A signal that is aborted by `parent`, by the caller, or after `timeoutMs`; dispose it when the work is over. */
export class Deadline implements Disposable {
  readonly #controller = new AbortController();
  readonly #parent: AbortSignal | undefined;
  readonly #timer: NodeJS.Timeout;
  readonly #onParent = () => this.#controller.abort();
  readonly #endsAt: number;
  #timedOut = false;

  constructor(timeoutMs: number, parent?: AbortSignal) {
    this.#endsAt = performance.now() + timeoutMs;
    this.#parent = parent;
    this.#timer = setTimeout(() => {
      this.#timedOut = true;
      this.#controller.abort();
    }, timeoutMs);
    if (parent?.aborted) this.#controller.abort();
    else parent?.addEventListener("abort", this.#onParent, { once: true });
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** True when the time, not the parent, ended it. */
  get timedOut(): boolean {
    return this.#timedOut;
  }

  get leftMs(): number {
    return Math.max(0, this.#endsAt - performance.now());
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
    this.#parent?.removeEventListener("abort", this.#onParent);
  }
}
