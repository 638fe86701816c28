/** When a worker that died is replaced: the first time at once, then after longer and longer waits. */

const FIRST_MS = 100;
/** A worker that cannot even start must not eat the machine; one that served mail is missed sooner. */
const MOST_MS = { starting: 5_000, serving: 400 } as const;
/** Deaths of workers that lived this long have nothing to do with each other. */
const SETTLED_MS = 10_000;

export class Backoff {
  #failures = 0;

  /**
   * A worker died after living `livedMs`; `served` is whether it had got as far as serving.
   * @returns milliseconds to wait before starting another
   */
  died(livedMs: number, served: boolean): number {
    this.#failures = livedMs >= SETTLED_MS ? 1 : this.#failures + 1;
    if (this.#failures === 1) return 0;
    return Math.min(MOST_MS[served ? "serving" : "starting"], FIRST_MS * 2 ** (this.#failures - 2));
  }
}
