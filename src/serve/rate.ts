/** How fast a count has grown within the last minute. Pure; the clock, in milliseconds, is passed in. */

const WINDOW_MS = 60_000;

export class Rate {
  readonly #samples: { readonly count: number; readonly at: number }[] = [];

  /** Called now and then, with times that grow. */
  sample(count: number, now: number): void {
    this.#samples.push({ count, at: now });
    while (this.#samples.length > 1 && now - (this.#samples[0]?.at ?? now) > WINDOW_MS) this.#samples.shift();
  }

  /** Growth per second since the oldest sample within the window, to one decimal. */
  perSecond(count: number, now: number): number {
    const first = this.#samples[0];
    if (first === undefined || now - first.at < 1) return 0;
    return Math.round(((count - first.count) / (now - first.at)) * 10_000) / 10;
  }
}
