/** The command line of `queue`: names, options, help. */
import { existsSync } from "node:fs";
import type { Command } from "commander";
import { parseConfig, readConfig } from "../config/load.ts";
import type { ConfigFile } from "../config/schema.ts";

const DEFAULT_CONFIG = "/etc/postlua/postlua.toml";

const CODES = `
Exit codes: 0 done, 1 it cannot be done (the sentence says why), 64 wrong usage, 77 no right to do it,
78 wrong configuration or no such Postfix instance`;

interface Common {
  readonly config?: string;
  readonly postfixConfig?: string;
}

interface Install extends Common {
  readonly dryRun: boolean;
  readonly yes: boolean;
}

/** The configuration without what Postfix says, and the directory of the instance. @throws ConfigError */
function place({ config, postfixConfig }: Common): { config: ConfigFile; configDirectory: string } {
  const known = config !== undefined || existsSync(DEFAULT_CONFIG);
  const file = known ? readConfig(config ?? DEFAULT_CONFIG) : parseConfig("", "(defaults)");
  return { config: file, configDirectory: postfixConfig ?? file.postfix.config_dir };
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
