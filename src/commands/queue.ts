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
/** Exit codes above it are signals. */
const KILLED = 128;
const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

/** @returns exit code: the other half's, or 78 when it cannot be started as configured */
export async function queueCommand(config: ConfigFile, options: QueueOptions): Promise<number> {
  const failsafe = options.what === "failsafe";
  try {
    const code = await work(config, options);
    return failsafe && code > EX_FAILED
      ? await flushAnyway(`exit code ${code}`, options.configDirectory)
      : code;
  } catch (error) {
    if (!(error instanceof PostfixError || error instanceof PrivilegeError)) throw error;
    process.stderr.write(`postlua: ${error.message}\n`);
    if (!failsafe || error instanceof PostfixError) return EX_CONFIG;
    return flushAnyway(error.message, options.configDirectory);
  }
}

async function work(config: ConfigFile, options: QueueOptions): Promise<number> {
  const { configDirectory, what, json } = options;
  const service = what === "watch" || what === "once" || what === "failsafe";
  const log = createLog({
    level: service ? config.log_level : "warn",
    stream: service && !json ? process.stdout : process.stderr,
    ...(service ? {} : { text: true }),
  });
  const task: QueueTask = { ...options, separated: process.getuid?.() === 0 };
  const args = [JSON.stringify(task)];
  let halves: Halves | undefined;
  let stop: NodeJS.Signals | undefined;
  for (const signal of SIGNALS) {
    process.on(signal, () => {
      stop = signal;
      halves?.kill(signal);
    });
  }
  for (;;) {
    halves = await startHalves({ configDirectory, user: config.queue.user, entry: ENTRY, args, log });
    if (what === "watch") log.info("queue worker", { who: halves.statement });
    if (stop !== undefined) halves.kill(stop);
    const again = what === "watch" && (await changed(configDirectory, halves));
    if (again) {
      log.info("queue: Postfix's configuration has changed; the worker begins anew");
      halves.kill("SIGTERM");
    }
    const code = await halves.ended;
    // One that is told to stop while it still starts ends by the signal itself.
    if (stop !== undefined && code > KILLED) return 0;
    if (!again || stop !== undefined) return code;
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
export async function flushAnyway(reason: string, configDirectory: string): Promise<number> {
  const log = createLog({ level: "info", stream: process.stdout });
  const queue = await PostfixQueue.open({ configDirectory });
  if (queue.settings.deferTransports.length === 0) return EX_FAILED;
  try {
    await queue.flush();
    const why = `the journal cannot be asked: ${reason}`;
    log.error("queue failsafe: Postfix sends everything", { reason: why });
  } catch (error) {
    if (!(error instanceof PostfixError)) throw error;
    log.error("queue failsafe: Postfix cannot be told to send", { reason: error.message });
  }
  return EX_FAILED;
}
