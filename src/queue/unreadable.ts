/**
 * Queue files that cannot be read: said in the log, and, once they have been
 * so for a while, released without asking anybody. Postfix puts what is
 * damaged into corrupt/; what it can read after all is delivered, not stuck.
 */
import type { Log } from "../log.ts";
import type { QueueClient } from "./client.ts";

/** Has every refresh of `queue` look after them. @param waitMs from first sight to the release */
export function seeToUnreadable(queue: QueueClient, log: Log, waitMs: number, now = Date.now): void {
  const refresh = queue.refresh.bind(queue);
  const since = new Map<string, number>();
  queue.refresh = async (...options) => {
    const result = await refresh(...options);
    for (const { id, queue: where, problem } of result.unreadable) {
      if (where === "hold") continue;
      if (!since.has(id)) log.error("queue: a file cannot be read", { queue: id, problem });
      const first = since.get(id) ?? now();
      since.set(id, first);
      if (where !== "deferred" || now() - first < waitMs) continue;
      const outcome = await queue.release(id, { waitMs: 1_000 });
      since.set(id, now());
      log.warn("queue: released unread", { queue: id, outcome });
    }
    // A look at some messages alone says nothing of the others.
    if (options[0] === undefined || !Object.hasOwn(options[0], "only")) {
      const there = new Set(result.unreadable.map(({ id }) => id));
      for (const id of since.keys()) if (!there.has(id)) since.delete(id);
    }
    return result;
  };
}
