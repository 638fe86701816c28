/** `postlua queue failsafe`: has Postfix send everything when the queue worker does not run. Runs no script. */
import { existsSync } from "node:fs";
import type { Config } from "../config/load.ts";
import { nextRun } from "../config/schedule.ts";
import { createLog, type Log } from "../log.ts";
import type { QueueClient } from "../queue/client.ts";
import { foreign } from "../queue/decide.ts";
import { overdue } from "../queue/failsafe.ts";
import { workerFiles } from "../queue/files.ts";
import { readHeartbeat } from "../queue/heartbeat.ts";
import type { Heartbeat } from "../queue/journal.ts";
import type { QueueSettings } from "../queue/postfix.ts";
import { EX_FAILED } from "./queue-codes.ts";

/** @returns exit code: 0 all is well, or nothing is parked here; 1 the queue was flushed */
export async function failsafe(config: Config, queue: QueueClient, settings: QueueSettings): Promise<number> {
  const log = createLog({ level: config.log_level, stream: process.stdout });
  if (settings.deferTransports.length === 0) {
    log.debug("queue failsafe: no transport is parked");
    return 0;
  }
  const reason = await why(config, queue, settings, log);
  if (reason === undefined) return 0;
  await queue.flush();
  log.error("queue failsafe: Postfix sends everything", {
    reason,
    todo: "start the queue worker, or take it out with `postlua queue uninstall`",
  });
  return EX_FAILED;
}

/** Why everything is to be sent; undefined when the worker runs, or nothing waits. */
export async function why(
  config: Config,
  queue: QueueClient,
  settings: QueueSettings,
  log: Log,
): Promise<string | undefined> {
  const { schedule, failsafe_after } = config.queue;
  const rules = {
    afterMs: failsafe_after * 1000,
    next: (after: number) => nextRun(schedule, new Date(after))?.getTime(),
  };
  const signs = heartbeat(config, settings, log);
  const now = Date.now();
  // All the queue is read only when it matters.
  if (overdue(signs, 0, now, rules) === undefined) return undefined;
  await queue.refresh();
  let oldest: number | undefined;
  for (const message of queue.messages.values()) {
    const alien = foreign(message);
    if (alien !== undefined && alien !== "unknown") continue;
    oldest = Math.min(oldest ?? Number.POSITIVE_INFINITY, message.arrivalTime * 1000);
  }
  return overdue(signs, oldest, now, rules);
}

function heartbeat(config: Config, settings: QueueSettings, log: Log): Heartbeat | undefined {
  const { journal } = workerFiles(config.data_dir, settings.queueDirectory);
  if (!existsSync(journal)) return undefined;
  try {
    return readHeartbeat(journal);
  } catch (error) {
    log.error("queue failsafe: the journal cannot be read", {
      path: journal,
      reason: (error as Error).message,
    });
    return undefined;
  }
}
