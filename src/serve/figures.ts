/**
 * What a worker counts, as Prometheus metrics: the primary adds up what all
 * its workers report (status.ts). Counting costs under a microsecond a callback.
 */
import { Counter, Histogram, Registry } from "prom-client";
import type { ScriptError } from "../lua/errors.ts";
import type { Figures } from "./messages.ts";

export const METRIC = {
  callbacks: "postlua_callback_seconds",
  messages: "postlua_messages_total",
  errors: "postlua_script_errors_total",
  budgets: "postlua_budget_exceeded_total",
} as const;

const BUCKETS = [0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 25, 120];

export class WorkerFigures {
  readonly #registry = new Registry();
  readonly #callbacks = new Histogram({
    name: METRIC.callbacks,
    help: "Time that callbacks took, waits included",
    labelNames: ["script", "callback"],
    buckets: BUCKETS,
    registers: [this.#registry],
  });
  readonly #messages = new Counter({
    name: METRIC.messages,
    help: "Messages by what was decided at their end",
    labelNames: ["verdict"],
    registers: [this.#registry],
  });
  readonly #errors = new Counter({
    name: METRIC.errors,
    help: "Script failures by kind",
    labelNames: ["script", "callback", "kind"],
    registers: [this.#registry],
  });
  readonly #budgets = new Counter({
    name: METRIC.budgets,
    help: "Callbacks that were ended because a budget was spent",
    labelNames: ["script", "callback", "budget"],
    registers: [this.#registry],
  });
  /** Looking a label up costs more than counting. */
  readonly #timers = new Map<string, Histogram.Internal<"script" | "callback">>();
  #changed = true;

  /** A callback has run for `ms` milliseconds, whatever came of it. */
  callback(script: string, callback: string, ms: number): void {
    const key = `${script}\0${callback}`;
    let timer = this.#timers.get(key);
    if (timer === undefined) {
      timer = this.#callbacks.labels(script, callback);
      this.#timers.set(key, timer);
    }
    timer.observe(ms / 1000);
    this.#changed = true;
  }

  message(verdict: string): void {
    this.#messages.inc({ verdict });
    this.#changed = true;
  }

  failed(error: ScriptError): void {
    const { script, callback, kind, budget } = error.details;
    this.#errors.inc({ script, callback, kind });
    if (budget !== undefined) this.#budgets.inc({ script, callback, budget });
    this.#changed = true;
  }

  /** Marks a change outside these counters, such as a session that opened. */
  touch(): void {
    this.#changed = true;
  }

  /** Everything since the start, or undefined when nothing has changed since the last call. */
  async take(open: () => number): Promise<Figures | undefined> {
    if (!this.#changed) return undefined;
    this.#changed = false;
    return { metrics: await this.#registry.getMetricsAsJSON(), open: open() };
  }
}
