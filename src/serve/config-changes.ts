/** What differs between two configurations, by parameter, and which of it takes effect only at a restart. */
import type { Config } from "../config/load.ts";

/** Bound once, when the service starts: addresses, processes, and the limits that processes are started with. */
export const RESTART_KEYS: readonly string[] = [
  "log_dir",
  "lua_dialect",
  "milter.listen",
  "milter.socket_mode",
  "milter.socket_group",
  "socketmap.listen",
  "policy.listen",
  "policy.socket_mode",
  "policy.socket_group",
  "policy.idle_timeout_s",
  "policy.session_timeout_s",
  "control.socket",
  "metrics.listen",
  "store.database",
  "store.password_file",
  "store.group",
  "store.timeout_ms",
  "limits.workers",
  "limits.worker_memory_mb",
  "limits.watchdog_ms",
];

export interface ConfigChanges {
  /** Names of the parameters that take effect for new sessions. */
  readonly applied: readonly string[];
  readonly restart: readonly string[];
}

export function configChanges(before: Config, after: Config): ConfigChanges {
  // Several facts of Postfix's may have changed; they are one parameter.
  const changed = differences(before, after, "").map((name) =>
    name.replace(/^facts\..*/, "postfix.config_dir"),
  );
  const names = [...new Set(changed)];
  return {
    applied: names.filter((name) => !RESTART_KEYS.includes(name)),
    restart: names.filter((name) => RESTART_KEYS.includes(name)),
  };
}

/** `after` with the values of `before` for everything that needs a restart. */
export function withoutRestart(before: Config, after: Config): Config {
  const config = structuredClone(after) as unknown as Table;
  for (const name of RESTART_KEYS) {
    const path = name.split(".");
    const key = path.pop() ?? "";
    const from = path.reduce((table, step) => table[step] as Table, before as unknown as Table);
    const to = path.reduce((table, step) => table[step] as Table, config);
    to[key] = from[key];
  }
  return { ...(config as unknown as Config), workers: before.workers };
}

type Table = Record<string, unknown>;

/** Follow from parameters, are none, or are the queue worker's, which reads them for itself. */
const IGNORED = ["file", "workers", "queue"];

function differences(before: unknown, after: unknown, prefix: string): string[] {
  if (isTable(before) && isTable(after)) {
    const keys = new Set([...Object.keys(before), ...Object.keys(after)]);
    return [...keys]
      .filter((key) => prefix !== "" || !IGNORED.includes(key))
      .flatMap((key) => differences(before[key], after[key], prefix === "" ? key : `${prefix}.${key}`));
  }
  return JSON.stringify(before) === JSON.stringify(after) ? [] : [prefix];
}

function isTable(value: unknown): value is Table {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
