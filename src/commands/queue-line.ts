/** The command line of `queue`: names, options, help. */
import { existsSync, readFileSync } from "node:fs";
import { resolve } from "node:path";
import type { Command } from "commander";
import { getStaticTOMLValue, parseTOML } from "toml-eslint-parser";
import { ConfigError, parseConfig, readConfig } from "../config/load.ts";
import type { ConfigFile } from "../config/schema.ts";
import type { QueueTask } from "./queue-task.ts";

const DEFAULT_CONFIG = "/etc/postlua/postlua.toml";

const CODES = `
Exit codes: 0 done, 1 it cannot be done (the sentence says why), 64 wrong usage, 75 another worker has the
queue, 77 no right to do it, 78 wrong configuration or no such Postfix instance`;

interface Common {
  readonly config?: string;
  readonly postfixConfig?: string;
}

/** Mail does not wait for a configuration to be put right. */
async function failsafe(options: Common): Promise<void> {
  try {
    await work({ ...options, what: "failsafe" });
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    for (const problem of error.problems) process.stderr.write(`${problem}\n`);
    const { flushAnyway } = await import("./queue.ts");
    const { reported } = await import("./queue-install.ts");
    const configDirectory = resolve(options.postfixConfig ?? namedDirectory(options.config));
    process.exitCode = await reported(flushAnyway("the configuration is wrong", configDirectory));
  }
}

/** The postfix.config_dir of a file in which something else is wrong. */
function namedDirectory(file = DEFAULT_CONFIG): string {
  const { postfix } = parseConfig("", "(defaults)");
  try {
    const values = getStaticTOMLValue(parseTOML(readFileSync(file, "utf8")));
    const { config_dir } = (values.postfix ?? {}) as { config_dir?: unknown };
    return typeof config_dir === "string" ? config_dir : postfix.config_dir;
  } catch {
    return postfix.config_dir;
  }
}

interface Place {
  readonly config: ConfigFile;
  readonly configFile: string | undefined;
  readonly configDirectory: string;
}

interface Install extends Common {
  readonly dryRun: boolean;
  readonly yes: boolean;
}

interface Work {
  readonly watch: boolean;
  readonly once: boolean;
  readonly dryRun: boolean;
  readonly wait: boolean;
  readonly json: boolean;
}

type Task = Common & Partial<Pick<QueueTask, "json" | "live" | "wait">> & Pick<QueueTask, "what">;

async function work(options: Task): Promise<void> {
  const { json = false, live = false, wait = false, what } = options;
  const { config, configFile, configDirectory } = place(options);
  const { queueCommand } = await import("./queue.ts");
  process.exitCode = await queueCommand(config, { what, configFile, configDirectory, json, live, wait });
}

/** The configuration without what Postfix says, and the directory of the instance. @throws ConfigError */
function place({ config, postfixConfig }: Common): Place {
  const configFile = config ?? (existsSync(DEFAULT_CONFIG) ? DEFAULT_CONFIG : undefined);
  const file = configFile === undefined ? parseConfig("", "(defaults)") : readConfig(configFile);
  return {
    config: file,
    configFile: configFile && resolve(configFile),
    configDirectory: resolve(postfixConfig ?? file.postfix.config_dir),
  };
}

function common(command: Command): Command {
  return command
    .option("--config <file>", `configuration file (default: ${DEFAULT_CONFIG} if it exists)`)
    .option(
      "--postfix-config <dir>",
      "configuration directory of the Postfix instance (default: postfix.config_dir)",
    );
}

function change(command: Command): Command {
  return common(command)
    .option("--dry-run", "show what would change, and change nothing", false)
    .option("--yes", "do not ask", false)
    .addHelpText("after", CODES);
}

/** Adds the commands. */
export function addQueueCommands(postlua: Command): void {
  const queue = postlua
    .command("queue")
    .description(
      "the queue of outgoing mail: RELAYOUT.LUA and MXOUT.LUA decide what leaves, and in which order",
    )
    .addHelpText("after", CODES);

  common(queue)
    .option("--watch", "run until stopped: sessions by queue.schedule, and as the queue changes", false)
    .option("--once", "one sending session", false)
    .option(
      "--dry-run",
      "print what a session would send, in which order, and why not; CheckFile is asked",
      false,
    )
    .option("--wait", "wait while another worker has the queue, instead of leaving with exit code 75", false)
    .option(
      "--json",
      "machine-readable output; with --watch and --once the log goes to standard error",
      false,
    )
    .action(async (options: Common & Work) => {
      const modes = [options.watch, options.once, options.dryRun].filter(Boolean).length;
      if (modes !== 1) queue.error("postlua: say --watch, --once or --dry-run", { exitCode: 64 });
      const what = options.watch ? "watch" : options.once ? "once" : "plan";
      await work({ ...options, what });
    });

  common(queue.command("list"))
    .description("the queue as the worker sees it: order, priority, reason, retries, next try, destination")
    .option("--live", "again whenever it changes, until stopped", false)
    .option("--json", "machine-readable output; with --live one line each time", false)
    .addHelpText("after", CODES)
    .action((options: Common & { live: boolean; json: boolean }) => work({ ...options, what: "list" }));

  common(queue.command("failsafe"))
    .description("have Postfix send everything, if the queue worker has not run as planned; for a timer")
    .addHelpText(
      "after",
      "\nExit codes: 0 all is well, or nothing is parked here, 1 the queue was flushed, 78 wrong configuration",
    )
    .action(failsafe);

  change(queue.command("install"))
    .description(
      "have Postfix park outgoing mail for the queue worker: shows the changes of main.cf and master.cf",
    )
    .option(
      "--transports <name...>",
      "SMTP clients of master.cf to park (default: those of outgoing mail)",
      [],
    )
    .option("--without-worker", "although no `postlua queue --watch` runs; something else runs --once", false)
    .action(async (options: Install & { transports: string[]; withoutWorker: boolean }) => {
      const { config, configDirectory } = place(options);
      const { queueInstall, reported } = await import("./queue-install.ts");
      process.exitCode = await reported(queueInstall(config, { ...options, configDirectory }));
    });

  change(queue.command("uninstall"))
    .description("take the changes back, and have Postfix deliver what is parked")
    .action(async (options: Install) => {
      const { configDirectory } = place(options);
      const { queueUninstall, reported } = await import("./queue-install.ts");
      process.exitCode = await reported(queueUninstall({ ...options, configDirectory }));
    });
}
