/**
 * The half of `postlua queue` that runs scripts: a process of its own, without
 * any right to the queue (queue/halves.ts). It refuses to run anything while
 * it has one.
 */

import type { Config } from "../config/load.ts";
import { ConfigError, completeConfig, loadConfig, parseConfig } from "../config/load.ts";
import { AgentError, QueueClient } from "../queue/client.ts";
import { leftoverRight } from "../queue/halves.ts";
import { EX_CONFIG, EX_FAILED, EX_NOPERM, EX_SOFTWARE } from "./queue-codes.ts";
import type { QueueTask } from "./queue-task.ts";

function refuse(sentence: string, code: number): number {
  process.stderr.write(`postlua: ${sentence}\n`);
  return code;
}

async function configOf({ configFile, configDirectory }: QueueTask): Promise<Config> {
  const config =
    configFile === undefined
      ? await completeConfig(parseConfig("", "(defaults)"), "(defaults)")
      : await loadConfig(configFile);
  return { ...config, postfix: { ...config.postfix, config_dir: configDirectory } };
}

async function main(task: QueueTask): Promise<number> {
  const queue = QueueClient.inherited();
  try {
    const settings = await queue.settings();
    const right = task.separated ? leftoverRight(settings) : undefined;
    if (right !== undefined) {
      return refuse(`queue.user may not have rights to the queue, and ${right}; no script is run`, EX_NOPERM);
    }
    const config = await configOf(task);
    switch (task.what) {
      case "failsafe": {
        const { failsafe } = await import("./queue-failsafe.ts");
        return await failsafe(config, queue, settings);
      }
      case "list": {
        const { queueList } = await import("./queue-list.ts");
        return await queueList(config, queue, settings, task);
      }
      case "plan": {
        const { queuePlan } = await import("./queue-list.ts");
        return await queuePlan(config, queue, settings, task);
      }
      case "once":
      case "watch": {
        const { queueWork } = await import("./queue-work.ts");
        return await queueWork(config, queue, settings, task);
      }
    }
  } catch (error) {
    if (error instanceof ConfigError) {
      for (const problem of error.problems) process.stderr.write(`${problem}\n`);
      return EX_CONFIG;
    }
    if (error instanceof AgentError) {
      const help = /^E(ACCES|PERM)\b/.test(error.message) ? "; root may read Postfix's queue" : "";
      // Whether the worker runs is then not known, which the other half must tell from a flush that was done.
      return refuse(`${error.message}${help}`, task.what === "failsafe" ? EX_SOFTWARE : EX_FAILED);
    }
    throw error;
  } finally {
    queue.close();
  }
}

/** Whoever reads no further wants no more of a listing; a worker outlives the readers of its log. */
function readerHasGone(task: QueueTask): void {
  if (task.what !== "watch" && task.what !== "once") process.exit(0);
}

async function start(task: QueueTask): Promise<number> {
  for (const stream of [process.stdout, process.stderr]) stream.on("error", () => readerHasGone(task));
  return main(task);
}

process.exitCode = await start(JSON.parse(process.argv[2] ?? "{}") as QueueTask);
