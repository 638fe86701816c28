/**
 * What of Postfix's main.cf and master.cf decides where an address leads:
 * asked of postconf(1) and kept until one of the files changes.
 */
import { execFile } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { networkInterfaces } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { parameterValues } from "../config/postconf.ts";
import type { ExtensionRules, RewriteRules } from "./address.ts";
import { ExpansionError } from "./expander.ts";
import { isSettled, stampOf } from "./lookup.ts";
import { listItems } from "./map-spec.ts";
import { COMMAND_PATH } from "./postmap.ts";

export interface PostfixSettings {
  readonly rewrite: RewriteRules;
  readonly extension: ExtensionRules;
  /** Addresses that are this host in `user@[address]`. */
  readonly ownAddresses: readonly string[];
  /** Any parameter of PARAMETERS as it stands, $names expanded; "" when Postfix does not know it. */
  text(name: Parameter): string;
  /** Whether it is "yes". */
  is(name: Parameter): boolean;
  /** Items of a list; names in lower case, tables and files as they are. */
  words(name: Parameter): readonly string[];
  number(name: Parameter): number;
  /** The program behind a transport of master.cf, such as "local" or "smtp"; "" when there is none. */
  program(transport: string): string;
}

const PARAMETERS = [
  "alias_maps",
  "allow_mail_to_commands",
  "allow_mail_to_files",
  "allow_min_user",
  "allow_percent_hack",
  "append_at_myorigin",
  "append_dot_mydomain",
  "canonical_classes",
  "canonical_maps",
  "default_database_type",
  "default_transport",
  "double_bounce_sender",
  "fallback_transport",
  "fallback_transport_maps",
  "inet_interfaces",
  "local_recipient_maps",
  "local_transport",
  "luser_relay",
  "mailbox_transport",
  "mailbox_transport_maps",
  "mydestination",
  "mydomain",
  "myhostname",
  "myorigin",
  "owner_request_special",
  "parent_domain_matches_subdomains",
  "propagate_unmatched_extensions",
  "proxy_interfaces",
  "recipient_canonical_classes",
  "recipient_canonical_maps",
  "recipient_delimiter",
  "relay_domains",
  "relay_recipient_maps",
  "relay_transport",
  "relocated_maps",
  "resolve_dequoted_address",
  "smtpd_reject_unlisted_recipient",
  "swap_bangpath",
  "transport_maps",
  "virtual_alias_address_length_limit",
  "virtual_alias_domains",
  "virtual_alias_expansion_limit",
  "virtual_alias_maps",
  "virtual_alias_recursion_limit",
  "virtual_mailbox_domains",
  "virtual_mailbox_maps",
  "virtual_transport",
] as const;

export type Parameter = (typeof PARAMETERS)[number];

const TIMEOUT_MS = 30_000;

/** Keeps the settings of one instance. */
export class SettingsReader {
  readonly #configDir: string;
  readonly #files: readonly string[];
  #stamp = "";
  #settings: Promise<PostfixSettings | undefined> | undefined;
  /** Read again and found the same, they stay the same object. */
  #last: { readonly text: string; readonly settings: PostfixSettings } | undefined;
  /** The files may have changed since they were read, and look the same; 0 for no. */
  #unsettledUntil = 0;

  constructor(configDir: string) {
    this.#configDir = configDir;
    this.#files = [join(configDir, "main.cf"), join(configDir, "master.cf")];
  }

  /**
   * @returns undefined where no Postfix is configured
   * @throws ExpansionError when postconf fails
   */
  read(): Promise<PostfixSettings | undefined> {
    const { text, newest } = stampOf(this.#files);
    const doubtful = this.#unsettledUntil > 0 && Date.now() > this.#unsettledUntil;
    if (this.#settings !== undefined && text === this.#stamp && !doubtful) return this.#settings;
    this.#stamp = text;
    this.#unsettledUntil = isSettled(newest) ? 0 : Date.now() + 50;
    const reading = this.#ask();
    this.#settings = reading;
    reading.catch(() => {
      if (this.#settings === reading) this.#settings = undefined;
    });
    return reading;
  }

  async #ask(): Promise<PostfixSettings | undefined> {
    const configDir = this.#configDir;
    // postconf takes a second to find that out.
    if (!existsSync(join(configDir, "main.cf"))) return undefined;
    const [parameters, services] = await Promise.all([
      postconf(configDir, ["-x", ...PARAMETERS]),
      postconf(configDir, ["-M"]),
    ]);
    const text = parameters + services;
    if (this.#last?.text !== text) this.#last = { text, settings: parse(parameters, services) };
    return this.#last.settings;
  }
}

function parse(parameters: string, services: string): PostfixSettings {
  const programs = new Map<string, string>();
  for (const line of services.split("\n")) {
    const [name, type, , , , , , command] = line.split(/\s+/);
    if (name !== undefined && type === "unix" && command !== undefined) programs.set(name, command);
  }
  return settings(parameterValues(parameters), programs);
}

async function postconf(configDir: string, args: readonly string[]): Promise<string> {
  const env = { ...process.env, PATH: `${process.env.PATH ?? ""}:${COMMAND_PATH}` };
  try {
    const { stdout } = await promisify(execFile)("postconf", ["-c", configDir, ...args], {
      env,
      timeout: TIMEOUT_MS,
      killSignal: "SIGKILL",
      maxBuffer: 1 << 24,
    });
    return stdout;
  } catch (error) {
    const { stderr, code, message } = error as { stderr?: string; code?: string; message: string };
    const why = stderr?.trim() || (code === "ENOENT" ? "postconf is not installed" : message);
    throw new ExpansionError(`Postfix at ${configDir} cannot be asked for its configuration: ${why}`);
  }
}

function settings(
  values: ReadonlyMap<string, string>,
  programs: ReadonlyMap<string, string>,
): PostfixSettings {
  const text = (name: Parameter) => values.get(name) ?? "";
  const is = (name: Parameter) => text(name) === "yes";
  const lists = new Map<Parameter, readonly string[]>();
  const words = (name: Parameter) => {
    let list = lists.get(name);
    if (list === undefined) {
      list = listItems(text(name)).map(foldName);
      lists.set(name, list);
    }
    return list;
  };
  return {
    text,
    is,
    words,
    number: (name) => Number(text(name)) || 0,
    program: (transport) => programs.get(transport) ?? "",
    rewrite: {
      swapBangPath: is("swap_bangpath"),
      percentHack: is("allow_percent_hack"),
      appendAtMyorigin: is("append_at_myorigin"),
      appendDotMydomain: is("append_dot_mydomain"),
      myorigin: firstLine(text("myorigin")),
      mydomain: text("mydomain"),
    },
    extension: {
      delimiters: text("recipient_delimiter"),
      ownerRequestSpecial: is("owner_request_special"),
      doubleBounceSender: text("double_bounce_sender"),
    },
    ownAddresses: [...interfaces(words("inet_interfaces")), ...words("proxy_interfaces")],
  };
}

export function foldName(item: string): string {
  return item.includes(":") || item.includes("/") ? item : item.toLowerCase();
}

/** Debian's Postfix takes the name of a file here. */
function firstLine(myorigin: string): string {
  if (!myorigin.startsWith("/")) return myorigin;
  try {
    return readFileSync(myorigin, "utf8").split("\n")[0]?.trim() ?? "";
  } catch (error) {
    throw new ExpansionError(
      `myorigin: ${myorigin} cannot be read (${(error as NodeJS.ErrnoException).code})`,
    );
  }
}

/** Names of hosts are left out: nobody writes them in addresses with brackets. */
function interfaces(words: readonly string[]): string[] {
  const own = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? []);
  return words.flatMap((word) => {
    if (word === "all") return own.map(({ address }) => address);
    if (word === "loopback-only") return own.filter(({ internal }) => internal).map(({ address }) => address);
    return word === "localhost" ? ["127.0.0.1", "::1"] : [word.replace(/^\[|\]$/g, "")];
  });
}
