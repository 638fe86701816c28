/**
 * `postlua queue list`, the queue as the worker sees it, and `postlua queue
 * --dry-run`, what a session would do now. Both only read: the queue, and the
 * worker's journal.
 */
import { existsSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import type { Config } from "../config/load.ts";
import { createLog, type Log } from "../log.ts";
import type { Checker } from "../queue/actions.ts";
import type { QueueClient } from "../queue/client.ts";
import { workerFiles } from "../queue/files.ts";
import { type Entry, readJournal } from "../queue/journal.ts";
import { type Planned, plan } from "../queue/plan.ts";
import type { QueueSettings } from "../queue/postfix.ts";
import { retryRules } from "../queue/retry.ts";
import { listing, rowOf } from "./queue-listing.ts";
import { openScripts, workerSettings } from "./queue-scripts.ts";
import type { QueueTask } from "./queue-task.ts";

const REDRAW_MS = 1_000;
const CLEAR = "\x1b[H\x1b[2J\x1b[3J";

/** @returns exit code: 0 */
export async function queuePlan(
  config: Config,
  queue: QueueClient,
  settings: QueueSettings,
  task: QueueTask,
): Promise<number> {
  const log = createLog({ level: "warn", stream: process.stderr, text: true });
  const scripts = openScripts(config, log);
  const checker = scripts.checkers.session("dry-run");
  try {
    await queue.refresh();
    show(await planned(config, queue, settings, checker, log), task);
    return 0;
  } finally {
    await checker.close();
    await scripts.close();
  }
}

/** @returns exit code: 0 */
export async function queueList(
  config: Config,
  queue: QueueClient,
  settings: QueueSettings,
  task: QueueTask,
): Promise<number> {
  const log = createLog({ level: "warn", stream: process.stderr, text: true });
  const ended = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => ended.abort());
  let last = "";
  do {
    await queue.refresh();
    const text = show(await planned(config, queue, settings, undefined, log), task, last);
    last = text;
    if (task.live) await delay(REDRAW_MS, undefined, { signal: ended.signal }).catch(() => {});
  } while (task.live && !ended.signal.aborted);
  return 0;
}

function planned(
  config: Config,
  queue: QueueClient,
  settings: QueueSettings,
  checker: Checker | undefined,
  log: Log,
): Promise<Planned[]> {
  const entries = journalEntries(config, settings, log);
  const own = workerSettings(config);
  return plan({
    messages: queue.messages.values(),
    checker,
    entry: ({ id }) => entries.get(id),
    settings: own,
    rules: retryRules(settings, own.marginMs),
    now: Date.now(),
  });
}

function journalEntries(config: Config, settings: QueueSettings, log: Log): Map<string, Entry> {
  const { journal } = workerFiles(config.data_dir, settings.queueDirectory);
  if (!existsSync(journal)) return new Map();
  try {
    return readJournal(journal).entries;
  } catch (error) {
    log.warn("the journal cannot be read; retries are not known", {
      path: journal,
      reason: (error as Error).message,
    });
    return new Map();
  }
}

/** Writes the rows, in place of those before on a terminal; not at all when they are the same. */
function show(rows: readonly Planned[], { json, live }: QueueTask, before = ""): string {
  const { isTTY = false, columns, rows: lines } = process.stdout;
  if (json) {
    const text = JSON.stringify(rows.map(rowOf), undefined, live ? undefined : 2);
    if (text !== before) process.stdout.write(`${text}\n`);
    return text;
  }
  const fits = live && isTTY ? { width: columns, height: lines } : {};
  const colour = isTTY && process.env.NO_COLOR === undefined;
  const text = listing(rows.map(rowOf), { colour, ...fits });
  if (text !== before) process.stdout.write(live && isTTY ? `${CLEAR}${text}` : text);
  return text;
}
