/** `postlua serve`: the primary process from configuration to orderly stop. */
import type { Config } from "../config/load.ts";
import { createLog } from "../log.ts";
import { Notifier } from "./notify.ts";
import { Primary } from "./primary.ts";
import { directoryProblem } from "./start-problems.ts";

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
  const notifier = new Notifier(log, process.env);
  let serving = false;
  const ready = () => notifier.ready(`${config.workers} workers`);
  const primary = new Primary(config, log, {
    ...options,
    text,
    reloading: async (underWay) => {
      if (serving) await (underWay ? notifier.reloading() : ready());
    },
  });
  const stopped = new Promise<void>((resolve) => {
    const stop = () => {
      serving = false;
      void notifier.stopping();
      void primary.stop().then(resolve);
    };
    process.on("SIGTERM", stop);
    process.on("SIGINT", stop);
  });
  process.on("SIGHUP", () => {
    if (serving) void primary.reload().catch(() => {});
  });
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
