/** Pieces of work that must not overlap: each begins when the one before is over, whatever came of that. */
export class Turns {
  #last: Promise<unknown> = Promise.resolve();

  take<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#last.then(work);
    this.#last = turn.catch(() => undefined);
    return turn;
  }

  /** Resolves when everything that was given until now is over. */
  async over(): Promise<void> {
    await this.#last;
  }
}
