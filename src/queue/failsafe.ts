/**
 * Whether the queue worker has failed to run: told by the signs of life in
 * its journal alone, so that a worker that is dead, stuck or was never started
 * looks the same. Pure; times are milliseconds since 1970.
 */
import type { Heartbeat } from "./journal.ts";

export interface FailsafeRules {
  /** Past the planned session. */
  readonly afterMs: number;
  /** When a session was due after the worker's last sign of life; for workers that planned nothing, as by `--once`. */
  readonly next: (after: number) => number | undefined;
}

/**
 * Why Postfix is to send everything now; undefined when all is well.
 *
 * @param heartbeat undefined: there is no journal
 * @param oldestMs arrival of the oldest parked message; undefined when there is none
 */
export function overdue(
  heartbeat: Heartbeat | undefined,
  oldestMs: number | undefined,
  now: number,
  { afterMs, next }: FailsafeRules,
): string | undefined {
  if (oldestMs === undefined) return undefined;
  const { aliveMs, plannedMs } = heartbeat ?? { aliveMs: 0, plannedMs: 0 };
  if (aliveMs === 0) {
    const due = next(oldestMs) ?? oldestMs;
    return now <= due + afterMs ? undefined : `no queue worker has run; mail waits since ${iso(oldestMs)}`;
  }
  if (aliveMs > now + afterMs)
    return `the queue worker's last sign of life is of ${iso(aliveMs)}, which is to come`;
  const due = plannedMs > 0 ? plannedMs : (next(aliveMs) ?? aliveMs);
  if (now <= Math.max(due, aliveMs) + afterMs) return undefined;
  return `the queue worker's last sign of life is of ${iso(aliveMs)}; a session was due ${iso(due)}`;
}

function iso(ms: number): string {
  return new Date(ms).toISOString();
}
