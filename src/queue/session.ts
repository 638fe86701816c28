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
import { signOfLife } from "./signs-of-life.ts";
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
  /** Start of the first session after a time. */
  readonly schedule?: (after: Date) => Date | undefined;
  /** Mail goes as it comes, and a session is only when CheckFile is asked anew about everything; default: without a schedule. */
  readonly onChange?: boolean;
  /** Time between sessions without a schedule; default 5 minutes. */
  readonly recheckMs?: number;
  /** A session begins. */
  readonly begins?: () => void;
}

const LONGEST_MS = 600_000;
const RECHECK_MS = 300_000;
/** Between two looks at mail that moved. */
const PAUSE_MS = 20;
/** Between two scans of the whole queue, for what nobody noticed. */
const SCAN_EVERY_MS = 2_000;
/** At most this share of the time goes to scans. */
const SCAN_SHARE = 1 / 10;
const MOVING_MS = 10_000;
const ALIVE_EVERY_MS = 10_000;
const TROUBLE_MS = 5_000;

/**
 * One session. Resolves with what its first look came to.
 *
 * @throws AgentError when the queue cannot be read, or Postfix cannot be asked
 */
export async function session(worker: QueueWorker, options: SessionOptions = {}): Promise<Pass> {
  const { signal } = options;
  const looker = new Looker(worker, signal);
  const first = await looker.scan("all");
  const end = performance.now() + (options.longestMs ?? LONGEST_MS);
  // What Postfix handles by itself is soon parked again, or a delivery that somebody else began.
  const movingEnd = performance.now() + MOVING_MS;
  const soon = ({ moving }: Pass) =>
    (moving > 0 && performance.now() < movingEnd) || worker.isDueWithin(SCAN_EVERY_MS);
  let last = first;
  while (signal?.aborted !== true && performance.now() < end) {
    if (worker.trouble !== undefined) throw worker.trouble;
    await looker.wait(worker.dispatcher.size > 0 || soon(last) ? SCAN_EVERY_MS : 0);
    if (worker.dispatcher.size > 0) await looker.news();
    else {
      last = await looker.scan("news");
      if (worker.dispatcher.size === 0 && last.asked === 0 && !soon(last)) break;
    }
  }
  if (signal?.aborted === true) worker.stop();
  else await worker.settled();
  return first;
}

/**
 * Sessions without end. Resolves when `signal` says so; then nothing more is released.
 *
 * @throws AgentError when the line to the other half is broken
 */
export async function run(parts: RunParts): Promise<void> {
  const { worker, signal, schedule, journal } = parts;
  const { onChange = schedule === undefined, now = Date.now } = parts;
  const looker = new Looker(worker, signal);
  let fullAt = onChange ? now() : nextSession(parts, now());
  let aliveAt = 0;
  while (!signal.aborted) {
    const full = now() >= fullAt;
    if (full) {
      parts.begins?.();
      fullAt = nextSession(parts, now());
    }
    if (full || now() >= aliveAt) {
      signOfLife(journal, worker, fullAt);
      aliveAt = now() + ALIVE_EVERY_MS;
    }
    let pauseMs = Math.min(fullAt, aliveAt, worker.nextDue()) - now();
    try {
      if (full && !onChange) await session(worker, { signal });
      else if (full) await looker.scan("all");
      else if (!onChange) await looker.scan("ends");
      else await looker.news();
      if (worker.trouble !== undefined) pauseMs = TROUBLE_MS;
    } catch (error) {
      if (!(error instanceof AgentError) || worker.isCut) throw error;
      parts.log.error("queue: looked at in vain", { reason: error.message });
      pauseMs = TROUBLE_MS;
    }
    if (onChange && worker.trouble === undefined) await looker.wait(pauseMs);
    else await rest(Math.min(Math.max(pauseMs, SCAN_EVERY_MS), ALIVE_EVERY_MS), signal);
  }
  worker.stop();
}

/** Looks at what moved at once, and at everything from time to time. */
class Looker {
  readonly #worker: QueueWorker;
  readonly #signal: AbortSignal | undefined;
  #scanAt = 0;

  constructor(worker: QueueWorker, signal: AbortSignal | undefined) {
    this.#worker = worker;
    this.#signal = signal;
  }

  async scan(what: PassOptions["what"]): Promise<Pass> {
    const start = performance.now();
    this.#worker.moved();
    const result = await this.#pass({ what });
    const end = performance.now();
    this.#scanAt = end + Math.max(SCAN_EVERY_MS, (end - start) / SCAN_SHARE);
    return result;
  }

  async news(): Promise<void> {
    const { ids, all } = this.#worker.moved();
    const due = this.#worker.isDueWithin(0);
    if (performance.now() >= this.#scanAt || all || due) await this.scan("news");
    else if (ids.length > 0) await this.#pass({ what: "news", only: ids });
  }

  /** Until mail moved, all is done or `ms` are over. */
  async wait(ms: number): Promise<void> {
    const { dispatcher } = this.#worker;
    const over = new AbortController();
    const signal = this.#signal === undefined ? over.signal : AbortSignal.any([this.#signal, over.signal]);
    const busy = dispatcher.size > 0;
    const done = async () => {
      while (dispatcher.size > 0 && !signal.aborted) await dispatcher.change();
    };
    const longest = Math.max(0, Math.min(ms, this.#scanAt - performance.now()));
    const waits = [rest(longest, signal), this.#worker.movement(SCAN_EVERY_MS)];
    try {
      await Promise.race(busy ? [...waits, done()] : waits);
      await rest(PAUSE_MS, signal);
    } finally {
      over.abort();
    }
  }

  #pass(options: PassOptions): Promise<Pass> {
    const signal = this.#signal;
    return this.#worker.pass(signal === undefined ? options : { ...options, signal });
  }
}

function nextSession({ schedule, recheckMs = RECHECK_MS, log }: RunParts, now: number): number {
  if (schedule === undefined) return now + recheckMs;
  const next = schedule(new Date(now));
  if (next !== undefined) return next.getTime();
  log.error("queue: the schedule has no time to come; sessions every hour");
  return now + 3_600_000;
}

function rest(ms: number, signal: AbortSignal | undefined): Promise<void> {
  return delay(ms, undefined, signal === undefined ? {} : { signal }).catch(() => {});
}
