/**
 * The primary process: listens, hands accepted sockets to workers, writes
 * LUA.OUT and LUAERRORS.LOG, and replaces workers that die. It never runs Lua.
 *
 * A socket stays here, too, until its worker has acknowledged it; when that
 * worker exits first, the next one gets it, so that no connection is lost.
 */
import { type ChildProcess, fork } from "node:child_process";
import type { Socket } from "node:net";
import type { Config } from "../config/load.ts";
import type { Log } from "../log.ts";
import type { Transport } from "../milter/filter.ts";
import { SocketListener } from "../milter/listener.ts";
import { FileOutput } from "../scripts/output.ts";
import type { ToPrimary, ToWorker } from "./messages.ts";

const MAIN = new URL("../main.ts", import.meta.url).pathname;
const BACKOFF_FIRST_MS = 100;
const BACKOFF_MOST_MS = 10_000;
/** A worker that has lived this long did not die of starting. */
const SETTLED_MS = 10_000;

interface Waiting {
  readonly id: number;
  readonly socket: Socket;
  readonly transport: Transport;
}

interface Worker {
  readonly process: ChildProcess;
  readonly startedAt: number;
  ready: boolean;
  readonly unacknowledged: Map<number, Waiting>;
}

export class Primary {
  readonly #config: Config;
  readonly #log: Log;
  readonly #text: boolean;
  readonly #output: FileOutput;
  readonly #workers: Worker[] = [];
  /** Accepted, and no worker ready yet. */
  #waiting: Waiting[] = [];
  #listeners: SocketListener[] = [];
  #next = 0;
  #connections = 0;
  #failures = 0;
  #stopping = false;
  #allGone: () => void = () => {};
  #firstReady: () => void = () => {};

  constructor(config: Config, log: Log, text: boolean) {
    this.#config = config;
    this.#log = log;
    this.#text = text;
    this.#output = new FileOutput(config.log_dir, (problem) => log.error("output", { problem }));
  }

  /**
   * Listens and starts the workers; resolves when the first is ready.
   * @throws Error naming the address when one cannot be listened on
   */
  async start(): Promise<void> {
    const { listen, socket_mode, socket_group } = this.#config.milter;
    for (const address of listen) {
      const listener = await SocketListener.open(address, {
        mode: Number.parseInt(socket_mode, 8),
        group: socket_group,
        accept: (socket, transport) => this.#dispatch({ id: ++this.#connections, socket, transport }),
      });
      this.#listeners.push(listener);
      this.#log.info("listening", { address });
    }
    const ready = new Promise<void>((resolve) => {
      this.#firstReady = resolve;
    });
    for (let n = 0; n < this.#config.workers; n++) this.#fork();
    await ready;
  }

  /** Refuses new connections, lets messages under way finish within the time limit, then ends the workers. */
  async stop(): Promise<void> {
    if (this.#stopping) return;
    this.#stopping = true;
    const timeoutMs = this.#config.limits.stop_timeout_ms;
    this.#log.info("stopping", { timeout_ms: timeoutMs });
    for (const listener of this.#listeners) await listener.close();
    for (const { socket } of this.#waiting) socket.destroy();
    if (this.#workers.length > 0) {
      const gone = new Promise<void>((resolve) => {
        this.#allGone = resolve;
      });
      for (const worker of this.#workers) this.#tell(worker, { type: "stop", timeoutMs });
      const last = setTimeout(() => this.#killAll(), timeoutMs + 2_000);
      await gone;
      clearTimeout(last);
    }
    this.#output.close();
    this.#log.info("stopped");
  }

  #killAll(): void {
    for (const worker of this.#workers) {
      this.#log.error("worker does not stop, killed", { worker: worker.process.pid });
      worker.process.kill("SIGKILL");
    }
  }

  #fork(): void {
    const child = fork(MAIN, ["worker"], {
      stdio: ["ignore", "inherit", "inherit", "ipc"],
      execArgv: [`--max-old-space-size=${this.#config.limits.worker_memory_mb}`],
    });
    const worker: Worker = {
      process: child,
      startedAt: performance.now(),
      ready: false,
      unacknowledged: new Map(),
    };
    this.#workers.push(worker);
    child.on("message", (message: ToPrimary) => this.#hear(worker, message));
    child.on("error", (error) => this.#log.error("worker", { worker: child.pid, problem: error.message }));
    child.on("exit", (code, signal) => this.#exited(worker, code, signal));
    this.#tell(worker, { type: "init", config: this.#config, text: this.#text });
  }

  #hear(worker: Worker, message: ToPrimary): void {
    switch (message.type) {
      case "taken":
        worker.unacknowledged.get(message.id)?.socket.destroy();
        worker.unacknowledged.delete(message.id);
        break;
      case "print":
        this.#output.print(message.text);
        break;
      case "scriptError":
        this.#output.error(message.entry);
        break;
      case "ready":
        worker.ready = true;
        this.#firstReady();
        this.#redispatch();
        break;
    }
  }

  #exited(worker: Worker, code: number | null, signal: string | null): void {
    this.#workers.splice(this.#workers.indexOf(worker), 1);
    this.#waiting.push(...worker.unacknowledged.values());
    if (this.#stopping) {
      if (this.#workers.length === 0) this.#allGone();
      return;
    }
    const lived = performance.now() - worker.startedAt;
    this.#failures = lived > SETTLED_MS ? 0 : this.#failures + 1;
    // The first replacement comes at once; a worker that cannot live must not eat the machine.
    const delay =
      this.#failures <= 1 ? 0 : Math.min(BACKOFF_MOST_MS, BACKOFF_FIRST_MS * 2 ** (this.#failures - 2));
    this.#log.error("worker died", {
      worker: worker.process.pid,
      code: code ?? undefined,
      signal: signal ?? undefined,
      lived_ms: Math.round(lived),
      restart_in_ms: delay,
    });
    if (delay === 0) this.#fork();
    else setTimeout(() => !this.#stopping && this.#fork(), delay);
    this.#redispatch();
  }

  #redispatch(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const connection of waiting) this.#dispatch(connection);
  }

  #dispatch(connection: Waiting): void {
    const ready = this.#workers.filter((worker) => worker.ready);
    const worker = ready[this.#next++ % Math.max(ready.length, 1)];
    if (worker === undefined) {
      this.#waiting.push(connection);
      return;
    }
    worker.unacknowledged.set(connection.id, connection);
    const { id, transport } = connection;
    this.#tell(worker, { type: "connection", id, transport }, connection.socket);
  }

  /** A worker whose channel is closed is about to be reported as exited; its sockets come back then. */
  #tell(worker: Worker, message: ToWorker, socket?: Socket): void {
    if (!worker.process.connected) return;
    worker.process.send(message, socket, { keepOpen: true }, () => {});
  }
}
