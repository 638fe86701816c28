/** A configuration, scripts and a store of a test's own, and `postlua` as a process on them. */
import { execFile } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Scratch } from "../../postfix/scratch.ts";
import { parseConfig } from "../../src/config/load.ts";
import { openStore } from "../../src/directory/open.ts";
import type { Store } from "../../src/directory/store.ts";

export const MAIN = join(import.meta.dirname, "../../src/main.ts");

export interface Ran {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** Lines of [store] and [passwords]; by default a SQLite file in the place, and the cheapest hashes. */
export interface PlaceOptions {
  readonly store?: string;
  readonly passwords?: string;
}

export class Place {
  readonly scratch = Scratch.create();
  readonly config: string;
  readonly database: string;

  constructor({ store, passwords = "" }: PlaceOptions = {}) {
    mkdirSync(this.file("scripts"));
    mkdirSync(this.file("log"));
    this.database = this.file("store/postlua.db");
    this.config = this.file("postlua.toml");
    writeFileSync(
      this.config,
      `scripts_dir = "${this.file("scripts")}"
data_dir = "${this.scratch.path}"
log_dir = "${this.file("log")}"
[postfix]
config_dir = "${this.scratch.path}"
[store]
${store ?? `database = "sqlite:${this.database}"`}
[limits]
cpu_ms = 500
[passwords]
cost = 4
${passwords}`,
    );
  }

  file(name: string): string {
    return join(this.scratch.path, name);
  }

  write(name: string, text: string | Buffer): string {
    writeFileSync(this.file(name), text);
    return this.file(name);
  }

  script(text: string): void {
    writeFileSync(this.file("scripts/PasswordCheck.lua"), text);
  }

  /** LUAERRORS.LOG, "" when there is none. */
  errors(): string {
    try {
      return readFileSync(this.file("log/LUAERRORS.LOG"), "latin1");
    } catch {
      return "";
    }
  }

  /** The command's name and arguments; --config is added. */
  run(
    args: readonly string[],
    input: string | Buffer = "",
    env: NodeJS.ProcessEnv = process.env,
  ): Promise<Ran> {
    return new Promise((resolve) => {
      const argv = [MAIN, ...args, "--config", this.config];
      const child = execFile(process.execPath, argv, { env, maxBuffer: 1 << 28 }, (error, out, err) => {
        resolve({ code: error === null ? 0 : Number(error.code ?? -1), out, err });
      });
      // A command that wants nothing of its input may be gone already.
      child.stdin?.on("error", () => {});
      child.stdin?.end(input);
    });
  }

  /** Runs with --json. @returns what it printed; throws its error output when it failed */
  async json(...args: readonly string[]): Promise<unknown> {
    const { code, out, err } = await this.run([...args, "--json"]);
    if (code !== 0) throw new Error(`exit code ${code}: ${err}`);
    return JSON.parse(out);
  }

  /** The store, opened in this process. */
  async open(): Promise<Store> {
    return openStore(parseConfig(readFileSync(this.config, "utf8"), this.config).store);
  }

  [Symbol.dispose](): void {
    this.scratch.remove();
  }
}
