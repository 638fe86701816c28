/** What an admin can set of the worker, without the command line's and the schedule's share. */

import type { BaseOrder } from "./order.ts";
import type { QueueSettings } from "./postfix.ts";

export interface WorkerSettings {
  readonly order: BaseOrder;
  /**
   * Messages of a destination under way at once; undefined: a quarter more than Postfix's concurrency limit of the
   * destination, so that there is one for each delivery agent that becomes free.
   */
  readonly window: number | undefined;
  /** Last tries come this long before Postfix's lifetime is over. */
  readonly marginMs: number;
  /** Calls of CheckFile at once, each waiting for something. */
  readonly checks: number;
  /** Releases begin after this long though CheckFile was not yet asked about all. */
  readonly checkAheadMs: number;
  /** How long a message whose next hop Postfix cannot tell waits for it, before it goes unasked. */
  readonly unknownMs: number;
  /** How long a queue file cannot be read before it goes unasked: whatever else caused that is over by then. */
  readonly unreadableMs: number;
}

export const DEFAULTS: WorkerSettings = {
  order: "arrival",
  window: undefined,
  marginMs: 30 * 60_000,
  checks: 8,
  checkAheadMs: 60_000,
  unknownMs: 15 * 60_000,
  unreadableMs: 15 * 60_000,
};

/** Postfix's limit 0 is none; more than this at once would only make the order vaguer. */
const UNLIMITED = 100;
const AHEAD = 1.25;

/** @param destination "transport:nexthop" */
export function windowOf(destination: string, settings: WorkerSettings, postfix: QueueSettings): number {
  if (settings.window !== undefined) return settings.window;
  const transport = destination.slice(0, destination.indexOf(":"));
  const limit = postfix.transportConcurrencyLimits[transport] ?? postfix.destinationConcurrencyLimit;
  return limit > 0 ? Math.min(Math.ceil(limit * AHEAD), UNLIMITED) : UNLIMITED;
}
