/**
 * The watchdog of one worker process: a thread that goes on running when the
 * main thread does not. It kills the process when the event loop has not
 * turned for too long, or when the process holds too much memory, and says
 * first, in the log and to the primary, which callback was running.
 *
 * This file is both: startWatchdog() for the main thread, and, run as a
 * thread, the watchdog itself. It never waits for the main thread.
 */
import { writeSync } from "node:fs";
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";
import { BLACK_BOX_FD, type BlackBoxLine } from "./black-box.ts";
import { emergencyLine } from "./emergency-log.ts";
import { type Place, type Vital, VitalReader } from "./vital.ts";

export interface WatchdogSettings {
  /** Silence of the main thread, milliseconds, after which the process is killed. */
  readonly silenceMs: number;
  /** Resident memory of the process, bytes, above which it is killed. */
  readonly maxBytes: number;
  /** Log lines are text rather than JSON. */
  readonly text: boolean;
}

interface ThreadData {
  readonly postluaWatchdog: WatchdogSettings;
  readonly shared: SharedArrayBuffer;
}

/** Heartbeats and looks within the time that the main thread may be silent. */
const LOOKS = 20;
const SHORTEST_LOOK_MS = 20;
const LONGEST_LOOK_MS = 250;

/**
 * Starts the thread and the heartbeat of the calling (main) thread; resolves when the thread watches. The process
 * ends when it fails.
 */
export function startWatchdog(vital: Vital, settings: WatchdogSettings): Promise<void> {
  const cache = process.env.NODE_COMPILE_CACHE;
  const thread = new Worker(new URL(import.meta.url), {
    workerData: { postluaWatchdog: settings, shared: vital.shared } satisfies ThreadData,
    execArgv: [],
    env: cache === undefined ? {} : { NODE_COMPILE_CACHE: cache },
    resourceLimits: { maxOldGenerationSizeMb: 16, maxYoungGenerationSizeMb: 4, stackSizeMb: 1 },
  });
  // A service without its watchdog is not the service that was asked for; the primary starts another worker.
  thread.on("error", (error) => {
    process.stderr.write(`postlua: the watchdog thread failed: ${error.stack}\n`);
    process.exit(70);
  });
  setInterval(() => vital.beat(), lookMs(settings.silenceMs)).unref();
  return new Promise((resolve) => {
    thread.once("message", () => {
      thread.unref();
      resolve();
    });
  });
}

function lookMs(silenceMs: number): number {
  return Math.max(SHORTEST_LOOK_MS, Math.min(LONGEST_LOOK_MS, silenceMs / LOOKS));
}

/** Counts how long something has been silent, by its own clock's ticks: time in which the whole machine stood still does not count. */
export class Silence {
  #last: number;
  #ms = 0;
  readonly #tickMs: number;

  constructor(tickMs: number, now: number) {
    this.#tickMs = tickMs;
    this.#last = now;
  }

  heard(): void {
    this.#ms = 0;
  }

  /** Called every tick, more or less. @returns milliseconds of silence so far */
  tick(now: number): number {
    this.#ms += Math.min(now - this.#last, 2 * this.#tickMs);
    this.#last = now;
    return this.#ms;
  }
}

function watch({ postluaWatchdog: settings, shared }: ThreadData): never {
  const vital = new VitalReader(shared);
  const tickMs = lookMs(settings.silenceMs);
  const silence = new Silence(tickMs, performance.now());
  const sleeper = new Int32Array(new SharedArrayBuffer(4));
  let beats = vital.beats();
  let said = 0;
  let saidPlace = false;
  for (;;) {
    Atomics.wait(sleeper, 0, 0, tickMs);
    const now = performance.now();
    const place = vital.place();
    if (vital.beats() !== beats) silence.heard();
    beats = vital.beats();
    const silentMs = silence.tick(now);
    if (silentMs >= settings.silenceMs) {
      kill(settings, "stuck", place, `the event loop has not turned for ${Math.round(silentMs)} ms`);
    }
    const held = process.memoryUsage.rss();
    if (held > settings.maxBytes) {
      kill(
        settings,
        "memory",
        place,
        `the process holds ${megabytes(held)} of ${megabytes(settings.maxBytes)} MB`,
      );
    }
    if (place !== undefined || saidPlace || now - said >= settings.silenceMs / 4) {
      say(place === undefined ? { type: "alive" } : { type: "alive", place });
      said = now;
      saidPlace = place !== undefined;
    }
  }
}

function kill(
  settings: WatchdogSettings,
  cause: "stuck" | "memory",
  place: Place | undefined,
  detail: string,
): void {
  say(place === undefined ? { type: "killing", cause, detail } : { type: "killing", cause, detail, place });
  emergencyLine(
    settings.text,
    cause === "stuck" ? "worker stuck, killed" : "worker over its memory, killed",
    {
      worker: process.pid,
      ...place,
      detail,
    },
  );
  process.kill(process.pid, "SIGKILL");
}

function say(line: BlackBoxLine): void {
  try {
    writeSync(BLACK_BOX_FD, `${JSON.stringify(line)}\n`, null, "latin1");
  } catch {
    // The primary is gone; so will this process be in a moment.
  }
}

function megabytes(bytes: number): number {
  return Math.round(bytes / 1024 / 1024);
}

if (!isMainThread && (workerData as Partial<ThreadData> | null)?.postluaWatchdog !== undefined) {
  parentPort?.postMessage("watching");
  watch(workerData as ThreadData);
}
