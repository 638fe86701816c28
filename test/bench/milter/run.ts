/**
 * The milter protocol alone, without an MTA: milter-load.c plays the MTA
 * against libmilter's no-op (noop.c), src/milter's no-op (noop.ts) and postlua
 * with the policy of ../policy, in alternating rounds. Prints medians; times
 * are given as ratios to the libmilter no-op, which mean the same everywhere.
 *
 *   node test/bench/milter/run.ts [--rounds 5] [--sessions 2000] [--messages 100] [--parallel 20]
 *        [--workers N] [--address ADDRESS]... [--command 'PROGRAM ARGUMENTS {address}']
 *
 * --address measures filters that are running already, --command starts one with the address put in for
 * {address}; with either, postlua is left out. Says so and exits 0 where gcc or libmilter is missing.
 */
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { parseArgs, promisify } from "node:util";
import { parseAddress } from "../../../src/milter/address.ts";

const HERE = import.meta.dirname;
const ROOT = join(HERE, "../../..");
const READY_MS = 30_000;
const run = promisify(execFile);

const { values: options } = parseArgs({
  options: {
    rounds: { type: "string", default: "5" },
    sessions: { type: "string", default: "2000" },
    messages: { type: "string", default: "100" },
    parallel: { type: "string", default: "20" },
    workers: { type: "string", default: "1" },
    address: { type: "string", multiple: true },
    command: { type: "string" },
  },
});

interface Filter {
  readonly name: string;
  readonly address: string;
  readonly process: ChildProcess | undefined;
}

/** What milter-load -q prints, as far as it is used here. */
interface Load {
  readonly broken: number;
  readonly messages: number;
  readonly refused: number;
  readonly secs: number;
  readonly msg_p99_ms: number;
}

interface Workload {
  readonly title: string;
  readonly arguments: readonly string[];
}

const WORKLOADS: readonly Workload[] = [
  { title: "one message a session", arguments: ["-n", options.sessions, "-m", "1"] },
  { title: "many messages a session", arguments: ["-n", options.parallel, "-m", options.messages] },
];

class Bench {
  readonly #folder = mkdtempSync(join(tmpdir(), "milter-bench-"));
  readonly #filters: Filter[] = [];
  readonly #logs: string[] = [];
  #port = 14_100 + (process.pid % 400) * 10;

  path(name: string): string {
    return join(this.#folder, name);
  }

  /** False when this machine lacks the compiler or libmilter. */
  async compile(): Promise<boolean> {
    try {
      await run("cc", ["-O2", "-o", this.path("load"), join(HERE, "milter-load.c")]);
      await run("cc", ["-O2", "-o", this.path("noop"), join(HERE, "noop.c"), "-lmilter", "-lpthread"]);
      return true;
    } catch (error) {
      const reason = (error as Error).message.split("\n").find((line) => /error|not found|ENOENT/.test(line));
      console.log(`skipped: needs a C compiler and libmilter (Debian: gcc, libmilter-dev): ${reason}`);
      return false;
    }
  }

  unix(name: string): string {
    return `unix:${this.path(name)}`;
  }

  tcp(): string {
    return `inet:${this.#port++}@127.0.0.1`;
  }

  add(name: string, address: string, words?: readonly string[]): void {
    let child: ChildProcess | undefined;
    if (words !== undefined) {
      const [program = "", ...rest] = words;
      child = spawn(program, rest, { stdio: ["ignore", "pipe", "pipe"] });
      for (const stream of [child.stdout, child.stderr]) {
        stream?.on("data", (bytes: Buffer) => this.#logs.push(`${name}: ${bytes}`));
      }
    }
    this.#filters.push({ name, address, process: child });
  }

  /** @throws Error when a filter does not come up */
  async ready(): Promise<void> {
    const deadline = Date.now() + READY_MS;
    for (const { name, address, process: child } of this.#filters) {
      while (!(await canConnect(address))) {
        if (Date.now() < deadline && (child === undefined || child.exitCode === null)) await delay(50);
        else throw new Error(`${name} does not answer at ${address}\n${this.#logs.join("")}`);
      }
    }
  }

  async measure(rounds: number): Promise<void> {
    for (const workload of WORKLOADS) {
      const results = new Map<Filter, Load[]>(this.#filters.map((filter) => [filter, []]));
      for (let round = 0; round <= rounds; round++) {
        for (const filter of this.#filters) {
          const load = await this.#load(filter, workload);
          if (round > 0) results.get(filter)?.push(load); // the first warms up
        }
      }
      printTable(workload.title, results);
    }
  }

  async #load({ name, address }: Filter, workload: Workload): Promise<Load> {
    const words = ["-q", "-s", address, "-c", options.parallel, "-b", "10240", ...workload.arguments];
    const { stdout } = await run(this.path("load"), words);
    const load = JSON.parse(stdout) as Load;
    if (load.broken > 0) throw new Error(`${name}: ${load.broken} sessions broke\n${this.#logs.join("")}`);
    return load;
  }

  async close(): Promise<void> {
    for (const { process: child } of this.#filters) {
      if (child === undefined || child.exitCode !== null) continue;
      const exited = once(child, "exit");
      child.kill("SIGTERM");
      const timer = setTimeout(() => child.kill("SIGKILL"), 5_000);
      await exited;
      clearTimeout(timer);
    }
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

function canConnect(address: string): Promise<boolean> {
  const parsed = parseAddress(address);
  const socket = parsed.kind === "unix" ? connect(parsed.path) : connect(parsed.port, parsed.host);
  return new Promise((resolve) => {
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
}

/** Ratios are medians of the ratios of each round, since a machine's speed drifts. */
function printTable(title: string, results: ReadonlyMap<Filter, readonly Load[]>): void {
  const [first = []] = results.values();
  console.log(`\n${title}`);
  const head = ["", "messages/s", "time / C no-op", "p99 ms", "refused", "MB"];
  const rows = [...results].map(([filter, loads]) => [
    filter.name,
    median(loads.map((load) => load.messages / load.secs)).toFixed(0),
    median(loads.map((load, round) => load.secs / (first[round]?.secs ?? Number.NaN))).toFixed(2),
    median(loads.map((load) => load.msg_p99_ms)).toFixed(1),
    String(Math.max(...loads.map((load) => load.refused))),
    memory(filter.process?.pid),
  ]);
  const widths = head.map((text, column) => Math.max(text.length, ...rows.map((row) => row[column]!.length)));
  for (const row of [head, ...rows]) {
    const cells = row.map((text, column) =>
      column === 0 ? text.padEnd(widths[0]!) : text.padStart(widths[column]!),
    );
    console.log(cells.join("  "));
  }
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/** Resident megabytes of a process and its children, as Linux tells it. */
function memory(pid: number | undefined): string {
  if (pid === undefined || !existsSync("/proc/self/status")) return "-";
  const field = (text: string, name: string) =>
    Number(new RegExp(`^${name}:\\s+(\\d+)`, "m").exec(text)?.[1]);
  let kilobytes = 0;
  for (const entry of readdirSync("/proc").filter((name) => /^\d+$/.test(name))) {
    try {
      const status = readFileSync(`/proc/${entry}/status`, "utf8");
      if (Number(entry) === pid || field(status, "PPid") === pid) kilobytes += field(status, "VmRSS");
    } catch {
      // It ended meanwhile.
    }
  }
  return (kilobytes / 1024).toFixed(0);
}

function addPostlua(bench: Bench): void {
  const [unix, tcp] = [bench.unix("postlua.sock"), bench.tcp()];
  for (const name of ["data", "log", "saved"]) mkdirSync(bench.path(name));
  const config = [
    `scripts_dir = ${JSON.stringify(join(HERE, "../policy"))}`,
    `data_dir = ${JSON.stringify(bench.path("data"))}`,
    `log_dir = ${JSON.stringify(bench.path("log"))}`,
    `save_dir = ${JSON.stringify(bench.path("saved"))}`,
    'local_networks = ["127.0.0.0/8"]',
    'log_level = "warn"',
    "[milter]",
    `listen = ${JSON.stringify([unix, tcp])}`,
    "[control]",
    `socket = ${JSON.stringify(bench.path("control.sock"))}`,
  ];
  writeFileSync(bench.path("postlua.toml"), `${config.join("\n")}\n`);
  const main = join(ROOT, "src/main.ts");
  const words = [main, "serve", "--config", bench.path("postlua.toml"), "--workers", options.workers];
  bench.add("postlua, policy script, TCP", tcp, [process.execPath, ...words]);
  bench.add("postlua, policy script, unix", unix);
}

async function main(): Promise<void> {
  const bench = new Bench();
  try {
    if (!(await bench.compile())) return;
    const noop = join(HERE, "noop.ts");
    for (const [transport, address] of [
      ["TCP", () => bench.tcp()],
      ["unix", () => bench.unix(`noop-${Math.random()}`)],
    ] as const) {
      const [c, replying, quiet] = [address(), address(), address()];
      bench.add(`libmilter C no-op, ${transport}`, c, [bench.path("noop"), c]);
      bench.add(`src/milter no-op, ${transport}`, replying, [process.execPath, noop, replying]);
      bench.add(`src/milter no-op, quiet, ${transport}`, quiet, [process.execPath, noop, quiet, "quiet"]);
    }
    for (const address of options.address ?? []) bench.add(address, address);
    if (options.command !== undefined) {
      const address = bench.unix("command.sock");
      bench.add(options.command, address, options.command.replaceAll("{address}", address).split(" "));
    }
    if (options.address === undefined && options.command === undefined) addPostlua(bench);
    await bench.ready();
    await bench.measure(Number(options.rounds));
  } finally {
    await bench.close();
  }
}

await main();
