/**
 * How many at once, how many in a row, how long: the small bounds that
 * everything talking to the outside shares.
 */

/** At most `limit` holders at once, others wait in order; waiting ends with the caller's signal. */
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

/** Lets at most `limit` callers through in one turn of the event loop, so that a burst leaves others room to work. */
export class Pacer {
  readonly #limit: number;
  #left: number;
  #waiting: (() => void)[] = [];
  #scheduled = false;

  constructor(limit: number) {
    this.#limit = limit;
    this.#left = limit;
  }

  turn(): Promise<void> | undefined {
    if (!this.#scheduled) {
      this.#scheduled = true;
      setImmediate(() => this.#next());
    }
    if (this.#left > 0) {
      this.#left--;
      return undefined;
    }
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  #next(): void {
    const ready = this.#waiting.splice(0, this.#limit);
    this.#left = this.#limit - ready.length;
    this.#scheduled = ready.length > 0;
    if (this.#scheduled) setImmediate(() => this.#next());
    for (const go of ready) go();
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
    return this.signal.aborted ? 0 : Math.max(0, this.#endsAt - performance.now());
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
    this.#parent?.removeEventListener("abort", this.#onParent);
  }
}
