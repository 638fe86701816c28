/**
 * The primary process: listens, hands accepted sockets to workers (pool.ts),
 * keeps the scripts' last good texts (script-library.ts), writes LUA.OUT and
 * LUAERRORS.LOG, and answers `postlua status` and `postlua reload`. It never
 * runs Lua, so that no script can stop it.
 */
import type { Config } from "../config/load.ts";
import type { AdjustableLog } from "../log.ts";
import { OutputFiles } from "../scripts/output.ts";
import { ConfigKeeper } from "./config-keeper.ts";
import { ControlServer } from "./control.ts";
import { processLimits } from "./limits.ts";
import { Listeners, type ListenSettings } from "./listeners.ts";
import type { Door, ToPrimary, ToWorker } from "./messages.ts";
import { MilterFront } from "./milter-front.ts";
import { Owners } from "./owners.ts";
import { PolicyFront } from "./policy-front.ts";
import { WorkerPool } from "./pool.ts";
import { type Channels, countsAgainstScript, reportDeath } from "./reports.ts";
import { ScriptKeeper } from "./script-keeper.ts";
import { ScriptWatch } from "./script-watch.ts";
import { Statistics } from "./statistics.ts";
import type { ReloadReport, Status } from "./status.ts";
import { Trial } from "./trial.ts";
import type { Death, WorkerProcess } from "./worker-process.ts";

const WORKER = new URL("./worker-main.ts", import.meta.url).pathname;

type Accept = ListenSettings["accept"];

export interface PrimaryOptions {
  /** The log is for people on a terminal. */
  readonly text: boolean;
  /** The program that is a worker; default: ours. */
  readonly workerEntry?: string;
  /** Told when a reload that somebody asked for begins and when it is over. */
  readonly reloading?: (underWay: boolean) => Promise<void>;
}

export class Primary {
  readonly #options: PrimaryOptions;
  readonly #log: AdjustableLog;
  readonly #channels: Channels;
  readonly #output: OutputFiles;
  readonly #pool: WorkerPool;
  readonly #trial: Trial;
  readonly #statistics: Statistics;
  readonly #scripts: ScriptKeeper;
  readonly #startedAt = new Date();
  readonly #config: ConfigKeeper;
  readonly #owners = new Owners();
  readonly #policy: PolicyFront;
  readonly #milterFront: MilterFront;
  readonly #listeners: Listeners[] = [];
  readonly #controls: ControlServer[] = [];
  readonly #watch: ScriptWatch;
  #opening: Promise<void> = Promise.resolve();
  #firstLoad: Promise<void> = Promise.resolve();
  /** Reloads come one after another. */
  #reloading: Promise<unknown> = Promise.resolve();
  #stopping: Promise<void> | undefined;

  constructor(config: Config, log: AdjustableLog, options: PrimaryOptions) {
    this.#config = new ConfigKeeper(config, log);
    this.#log = log;
    this.#options = options;
    this.#output = new OutputFiles(config.log_dir, (problem) => log.error("output", { problem }));
    this.#channels = { log, output: this.#output };
    const { silenceMs, memoryMb, heapMb } = processLimits(config);
    const entry = options.workerEntry ?? WORKER;
    const process = { entry, silenceMs: 2 * silenceMs, memoryMb, heapMb };
    this.#trial = new Trial({
      process,
      init: () => ({
        type: "init",
        config: this.#config.current,
        text: options.text,
        scripts: {},
        users: [],
      }),
      wallMs: config.limits.wall_ms,
    });
    this.#pool = new WorkerPool({
      workers: config.workers,
      process,
      // At the very start the scripts are still being tried.
      prepared: () => this.#firstLoad,
      first: () => this.#init(),
      hear: (worker, message) => this.#hear(worker, message),
      died: (worker, death, restartMs) => this.#died(worker, death, restartMs),
      gone: (worker) => {
        this.#owners.gone(worker);
        this.#milterFront.forget(worker);
        this.#policy.gone(worker);
      },
      ready: () => this.#policy.ready(),
      owners: this.#owners,
    });
    this.#policy = new PolicyFront({
      owners: this.#owners,
      serving: (load) => this.#pool.serving(load),
      idleTimeoutMs: config.policy.idle_timeout_s * 1000,
      log,
    });
    this.#milterFront = new MilterFront({
      introduced: (socket, transport, introduction) =>
        this.#pool.acceptIntroduced(socket, transport, introduction),
      problem: (problem) => log.error("milter", { problem }),
    });
    this.#statistics = new Statistics({
      workers: () => this.#pool.workers,
      connections: () => this.#pool.connections,
      pending: () => this.#pool.pending,
    });
    this.#scripts = new ScriptKeeper({
      channels: this.#channels,
      config: () => this.#config.current,
      tryOut: (candidate) => this.#trial.run(candidate),
      looked: (_script, outcome) => this.#statistics.reloaded(outcome),
      switchedOff: (script, off) => this.#statistics.switchedOff(script, off),
    });
    this.#watch = new ScriptWatch({
      users: this.#scripts.users,
      changed: () => void this.#inTurn(() => this.#loadScripts(false)),
      usersChanged: () => void this.#inTurn(() => this.#reloadUserScripts()),
    });
  }

  /**
   * Listens, loads the scripts and starts the workers; resolves when the first is ready.
   * @throws Error naming the address when one cannot be listened on
   */
  async start(): Promise<void> {
    this.#opening = this.#open();
    await this.#opening;
    // Whatever goes wrong has been logged; the workers start with what there is.
    this.#firstLoad = this.#inTurn(() => this.#scripts.loadFirst()).catch(() => {});
    await this.#pool.start();
  }

  async #open(): Promise<void> {
    const { milter, socketmap, policy } = this.#config.current;
    const toWorker =
      (door: Door): Accept =>
      (socket, transport) =>
        this.#pool.accept(socket, transport, door);
    // Without a policy service nobody needs to know whose a connection is: workers read all of it.
    const introduce: Accept = (socket, transport) => this.#milterFront.accept(socket, transport);
    await this.#listen(milter, policy.listen.length === 0 ? toWorker("milter") : introduce);
    await this.#listen({ ...milter, listen: socketmap.listen }, toWorker("socketmap"));
    await this.#listen(policy, (socket) => this.#policy.accept(socket));
    await this.#openControls();
    await this.#watchScripts();
  }

  async #listen(
    where: Pick<Config["milter"], "listen" | "socket_mode" | "socket_group">,
    accept: Accept,
  ): Promise<void> {
    if (where.listen.length === 0) return;
    const settings = {
      addresses: where.listen,
      mode: Number.parseInt(where.socket_mode, 8),
      group: where.socket_group,
      accept,
    };
    this.#listeners.push(await Listeners.open(settings, this.#log));
  }

  /** Refuses new connections, lets messages under way finish within the time limit, then ends the workers. */
  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  /** Reads configuration and scripts again; what is wrong is refused, and the last good of it stays. */
  reload(): Promise<ReloadReport> {
    return this.#inTurn(async () => {
      await this.#options.reloading?.(true);
      try {
        const config = await this.#config.reload();
        if (config.outcome === "applied") await this.#apply();
        return { config, scripts: await this.#loadScripts(true) };
      } finally {
        await this.#options.reloading?.(false);
      }
    });
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#reloading.then(work);
    this.#reloading = turn.catch((error: Error) => {
      this.#log.error("reload", { problem: error.message });
    });
    return turn;
  }

  async #stop(): Promise<void> {
    const timeoutMs = this.#config.current.limits.stop_timeout_ms;
    this.#log.info("stopping", { timeout_ms: timeoutMs });
    // A stop may come before everything is open; what failed has been told to whoever called start().
    await this.#opening.catch(() => {});
    this.#watch.close();
    for (const listeners of this.#listeners) await listeners.close();
    this.#milterFront.close();
    this.#policy.close();
    this.#trial.stop();
    await this.#pool.stop(timeoutMs);
    this.#policy.end();
    for (const control of this.#controls) await control.close();
    this.#statistics.close();
    await this.#output.close();
    this.#log.info("stopped");
  }

  /** The service goes on without them: what they offer is not worth any mail. */
  async #openControls(): Promise<void> {
    const status = async () => this.#status();
    const metrics = () => this.#statistics.metrics();
    const reload = () => this.reload();
    const open = async (address: string, commands: Parameters<typeof ControlServer.open>[1]) => {
      try {
        this.#controls.push(await ControlServer.open(address, commands));
      } catch (error) {
        this.#log.error("no control", { address, problem: (error as Error).message });
      }
    };
    const { control, metrics: offered } = this.#config.current;
    await open(`unix:${control.socket}`, { status, reload, metrics });
    if (offered.listen !== undefined) await open(offered.listen, { metrics });
  }

  async #watchScripts(): Promise<void> {
    const { watch_scripts, scripts_dir } = this.#config.current;
    if (watch_scripts) await this.#watch.open(scripts_dir);
    else this.#watch.close();
  }

  async #loadScripts(mayRemove: boolean): Promise<ReloadReport["scripts"]> {
    const { reports, changed } = await this.#scripts.load(mayRemove);
    if (mayRemove) await this.#scripts.users.reload(true);
    if (changed || mayRemove) this.#handOut();
    return reports;
  }

  async #reloadUserScripts(): Promise<void> {
    await this.#scripts.users.reload(false);
    this.#handOut();
  }

  #handOut(): void {
    const { users } = this.#scripts;
    this.#pool.broadcast({ type: "scripts", scripts: this.#scripts.given(), users: users.names() });
  }

  /** The configuration is another now. */
  async #apply(): Promise<void> {
    this.#trial.close();
    this.#pool.broadcast(this.#init());
    await this.#watchScripts();
  }

  #init(): ToWorker {
    const users = this.#scripts.users.names();
    const scripts = this.#scripts.given();
    return { type: "init", config: this.#config.current, text: this.#options.text, scripts, users };
  }

  #hear(worker: WorkerProcess, message: ToPrimary): void {
    switch (message.type) {
      case "print":
        this.#output.print(message.text);
        break;
      case "userScript":
        void this.#giveUserScript(worker, message.user);
        break;
      case "scriptError":
        this.#output.error(message.error.entry);
        this.#scripts.failed(message.error);
        break;
      case "needs":
        this.#milterFront.learn(worker, message.needs);
        break;
      case "policyAnswer":
        this.#policy.answered(message.number, message.answer);
        break;
      case "sessionOver":
        this.#owners.over(worker, message.key, message.number);
        break;
      case "figures":
        worker.figures = message.figures;
        break;
    }
  }

  async #giveUserScript(worker: WorkerProcess, user: string): Promise<void> {
    const { users } = this.#scripts;
    const script = users.known(user) ?? (await this.#inTurn(() => users.load(user)));
    worker.tell({ type: "userScript", user, script });
  }

  #died(worker: WorkerProcess, death: Death, restartMs: number | undefined): void {
    reportDeath(this.#channels, death, restartMs);
    this.#statistics.died(worker.figures, death.cause).catch((error: Error) => {
      this.#log.error("statistics", { problem: error.message });
    });
    if (countsAgainstScript(death) && this.#scripts.blame(death)) this.#handOut();
  }

  #status(): Status {
    return {
      pid: process.pid,
      started: this.#startedAt.toISOString(),
      stopping: this.#stopping !== undefined,
      workers: [...this.#pool.workers].map((worker) => ({
        pid: worker.pid,
        state: worker.ready ? "serving" : "starting",
        sessions: worker.figures.open,
        memory_mb: Math.round(worker.memory() / 1024 / 1024),
        age_s: Math.round((performance.now() - worker.startedAt) / 1000),
      })),
      pending_connections: this.#pool.pending,
      ...this.#statistics.totals(),
      scripts: this.#scripts.status(),
      config: this.#config.status(),
    };
  }
}
