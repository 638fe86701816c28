/**
 * The primary's scripts: read from the directory, tried out in a process
 * apart, kept for every worker there will be, blamed for the workers they kill
 * and, when these are too many, switched off. It tells nobody but the logs;
 * handing out what it keeps is the primary's part.
 */
import { dirname } from "node:path";
import type { Config } from "../config/load.ts";
import { SERVED_SCRIPTS, USER_REDIRECT_FILE } from "../scripts/callbacks.ts";
import { DEFAULT_DIR } from "../scripts/default-redirect.ts";
import { DeathCount } from "./death-count.ts";
import type { GivenScripts, ReportedError, ScriptProblem, ScriptVersion } from "./messages.ts";
import { type Channels, reportLoad, reportSwitchOff } from "./reports.ts";
import { type LoadOutcome, type ScriptPlaces, ScriptSlot, type TryOut } from "./script-library.ts";
import {
  type ReloadReport,
  type ScriptFailure,
  type ScriptStatus,
  scriptReport,
  scriptStatus,
} from "./status.ts";
import { UserScripts } from "./user-scripts.ts";
import type { Death } from "./worker-process.ts";

export interface KeeperOptions {
  readonly channels: Channels;
  /** As it is now. */
  readonly config: () => Config;
  readonly tryOut: TryOut;
  /** Told what came of each look at a file. */
  readonly looked: (script: string, outcome: LoadOutcome["kind"]) => void;
  readonly switchedOff: (script: string, off: boolean) => void;
}

/** A process that tries a script may die of other things than the script. */
const FIRST_TRIES = 3;

export class ScriptKeeper {
  readonly #options: KeeperOptions;
  readonly #slots = Object.keys(SERVED_SCRIPTS).map((name) => new ScriptSlot(name, placesOf(name)));
  readonly #users: UserScripts;
  readonly #deaths = new DeathCount();
  readonly #loadedAt = new Map<string, Date>();
  /** Of each script's failures, the last. */
  readonly #lastErrors = new Map<string, ScriptFailure>();

  constructor(options: KeeperOptions) {
    this.#options = options;
    this.#users = new UserScripts(options);
  }

  /** Those of users. */
  get users(): UserScripts {
    return this.#users;
  }

  /** For workers. */
  given(): GivenScripts {
    return Object.fromEntries(this.#slots.map((slot) => [slot.name, slot.given()]));
  }

  status(): ScriptStatus[] {
    return this.#slots.map((slot) =>
      scriptStatus(slot, this.#loadedAt.get(slot.name), this.#lastErrors.get(slot.name)),
    );
  }

  /** At the start. */
  async loadFirst(): Promise<void> {
    this.#users.find();
    for (const slot of this.#slots) {
      for (let n = 1; ; n++) {
        const outcome = await this.#load(slot, true);
        const died = outcome.kind === "refused" && outcome.problem.details.kind === "stopped";
        if (!died || n >= FIRST_TRIES) break;
      }
    }
  }

  /** Looks at all files. With `mayRemove` a file that is gone takes its script out of service. */
  async load(mayRemove: boolean): Promise<{ reports: ReloadReport["scripts"]; changed: boolean }> {
    const reports = [];
    let changed = false;
    for (const slot of this.#slots) {
      const outcome = await this.#load(slot, mayRemove);
      changed ||= outcome.kind === "loaded" || outcome.kind === "removed";
      reports.push(scriptReport(slot, outcome));
    }
    return { reports, changed };
  }

  /** A script failed in a worker. */
  failed({ session, queue, problem: { message, details } }: ReportedError): void {
    const { script, callback, line, kind, budget = "" } = details;
    const time = new Date().toISOString();
    this.#lastErrors.set(script, { time, session, queue, callback, line, kind, budget, message });
  }

  /**
   * A worker died of what ran in it.
   * @returns whether that was once too often, and given() has changed
   */
  blame({ place, detail }: Death): boolean {
    const slot =
      this.#slots.find(({ name }) => name === place?.script) ?? this.#users.slot(place?.script ?? "");
    const version = slot?.version;
    if (place === undefined || slot === undefined || version === undefined || slot.switchedOff) return false;
    const { session, queue, callback, line } = place;
    const details = { kind: "stopped", script: slot.name, callback, line, traceback: "" } as const;
    this.failed({
      entry: "",
      session,
      queue,
      problem: { message: `it killed its worker: ${detail}`, details },
    });
    const { script_deaths, script_deaths_minutes } = this.#options.config().limits;
    const limit = { deaths: script_deaths, withinMs: script_deaths_minutes * 60_000 };
    const key = `${slot.name} ${version.hash}`;
    const count = this.#deaths.add(key, limit, performance.now());
    if (count < limit.deaths) return false;
    this.#deaths.forget(key);
    const message = `${slot.name} is switched off: it killed ${count} workers within ${script_deaths_minutes} minutes (${detail}); load a changed text to switch it on`;
    this.#switchOff(slot, { message, details });
    return true;
  }

  #switchOff(slot: ScriptSlot, problem: ScriptProblem): void {
    slot.switchOff(problem);
    this.#options.switchedOff(slot.name, true);
    reportSwitchOff(this.#options.channels, problem, this.#without(slot.name));
  }

  async #load(slot: ScriptSlot, mayRemove: boolean): Promise<LoadOutcome> {
    const { channels, config, tryOut, looked, switchedOff } = this.#options;
    const directory = config().scripts_dir;
    const before = slot.version;
    const outcome = await slot.load(directory, tryOut, mayRemove);
    if (outcome.kind === "loaded") this.#loadedAt.set(slot.name, new Date());
    switchedOff(slot.name, slot.switchedOff);
    const told = seenBySite(slot, outcome, before);
    looked(slot.name, told.kind);
    if (told === outcome || told.kind === "removed") {
      reportLoad(channels, slot, told, { directory, verdict: this.#without(slot.name) });
    }
    return outcome;
  }

  /** What holds while this script is broken or switched off. */
  #without(name: string): string {
    return SERVED_SCRIPTS[name]?.withoutIt ?? this.#options.config().script_error;
  }
}

/** A shipped script is in service where the site has none: for people it is absent. */
function seenBySite(slot: ScriptSlot, outcome: LoadOutcome, before: ScriptVersion | undefined): LoadOutcome {
  const shipped = (version: ScriptVersion | undefined) =>
    version !== undefined && dirname(version.path) === DEFAULT_DIR;
  if (outcome.kind === "refused" || !shipped(slot.version)) return outcome;
  return { kind: before === undefined || shipped(before) ? "missing" : "removed" };
}

function placesOf(name: string): ScriptPlaces {
  return name === USER_REDIRECT_FILE ? { fallback: DEFAULT_DIR } : {};
}
