/**
 * Asks Postfix's tables with postmap(1): many keys at once on standard input,
 * a few processes at a time. What postmap calls fatal, a time limit and an
 * answer that is too long become an ExpansionError that names the tables.
 *
 * It blocks nobody: processes are waited for, and killed when their time is up.
 */
import { spawn } from "node:child_process";
import { ExpansionError } from "./expander.ts";

export interface PostmapOptions {
  /** Configuration directory of the Postfix instance. */
  readonly configDir: string;
  /** For one process, milliseconds. Default 10,000. */
  readonly timeoutMs?: number;
  /** Processes at once; more questions wait. Default 4. */
  readonly maxParallel?: number;
  /** Longest answer of one process, bytes. Default 16 MB. */
  readonly maxBytes?: number;
  /** Default "postmap", looked for in PATH and Postfix's usual directories. */
  readonly program?: string;
}

/** Where Postfix's commands are when PATH has not got them. */
export const COMMAND_PATH = "/usr/sbin:/usr/local/sbin";
const MAX_ERROR_BYTES = 4_096;

export class Postmap {
  /** Processes started so far. */
  started = 0;
  readonly #options: Required<PostmapOptions>;
  readonly #waiting: (() => void)[] = [];
  #running = 0;

  constructor(options: PostmapOptions) {
    this.#options = {
      timeoutMs: 10_000,
      maxParallel: 4,
      maxBytes: 16 * 1024 * 1024,
      program: "postmap",
      ...options,
    };
  }

  /**
   * @param tables asked in their order for each key; the first that has it answers
   * @param keys without line ends
   * @returns the values of those keys that were found
   * @throws ExpansionError
   */
  async ask(tables: readonly string[], keys: readonly string[]): Promise<ReadonlyMap<string, string>> {
    if (this.#running >= this.#options.maxParallel) {
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    } else this.#running++;
    try {
      return answers(await this.#run(tables, keys), keys, tables);
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#running--;
      else next();
    }
  }

  #run(tables: readonly string[], keys: readonly string[]): Promise<string> {
    const { configDir, timeoutMs, maxBytes, program } = this.#options;
    this.started++;
    return new Promise((resolve, reject) => {
      const args = ["-c", configDir, "-q", "-", ...tables];
      const env = { ...process.env, PATH: `${process.env.PATH ?? ""}:${COMMAND_PATH}` };
      const child = spawn(program, args, { env, stdio: "pipe" });
      const fail = (why: string) => {
        clearTimeout(timer);
        child.removeAllListeners("close");
        child.kill("SIGKILL");
        reject(new ExpansionError(`${tables.join(" ")}: ${why}`));
      };
      const timer = setTimeout(() => fail(`no answer within ${timeoutMs} ms`), timeoutMs);
      const out: Buffer[] = [];
      let bytes = 0;
      let problem = "";
      child.stdout.on("data", (chunk: Buffer) => {
        out.push(chunk);
        bytes += chunk.length;
        if (bytes > maxBytes) fail(`the answer is longer than ${maxBytes} bytes`);
      });
      child.stderr.on("data", (chunk: Buffer) => {
        if (problem.length < MAX_ERROR_BYTES) problem += chunk.toString("utf8");
        // It sleeps a second after that.
        if (/(?:fatal|panic): .*\n/.test(problem)) fail(reason(problem));
      });
      child.on("error", (error: NodeJS.ErrnoException) =>
        fail(`${program} cannot be run (${error.code}); is Postfix installed?`),
      );
      child.on("close", (code, signal) => {
        clearTimeout(timer);
        // Exit code 1 without words is "nothing found".
        if (signal !== null) fail(`postmap was ended by ${signal}`);
        else if (code !== 0 && /fatal|panic|error/.test(problem)) fail(reason(problem));
        else if (code !== 0 && code !== 1) fail(`postmap ended with ${code}: ${reason(problem)}`);
        else resolve(Buffer.concat(out).toString("utf8"));
      });
      // One that ends early has said why.
      child.stdin.on("error", () => {});
      child.stdin.end(`${keys.join("\n")}\n`);
    });
  }
}

function reason(problem: string): string {
  const lines = problem
    .split("\n")
    .map((line) => line.replace(/^\S*postmap: (?:(?:fatal|error|warning|panic): )?/, "").trim())
    .filter((line) => line !== "");
  // It repeats its warnings; the last words are about the end.
  return [...new Set(lines)].slice(-2).join("; ") || "it gave no reason";
}

/** "key TAB value" lines in the order of the keys. */
function answers(
  output: string,
  keys: readonly string[],
  tables: readonly string[],
): ReadonlyMap<string, string> {
  const found = new Map<string, string>();
  let next = 0;
  for (const line of output.split("\n")) {
    if (line === "") continue;
    const key = line.slice(0, line.indexOf("\t"));
    while (next < keys.length && keys[next] !== key) next++;
    const value = line.slice(key.length + 1);
    if (next === keys.length || value === "") {
      const shown = JSON.stringify(line.slice(0, 80));
      throw new ExpansionError(`${tables.join(" ")}: an answer that is no address or list: ${shown}`);
    }
    found.set(key, value);
  }
  return found;
}
