/**
 * `postlua run`: a script by hand (manual, "On demand (from command line)"),
 * with all helpers, print on standard output and the arguments in `arg`.
 */
import { readFileSync } from "node:fs";
import { basename, dirname, resolve } from "node:path";
import { decodeText, encodeText, toBytes } from "../bytes.ts";
import type { Config } from "../config/load.ts";
import { createLog } from "../log.ts";
import type { Budget } from "../lua/budget.ts";
import { ScriptError } from "../lua/errors.ts";
import type { LuaInput } from "../lua/values.ts";
import type { ScriptOutput } from "../scripts/output.ts";
import { makeDirectory } from "../serve/directory.ts";
import { helperModules } from "../serve/helpers.ts";
import { createEngine } from "../serve/service.ts";

/** A person who runs a script by hand can stop it by hand: only memory stays limited. */
const UNLIMITED: Budget = {
  instructions: Number.POSITIVE_INFINITY,
  cpuMs: Number.POSITIVE_INFINITY,
  // The longest a timer can wait: 24 days.
  wallMs: 2 ** 31 - 1,
  stringBytes: Number.POSITIVE_INFINITY,
  outputBytes: Number.POSITIVE_INFINITY,
  openFiles: 1024,
};

/**
 * Runs `file` ("-" is standard input).
 * @returns exit code: 0 the script ended, 1 it failed, 2 it cannot be read
 */
export async function runScript(config: Config, file: string, args: readonly string[]): Promise<number> {
  let source: Buffer;
  try {
    source = readFileSync(file === "-" ? 0 : file);
  } catch (error) {
    process.stderr.write(`postlua: ${file}: cannot be read (${(error as NodeJS.ErrnoException).code})\n`);
    return 2;
  }
  const output: ScriptOutput = {
    print: (text) => void process.stdout.write(toBytes(text)),
    error: () => {},
  };
  const log = createLog({ level: "warn", stream: process.stderr, text: true });
  const directory = makeDirectory(config, log);
  const engine = createEngine(config, helperModules(config, log, directory), output);
  const name = file === "-" ? "stdin" : basename(file);
  try {
    const script = engine.compile(name, file === "-" ? "stdin" : resolve(file), source);
    const env = engine.open(script, { context: {}, budget: UNLIMITED });
    try {
      env.set("arg", argTable(file, args));
      await env.start();
    } finally {
      env.close();
    }
    return 0;
  } catch (error) {
    if (!(error instanceof ScriptError)) throw error;
    const { traceback } = error.details;
    process.stderr.write(
      decodeText(`postlua: ${error.message}\n${traceback === "" ? "" : `${traceback}\n`}`),
    );
    return 1;
  } finally {
    await directory.close();
  }
}

/** As the stand-alone interpreter makes it: the script at 0, its arguments from 1, their number in n. */
function argTable(file: string, args: readonly string[]): LuaInput {
  const table = new Map<string | number, LuaInput>([[0, encodeText(file)]]);
  for (const [i, arg] of args.entries()) table.set(i + 1, encodeText(arg));
  table.set("n", args.length);
  return table;
}

/** Where a script that runs without a configuration finds its files: here, and beside itself. */
export function directoriesFor(file: string): { data_dir: string; scripts_dir: string; log_dir: string } {
  const here = process.cwd();
  return { data_dir: here, scripts_dir: file === "-" ? here : dirname(resolve(file)), log_dir: here };
}
