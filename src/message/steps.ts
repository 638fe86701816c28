/**
 * Long work in small steps: a generator that may be left alone between any
 * two of them. A message of 50 MB then holds nobody else up.
 */
import { setImmediate } from "node:timers/promises";

/** Each `next()` does a piece of the work, a few milliseconds at most. */
export type Steps<T> = Generator<void, T, void>;

/** How long others may have to wait for their turn. */
const TURN_MS = 5;

/** All of it at once. */
export function atOnce<T>(steps: Steps<T>): T {
  for (;;) {
    const step = steps.next();
    if (step.done === true) return step.value;
  }
}

/** In turns with whatever else the process has to do. */
export async function inTurns<T>(steps: Steps<T>): Promise<T> {
  for (;;) {
    const end = performance.now() + TURN_MS;
    do {
      const step = steps.next();
      if (step.done === true) return step.value;
    } while (performance.now() < end);
    await setImmediate();
  }
}
