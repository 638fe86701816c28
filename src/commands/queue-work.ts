/** `postlua queue --watch` and `--once`, the scripts' half: one worker at a time, and its sessions. */
import type { Config } from "../config/load.ts";
import { nextRun } from "../config/schedule.ts";
import { createLog, type Log } from "../log.ts";
import type { Checker } from "../queue/actions.ts";
import { AgentError, type QueueClient } from "../queue/client.ts";
import { workerFiles } from "../queue/files.ts";
import { Journal } from "../queue/journal.ts";
import { type Holder, isLock, type Lock, takeLock, waitForLock } from "../queue/lock.ts";
import type { LuaCheckers } from "../queue/lua-checker.ts";
import type { QueueSettings } from "../queue/postfix.ts";
import { run, session } from "../queue/session.ts";
import { signOfLife } from "../queue/signs-of-life.ts";
import { QueueWorker } from "../queue/worker.ts";
import { EX_CONFIG, EX_TEMPFAIL } from "./queue-codes.ts";
import { why } from "./queue-failsafe.ts";
import { openScripts, workerSettings } from "./queue-scripts.ts";
import type { QueueTask } from "./queue-task.ts";

/** @returns exit code: 0 done, or stopped in order; 75 another worker has the queue */
export async function queueWork(
  config: Config,
  queue: QueueClient,
  settings: QueueSettings,
  task: QueueTask,
): Promise<number> {
  const log = createLog({ level: config.log_level, stream: task.json ? process.stderr : process.stdout });
  const stop = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => stop.abort());
  void queue.closed.then(() => stop.abort());
  const files = workerFiles(config.data_dir, settings.queueDirectory);
  const doing = task.what === "watch" ? "--watch" : "--once";
  let got: Lock | Holder | undefined;
  try {
    got = task.wait ? await waitForLock(files.lock, doing, stop.signal) : takeLock(files.lock, doing);
  } catch (error) {
    const { message } = error as Error;
    process.stderr.write(
      `postlua: ${files.lock} cannot be used (${message}); data_dir must be writable by queue.user\n`,
    );
    return EX_CONFIG;
  }
  if (got === undefined) return 0;
  if (!isLock(got)) {
    process.stderr.write(
      `postlua: another queue worker, process ${got.pid} (${got.doing}), has this queue since ${got.since}; --wait waits for its end\n`,
    );
    if (task.what === "once") await flushForStuck(config, queue, settings, log);
    return EX_TEMPFAIL;
  }
  if (settings.deferTransports.length === 0) {
    log.warn(
      "queue: no transport is parked, so Postfix sends by itself; `postlua queue install` changes that",
    );
  }
  const scripts = openScripts(config, log);
  let over = false;
  // What is still under way when a session ends is Postfix's, and no trouble.
  const workerLog: Log = {
    ...log,
    error: (event, fields) => {
      if (!over) log.error(event, fields);
    },
  };
  const journal = new Journal({ path: files.journal, log });
  const checker = new RenewedChecker(scripts.checkers);
  try {
    const worker = await QueueWorker.create({
      queue,
      checker,
      journal,
      settings: { ...workerSettings(config), ...(task.what === "once" && { unreadableMs: 0 }) },
      log: workerLog,
    });
    if (task.what === "once") {
      const pass = await session(worker, { signal: stop.signal });
      if (task.json) process.stdout.write(`${JSON.stringify(pass)}\n`);
      else log.info("queue: session", { ...pass });
      // Only now: a session that fails, or is broken off, is none for the failsafe.
      if (!stop.signal.aborted) signOfLife(journal, worker, 0);
    } else {
      const { schedule, on_change: onChange } = config.queue;
      log.info("queue: worker started", { schedule, onChange, queue: settings.queueDirectory });
      await run({
        worker,
        journal,
        log,
        signal: stop.signal,
        schedule: (after) => nextRun(schedule, after),
        onChange,
        begins: () => checker.renew(),
      });
      if (!worker.isCut) log.info("queue: worker stopped");
    }
    if (worker.isCut) throw new AgentError("the privileged half is gone");
    return 0;
  } finally {
    over = true;
    await checker.close();
    journal.close();
    await scripts.close();
    got.release();
  }
}

/** The worker that has the queue may hang. */
async function flushForStuck(
  config: Config,
  queue: QueueClient,
  settings: QueueSettings,
  log: Log,
): Promise<void> {
  const reason = await why(config, queue, settings, log);
  if (reason === undefined) return;
  await queue.flush();
  log.error("queue failsafe: Postfix sends everything", { reason });
}

/** Scripts begin anew with each session. */
class RenewedChecker implements Checker {
  readonly #checkers: LuaCheckers;
  readonly #began = Date.now().toString(36);
  #count = 0;
  #current: Checker | undefined;

  constructor(checkers: LuaCheckers) {
    this.#checkers = checkers;
  }

  check(question: Parameters<Checker["check"]>[0]): ReturnType<Checker["check"]> {
    this.#current ??= this.#checkers.session(`queue-${this.#began}-${++this.#count}`);
    return this.#current.check(question);
  }

  renew(): void {
    void this.#current?.close();
    this.#current = undefined;
  }

  async close(): Promise<void> {
    await this.#current?.close();
  }
}
