/**
 * One worker process as the primary sees it: forked, spoken to, watched,
 * killed, and at its end a cause of death.
 *
 * Sockets handed over stay here, too, until the worker has acknowledged them;
 * when it dies first they can be handed to another.
 */
import { type ChildProcess, fork } from "node:child_process";
import { readFileSync } from "node:fs";
import type { Socket } from "node:net";
import type { Readable } from "node:stream";
import type { Transport } from "../milter/filter.ts";
import { BlackBox } from "./black-box.ts";
import { codeCache } from "./code-cache.ts";
import type { Door, Figures, Introduced, ToPrimary, ToWorker } from "./messages.ts";
import type { Place } from "./vital.ts";
import { Silence } from "./watchdog.ts";

/** An accepted socket that nobody has acknowledged. */
export interface Waiting {
  readonly socket: Socket;
  readonly transport: Transport;
  readonly door: Door;
  /** Of a milter connection that was read up to CONNECT: it belongs to the worker that has its client's session. */
  readonly introduction?: Introduction;
}

/** What is known of such a connection. */
export type Introduction = Omit<Introduced, "number">;

export interface ProcessSettings {
  /** The program that is forked. */
  readonly entry: string;
  /** Silence of the whole process after which it is killed, milliseconds. */
  readonly silenceMs: number;
  /** Memory, megabytes: of V8's heap and of the process as a whole. */
  readonly heapMb: number;
  readonly memoryMb: number;
}

/**
 * "stuck" and "memory" are the doing of what ran there; "silent" (stopped, or
 * starved of processor time), "signal" and "exit" come from outside or from
 * bugs of ours. "stopped" was asked for.
 */
export type DeathCause = "stuck" | "memory" | "silent" | "signal" | "exit" | "stopped";

export interface Death {
  readonly pid: number;
  readonly cause: DeathCause;
  readonly detail: string;
  /** What was running in its last moments. */
  readonly place: Place | undefined;
  readonly livedMs: number;
}

/** Until its watchdog runs: a busy machine starts programs slowly. */
const START_MS = 60_000;

export class WorkerProcess {
  readonly startedAt = performance.now();
  /** The socket that it has been given and has not acknowledged. */
  handed: Waiting | undefined;
  /** It has been sent its first message. */
  begun = false;
  /** It has its scripts and takes connections. */
  ready = false;
  /** When its main thread last said something. */
  heardAt = 0;
  /** It has been asked for a sign of life and has not given it. */
  asked = false;
  /** It was told to stop. */
  stopping = false;
  figures: Figures = { open: 0, metrics: [] };
  readonly #child: ChildProcess;
  readonly #settings: ProcessSettings;
  readonly #blackBox: BlackBox;
  readonly #silence: Silence;
  #alive = false;
  #killedFor: { cause: DeathCause; detail: string } | undefined;
  /**
   * Resolves when the process is gone and all that it said has been heard: what it has not taken, it never will.
   * (Not so at "exit"; and "disconnect" does not come when a socket was on its way.)
   */
  readonly gone: Promise<Death>;

  /** `tickMs` is how often look() will be called. */
  constructor(settings: ProcessSettings, tickMs: number, hear: (message: ToPrimary) => void) {
    this.#settings = settings;
    const child = fork(settings.entry, [], {
      env: { ...process.env, ...codeCache(process.env) },
      stdio: ["ignore", "inherit", "inherit", "ipc", "pipe"],
      execArgv: [`--max-old-space-size=${settings.heapMb}`],
    });
    this.#child = child;
    this.#silence = new Silence(tickMs, this.startedAt);
    this.#blackBox = new BlackBox(child.stdio[4] as Readable, () => {
      this.#alive = true;
      this.#silence.heard();
    });
    child.on("message", hear);
    let failure = "";
    child.on("error", (error) => {
      failure = error.message;
    });
    this.gone = new Promise((resolve) => {
      child.once("close", (code, signal) => resolve(this.#death(code, signal, failure)));
    });
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /** A worker whose channel is closed is about to be reported as gone; its sockets come back then. */
  tell(message: ToWorker, socket?: Socket): void {
    if (!this.#child.connected) return;
    this.#child.send(message, socket, { keepOpen: true }, () => {});
  }

  /** Resident bytes, 0 when unknown. */
  memory(): number {
    try {
      const status = readFileSync(`/proc/${this.pid}/status`, "latin1");
      return Number(/^VmRSS:\s*(\d+) kB/m.exec(status)?.[1] ?? 0) * 1024;
    } catch {
      return 0;
    }
  }

  /** Called every tick. Kills the process when it has been silent too long or holds too much memory. */
  look(now: number): void {
    const silentMs = this.#silence.tick(now);
    const limitMs = Math.max(this.#settings.silenceMs, this.#alive || this.ready ? 0 : START_MS);
    if (silentMs > limitMs) this.kill("silent", `no sign of life for ${Math.round(silentMs)} ms`);
    const megabytes = Math.round(this.memory() / 1024 / 1024);
    if (megabytes > this.#settings.memoryMb) {
      this.kill("memory", `the process holds ${megabytes} of ${this.#settings.memoryMb} MB`);
    }
  }

  kill(cause: DeathCause, detail: string): void {
    if (this.#killedFor !== undefined) return;
    this.#killedFor = { cause, detail };
    this.#child.kill("SIGKILL");
  }

  #death(code: number | null, signal: string | null, failure: string): Death {
    const killing = this.#blackBox.killing;
    const of = (cause: DeathCause, detail: string): Death => ({
      pid: this.pid,
      cause,
      detail,
      place: this.#blackBox.place(),
      livedMs: Math.round(performance.now() - this.startedAt),
    });
    if (killing !== undefined) return of(killing.cause, killing.detail);
    if (this.#killedFor !== undefined) return of(this.#killedFor.cause, this.#killedFor.detail);
    // Out of heap, V8 aborts.
    if (signal === "SIGABRT") return of("memory", "aborted (SIGABRT), most likely out of heap");
    if (signal !== null) return of("signal", `killed by ${signal}`);
    if (this.stopping && code === 0) return of("stopped", "");
    return of("exit", failure === "" ? `exit code ${code}` : failure);
  }
}
