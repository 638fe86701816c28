/** `postlua serve`: the primary process from configuration to orderly stop. */
import { accessSync, constants } from "node:fs";
import type { Config } from "../config/load.ts";
import { createLog } from "../log.ts";
import { Notifier } from "./notify.ts";
import { Primary } from "./primary.ts";

export interface ServeOptions {
  /** The program that is a worker; default: ours. */
  readonly workerEntry?: string;
}

/**
 * Runs until SIGTERM or SIGINT; SIGHUP reloads. Resolves to the exit code: 0 stopped in order, 1 could not start.
 */
export async function serve(config: Config, options: ServeOptions = {}): Promise<number> {
  const text = process.stdout.isTTY === true;
  const log = createLog({ level: config.log_level, stream: process.stdout, text });
  const problem = directoryProblem(config);
  if (problem !== undefined) {
    log.error("cannot start", { problem });
    return 1;
  }
  if (config.facts.problem !== "") log.warn("postfix", { problem: config.facts.problem });
  const primary = new Primary(config, log, { ...options, text });
  const notifier = new Notifier(log, process.env);
  const stopped = new Promise<void>((resolve) => {
    const stop = () => {
      void notifier.stopping();
      void primary.stop().then(resolve);
    };
    process.on("SIGTERM", stop);
    process.on("SIGINT", stop);
  });
  let serving = false;
  process.on("SIGHUP", async () => {
    if (!serving) return;
    await notifier.reloading();
    await primary.reload().catch(() => {});
    await ready();
  });
  const ready = () => notifier.ready(`${config.workers} workers`);
  try {
    const outcome = await Promise.race([primary.start(), stopped.then(() => "stopped" as const)]);
    if (outcome === "stopped") return 0;
  } catch (error) {
    log.error("cannot start", { problem: (error as Error).message });
    await primary.stop();
    return 1;
  }
  log.info("ready", { workers: config.workers });
  serving = true;
  await ready();
  await stopped;
  notifier.close();
  return 0;
}

function directoryProblem(config: Config): string | undefined {
  const { R_OK, W_OK, X_OK } = constants;
  const wanted: [string, string, number][] = [
    ["data_dir", config.data_dir, R_OK | X_OK],
    ["log_dir", config.log_dir, W_OK | X_OK],
  ];
  for (const [key, directory, mode] of wanted) {
    try {
      accessSync(directory, mode);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      return `${key} ${directory}: ${code === "ENOENT" ? "no such directory; make it" : `not accessible (${code})`}, or set another ${key} in ${config.file}`;
    }
  }
  return undefined;
}
