/**
 * Tells systemd how the service is: READY, RELOADING, STOPPING, WATCHDOG
 * (sd_notify(3)). Node has no datagram sockets of the unix kind, so the words
 * go through systemd's own program, one process a message. Without
 * NOTIFY_SOCKET nothing is done; when it fails the log says so, once.
 */
import { execFile } from "node:child_process";
import type { Log } from "../log.ts";

const TIMEOUT_MS = 5_000;

export class Notifier {
  readonly #log: Log;
  readonly #environment: NodeJS.ProcessEnv;
  readonly #enabled: boolean;
  readonly #watchdogMs: number;
  /** Messages leave in order. */
  #last: Promise<void> = Promise.resolve();
  #watchdog: NodeJS.Timeout | undefined;
  #failed = false;

  /** `environment`: NOTIFY_SOCKET, WATCHDOG_USEC, WATCHDOG_PID, PATH. */
  constructor(log: Log, environment: NodeJS.ProcessEnv) {
    this.#log = log;
    this.#environment = environment;
    this.#enabled = (environment.NOTIFY_SOCKET ?? "") !== "";
    const ours = environment.WATCHDOG_PID === undefined || Number(environment.WATCHDOG_PID) === process.pid;
    this.#watchdogMs = ours ? Number(environment.WATCHDOG_USEC ?? 0) / 1000 : 0;
  }

  /** The service answers. From now on systemd's watchdog is fed while the event loop turns. */
  ready(status: string): Promise<void> {
    if (this.#enabled && this.#watchdogMs > 0 && this.#watchdog === undefined) {
      this.#watchdog = setInterval(() => void this.#say("WATCHDOG=1"), this.#watchdogMs / 3);
    }
    return this.#say("READY=1", `STATUS=${status}`);
  }

  /** ready() must follow. */
  reloading(): Promise<void> {
    const microseconds = process.hrtime.bigint() / 1000n;
    return this.#say("RELOADING=1", `MONOTONIC_USEC=${microseconds}`);
  }

  stopping(): Promise<void> {
    return this.#say("STOPPING=1");
  }

  /** No further words, in case the service was ready already. */
  close(): void {
    clearInterval(this.#watchdog);
  }

  #say(...words: readonly string[]): Promise<void> {
    if (!this.#enabled) return Promise.resolve();
    this.#last = this.#last.then(() => this.#run(words));
    return this.#last;
  }

  #run(words: readonly string[]): Promise<void> {
    return new Promise((resolve) => {
      const args = [`--pid=${process.pid}`, ...words];
      execFile("systemd-notify", args, { timeout: TIMEOUT_MS, env: this.#environment }, (error) => {
        if (error !== null && !this.#failed) {
          this.#failed = true;
          this.#log.error("systemd cannot be told", { words: words.join(" "), problem: error.message });
        }
        resolve();
      });
    });
  }
}
