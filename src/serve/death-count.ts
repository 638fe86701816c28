/** Counts the workers that a script's version has killed, within a window of time. Pure; the clock is passed in. */

export interface DeathLimit {
  readonly deaths: number;
  readonly withinMs: number;
}

export class DeathCount {
  readonly #times = new Map<string, number[]>();

  /**
   * One more death by `version` (any name that a changed text changes) at time `now`, milliseconds.
   * @returns deaths within the window, this one included
   */
  add(version: string, limit: DeathLimit, now: number): number {
    const times = (this.#times.get(version) ?? []).filter((time) => now - time < limit.withinMs);
    times.push(now);
    this.#times.set(version, times);
    return times.length;
  }

  forget(version: string): void {
    this.#times.delete(version);
  }
}
