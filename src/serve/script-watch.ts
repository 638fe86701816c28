/** Watches the script directory, and that of users' scripts in it. */
import { join } from "node:path";
import { USERS_DIRECTORY } from "../scripts/redirect-trial.ts";
import { DirectoryWatch } from "./directory-watch.ts";
import type { UserScripts } from "./user-scripts.ts";

export interface ScriptWatchOptions {
  readonly users: UserScripts;
  readonly changed: () => void;
  readonly usersChanged: () => void;
}

export class ScriptWatch {
  readonly #options: ScriptWatchOptions;
  #watches: DirectoryWatch[] = [];

  constructor(options: ScriptWatchOptions) {
    this.#options = options;
  }

  /** Watches `directory` and no other from now on. */
  async open(directory: string): Promise<void> {
    this.close();
    const { users, changed, usersChanged } = this.#options;
    this.#watches.push(await DirectoryWatch.open(directory, changed));
    users.find();
    const fingerprint = () => users.fingerprint();
    const usersDirectory = join(directory, USERS_DIRECTORY);
    this.#watches.push(await DirectoryWatch.open(usersDirectory, usersChanged, { fingerprint }));
  }

  close(): void {
    for (const watch of this.#watches.splice(0)) watch.close();
  }
}
