/**
 * What the commands for users, settings, lists and passwords share: the store,
 * how failures end, how results are shown.
 *
 * Results go to standard output, as JSON with --json; problems go to standard
 * error as sentences, and nothing else is printed then.
 */
import { existsSync } from "node:fs";
import { parseConfig, readConfig } from "../config/load.ts";
import type { ConfigFile } from "../config/schema.ts";
import { openStore } from "../directory/open.ts";
import { DirectoryError, type Store, StoreUnavailable, type User } from "../directory/store.ts";
import { createLog } from "../log.ts";

export const EX_FAILED = 1;
export const EX_NOINPUT = 2;
export const EX_USAGE = 64;
export const EX_UNAVAILABLE = 69;

export interface Common {
  /** Undefined: the default file if there is one, else all defaults. */
  readonly config?: string;
  readonly json: boolean;
}

const DEFAULT_CONFIG = "/etc/postlua/postlua.toml";

/** The configuration without what Postfix says. @throws ConfigError */
function directoryConfig(file: string | undefined): ConfigFile {
  if (file !== undefined) return readConfig(file);
  return existsSync(DEFAULT_CONFIG) ? readConfig(DEFAULT_CONFIG) : parseConfig("", "(defaults)");
}

/**
 * Opens the store for `work` and closes it.
 * @returns exit code: what `work` returns, 1 for what the caller did wrong, 69 when the store cannot answer
 */
export async function withStore(
  { config }: Pick<Common, "config">,
  work: (store: Store, config: ConfigFile) => Promise<number>,
): Promise<number> {
  const file = directoryConfig(config);
  let store: Store | undefined;
  try {
    store = await openStore(file.store, createLog({ level: "warn", stream: process.stderr, text: true }));
    return await work(store, file);
  } catch (error) {
    if (error instanceof DirectoryError) return fail(error.message);
    if (error instanceof StoreUnavailable) return fail(error.message, EX_UNAVAILABLE);
    throw error;
  } finally {
    await store?.close();
  }
}

export function fail(sentence: string, code = EX_FAILED): number {
  process.stderr.write(`postlua: ${sentence}\n`);
  return code;
}

/** Prints the result: `value` as JSON, or `text` for people. @returns exit code 0 */
export function show(json: boolean, value: unknown, text: string): number {
  process.stdout.write(json ? `${JSON.stringify(value, undefined, 2)}\n` : `${text}\n`);
  return 0;
}

/** By name, or by one of its addresses. @throws DirectoryError when there is none */
export async function findUser(store: Store, nameOrAddress: string): Promise<User> {
  const user = await store.user(nameOrAddress);
  if (user !== undefined) return user;
  const address = nameOrAddress.toLowerCase();
  const meaning = await store.lookup(address);
  if (meaning?.kind === "user") return meaning.user;
  if (meaning === undefined && address.includes("@")) {
    // A disabled one's address means nothing to the mail, but it does to the admin.
    for await (const one of store.users()) if (one.addresses.includes(address)) return one;
  }
  throw new DirectoryError(`there is no user ${JSON.stringify(nameOrAddress)}`);
}

/** A user as --json shows it. */
export function jsonUser({ name, addresses, mailbox, enabled, hasPassword }: User): object {
  return { name, addresses, mailbox, enabled, has_password: hasPassword };
}

/** An array that is printed element by element, however long it is. */
export async function showArray(items: AsyncIterable<object> | Iterable<object>): Promise<void> {
  let before = "[";
  for await (const item of items) {
    await print(`${before}\n  ${JSON.stringify(item)}`);
    before = ",";
  }
  await print(before === "[" ? "[]\n" : "\n]\n");
}

/** Writes to standard output and waits while its reader is slower. */
export function print(text: string): Promise<void> {
  return new Promise((resolve) => {
    process.stdout.write(text, () => resolve());
  });
}

/** Highlights on a terminal alone, and not where the person wants none. */
export function shade(text: string, code: "1" | "2" | "33"): string {
  const colour = process.stdout.isTTY === true && process.env.NO_COLOR === undefined;
  return colour ? `\x1b[${code}m${text}\x1b[0m` : text;
}

/** A value on one line. */
export function oneLine(value: string): string {
  return /[\p{Cc}\u2028\u2029]|^\s|\s$|^$/u.test(value) ? JSON.stringify(value) : value;
}
