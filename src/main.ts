#!/usr/bin/env node
/**
 * The command line: what each command is called and takes. The work is in
 * commands/ and serve/; each command loads only what it needs.
 */
import { existsSync, readFileSync } from "node:fs";
import { Command } from "commander";
import { addDirectoryCommands } from "./commands/directory-line.ts";
import { addQueueCommands } from "./commands/queue-line.ts";
import type { TryOptions } from "./commands/try.ts";
import { type Config, ConfigError, completeConfig, loadConfig, parseConfig } from "./config/load.ts";
import type { ConfigFile } from "./config/schema.ts";

const DEFAULT_CONFIG = "/etc/postlua/postlua.toml";
const EX_USAGE = 64;
const EX_CONFIG = 78;

const EXIT_CODES = `
Exit codes:
  0   done
  1   the command's own failure (each command's help says which)
  2   an input file cannot be read
  64  wrong usage
  69  the store of users and settings cannot answer
  78  the configuration is wrong; every problem is named with its line`;

interface Common {
  readonly config?: string;
}

type TryArguments = Common & Omit<TryOptions, "from"> & { from?: string; scripts?: string };

/** The configuration named, or the default file if there is one, or all defaults changed by `directories`. */
async function configFor(options: Common, directories: Partial<ConfigFile> = {}): Promise<Config> {
  if (options.config !== undefined) return loadConfig(options.config);
  if (existsSync(DEFAULT_CONFIG)) return loadConfig(DEFAULT_CONFIG);
  return completeConfig({ ...parseConfig("", "(defaults)"), ...directories }, "(defaults)");
}

function packageVersion(): string {
  const text = readFileSync(new URL("../package.json", import.meta.url), "utf8");
  return (JSON.parse(text) as { version: string }).version;
}

function program(): Command {
  const postlua = new Command("postlua")
    .description("VPOP3 Lua mail scripting for Postfix")
    .version(packageVersion())
    .addHelpText("after", EXIT_CODES)
    .enablePositionalOptions()
    .showHelpAfterError()
    .exitOverride((error) => process.exit(error.exitCode === 0 ? 0 : EX_USAGE));

  postlua
    .command("serve")
    .description("run the service: answer Postfix with what the scripts decide")
    .option("--config <file>", "configuration file", DEFAULT_CONFIG)
    .option("--workers <n>", "worker processes; overrides limits.workers", wholeNumber)
    .addHelpText(
      "after",
      "\nExit codes: 0 stopped in order (SIGTERM, SIGINT), 1 could not start, 78 wrong configuration",
    )
    .action(async (options: { config: string; workers?: number }) => {
      const config = await loadConfig(options.config);
      const { serve } = await import("./serve/serve.ts");
      process.exitCode = await serve({ ...config, workers: options.workers ?? config.workers });
    });

  postlua
    .command("status")
    .description("how the running service is: workers, sessions, rates, scripts, last errors")
    .option("--config <file>", "configuration file, for its control.socket", DEFAULT_CONFIG)
    .option("--json", "machine-readable output", false)
    .addHelpText(
      "after",
      "\nExit codes: 0 it answered, 1 nobody answers, 78 the configuration file cannot be read",
    )
    .action(async (options: { config: string; json: boolean }) => {
      const { status } = await import("./commands/status.ts");
      process.exitCode = await status(options.config, options.json);
    });

  postlua
    .command("reload")
    .description("have the running service read configuration and scripts again")
    .option("--config <file>", "configuration file, for its control.socket", DEFAULT_CONFIG)
    .option("--json", "machine-readable output", false)
    .addHelpText(
      "after",
      "\nExit codes: 0 done, 1 something was refused and its last good version stays, or nobody answers,\n78 the configuration file cannot be read",
    )
    .action(async (options: { config: string; json: boolean }) => {
      const { reload } = await import("./commands/reload.ts");
      process.exitCode = await reload(options.config, options.json);
    });

  postlua
    .command("check")
    .description("check configuration and scripts; list the callbacks found")
    .option("--config <file>", "configuration file", DEFAULT_CONFIG)
    .option("--json", "machine-readable output", false)
    .addHelpText(
      "after",
      "\nExit codes: 0 no errors, 1 a script is broken or cannot be read, 78 wrong configuration",
    )
    .action(async (options: { config: string; json: boolean }) => {
      const { check } = await import("./commands/check.ts");
      process.exitCode = await check(await loadConfig(options.config), options.json);
    });

  postlua
    .command("try")
    .description("play a whole SMTP session with a message file against the scripts, without a mail server")
    .option("--config <file>", `configuration file (default: ${DEFAULT_CONFIG} if it exists)`)
    .option("--scripts <dir>", "directory of the scripts; overrides scripts_dir")
    .requiredOption("--message <file>", "message file, with headers; CRLF or LF")
    .option("--from <address>", "envelope sender; default sender@example.org, for a notice the null sender")
    .option("--to <address...>", "envelope recipients", ["recipient@example.com"])
    .option("--ip <address>", "client address", "192.0.2.1")
    .option("--helo <name>", "client's HELO name", "client.example.org")
    .option("--user <login>", "login name of an authenticated client", "")
    .option("--notice", "the message is a bounce or other notice of Postfix's: play ERRORS.LUA", false)
    .option("--json", "machine-readable output", false)
    .addHelpText(
      "after",
      "\nExit codes: 0 played, whatever the verdict, 1 a script failed, 2 the message or the scripts' directory cannot be read,\nor it is no notice, 78 wrong configuration",
    )
    .action(async (options: TryArguments) => {
      const config = await configFor(options);
      const scripts = options.scripts === undefined ? {} : { scripts_dir: options.scripts };
      const { tryMessage } = await import("./commands/try.ts");
      const { from = options.notice ? "" : "sender@example.org" } = options;
      process.exitCode = await tryMessage({ ...config, ...scripts }, { ...options, from });
    });

  postlua
    .command("run")
    .description("run a script by hand, with all helpers; - reads it from standard input")
    .argument("<script>", "Lua file")
    .argument("[args...]", "become the script's arg table")
    .option("--config <file>", `configuration file (default: ${DEFAULT_CONFIG} if it exists)`)
    .passThroughOptions()
    .addHelpText(
      "after",
      "\nExit codes: 0 the script ended, 1 it failed, 2 it cannot be read, 78 wrong configuration; errors go to standard error",
    )
    .action(async (script: string, args: string[], options: Common) => {
      const { directoriesFor, runScript } = await import("./commands/run.ts");
      const config = await configFor(options, directoriesFor(script));
      process.exitCode = await runScript(config, script, args);
    });

  addQueueCommands(postlua);
  addDirectoryCommands(postlua, configFor);

  return postlua;
}

function wholeNumber(text: string): number {
  const n = Number(text);
  if (!Number.isInteger(n) || n < 1 || n > 256) {
    process.stderr.write(`postlua: --workers takes a whole number from 1 to 256, not "${text}"\n`);
    process.exit(EX_USAGE);
  }
  return n;
}

/** `postlua try ... | head` is no error: who reads no further wants no more. A full disk is one. */
function endWithReader(stream: NodeJS.WriteStream): void {
  stream.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code === "EPIPE") process.exit(0);
    if (stream !== process.stderr) process.stderr.write(`postlua: standard output: ${error.message}\n`);
    process.exit(1);
  });
}

// Those who run for good outlive the readers of their logs.
const forGood = process.argv[2] === "serve" || process.argv.includes("--watch");
if (!forGood) [process.stdout, process.stderr].forEach(endWithReader);

try {
  await program().parseAsync();
} catch (error) {
  if (!(error instanceof ConfigError)) throw error;
  for (const problem of error.problems) process.stderr.write(`${problem}\n`);
  process.exitCode = EX_CONFIG;
}
