/** The command line of `user`, `setting`, `list`, `passwd` and `password-check`: names, options, help. */
import { type Command, InvalidArgumentError, Option } from "commander";
import type { Config } from "../config/load.ts";
import type { Common } from "./directory.ts";
import type { ListOptions } from "./list.ts";
import type { PasswdOptions } from "./passwd.ts";
import type { PasswordCheckOptions } from "./password-check.ts";
import type { DefineOptions } from "./setting.ts";
import type { UserAddOptions, UserSetOptions } from "./user.ts";

const CODES = `
Exit codes: 0 done, 1 it cannot be done (the sentence says why), 64 wrong usage, 69 the store cannot answer,
78 wrong configuration`;

/** A subcommand with what all of them take. */
function command(parent: Command, usage: string, description: string, codes = CODES): Command {
  return parent
    .command(usage)
    .description(description)
    .option("--config <file>", "configuration file (default: /etc/postlua/postlua.toml if it exists)")
    .option("--json", "machine-readable output", false)
    .addHelpText("after", codes);
}

function group(postlua: Command, name: string, description: string): Command {
  return postlua.command(name).description(description).addHelpText("after", CODES);
}

function done(code: Promise<number>): Promise<void> {
  return code.then((value) => {
    process.exitCode = value;
  });
}

/** Adds the commands. @param configFor the configuration with what Postfix says, for commands that run scripts */
export function addDirectoryCommands(
  postlua: Command,
  configFor: (options: { config?: string }) => Promise<Config>,
): void {
  addUserCommands(group(postlua, "user", "users of the store: add, list, show, set, remove, import"));
  addSettingCommands(group(postlua, "setting", "global settings, and settings that users can have"));
  addListCommands(group(postlua, "list", "lists of the store and their members"));
  addPasswordCommands(postlua, configFor);
}

function addUserCommands(user: Command): void {
  command(user, "add <name>", "add a user")
    .addOption(
      new Option(
        "--address <address...>",
        "full addresses whose mail is the user's; the first is the main one",
      ).default([], "none"),
    )
    .option(
      "--mailbox <path>",
      "path below the mail directory; default: DOMAIN/LOCALPART/ of the main address",
    )
    .option("--disabled", "no mail and no login until `user set --enable`", false)
    .action(async (name: string, options: UserAddOptions) => {
      const { userAdd } = await import("./user.ts");
      await done(userAdd(name, options));
    });
  command(user, "list", "all users").action(async (options: Common) => {
    const { userList } = await import("./user.ts");
    await done(userList(options));
  });
  command(user, "show <user>", "a user, by name or address, with all settings as they hold").action(
    async (name: string, options: Common) => {
      const { userShow } = await import("./user.ts");
      await done(userShow(name, options));
    },
  );
  command(user, "set <user>", "change a user, by name or address")
    .option("--address <address...>", "these addresses instead of all that there are")
    .addOption(new Option("--add-address <address...>", "these addresses, too").default([], "none"))
    .addOption(new Option("--remove-address <address...>", "without these addresses").default([], "none"))
    .option("--mailbox <path>", "path below the mail directory; mail is not moved")
    .addOption(new Option("--enable", "mail and login work").default(false).conflicts("disable"))
    .option("--disable", "no mail and no login; nothing is deleted", false)
    .addOption(
      new Option(
        "--setting <name=value...>",
        "set settings of the user's own; those that are not there are made",
      ).default([], "none"),
    )
    .addOption(new Option("--unset <name...>", "remove settings of the user's own").default([], "none"))
    .action(async (name: string, options: UserSetOptions) => {
      const { userSet } = await import("./user.ts");
      await done(userSet(name, options));
    });
  command(user, "remove <name>", "remove a user with its settings and memberships; the mailbox stays").action(
    async (name: string, options: Common) => {
      const { userRemove } = await import("./user.ts");
      await done(userRemove(name, options));
    },
  );
  addImport(user);
}

interface ImportArguments extends Common {
  readonly delimiter: string;
  readonly passwd: boolean;
  readonly uids: readonly [number, number];
  readonly domain: readonly string[];
  readonly skipExisting: boolean;
  readonly dryRun: boolean;
}

const IMPORT_HELP = `
FILE is CSV in UTF-8 whose first row names its columns, in any order:
  name           the only one that must be there
  addresses      full addresses, separated by spaces; the first is the main one
  mailbox        path below the mail directory
  enabled        yes or no
  password_hash  with its scheme, such as {BLF-CRYPT}$2y$...
An empty field means the default. A file is checked as a whole before anything is added; - is standard input, which
is checked as it comes, so that the rows before a wrong one may be in.

Exit codes: 0 done, 1 a row cannot be added (each problem with FILE:LINE), 2 the file cannot be read, 64 wrong usage,
69 the store cannot answer, 78 wrong configuration`;

function addImport(user: Command): void {
  command(user, "import <file>", "add many users from a file; - is standard input", IMPORT_HELP)
    .option("--delimiter <character>", "what separates the fields of a row", delimiter, ",")
    .option(
      "--passwd",
      "the file is like /etc/passwd: people's accounts become users, without passwords",
      false,
    )
    .addOption(
      new Option("--uids <first-last>", "with --passwd: the user ids that people have")
        .argParser(uidRange)
        .default([1000, 59_999], "1000-59999"),
    )
    .addOption(
      new Option("--domain <domain...>", "with --passwd: each user gets NAME@DOMAIN").default([], "none"),
    )
    .option("--skip-existing", "leave out users whose names are in the store already", false)
    .option("--dry-run", "check everything, add nothing", false)
    .action(async (file: string, options: ImportArguments) => {
      const { passwd, uids, domain: domains, ...rest } = options;
      const { userImport } = await import("./user-import.ts");
      await done(userImport(file, { ...rest, ...(passwd ? { passwd: { uids, domains } } : {}) }));
    });
}

function delimiter(text: string): string {
  if (text === "\\t" || text === "tab") return "\t";
  if (/^[^"\s\w]$/.test(text)) return text;
  throw new InvalidArgumentError('It is one character such as ";", or "tab".');
}

function uidRange(text: string): [number, number] {
  const [, first, last] = /^(\d+)-(\d+)$/.exec(text) ?? [];
  if (first === undefined || Number(first) > Number(last)) {
    throw new InvalidArgumentError("It is two user ids, such as 1000-59999.");
  }
  return [Number(first), Number(last)];
}

function addSettingCommands(setting: Command): void {
  command(setting, "get <name>", "the value of a global setting").action(
    async (name: string, options: Common) => {
      const { settingGet } = await import("./setting.ts");
      await done(settingGet(name, options));
    },
  );
  command(setting, "set <name> <value>", "set a global setting, new or not; - reads the value").action(
    async (name: string, value: string, options: Common) => {
      const { settingSet } = await import("./setting.ts");
      await done(settingSet(name, value, options));
    },
  );
  command(setting, "list", "all global settings")
    .option("--declared", "instead, what is declared for users: name, default, type and title", false)
    .action(async (options: Common & { declared: boolean }) => {
      const { settingList } = await import("./setting.ts");
      await done(settingList(options));
    });
  command(setting, "remove <name>", "remove a global setting").action(
    async (name: string, options: Common) => {
      const { settingRemove } = await import("./setting.ts");
      await done(settingRemove(name, options));
    },
  );
  command(
    setting,
    "define <name>",
    "declare a setting that every user has, as MainGetSettings of scripts does",
  )
    .option("--title <text>", "what it is, for people; default: its name")
    .option("--type <type>", "as scripts write it", "string")
    .option("--default <value>", "what holds for users without a value of their own", "")
    .action(async (name: string, options: DefineOptions) => {
      const { settingDefine } = await import("./setting.ts");
      await done(settingDefine(name, options));
    });
}

function addListCommands(list: Command): void {
  command(list, "add <name>", "add a list")
    .requiredOption("--address <address>", "the list's own full address")
    .addOption(
      new Option("--member <member...>", "addresses, or names of users and lists").default([], "none"),
    )
    .action(async (name: string, options: ListOptions) => {
      const { listAdd } = await import("./list.ts");
      await done(listAdd(name, options));
    });
  command(list, "list", "all lists").action(async (options: Common) => {
    const { listList } = await import("./list.ts");
    await done(listList(options));
  });
  command(list, "show <name>", "a list and its members").action(async (name: string, options: Common) => {
    const { listShow } = await import("./list.ts");
    await done(listShow(name, options));
  });
  command(list, "set <name>", "change a list")
    .option("--address <address>", "another address")
    .option("--member <member...>", "these members instead of all that there are")
    .action(async (name: string, options: ListOptions) => {
      const { listSet } = await import("./list.ts");
      await done(listSet(name, options));
    });
  command(list, "remove <name>", "remove a list").action(async (name: string, options: Common) => {
    const { listRemove } = await import("./list.ts");
    await done(listRemove(name, options));
  });
  command(
    list,
    "add-member <name> <member...>",
    "add members: addresses, or names of users and lists",
  ).action(async (name: string, members: string[], options: Common) => {
    const { listAddMembers } = await import("./list.ts");
    await done(listAddMembers(name, members, options));
  });
  command(list, "remove-member <name> <member...>", "remove members, as `list show` names them").action(
    async (name: string, members: string[], options: Common) => {
      const { listRemoveMembers } = await import("./list.ts");
      await done(listRemoveMembers(name, members, options));
    },
  );
}

const PASSWORD_CODES = `
64 wrong usage, 70 refused because PASSWORDCHECK.LUA failed, 71 memory images of this process cannot be forbidden,
78 wrong configuration`;

function addPasswordCommands(
  postlua: Command,
  configFor: (options: { config?: string }) => Promise<Config>,
): void {
  const debug =
    "for trying PASSWORDCHECK.LUA out: what it prints and its errors in full go to standard error";
  command(
    postlua,
    "passwd [user]",
    "set a user's password, asked for twice on the terminal",
    `\nExit codes: 0 done, 1 refused or not done (the sentence says why), 69 the store cannot answer,${PASSWORD_CODES}`,
  )
    .addOption(
      new Option("--stdin", "read it from standard input instead")
        .default(false)
        .conflicts(["batch", "remove"]),
    )
    .option("--batch", "read lines USER:PASSWORD from standard input, as chpasswd(8) does", false)
    .addOption(
      new Option("--remove", "take the password away: nobody can log in").default(false).conflicts("batch"),
    )
    .option("--debug", debug, false)
    .action(async (user: string | undefined, options: PasswdOptions) => {
      const { passwd } = await import("./passwd.ts");
      await done(passwd(user, options));
    });
  command(
    postlua,
    "password-check [user]",
    "ask whether a password on standard input may become a user's; the reason of a refusal goes to standard output",
    `\nThe user is PAM_USER where pam_exec calls.\nExit codes: 0 allowed, 1 refused,${PASSWORD_CODES}`,
  )
    .option("--debug", debug, false)
    .action(async (user: string | undefined, options: PasswordCheckOptions & { config?: string }) => {
      const { passwordCheck } = await import("./password-check.ts");
      await done(passwordCheck(await configFor(options), user, options));
    });
}
