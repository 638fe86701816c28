/** The configuration in force: read again on demand, and never replaced by one that is wrong. */
import { type Config, ConfigError, loadConfig } from "../config/load.ts";
import type { AdjustableLog } from "../log.ts";
import { configChanges, withoutRestart } from "./config-changes.ts";
import type { ConfigReport, Status } from "./status.ts";

export class ConfigKeeper {
  readonly #log: AdjustableLog;
  #current: Config;
  #loadedAt = new Date();
  /** Parameters that differ in the file and wait for a restart. */
  #restartNeeded: readonly string[] = [];

  constructor(config: Config, log: AdjustableLog) {
    this.#current = config;
    this.#log = log;
  }

  get current(): Config {
    return this.#current;
  }

  /** Reads the file again; what needs no restart is in `current` then. */
  async reload(): Promise<ConfigReport> {
    const before = this.#current;
    let read: Config;
    try {
      read = await loadConfig(before.file);
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      const { problems } = error;
      for (const problem of problems)
        this.#log.error("configuration refused, the last good one stays", { problem });
      return { outcome: "refused", applied: [], restart: this.#restartNeeded, problems };
    }
    const { problem } = read.facts;
    if (problem !== "") this.#log.warn("postfix", { problem });
    // A Postfix that cannot be asked just now has not changed its mind.
    if (problem !== "" && before.facts.problem === "") read = { ...read, facts: before.facts };
    const { applied, restart } = configChanges(before, read);
    this.#restartNeeded = restart;
    this.#loadedAt = new Date();
    if (restart.length > 0)
      this.#log.warn("configuration needs a restart", { parameters: restart.join(" ") });
    if (applied.length === 0) return { outcome: "unchanged", applied, restart, problems: [] };
    this.#current = withoutRestart(before, read);
    this.#log.info("configuration applied", { parameters: applied.join(" ") });
    this.#log.setLevel(this.#current.log_level);
    return { outcome: "applied", applied, restart, problems: [] };
  }

  status(): Status["config"] {
    return {
      file: this.#current.file,
      loaded: this.#loadedAt.toISOString(),
      restart_needed: this.#restartNeeded,
    };
  }
}
