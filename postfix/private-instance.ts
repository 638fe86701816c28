/**
 * A private Postfix: its own configuration, queue and log in a scratch
 * directory, listening on 127.0.0.1, sending nothing off the machine. Made for
 * tests and the quickstart; any number may run at once, beside a system
 * Postfix or without one. Needs root and an installed Postfix, and says so.
 *
 * Costs 20 ms to start and 5 ms to remove, so a test file can have its own.
 */
import { type ChildProcess, execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import {
  baseParameters,
  baseServices,
  type Installation,
  installation,
  makeDirectories,
  type Parameters,
  type Places,
  placesBelow,
  writeConfiguration,
  writeSettled,
} from "./layout.ts";
import { Scratch } from "./scratch.ts";

export interface InstanceOptions {
  /** Default: a free port below the range that the kernel hands out by itself. */
  readonly smtpPort?: number;
  /** Where all mail is delivered to; without it mail stays deferred. */
  readonly sinkPort?: number;
  /** smtpd_milters, such as "unix:/path" (absolute) or "inet:127.0.0.1:8891". */
  readonly milter?: string;
  /** Further or other main.cf parameters; see baseParameters for what they replace. */
  readonly mainCf?: Parameters;
  /** Further or other services, e.g. { "127.0.0.1:2526/inet": "n - n - - smtpd -o smtpd_milters=" }. */
  readonly masterCf?: Parameters;
}

/** An entry of `postqueue -j`; times are Unix seconds. */
export interface QueueEntry {
  readonly queue_name: "incoming" | "active" | "deferred" | "hold" | "maildrop" | "corrupt";
  readonly queue_id: string;
  readonly arrival_time: number;
  readonly message_size: number;
  readonly forced_expire: boolean;
  readonly sender: string;
  readonly recipients: readonly { readonly address: string; readonly delay_reason?: string }[];
}

const DEADLINE_MS = 30_000;
const POLL_MS = 5;

export class PrivatePostfix {
  /** The scratch directory; files that belong to the instance's surroundings may be put there too. */
  readonly scratch: Scratch;
  readonly places: Places;
  readonly version: string;
  #port: number;
  readonly #installation: Installation;
  readonly #fixedPort: boolean;
  readonly #parameters: Record<string, string>;
  readonly #services: Record<string, string>;
  #master: ChildProcess | undefined;
  #exited: Promise<void> = Promise.resolve();

  private constructor(options: InstanceOptions) {
    this.#installation = installation();
    this.version = this.#installation.version;
    this.#fixedPort = options.smtpPort !== undefined;
    this.#port = options.smtpPort ?? likelyPort();
    this.scratch = Scratch.create();
    this.places = placesBelow(this.scratch.path);
    this.#parameters = {
      ...baseParameters(this.places, this.#installation, options.sinkPort),
      ...(options.milter === undefined ? {} : { smtpd_milters: options.milter }),
      ...options.mainCf,
    };
    this.#services = { ...options.masterCf };
    makeDirectories(this.places, this.#installation);
  }

  /** Lays out an instance without starting it. Throws when not root or when Postfix is missing. */
  static create(options: InstanceOptions = {}): PrivatePostfix {
    return new PrivatePostfix(options);
  }

  /** Lays out an instance and starts it. */
  static async start(options: InstanceOptions = {}): Promise<PrivatePostfix> {
    const instance = new PrivatePostfix(options);
    try {
      await instance.start();
    } catch (error) {
      await instance.remove();
      throw error;
    }
    return instance;
  }

  /** The configuration directory, as for `postconf -c` and postlua's `[postfix] config_dir`. */
  get configDirectory(): string {
    return this.places.config;
  }

  get port(): number {
    return this.#port;
  }

  /** Resolves when the port is open. Rejects when a fixed port is taken or the configuration is refused. */
  async start(): Promise<void> {
    for (;;) {
      // Asked for first, because the master gives its reasons to syslog only.
      if (!(await isOpen(this.#port))) {
        this.#writeConfiguration();
        if (await this.#startMaster()) return;
        if (!(await isOpen(this.#port))) break;
      }
      if (this.#fixedPort) throw new Error(`port ${this.#port} of 127.0.0.1 is taken by another program`);
      this.#port = likelyPort();
    }
    throw new Error(
      "Postfix's master program ended at once; its reason is in the system log if there is one. " +
        "Look for a wrong value or a port that is taken in mainCf and masterCf",
    );
  }

  /** As `postfix stop`: ends the daemons at once; the queue stays. Does nothing when stopped. */
  async stop(): Promise<void> {
    if (this.#master === undefined) return;
    this.#master.ref();
    this.#master.kill("SIGTERM");
    await this.#exited;
    // A daemon keeps the port open until it is gone, too.
    while (await isOpen(this.#port)) await delay(1);
  }

  /** Stops and removes everything. */
  async remove(): Promise<void> {
    await this.stop();
    this.scratch.remove();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.remove();
  }

  /** As `postfix reload`; resolves when the master has done it. */
  async reload(): Promise<void> {
    const after = this.logSize();
    this.#master?.kill("SIGHUP");
    await this.waitFor(/master\[\d+\]: reload -- /, { after });
  }

  /** Changes main.cf and reloads when running. Clients connecting from now on meet the new values. */
  async postconf(parameters: Parameters): Promise<void> {
    Object.assign(this.#parameters, parameters);
    this.#writeConfiguration();
    if (this.#master !== undefined) await this.reload();
  }

  /** The value Postfix works with, $names expanded. */
  async parameter(name: string): Promise<string> {
    return (await this.run("postconf", ["-hx", name])).trimEnd();
  }

  /** Writes a table or template beside main.cf and returns its path. */
  writeTable(name: string, text: string): string {
    const path = join(this.places.config, name);
    writeSettled(path, text);
    return path;
  }

  /** Runs a Postfix command (postqueue, postsuper, postmap, sendmail ...) on this instance; returns standard output. */
  run(command: string, args: readonly string[], input = ""): Promise<string> {
    const own = command === "sendmail" ? args : ["-c", this.places.config, ...args];
    const env = { ...process.env, MAIL_CONFIG: this.places.config };
    return new Promise((resolve, reject) => {
      const program = join(this.#installation.commands, command);
      const child = execFile(
        program,
        own,
        { env, encoding: "latin1", maxBuffer: 1 << 30 },
        (error, out, err) => {
          if (error === null) resolve(out);
          else reject(new Error(`${command} ${args.join(" ")}: ${err.trim() || error.message}`));
        },
      );
      // A command that reads nothing may be gone before its input is written.
      child.stdin?.on("error", () => {});
      child.stdin?.end(input, "latin1");
    });
  }

  /** All messages in the queue, parsed from `postqueue -j`. */
  async queue(): Promise<QueueEntry[]> {
    const out = await this.run("postqueue", ["-j"]);
    return out
      .split("\n")
      .filter((line) => line !== "")
      .map((line) => JSON.parse(line) as QueueEntry);
  }

  /** Tries to deliver everything that is deferred, now. */
  async flush(): Promise<void> {
    await this.run("postqueue", ["-f"]);
  }

  /**
   * Resolves when no message is on its way through the queue any more; what
   * is deferred or on hold stays. Rejects after `timeoutMs`.
   */
  async settled(timeoutMs = DEADLINE_MS): Promise<QueueEntry[]> {
    for (const end = Date.now() + timeoutMs; ; ) {
      const entries = await this.queue();
      const moving = entries.filter(({ queue_name }) => queue_name !== "deferred" && queue_name !== "hold");
      if (moving.length === 0) return entries;
      if (Date.now() > end) {
        throw new Error(`the queue did not settle within ${timeoutMs} ms: ${JSON.stringify(moving)}`);
      }
      await delay(POLL_MS);
    }
  }

  /** The text of the mail log, from byte `after` on. */
  log(after = 0): string {
    try {
      return readFileSync(this.places.maillog).toString("latin1", after);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return "";
      throw error;
    }
  }

  /** Bytes logged so far, for `after`. */
  logSize(): number {
    return this.log().length;
  }

  /** Resolves with the match once the log, from byte `after` on, has `pattern`. Rejects with the log's end. */
  async waitFor(
    pattern: RegExp,
    options: { readonly after?: number; readonly timeoutMs?: number } = {},
  ): Promise<RegExpExecArray> {
    const timeoutMs = options.timeoutMs ?? DEADLINE_MS;
    for (const end = Date.now() + timeoutMs; ; ) {
      const text = this.log(options.after);
      const match = pattern.exec(text);
      if (match !== null) return match;
      if (Date.now() > end) {
        throw new Error(
          `no ${pattern} in the mail log within ${timeoutMs} ms; it ends:\n${text.slice(-2000)}`,
        );
      }
      await delay(POLL_MS);
    }
  }

  #writeConfiguration(): void {
    writeConfiguration(this.places, this.#parameters, { ...baseServices(this.#port), ...this.#services });
  }

  /** Whether the master came up; false when it ended before. */
  async #startMaster(): Promise<boolean> {
    const after = this.logSize();
    const program = join(this.#installation.daemons, "master");
    const master = this.scratch.spawn(program, ["-c", this.places.config], { stdio: "ignore" });
    this.#master = master;
    let ended = false;
    this.#exited = new Promise((resolve) => {
      const end = () => {
        ended = true;
        this.#master = undefined;
        resolve();
      };
      master.once("exit", end);
      master.once("error", end);
    });
    for (const end = Date.now() + DEADLINE_MS; !ended && Date.now() < end; ) {
      if (/master\[\d+\]: daemon started/.test(this.log(after))) return true;
      await delay(POLL_MS);
    }
    await this.stop();
    return false;
  }
}

/** A port that is probably free. Below 32768 the kernel's own choices for clients do not interfere. */
function likelyPort(): number {
  return 12_000 + Math.floor(Math.random() * 20_000);
}

function isOpen(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
}
