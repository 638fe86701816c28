/**
 * `postlua queue`: the half with rights. It starts the half that runs scripts
 * as another user, does for it what needs rights, and passes signals on.
 *
 * SECURITY: loads no Lua, and takes nothing from the other half but queue IDs
 * (queue/agent.ts).
 */
import { statSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import type { ConfigFile } from "../config/schema.ts";
import { createLog } from "../log.ts";
import { type Halves, PrivilegeError, startHalves } from "../queue/halves.ts";
import { PostfixError, PostfixQueue, readSettings } from "../queue/postfix.ts";
import { EX_CONFIG, EX_FAILED } from "./queue-codes.ts";
import type { QueueTask } from "./queue-task.ts";

export type QueueOptions = Omit<QueueTask, "separated">;

const ENTRY = fileURLToPath(new URL("queue-main.ts", import.meta.url));
/** Between two looks at the times of main.cf and master.cf. */
const LOOK_MS = 2_000;
const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

/** @returns exit code: the other half's, or 78 when it cannot be started as configured */
export async function queueCommand(config: ConfigFile, options: QueueOptions): Promise<number> {
  const { configDirectory, what } = options;
  const service = what === "watch" || what === "once" || what === "failsafe";
  const log = createLog({
    level: service ? config.log_level : "warn",
    stream: service && !options.json ? process.stdout : process.stderr,
    ...(service ? {} : { text: true }),
  });
  const task: QueueTask = { ...options, separated: process.getuid?.() === 0 };
  const stopping = new AbortController();
  const start = async () => {
    const halves = await startHalves({
      configDirectory,
      user: config.queue.user,
      entry: ENTRY,
      args: [JSON.stringify(task)],
      log,
    });
    if (what === "watch") log.info("queue worker", { who: halves.statement });
    return halves;
  };
  try {
    let halves = await start();
    for (const signal of SIGNALS) {
      process.on(signal, () => {
        stopping.abort();
        halves.kill(signal);
      });
    }
    while (what === "watch" && (await changed(configDirectory, halves))) {
      log.info("queue: Postfix's configuration has changed; the worker begins anew");
      halves.kill("SIGTERM");
      await halves.ended;
      if (stopping.signal.aborted) return 0;
      halves = await start();
    }
    const code = await halves.ended;
    return what === "failsafe" && code > EX_FAILED ? await flushAnyway(`exit code ${code}`, options) : code;
  } catch (error) {
    if (!(error instanceof PostfixError || error instanceof PrivilegeError)) throw error;
    process.stderr.write(`postlua: ${error.message}\n`);
    if (what === "failsafe" && error instanceof PrivilegeError) return flushAnyway(error.message, options);
    return EX_CONFIG;
  }
}

/** Resolves with true once Postfix's settings are others than those the worker was started with; with false when it ends. */
async function changed(configDirectory: string, { ended, settings }: Halves): Promise<boolean> {
  const over = new AbortController();
  const end = () => over.abort();
  void ended.then(end, end);
  const files = ["main.cf", "master.cf"].map((name) => join(configDirectory, name));
  const times = () => files.map((file) => statSync(file, { throwIfNoEntry: false })?.mtimeMs).join();
  const known = JSON.stringify(settings);
  for (let seen = times(); !over.signal.aborted; ) {
    await delay(LOOK_MS, undefined, { signal: over.signal }).catch(() => {});
    if (times() === seen) continue;
    seen = times();
    try {
      if (JSON.stringify(await readSettings({ configDirectory })) !== known) return !over.signal.aborted;
    } catch (error) {
      // Half edited: looked at again when it changes again.
      if (!(error instanceof PostfixError)) throw error;
    }
  }
  return false;
}

/** The failsafe cannot tell how the worker is: mail goes. */
async function flushAnyway(reason: string, { configDirectory }: QueueOptions): Promise<number> {
  const log = createLog({ level: "info", stream: process.stdout });
  const queue = await PostfixQueue.open({ configDirectory });
  if (queue.settings.deferTransports.length > 0) {
    await queue.flush();
    log.error("queue failsafe: Postfix sends everything", {
      reason: `the journal cannot be asked: ${reason}`,
    });
  }
  return EX_FAILED;
}
