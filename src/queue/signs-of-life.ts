/**
 * A worker's signs of life mean that mail can leave: while the queue cannot
 * be read, or Postfix cannot be asked, its journal gets none, so that the
 * failsafe sees a worker that runs in vain as one that does not run.
 */
import type { QueueClient } from "./client.ts";
import type { Journal } from "./journal.ts";

/** @param troubled whether the worker knows of something that keeps it from sending */
export function signOnlyWhileWell(
  journal: Pick<Journal, "alive">,
  queue: Pick<QueueClient, "refresh">,
  troubled: () => boolean,
): void {
  const refresh = queue.refresh.bind(queue);
  let readable = true;
  queue.refresh = async (...options) => {
    readable = false;
    const result = await refresh(...options);
    readable = true;
    return result;
  };
  const alive = journal.alive.bind(journal);
  journal.alive = (...planned) => {
    if (readable && !troubled()) alive(...planned);
  };
}
