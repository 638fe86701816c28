/**
 * The figures of the whole service: those of every worker there has been,
 * added up, and the primary's own. For `postlua status` and for Prometheus.
 */
import { AggregatorRegistry, Counter, Gauge, Registry } from "prom-client";
import { METRIC } from "./figures.ts";
import type { Figures, Metric } from "./messages.ts";
import { Rate } from "./rate.ts";

/** What counts itself outside, read when somebody asks. */
export interface Sources {
  workers(): Iterable<{ readonly pid: number; readonly figures: Figures; memory(): number }>;
  connections(): number;
  pending(): number;
}

export interface Totals {
  readonly sessions: { readonly open: number; readonly total: number; readonly per_second: number };
  readonly messages: {
    readonly total: number;
    readonly per_second: number;
    readonly verdicts: Readonly<Record<string, number>>;
  };
  readonly budgets_exceeded: readonly {
    readonly script: string;
    readonly callback: string;
    readonly budget: string;
    readonly count: number;
  }[];
  readonly worker_deaths: Readonly<Record<string, number>>;
}

const SAMPLE_MS = 5_000;

export class Statistics {
  readonly #sources: Sources;
  readonly #registry = new Registry();
  /** Of workers that are gone. */
  #past: Metric[] = [];
  readonly #deaths = new Counter({
    name: "postlua_worker_deaths_total",
    help: "Worker processes that died, by cause",
    labelNames: ["cause"],
    registers: [this.#registry],
  });
  readonly #reloads = new Counter({
    name: "postlua_reloads_total",
    help: "Script files that were looked at, by what came of it",
    labelNames: ["outcome"],
    registers: [this.#registry],
  });
  readonly #switchedOff = new Gauge({
    name: "postlua_script_switched_off",
    help: "1 while the script is switched off because it killed too many workers",
    labelNames: ["script"],
    registers: [this.#registry],
  });
  readonly #sessionRate = new Rate();
  readonly #messageRate = new Rate();
  readonly #timer: NodeJS.Timeout;
  readonly #deathCounts = new Map<string, number>();

  constructor(sources: Sources) {
    this.#sources = sources;
    const registers = [this.#registry];
    const gauge = (name: string, help: string, read: () => number) =>
      new Gauge({
        name,
        help,
        registers,
        collect() {
          this.set(read());
        },
      });
    gauge("postlua_workers", "Worker processes that serve", () => [...sources.workers()].length);
    gauge("postlua_sessions_open", "Milter connections being served", () => openSessions(sources));
    gauge("postlua_connections_pending", "Connections that no worker has taken yet", () => sources.pending());
    new Gauge({
      name: "postlua_worker_memory_bytes",
      help: "Resident memory of each worker process",
      labelNames: ["pid"],
      registers,
      collect() {
        this.reset();
        for (const worker of sources.workers()) this.set({ pid: String(worker.pid) }, worker.memory());
      },
    });
    new Counter({
      name: "postlua_connections_total",
      help: "Milter connections accepted",
      registers,
      collect() {
        this.reset();
        this.inc(sources.connections());
      },
    });
    this.#timer = setInterval(() => this.#sample(), SAMPLE_MS);
    this.#sample();
  }

  close(): void {
    clearInterval(this.#timer);
  }

  /** A worker is gone; what it counted stays counted. */
  async died(figures: Figures, cause: string): Promise<void> {
    this.#deaths.inc({ cause });
    this.#deathCounts.set(cause, (this.#deathCounts.get(cause) ?? 0) + 1);
    if (figures.metrics.length === 0) return;
    const before = this.#past;
    this.#past = [];
    const sum = await added([before, figures.metrics]).getMetricsAsJSON();
    this.#past.push(...(sum as unknown as Metric[]));
  }

  reloaded(outcome: string): void {
    this.#reloads.inc({ outcome });
  }

  switchedOff(script: string, off: boolean): void {
    this.#switchedOff.set({ script }, off ? 1 : 0);
  }

  /** Everything, as Prometheus reads it. */
  async metrics(): Promise<{ type: string; text: string }> {
    const own = (await this.#registry.getMetricsAsJSON()) as unknown as Metric[];
    const all = added([...this.#counted(), own]);
    return { type: all.contentType, text: await all.metrics() };
  }

  totals(): Totals {
    const verdicts: Record<string, number> = {};
    for (const { labels, value } of this.#values(METRIC.messages)) {
      const verdict = String(labels.verdict);
      verdicts[verdict] = (verdicts[verdict] ?? 0) + value;
    }
    const budgets = new Map<string, { script: string; callback: string; budget: string; count: number }>();
    for (const { labels, value } of this.#values(METRIC.budgets)) {
      const [script, callback, budget] = [labels.script, labels.callback, labels.budget].map(String) as [
        string,
        string,
        string,
      ];
      const key = [script, callback, budget].join("\0");
      budgets.set(key, { script, callback, budget, count: (budgets.get(key)?.count ?? 0) + value });
    }
    const connections = this.#sources.connections();
    const messages = this.#messages();
    return {
      sessions: {
        open: openSessions(this.#sources),
        total: connections,
        per_second: this.#sessionRate.perSecond(connections, performance.now()),
      },
      messages: {
        total: messages,
        per_second: this.#messageRate.perSecond(messages, performance.now()),
        verdicts,
      },
      budgets_exceeded: [...budgets.values()],
      worker_deaths: Object.fromEntries(this.#deathCounts),
    };
  }

  #sample(): void {
    const now = performance.now();
    this.#sessionRate.sample(this.#sources.connections(), now);
    this.#messageRate.sample(this.#messages(), now);
  }

  #messages(): number {
    let sum = 0;
    for (const { value } of this.#values(METRIC.messages)) sum += value;
    return sum;
  }

  #counted(): (readonly Metric[])[] {
    return [this.#past, ...[...this.#sources.workers()].map(({ figures }) => figures.metrics)];
  }

  *#values(name: string) {
    for (const metrics of this.#counted()) {
      for (const metric of metrics) if (metric.name === name) yield* metric.values;
    }
  }
}

/** The library's own types say that a metric's type is a number, which it never is. */
function added(metrics: readonly (readonly Metric[])[]): Registry {
  return AggregatorRegistry.aggregate(
    metrics as unknown as Parameters<typeof AggregatorRegistry.aggregate>[0],
  );
}

function openSessions(sources: Sources): number {
  let open = 0;
  for (const { figures } of sources.workers()) open += figures.open;
  return open;
}
