/**
 * When the worker looks at the queue: one session from beginning to end, for
 * `--once` and schedules, or without end, for `--watch`.
 *
 * A session asks CheckFile about every message, sends what may go, takes in
 * what arrives meanwhile, and ends when nothing more goes. When Postfix is
 * away, it is waited for.
 */
import { setTimeout as delay } from "node:timers/promises";
import type { Log } from "../log.ts";
import { AgentError } from "./client.ts";
import type { Journal } from "./journal.ts";
import type { Pass, PassOptions, QueueWorker } from "./worker.ts";

export interface SessionOptions {
  readonly signal?: AbortSignal;
  /** A session ends after this long though deliveries are still under way; default 10 minutes. */
  readonly longestMs?: number;
}

export interface RunParts {
  readonly worker: QueueWorker;
  readonly journal: Journal;
  readonly log: Log;
  readonly signal: AbortSignal;
  readonly now?: () => number;
  /** Start of the first session after a time; undefined: mail goes as it comes. */
  readonly schedule?: (after: Date) => Date | undefined;
  /** Without a schedule, CheckFile is asked anew about everything after this long; default 5 minutes. */
  readonly recheckMs?: number;
}

const LONGEST_MS = 600_000;
const RECHECK_MS = 300_000;
/** Between two looks at the queue: while mail goes, and while none does. */
const BUSY_MS = 100;
const IDLE_MS = 1_000;
/** At most this share of the time goes to looking. */
const LOOKING_SHARE = 1 / 8;
const ALIVE_EVERY_MS = 10_000;
const TROUBLE_MS = 5_000;

/**
 * One session. Resolves with what its first look came to.
 *
 * @throws AgentError when the queue cannot be read, or Postfix cannot be asked
 */
export async function session(worker: QueueWorker, options: SessionOptions = {}): Promise<Pass> {
  const { signal } = options;
  const first = await timed(() => worker.pass({ what: "all", ...(signal && { signal }) }));
  const end = performance.now() + (options.longestMs ?? LONGEST_MS);
  let { pauseMs } = first;
  while (signal?.aborted !== true && performance.now() < end) {
    if (worker.trouble !== undefined) throw worker.trouble;
    await wait(worker, pauseMs, signal);
    const { result, pauseMs: next } = await timed(() => news(worker, signal));
    pauseMs = next;
    if (worker.dispatcher.size === 0 && result.asked === 0 && result.moving === 0) break;
  }
  if (signal?.aborted === true) worker.stop();
  else await worker.settled();
  return first.result;
}

/** Sessions without end. Resolves when `signal` says so; then nothing more is released. @throws AgentError when the other half is gone */
export async function run(parts: RunParts): Promise<void> {
  const { worker, signal } = parts;
  const now = parts.now ?? Date.now;
  let fullAt = parts.schedule === undefined ? 0 : plannedAfter(parts, now());
  let aliveAt = 0;
  let pauseMs = 0;
  while (!signal.aborted) {
    const full = now() >= fullAt;
    const between = parts.schedule === undefined ? "news" : "ends";
    if (full)
      fullAt =
        parts.schedule === undefined ? now() + (parts.recheckMs ?? RECHECK_MS) : plannedAfter(parts, now());
    if (full || now() >= aliveAt) {
      parts.journal.alive(fullAt);
      aliveAt = now() + ALIVE_EVERY_MS;
    }
    try {
      if (full && parts.schedule !== undefined) await session(worker, { signal });
      else ({ pauseMs } = await timed(() => worker.pass({ what: full ? "all" : between, signal })));
    } catch (error) {
      if (!(error instanceof AgentError)) throw error;
      if (worker.isCut) throw error;
      parts.log.error("queue: looked at in vain", { reason: error.message });
      pauseMs = TROUBLE_MS;
    }
    if (worker.trouble !== undefined) pauseMs = TROUBLE_MS;
    const until = Math.min(fullAt, aliveAt, worker.nextDue()) - now();
    const idle = worker.dispatcher.size === 0 ? IDLE_MS : BUSY_MS;
    await wait(worker, Math.max(pauseMs, Math.min(idle, Math.max(until, 0))), signal);
  }
  worker.stop();
}

function plannedAfter({ schedule, log }: RunParts, now: number): number {
  const next = schedule?.(new Date(now));
  if (next !== undefined) return next.getTime();
  log.error("queue: the schedule has no time to come; sessions every hour");
  return now + 3_600_000;
}

async function news(worker: QueueWorker, signal: AbortSignal | undefined): Promise<Pass> {
  const options: PassOptions = { what: "news", ...(signal && { signal }) };
  return worker.pass(options);
}

/** Does it, and says how long to pause so that it does not take more than its share. */
async function timed<T>(work: () => Promise<T>): Promise<{ result: T; pauseMs: number }> {
  const start = performance.now();
  const result = await work();
  const ms = performance.now() - start;
  return { result, pauseMs: Math.max(BUSY_MS, ms / LOOKING_SHARE) };
}

async function wait(worker: QueueWorker, ms: number, signal: AbortSignal | undefined): Promise<void> {
  const over = new AbortController();
  const signals = signal === undefined ? over.signal : AbortSignal.any([signal, over.signal]);
  const empty = async () => {
    while (worker.dispatcher.size > 0 && !signals.aborted) await worker.dispatcher.change();
  };
  await Promise.race([
    delay(ms, undefined, { signal: signals }).catch(() => {}),
    ...(worker.dispatcher.size > 0 ? [empty()] : []),
  ]);
  over.abort();
}
