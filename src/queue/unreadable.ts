/**
 * Queue files that cannot be read: said in the log, and, once they have been
 * so for a while, released without asking anybody. Postfix puts what is
 * damaged into corrupt/; what it can read after all is delivered, not stuck.
 */
import type { Log } from "../log.ts";
import type { QueueClient, Refresh } from "./client.ts";

export interface UnreadableOptions {
  readonly queue: Pick<QueueClient, "release">;
  readonly log: Log;
  /** From first sight to the release. */
  readonly waitMs: number;
  readonly now: () => number;
}

export class UnreadableFiles {
  readonly #options: UnreadableOptions;
  /** By queue ID, when each was seen first or released last. */
  readonly #since = new Map<string, number>();

  constructor(options: UnreadableOptions) {
    this.#options = options;
  }

  /** Sees to what a look at the queue could not read; `partly`: it was a look at some messages alone. */
  async see(unreadable: Refresh["unreadable"], partly: boolean): Promise<void> {
    const { queue, log, waitMs, now } = this.#options;
    const since = this.#since;
    for (const { id, queue: where, problem } of unreadable) {
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
    if (partly) return;
    const there = new Set(unreadable.map(({ id }) => id));
    for (const id of since.keys()) if (!there.has(id)) since.delete(id);
  }
}
