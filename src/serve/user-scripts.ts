/**
 * Users' own scripts, as the primary keeps them: looked for and tried out when
 * a worker first asks for one, so that thousands of them do not slow the start;
 * from then on looked at again with every reload, like the others.
 */
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import type { Config } from "../config/load.ts";
import { USER_REDIRECT_FILE } from "../scripts/callbacks.ts";
import { USERS_DIRECTORY, userScriptName } from "../scripts/redirect-trial.ts";
import { userDirectories, userKey } from "../scripts/user-scripts.ts";
import { fileState } from "./directory-watch.ts";
import type { GivenScript } from "./messages.ts";
import { type Channels, reportLoad } from "./reports.ts";
import { ScriptSlot, type TryOut } from "./script-library.ts";

export interface UserScriptsOptions {
  readonly channels: Channels;
  /** As it is now. */
  readonly config: () => Config;
  readonly tryOut: TryOut;
}

const ABSENT: GivenScript = { kind: "absent" };

export class UserScripts {
  readonly #options: UserScriptsOptions;
  #directories: ReadonlyMap<string, string> = new Map();
  /** Of users whose script a worker has asked for. */
  readonly #slots = new Map<string, ScriptSlot>();

  constructor(options: UserScriptsOptions) {
    this.#options = options;
  }

  /** Those who may have a script, lower case. */
  names(): string[] {
    return [...this.#directories.keys()];
  }

  /** By script name, "users/joe/USER_REDIRECT.LUA". */
  slot(name: string): ScriptSlot | undefined {
    return [...this.#slots.values()].find((slot) => slot.name === name);
  }

  /** What there is without looking at the disk; undefined: look first. */
  known(user: string): GivenScript | undefined {
    if (!this.#directories.has(userKey(user))) return ABSENT;
    return this.#slots.get(userKey(user))?.given();
  }

  /** Looks which users have a directory. */
  find(): void {
    this.#directories = userDirectories(this.#options.config().scripts_dir);
  }

  /** Looks at a user's file for the first time. */
  async load(user: string): Promise<GivenScript> {
    const known = this.known(user);
    if (known !== undefined) return known;
    const slot = new ScriptSlot(userScriptName(userKey(user)), { file: USER_REDIRECT_FILE });
    this.#slots.set(userKey(user), slot);
    await this.#load(userKey(user), slot, true);
    return slot.given();
  }

  /** Looks at all files that are in service. With `mayRemove` one that is gone goes out of service. */
  async reload(mayRemove: boolean): Promise<void> {
    this.find();
    for (const [user, slot] of this.#slots) {
      if (mayRemove && !this.#directories.has(user)) this.#slots.delete(user);
      else await this.#load(user, slot, mayRemove);
    }
  }

  /** Which directories there are, and the files in service. */
  async fingerprint(): Promise<string> {
    const top = join(this.#options.config().scripts_dir, USERS_DIRECTORY);
    const names = await readdir(top).catch(() => []);
    const states = [...this.#slots].map(async ([user, slot]) => {
      const directory = this.#directories.get(user) ?? "";
      return `${await fileState(directory)} ${await fileState(slot.version?.path ?? directory)}`;
    });
    return [...names.sort(), ...(await Promise.all(states))].join("\n");
  }

  async #load(user: string, slot: ScriptSlot, mayRemove: boolean): Promise<void> {
    const { channels, config, tryOut } = this.#options;
    const directory = this.#directories.get(user);
    if (directory === undefined) return;
    const outcome = await slot.load(directory, tryOut, mayRemove);
    if (outcome.kind === "unchanged") return;
    reportLoad(channels, slot, outcome, { directory, verdict: config().script_error });
  }
}
