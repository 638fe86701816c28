/** What the scripts' half of `postlua queue` makes from the configuration: engine with all helpers, checkers, the worker's settings. */
import type { Config } from "../config/load.ts";
import type { Log } from "../log.ts";
import { LuaCheckers } from "../queue/lua-checker.ts";
import { DEFAULTS, type WorkerSettings } from "../queue/settings.ts";
import { errorEntry, OutputFiles, type ScriptOutput } from "../scripts/output.ts";
import { makeDirectory } from "../serve/directory.ts";
import { helperModules } from "../serve/helpers.ts";
import { budgetOf, createEngine } from "../serve/service.ts";

export interface Scripts {
  readonly checkers: LuaCheckers;
  /** Resolves when what scripts printed is written. */
  close(): Promise<void>;
}

const UNLIMITED_MB = 1024 * 1024;

export function openScripts(config: Config, log: Log): Scripts {
  const files = new OutputFiles(config.log_dir, (problem) => log.error("script output", { problem }));
  const output: ScriptOutput = {
    print: (text) => files.print(text),
    error: (error, place) => files.error(errorEntry(error, place)),
  };
  const directory = makeDirectory(config, log);
  // What is known of the queue lies in the same memory, however much that is: only V8's own limit holds.
  const limits = { ...config.limits, worker_memory_mb: UNLIMITED_MB };
  const engine = createEngine({ ...config, limits }, helperModules(config, log, directory), output);
  const checkers = new LuaCheckers({
    engine,
    scriptsDir: config.scripts_dir,
    budget: budgetOf(config.limits, config.queue.check_ms),
    sessionMs: config.queue.session_check_ms,
    output,
    log,
  });
  return {
    checkers,
    async close() {
      await directory.close();
      await files.close();
    },
  };
}

export function workerSettings({ queue }: Pick<Config, "queue">): WorkerSettings {
  return { ...DEFAULTS, order: queue.order, window: queue.window };
}
