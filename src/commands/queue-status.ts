/** The queue worker in `postlua status`: its signs of life, from its journal. Says nothing where no transport is parked. */
import { existsSync } from "node:fs";
import { readConfig } from "../config/load.ts";
import { nextRun } from "../config/schedule.ts";
import { overdue } from "../queue/failsafe.ts";
import { workerFiles } from "../queue/files.ts";
import { readHeartbeat } from "../queue/heartbeat.ts";
import { lockHolder } from "../queue/lock.ts";
import { readSettings } from "../queue/postfix.ts";

interface QueueStatus {
  /** 0 when none runs. */
  readonly pid: number;
  /** ISO 8601, "" when there was none. */
  readonly last_sign_of_life: string;
  readonly next_session: string;
  /** What the failsafe says if mail waits; "" when all is well. */
  readonly problem: string;
}

/** undefined where there is nothing to say, or nobody who may be asked. */
export async function queueStatus(configFile: string): Promise<QueueStatus | undefined> {
  try {
    const config = readConfig(configFile);
    const settings = await readSettings({ configDirectory: config.postfix.config_dir });
    if (settings.deferTransports.length === 0) return undefined;
    const { journal, lock } = workerFiles(config.data_dir, settings.queueDirectory);
    const signs = existsSync(journal) ? readHeartbeat(journal) : { aliveMs: 0, plannedMs: 0 };
    const { schedule, failsafe_after } = config.queue;
    const rules = {
      afterMs: failsafe_after * 1000,
      next: (after: number) => nextRun(schedule, new Date(after))?.getTime(),
    };
    return {
      pid: lockHolder(lock)?.pid ?? 0,
      last_sign_of_life: iso(signs.aliveMs),
      next_session: iso(signs.plannedMs),
      problem: overdue(signs, 0, Date.now(), rules) ?? "",
    };
  } catch {
    return undefined;
  }
}

export function queueLine({ pid, last_sign_of_life, next_session, problem }: QueueStatus): string {
  const worker = pid === 0 ? "no worker runs" : `worker ${pid}`;
  const seen = last_sign_of_life === "" ? "" : `, last sign of life ${last_sign_of_life}`;
  const next = pid === 0 || next_session === "" ? "" : `, next session ${next_session}`;
  return `queue: ${worker}${seen}${next}${problem === "" ? "" : `\n  overdue: ${problem}`}`;
}

function iso(ms: number): string {
  return ms === 0 ? "" : new Date(ms).toISOString();
}
