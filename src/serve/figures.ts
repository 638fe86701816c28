/**
 * What a worker counts, in the form of Prometheus metrics; the primary adds up
 * what all its workers report (statistics.ts). Counting costs well under a
 * microsecond a callback, and the metrics library stays in the primary.
 */
import type { ScriptError } from "../lua/errors.ts";
import type { Figures, Metric } from "./messages.ts";

export const METRIC = {
  callbacks: "postlua_callback_seconds",
  messages: "postlua_messages_total",
  errors: "postlua_script_errors_total",
  budgets: "postlua_budget_exceeded_total",
} as const;

/** Upper bounds, milliseconds. */
const BOUNDS_MS = [0.1, 0.5, 1, 2.5, 5, 10, 50, 100, 500, 1_000, 5_000, 25_000, 120_000];

export class WorkerFigures {
  readonly #callbacks = new Map<string, Histogram>();
  readonly #messages = new Tally(METRIC.messages, "Messages by what was decided at their end", ["verdict"]);
  readonly #errors = new Tally(METRIC.errors, "Script failures by kind", ["script", "callback", "kind"]);
  readonly #budgets = new Tally(METRIC.budgets, "Callbacks ended because a budget was spent", [
    "script",
    "callback",
    "budget",
  ]);
  #changed = true;

  /** A callback has run for `ms` milliseconds, whatever came of it. */
  callback(script: string, callback: string, ms: number): void {
    // Names of callbacks are few; only USER_REDIRECT.LUA and the like could share them.
    const key = `${script}\0${callback}`;
    let histogram = this.#callbacks.get(key);
    if (histogram === undefined) {
      histogram = new Histogram(script, callback);
      this.#callbacks.set(key, histogram);
    }
    histogram.observe(ms);
    this.#changed = true;
  }

  message(verdict: string): void {
    this.#messages.add(verdict);
    this.#changed = true;
  }

  failed(error: ScriptError): void {
    const { script, callback, kind, budget } = error.details;
    this.#errors.add(script, callback, kind);
    if (budget !== undefined) this.#budgets.add(script, callback, budget);
    this.#changed = true;
  }

  /** Marks a change outside these counters, such as a session that opened. */
  touch(): void {
    this.#changed = true;
  }

  /** Everything since the start, or undefined when nothing has changed since the last call. */
  take(open: number): Figures | undefined {
    if (!this.#changed) return undefined;
    this.#changed = false;
    const values = [...this.#callbacks.values()].flatMap((histogram) => histogram.values());
    const times: Metric = {
      name: METRIC.callbacks,
      help: "Time that callbacks took, waits included",
      type: "histogram",
      aggregator: "sum",
      values,
    };
    return {
      metrics: [times, ...[this.#messages, this.#errors, this.#budgets].map((t) => t.metric())],
      open,
    };
  }
}

/** A counter with labels. */
class Tally {
  readonly #name: string;
  readonly #help: string;
  readonly #labels: readonly string[];
  readonly #counts = new Map<string, number>();

  constructor(name: string, help: string, labels: readonly string[]) {
    this.#name = name;
    this.#help = help;
    this.#labels = labels;
  }

  add(...labels: readonly string[]): void {
    const key = labels.join("\0");
    this.#counts.set(key, (this.#counts.get(key) ?? 0) + 1);
  }

  metric(): Metric {
    return {
      name: this.#name,
      help: this.#help,
      type: "counter",
      aggregator: "sum",
      values: [...this.#counts].map(([key, value]) => {
        const texts = key.split("\0");
        return { value, labels: Object.fromEntries(this.#labels.map((label, n) => [label, texts[n] ?? ""])) };
      }),
    };
  }
}

class Histogram {
  readonly #labels: { readonly script: string; readonly callback: string };
  /** By bucket; the last is for everything beyond the bounds. */
  readonly #counts = new Float64Array(BOUNDS_MS.length + 1);
  #sumMs = 0;

  constructor(script: string, callback: string) {
    this.#labels = { script, callback };
  }

  observe(ms: number): void {
    let bucket = 0;
    while (bucket < BOUNDS_MS.length && ms > (BOUNDS_MS[bucket] as number)) bucket++;
    this.#counts[bucket] = (this.#counts[bucket] as number) + 1;
    this.#sumMs += ms;
  }

  /** Prometheus' buckets count everything up to their bound, in seconds. */
  values(): Metric["values"] {
    const labels = this.#labels;
    let count = 0;
    const buckets = [...this.#counts].map((inBucket, n) => {
      count += inBucket;
      const bound = BOUNDS_MS[n];
      return {
        metricName: `${METRIC.callbacks}_bucket`,
        labels: { ...labels, le: bound === undefined ? "+Inf" : bound / 1000 },
        value: count,
      };
    });
    return [
      ...buckets,
      { metricName: `${METRIC.callbacks}_sum`, labels, value: this.#sumMs / 1000 },
      { metricName: `${METRIC.callbacks}_count`, labels, value: count },
    ];
  }
}
