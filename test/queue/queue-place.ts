/** `postlua queue` as processes on a private Postfix: configuration, scripts and journal of a test's own, scripts as nobody. */
import { type ChildProcess, execFile } from "node:child_process";
import { chownSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Parameters } from "../../postfix/layout.ts";
import { type InstanceOptions, PrivatePostfix } from "../../postfix/private-instance.ts";
import { Sink, type SinkOptions } from "../../postfix/sink.ts";
import { type WorkerFiles, workerFiles } from "../../src/queue/files.ts";
import { findAccount } from "../../src/queue/halves.ts";
import { parked, send } from "./harness.ts";

const MAIN = join(import.meta.dirname, "../../src/main.ts");
const DEADLINE_MS = 60_000;

export interface Ran {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

export interface PlaceOptions {
  readonly sink?: SinkOptions;
  readonly postfix?: InstanceOptions;
  /** Lines of [queue]. */
  readonly queue?: string;
  /** Outgoing mail is parked from the beginning. */
  readonly parked?: boolean;
}

/** A command that goes on running. */
export class Running {
  readonly child: ChildProcess;
  readonly ended: Promise<Ran>;
  out = "";
  err = "";

  constructor(child: ChildProcess, ended: Promise<Ran>) {
    this.child = child;
    this.ended = ended;
    child.stdout?.on("data", (text) => {
      this.out += text;
    });
    child.stderr?.on("data", (text) => {
      this.err += text;
    });
  }

  /** Resolves once standard output has it. Rejects with all output when the command ends before, or takes too long. */
  async says(pattern: RegExp): Promise<void> {
    const late = AbortSignal.timeout(DEADLINE_MS);
    while (!pattern.test(this.out)) {
      const more = new Promise((resolve) => this.child.stdout?.once("data", resolve));
      const over = new Promise((resolve) => late.addEventListener("abort", resolve, { once: true }));
      await Promise.race([more, this.ended, over]);
      if (pattern.test(this.out)) return;
      if (this.child.exitCode !== null || late.aborted)
        throw new Error(`no ${pattern}\n${this.out}${this.err}`);
    }
  }

  async stop(signal: NodeJS.Signals = "SIGTERM"): Promise<Ran> {
    this.child.kill(signal);
    return this.ended;
  }
}

export class QueuePlace {
  readonly sink: Sink;
  readonly postfix: PrivatePostfix;
  /** nobody's own. */
  readonly directory: string;
  readonly config: string;
  readonly #running = new Set<Running>();

  private constructor(sink: Sink, postfix: PrivatePostfix, queue: string) {
    this.sink = sink;
    this.postfix = postfix;
    this.directory = join(postfix.scratch.path, "postlua");
    mkdirSync(this.directory);
    const { uid, gid } = findAccount("nobody");
    chownSync(this.directory, uid, gid);
    this.config = join(postfix.scratch.path, "postlua.toml");
    this.configure(queue);
  }

  static async start({ sink: sinkOptions, postfix: options, queue = "", parked = true }: PlaceOptions = {}) {
    const sink = await Sink.start(sinkOptions);
    const parking: Parameters = parked
      ? { defer_transports: "smtp, relay", enable_long_queue_ids: "yes" }
      : {};
    const mainCf = { ...parking, ...options?.mainCf };
    const postfix = await PrivatePostfix.start({ sinkPort: sink.port, ...options, mainCf });
    return new QueuePlace(sink, postfix, queue);
  }

  /** @param queue lines of [queue]; user is added */
  configure(queue: string): void {
    const { directory } = this;
    writeFileSync(
      this.config,
      `data_dir = "${directory}"
log_dir = "${directory}"
scripts_dir = "${directory}"
[postfix]
config_dir = "${this.postfix.configDirectory}"
[store]
database = "sqlite:${directory}/store.db"
[queue]
${/^user/m.test(queue) ? "" : 'user = "nobody"'}
${queue}
`,
    );
  }

  get files(): WorkerFiles {
    return workerFiles(this.directory, this.postfix.places.queue);
  }

  script(name: "RELAYOUT.LUA" | "MXOUT.LUA", text: string): void {
    writeFileSync(join(this.directory, name), text);
  }

  read(name: string): string {
    return readFileSync(join(this.directory, name), "utf8");
  }

  start(...args: string[]): Running {
    return this.#start(["queue", ...args]);
  }

  /** Another command than `queue`. */
  postlua(...args: string[]): Promise<Ran> {
    return this.#start(args).ended;
  }

  #start(args: readonly string[]): Running {
    let settle: (ran: Ran) => void = () => {};
    const ended = new Promise<Ran>((resolve) => {
      settle = resolve;
    });
    const argv = [MAIN, ...args, "--config", this.config];
    const child = execFile(process.execPath, argv, { maxBuffer: 1 << 28 }, (error, out, err) => {
      settle({ code: error === null ? 0 : Number(error.code ?? -1), out, err });
    });
    const running = new Running(child, ended);
    this.#running.add(running);
    return running;
  }

  run(...args: string[]): Promise<Ran> {
    return this.start(...args).ended;
  }

  /** Sends mail with these subjects through Postfix. @returns queue IDs */
  async mail(...subjects: (string | number)[]): Promise<string[]> {
    return send(
      this.postfix.port,
      subjects.map((subject) => ({
        to: [`<r${subject}@remote.test>`],
        message: `Subject: ${subject}\n\nb\n`,
      })),
    );
  }

  /** The same, and waits until `total` messages are parked. */
  async park(total: number, ...subjects: (string | number)[]): Promise<string[]> {
    const ids = await this.mail(...subjects);
    await parked(this.postfix, total);
    return ids;
  }

  /** Subjects at the sink, in their order. */
  get arrived(): string[] {
    return this.sink.messages.map(
      ({ headers }) => headers.find(([name]) => name === "Subject")?.[1].trim() ?? "",
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#running].map((running) => running.stop()));
    await this.postfix.remove();
    await this.sink.stop();
  }
}
