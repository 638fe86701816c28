/**
 * The order in which messages go: by Priority, larger first; within a
 * Priority as without any script, in order of arrival or of size (manual,
 * CheckFile: a stable sort). Every two messages have an order.
 */
import type { QueueFile } from "./queue-file.ts";

/** "arrival": oldest first; "size": smallest first, oldest first among equals. */
export type BaseOrder = "arrival" | "size";

/** Compared field by field. */
export interface Rank {
  readonly priority: number;
  /** 0 in order of arrival. */
  readonly size: number;
  readonly seconds: number;
  readonly microseconds: number;
  readonly id: string;
}

type Ranked = Pick<QueueFile, "id" | "size" | "arrivalTime" | "arrivalMicroseconds">;

export function rankOf(message: Ranked, priority: number, base: BaseOrder): Rank {
  return {
    priority,
    size: base === "size" ? message.size : 0,
    seconds: message.arrivalTime,
    microseconds: message.arrivalMicroseconds,
    id: message.id,
  };
}

/** Negative when `a` goes before `b`. */
export function compareRanks(a: Rank, b: Rank): number {
  return (
    b.priority - a.priority ||
    a.size - b.size ||
    a.seconds - b.seconds ||
    a.microseconds - b.microseconds ||
    (a.id < b.id ? -1 : a.id > b.id ? 1 : 0)
  );
}

/** A heap: the first in order can be taken, and others added meanwhile, in logarithmic time. */
export class RankedQueue<Item extends { readonly rank: Rank }> {
  readonly #items: Item[] = [];

  get size(): number {
    return this.#items.length;
  }

  get first(): Item | undefined {
    return this.#items[0];
  }

  add(item: Item): void {
    const items = this.#items;
    let at = items.length;
    items.push(item);
    while (at > 0) {
      const up = (at - 1) >> 1;
      const parent = items[up] as Item;
      if (compareRanks(parent.rank, item.rank) <= 0) break;
      items[at] = parent;
      at = up;
    }
    items[at] = item;
  }

  take(): Item | undefined {
    const items = this.#items;
    const first = items[0];
    const last = items.pop();
    if (last === undefined || last === first) return first;
    let at = 0;
    for (;;) {
      let down = 2 * at + 1;
      let child = items[down];
      if (child === undefined) break;
      const other = items[down + 1];
      if (other !== undefined && compareRanks(other.rank, child.rank) < 0) {
        down++;
        child = other;
      }
      if (compareRanks(last.rank, child.rank) <= 0) break;
      items[at] = child;
      at = down;
    }
    items[at] = last;
    return first;
  }
}
