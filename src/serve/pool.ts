/**
 * The worker processes: started, replaced when they die, and given the
 * accepted sockets. It runs no Lua and knows no protocol.
 *
 * A socket stays with the primary until its worker has acknowledged it; when
 * that worker dies first another gets it, so that no connection is lost. A
 * worker gets a socket when it has acknowledged the last and has said
 * something just now, if need be when asked to: one that is stuck or stopped
 * keeps no connection waiting but one that came in that same moment.
 */
import type { Socket } from "node:net";
import type { Transport } from "../milter/filter.ts";
import { Backoff } from "./backoff.ts";
import type { Door, ToPrimary, ToWorker } from "./messages.ts";
import type { Owners } from "./owners.ts";
import {
  type Death,
  type Introduction,
  type ProcessSettings,
  type Waiting,
  WorkerProcess,
} from "./worker-process.ts";

export interface PoolOptions {
  readonly workers: number;
  readonly process: ProcessSettings;
  /** Resolves when there is a first message to give. */
  readonly prepared: () => Promise<void>;
  /** The first message to a new worker. */
  readonly first: () => ToWorker;
  /** What workers say that the pool itself has no use for. */
  readonly hear: (worker: WorkerProcess, message: ToPrimary) => void;
  /** A worker is gone; `restartMs` is when its successor starts, undefined when there will be none. */
  readonly died: (worker: WorkerProcess, death: Death, restartMs: number | undefined) => void;
  /** A worker is gone; told before what it had not taken is given to others. */
  readonly gone: (worker: WorkerProcess) => void;
  /** A worker has begun to serve. */
  readonly ready: () => void;
  /** Which worker has a client's session already. */
  readonly owners: Owners;
}

/** How often workers are looked at. */
const LOOK_MS = 500;
/** A worker that has said something within this time is taken to be awake. */
const AWAKE_MS = 3;
/** What a worker may take beyond the time limit of an orderly stop. */
const STOP_GRACE_MS = 2_000;

export class WorkerPool {
  readonly #options: PoolOptions;
  readonly #workers = new Set<WorkerProcess>();
  /** Accepted, and no worker free to take them. */
  readonly #waiting: Waiting[] = [];
  readonly #backoff = new Backoff();
  readonly #restarts = new Set<NodeJS.Timeout>();
  #look: NodeJS.Timeout | undefined;
  #connections = 0;
  #next = 0;
  #stopping = false;
  #firstReady: () => void = () => {};

  constructor(options: PoolOptions) {
    this.#options = options;
  }

  get workers(): ReadonlySet<WorkerProcess> {
    return this.#workers;
  }

  /** Connections accepted so far. */
  get connections(): number {
    return this.#connections;
  }

  /** Connections that no worker has acknowledged. */
  get pending(): number {
    let pending = this.#waiting.length;
    for (const { handed } of this.#workers) if (handed !== undefined) pending++;
    return pending;
  }

  /** Starts the workers; resolves when the first is ready, never when it has been stopped before. */
  start(): Promise<void> {
    const ready = new Promise<void>((resolve) => {
      this.#firstReady = resolve;
    });
    if (this.#stopping) return ready;
    for (let n = 0; n < this.#options.workers; n++) this.#fork();
    this.#look = setInterval(() => {
      const now = performance.now();
      for (const worker of this.#workers) worker.look(now);
    }, LOOK_MS);
    return ready;
  }

  /** Gives a connection, its socket paused, to the next worker that is free to take it. */
  accept(socket: Socket, transport: Transport, door: Door): void {
    // Without a listener an error would end the process; the worker meets it, too.
    socket.on("error", () => {});
    this.#connections++;
    this.#give({ socket, transport, door });
  }

  /** The same for a milter connection that was read up to CONNECT: it goes where its client's session is. */
  acceptIntroduced(socket: Socket, transport: Transport, introduction: Introduction): void {
    this.#connections++;
    this.#give({ socket, transport, door: "milter", introduction });
  }

  /** A worker that serves, the next in turn of those with the least `load`; undefined when there is none. */
  serving(load: (worker: WorkerProcess) => number): WorkerProcess | undefined {
    const serving = [...this.#workers].filter(({ ready, stopping }) => ready && !stopping);
    if (serving.length === 0) return undefined;
    const least = Math.min(...serving.map(load));
    const idle = serving.filter((worker) => load(worker) === least);
    return idle[this.#next++ % idle.length];
  }

  #give(connection: Waiting): void {
    if (this.#stopping) {
      connection.socket.destroy();
      return;
    }
    this.#waiting.push(connection);
    this.#dispatch();
  }

  /** Says something to every worker that has had its first message; the others will hear the latest. */
  broadcast(message: ToWorker): void {
    for (const worker of this.#workers) if (worker.begun) worker.tell(message);
  }

  /** Lets messages under way finish within the time limit, then ends the workers. */
  async stop(timeoutMs: number): Promise<void> {
    this.#stopping = true;
    for (const restart of this.#restarts) clearTimeout(restart);
    for (const { socket } of this.#waiting.splice(0)) socket.destroy();
    const last = setTimeout(() => {
      for (const worker of this.#workers) worker.kill("exit", "does not stop");
    }, timeoutMs + STOP_GRACE_MS);
    const gone = [...this.#workers].map((worker) => worker.gone);
    for (const worker of this.#workers) this.#end(worker, timeoutMs);
    await Promise.all(gone);
    clearTimeout(last);
    clearInterval(this.#look);
  }

  #end(worker: WorkerProcess, timeoutMs: number): void {
    worker.stopping = true;
    if (worker.ready) worker.tell({ type: "stop", timeoutMs });
    else worker.kill("stopped", "");
  }

  #fork(): void {
    const worker = new WorkerProcess(this.#options.process, LOOK_MS, (message) =>
      this.#hear(worker, message),
    );
    this.#workers.add(worker);
    void this.#options.prepared().then(() => {
      worker.tell(this.#options.first());
      worker.begun = true;
    });
    void worker.gone.then((death) => this.#gone(worker, death));
  }

  #hear(worker: WorkerProcess, message: ToPrimary): void {
    worker.heardAt = performance.now();
    switch (message.type) {
      case "pong":
        worker.asked = false;
        this.#dispatch();
        break;
      case "taken": {
        const introduced = worker.handed?.introduction !== undefined;
        worker.handed?.socket.destroy();
        worker.handed = undefined;
        // While this process reads the socket, too, the worker must not have the MTA go on.
        if (introduced) worker.tell({ type: "go" });
        this.#dispatch();
        break;
      }
      case "ready":
        worker.ready = true;
        if (this.#stopping) this.#end(worker, 0);
        this.#firstReady();
        this.#options.ready();
        this.#dispatch();
        break;
      default:
        this.#options.hear(worker, message);
    }
  }

  #gone(worker: WorkerProcess, death: Death): void {
    this.#workers.delete(worker);
    this.#options.gone(worker);
    const restartMs = this.#stopping ? undefined : this.#restart(worker);
    const { handed } = worker;
    worker.handed = undefined;
    if (this.#stopping) handed?.socket.destroy();
    else if (handed !== undefined) this.#waiting.unshift(handed);
    this.#dispatch();
    this.#options.died(worker, death, restartMs);
  }

  #restart(worker: WorkerProcess): number {
    const delayMs = this.#backoff.died(performance.now() - worker.startedAt, worker.ready);
    if (delayMs === 0) {
      this.#fork();
      return 0;
    }
    const restart = setTimeout(() => {
      this.#restarts.delete(restart);
      this.#fork();
    }, delayMs);
    this.#restarts.add(restart);
    return delayMs;
  }

  #dispatch(): void {
    for (let at = 0; at < this.#waiting.length; ) {
      const connection = this.#waiting[at] as Waiting;
      const owner = this.#ownerOf(connection);
      const worker = owner === undefined ? this.#free() : isFree(owner) ? owner : undefined;
      if (worker !== undefined) {
        this.#waiting.splice(at, 1);
        this.#handOver(connection, worker);
      } else if (owner === undefined) return;
      else at++;
    }
  }

  #ownerOf({ introduction }: Waiting): WorkerProcess | undefined {
    const owner = introduction === undefined ? "none" : this.#options.owners.of(introduction.key);
    return typeof owner === "string" || owner.stopping ? undefined : owner;
  }

  #handOver(connection: Waiting, worker: WorkerProcess): void {
    const { socket, transport, door, introduction } = connection;
    worker.handed = connection;
    if (introduction === undefined) {
      worker.tell({ type: "connection", transport, door }, socket);
      return;
    }
    const { key } = introduction;
    const number = key === "" ? 0 : this.#options.owners.hand(key, worker);
    worker.tell({ type: "connection", transport, door, introduced: { ...introduction, number } }, socket);
  }

  /** The workers in turn. When those that could take a connection may be asleep, the first to answer gets it. */
  #free(): WorkerProcess | undefined {
    const workers = [...this.#workers];
    const since = performance.now() - AWAKE_MS;
    const idle: WorkerProcess[] = [];
    for (let n = 0; n < workers.length; n++) {
      const worker = workers[this.#next++ % workers.length] as WorkerProcess;
      if (!isFree(worker)) continue;
      if (worker.heardAt >= since && !worker.asked) return worker;
      idle.push(worker);
    }
    for (const worker of idle) {
      if (worker.asked) continue;
      worker.asked = true;
      worker.tell({ type: "ping" });
    }
    return undefined;
  }
}

function isFree(worker: WorkerProcess): boolean {
  return worker.ready && !worker.stopping && worker.handed === undefined;
}
