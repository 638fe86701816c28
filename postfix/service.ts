/**
 * postlua itself, started from the command line of this checkout beside a
 * private Postfix: own directories, own socket, log lines as they come.
 *
 * Nothing here reaches into src: what is started is what an admin starts.
 */
import type { ChildProcess } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import type { Socket } from "node:net";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";
import { setTimeout as delay } from "node:timers/promises";
import type { Scratch } from "./scratch.ts";

export interface ServiceOptions {
  /** Lives in the same scratch directory as the Postfix that it serves. */
  readonly scratch: Scratch;
  /** `[postfix] config_dir`. */
  readonly configDirectory: string;
  /** A directory of scripts, or texts of script files by name, such as { "SMTPSVR.LUA": "..." }; byte strings. */
  readonly scripts: string | Readonly<Record<string, string>>;
  /** Further lines of postlua.toml: keys first, then tables other than [postfix], [control] and [milter]. */
  readonly config?: string;
  /** Further addresses of the policy service, such as "inet:10040@127.0.0.1". */
  readonly policyListen?: readonly string[];
  /** Further lines of [policy]. */
  readonly policyConfig?: string;
  /** The doors it opens; default the milter alone. */
  readonly doors?: readonly ("milter" | "policy")[];
  /** Default 1. */
  readonly workers?: number;
  /** Further environment. */
  readonly env?: NodeJS.ProcessEnv;
  /** A program with the command line of postlua, to be started in its place. */
  readonly main?: string;
  /** Called with every line of the log, in order. */
  readonly onLine?: (line: LogLine) => void;
}

/** One line of the service's log: its JSON fields, or `{ event: text }` for anything else it printed. */
export interface LogLine {
  readonly event: string;
  readonly level?: string;
  readonly [field: string]: unknown;
}

const MAIN = join(import.meta.dirname, "../src/main.ts");
/** Tests start this program many times; compiled once, it is there in two thirds of the time. */
const COMPILE_CACHE = join(import.meta.dirname, "../node_modules/.cache/postlua");
const DEADLINE_MS = 30_000;
const POLL_MS = 5;

export class PostluaService {
  /** For smtpd_milters. */
  readonly milter: string;
  /** For check_policy_service. */
  readonly policy: string;
  readonly lines: LogLine[] = [];
  readonly #options: ServiceOptions;
  readonly #directory: string;
  readonly #scriptsDirectory: string;
  /** Of earlier runs. */
  #linesBefore = 0;
  #process: ChildProcess | undefined;
  #exited: Promise<number | null> = Promise.resolve(null);

  constructor(options: ServiceOptions) {
    this.#options = options;
    this.#directory = join(options.scratch.path, "postlua");
    this.milter = `unix:${this.#path("milter.sock")}`;
    this.policy = `unix:${this.#path("policy.sock")}`;
    for (const name of ["", "scripts", "data", "log", "data/saved", "store"]) {
      mkdirSync(this.#path(name), { recursive: true });
    }
    this.#scriptsDirectory = typeof options.scripts === "string" ? options.scripts : this.#path("scripts");
    if (typeof options.scripts !== "string") this.setScripts(options.scripts);
  }

  /** Starts `postlua serve`; resolves when the socket takes connections from Postfix. */
  async start(): Promise<void> {
    const config = this.configFile;
    writeFileSync(config, this.#configuration());
    const { scratch, workers = 1, main = MAIN, env = {} } = this.#options;
    const child = scratch.spawn(
      process.execPath,
      [main, "serve", "--config", config, "--workers", String(workers)],
      {
        stdio: ["ignore", "pipe", "pipe"],
        env: { ...process.env, NODE_COMPILE_CACHE: COMPILE_CACHE, ...env },
      },
    );
    this.#process = child;
    this.#linesBefore = this.lines.length;
    this.#exited = new Promise((resolve) => {
      child.once("exit", (code) => {
        this.#process = undefined;
        resolve(code);
      });
    });
    this.#listen(child.stdout);
    this.#listen(child.stderr);
    for (const end = Date.now() + DEADLINE_MS; !this.#isReady(); ) {
      if (this.#process === undefined) throw new Error(`postlua ended at its start:\n${this.#text()}`);
      if (Date.now() > end) {
        await this.stop();
        throw new Error(`postlua was not ready within ${DEADLINE_MS} ms:\n${this.#text()}`);
      }
      await delay(POLL_MS);
    }
  }

  /** As `systemctl stop`; resolves with the exit code, null when it was not running or was killed. */
  async stop(): Promise<number | null> {
    this.#process?.ref();
    this.#process?.kill("SIGTERM");
    return this.#exited;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  /** Replaces the service's own script files; takes effect at the next start. */
  setScripts(scripts: Readonly<Record<string, string>>): void {
    for (const name of readdirSync(this.#path("scripts"))) rmSync(this.#path("scripts", name));
    for (const [name, text] of Object.entries(scripts)) {
      writeFileSync(this.#path("scripts", name), text, "latin1");
    }
  }

  /** The process ID of the primary; undefined when it does not run. */
  get pid(): number | undefined {
    return this.#process?.pid;
  }

  /** Resolves when the primary has ended, by whatever; null when it was killed. */
  get exited(): Promise<number | null> {
    return this.#exited;
  }

  get configFile(): string {
    return this.#path("postlua.toml");
  }

  /** The control socket. */
  get control(): string {
    return this.#path("control.sock");
  }

  /** The SQLite file with users and settings; made when it is first needed. */
  get store(): string {
    return this.#path("store", "postlua.db");
  }

  /** The path of a script file of its own. */
  scriptPath(name: string): string {
    return this.#path("scripts", name);
  }

  /** Decision lines so far. */
  get decisions(): LogLine[] {
    return this.lines.filter(({ event }) => event === "decision");
  }

  /** Resolves with the first log line, written already or to come, that `wanted` holds for. */
  async waitFor(wanted: (line: LogLine) => boolean, timeoutMs = DEADLINE_MS): Promise<LogLine> {
    for (const end = Date.now() + timeoutMs; ; ) {
      const found = this.lines.find(wanted);
      if (found !== undefined) return found;
      if (Date.now() > end) {
        throw new Error(`no such line within ${timeoutMs} ms in the log of postlua:\n${this.#text()}`);
      }
      await delay(POLL_MS);
    }
  }

  /** Whole text of LUA.OUT, a byte string; complete once the service has stopped. */
  printed(): string {
    return this.#read("LUA.OUT");
  }

  /** Whole text of LUAERRORS.LOG, likewise. */
  errors(): string {
    return this.#read("LUAERRORS.LOG");
  }

  /** The path of a file in the service's data directory. */
  dataPath(name: string): string {
    return this.#path("data", name);
  }

  #path(...names: string[]): string {
    return join(this.#directory, ...names);
  }

  #read(name: string): string {
    try {
      return readFileSync(this.#path("log", name), "latin1");
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return "";
      throw error;
    }
  }

  #configuration(): string {
    return `
scripts_dir = "${this.#scriptsDirectory}"
data_dir = "${this.#path("data")}"
log_dir = "${this.#path("log")}"
save_dir = "${this.#path("data/saved")}"
${this.#options.config ?? ""}

[postfix]
config_dir = "${this.#options.configDirectory}"

[control]
socket = "${this.control}"

[store]
database = "sqlite:${this.store}"
group = "postfix"

[milter]
listen = ${this.#address("milter", this.milter)}
socket_mode = "0666"
${this.#opens("policy") ? `[policy]\nlisten = ${JSON.stringify([this.policy, ...(this.#options.policyListen ?? [])])}\nsocket_mode = "0666"\n${this.#options.policyConfig ?? ""}` : ""}
`;
  }

  #opens(door: "milter" | "policy"): boolean {
    return (this.#options.doors ?? ["milter"]).includes(door);
  }

  #address(door: "milter" | "policy", address: string): string {
    return this.#opens(door) ? `["${address}"]` : "[]";
  }

  #isReady(): boolean {
    return this.lines.slice(this.#linesBefore).some(({ event }) => event === "ready") && this.#isOpen();
  }

  #isOpen(): boolean {
    return statSync(this.#path(this.#opens("milter") ? "milter.sock" : "policy.sock")).isSocket();
  }

  #listen(stream: Readable | null): void {
    if (stream === null) return;
    // Like the process itself, its output keeps nobody waiting.
    (stream as Socket).unref();
    createInterface({ input: stream, crlfDelay: Number.POSITIVE_INFINITY }).on("line", (text) => {
      const line = parseLine(text);
      this.lines.push(line);
      this.#options.onLine?.(line);
    });
  }

  #text(): string {
    return this.lines
      .map((line) => (line.level === undefined ? line.event : JSON.stringify(line)))
      .join("\n");
  }
}

function parseLine(text: string): LogLine {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === "object" && value !== null && "event" in value) return value as LogLine;
  } catch {
    // Not a log line: a warning of Node's, a crash.
  }
  return { event: text };
}
