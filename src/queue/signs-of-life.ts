/**
 * A worker's signs of life mean that mail can leave: while the queue cannot
 * be read, or Postfix cannot be asked, its journal gets none, so that the
 * failsafe sees a worker that runs in vain as one that does not run.
 */
import type { Journal } from "./journal.ts";
import type { QueueWorker } from "./worker.ts";

/** @param plannedMs as Journal.alive */
export function signOfLife(
  journal: Pick<Journal, "alive">,
  { isReadable, trouble }: Pick<QueueWorker, "isReadable" | "trouble">,
  plannedMs: number,
): void {
  if (isReadable && trouble === undefined) journal.alive(plannedMs);
}
