/**
 * Everything one process needs to play SMTP sessions: engine, helpers,
 * the scripts as they are loaded now. Used by the workers and by `postlua try`.
 */
import { ClosedFiles, storeFiles } from "../config/closed-files.ts";
import type { Config } from "../config/load.ts";
import type { Directory } from "../directory/directory.ts";
import type { Log } from "../log.ts";
import type { Budget } from "../lua/budget.ts";
import { LuaEngine } from "../lua/engine.ts";
import type { HostModule } from "../lua/host.ts";
import type { Monitor } from "../lua/monitor.ts";
import { MessageMemory } from "../message/message-memory.ts";
import { SERVED_SCRIPTS, type ServedScript, SMTPSVR_FILE, USER_REDIRECT_FILE } from "../scripts/callbacks.ts";
import { DEFAULT_DIR } from "../scripts/default-redirect.ts";
import { loadScript, type ScriptState } from "../scripts/loader.ts";
import type { ScriptOutput } from "../scripts/output.ts";
import type { CallTrace } from "../scripts/smtpsvr.ts";
import { loadUserScript } from "../scripts/user-scripts.ts";
import { ClientRules } from "../smtp/client.ts";
import { ownDomains } from "../smtp/outside.ts";
import { Repeats } from "../smtp/repeats.ts";
import type { DirectoryUses } from "../smtp/services.ts";
import type { Verdict } from "../smtp/verdict.ts";
import { blockLists } from "./block-lists.ts";
import type { DoorServices } from "./door.ts";
import { processLimits } from "./limits.ts";

const ABSENT: ScriptState = { kind: "absent" };

/** A budget of the configured limits, with `wallMs` of its own. */
export function budgetOf(limits: Config["limits"], wallMs = limits.wall_ms): Budget {
  return {
    instructions: limits.instructions,
    cpuMs: limits.cpu_ms,
    wallMs,
    stringBytes: limits.string_bytes,
    outputBytes: limits.output_bytes,
    openFiles: limits.open_files,
  };
}

/** An engine with the configuration's dialect, directories and limits. */
export function createEngine(
  config: Config,
  modules: readonly HostModule[],
  output: ScriptOutput,
  monitor?: Monitor,
): LuaEngine {
  return new LuaEngine({
    dialect: config.lua_dialect,
    dataDir: config.data_dir,
    scriptsDir: config.scripts_dir,
    closedFiles: storeFiles(config.store),
    modules,
    print: (text) => output.print(text),
    maxStringBytes: config.limits.max_string_bytes,
    maxMemoryBytes: processLimits(config).scriptsMb * 1024 * 1024,
    ...(monitor === undefined ? {} : { monitor }),
  });
}

/** Names sessions: unlike any other process's names, and any earlier one's. */
export class SessionIds {
  readonly #prefix = `${Math.floor(Date.now() / 1000).toString(36)}${process.pid.toString(36)}`;
  #count = 0;

  next(): string {
    return `${this.#prefix}-${(++this.#count).toString(36)}`;
  }
}

export interface ServiceOptions {
  readonly ids?: SessionIds;
  readonly monitor?: Monitor;
  readonly trace?: (call: CallTrace) => void;
  readonly decided?: (verdict: Verdict["kind"]) => void;
  /** Closed by who made it. */
  readonly directory?: Directory;
}

/** What sessions that begin from now on run and use. */
export interface Installed {
  /** By name. */
  readonly scripts: ReadonlyMap<string, ScriptState>;
  readonly userScript: (user: string) => Promise<ScriptState>;
  readonly uses: DirectoryUses;
}

export class Service implements DoorServices {
  readonly engine: LuaEngine;
  readonly log: Log;
  readonly output: ScriptOutput;
  readonly rules: ClientRules;
  readonly budgets: DoorServices["budgets"];
  readonly scriptError: Config["script_error"];
  readonly maxMessageSize: number;
  readonly save: DoorServices["save"];
  readonly ownDomains: DoorServices["ownDomains"];
  readonly signature: DoorServices["signature"];
  readonly spill: DoorServices["spill"];
  readonly blockLists: DoorServices["blockLists"];
  readonly routing: DoorServices["routing"];
  readonly directory?: Directory;
  /** Whatever may be stored, unless somebody has looked. */
  readonly uses: DirectoryUses;
  readonly hasRules: boolean;
  readonly transports: DoorServices["transports"];
  readonly doubleBounceSender: string;
  readonly repeats: Repeats;
  readonly #config: Config;
  readonly #ids: SessionIds;
  #states: ReadonlyMap<string, ScriptState> = new Map();
  readonly trace?: (call: CallTrace) => void;
  readonly decided?: (verdict: Verdict["kind"]) => void;

  constructor(
    config: Config,
    modules: readonly HostModule[],
    log: Log,
    output: ScriptOutput,
    options: ServiceOptions = {},
  ) {
    this.#config = config;
    this.#ids = options.ids ?? new SessionIds();
    if (options.trace !== undefined) this.trace = options.trace;
    if (options.decided !== undefined) this.decided = options.decided;
    this.log = log;
    this.output = output;
    this.engine = createEngine(config, modules, output, options.monitor);
    this.rules = new ClientRules(config);
    const { limits, facts } = config;
    this.budgets = { callback: budgetOf(limits), message: budgetOf(limits, limits.message_wall_ms) };
    this.scriptError = config.script_error;
    this.maxMessageSize = facts.messageSizeLimit;
    this.ownDomains = ownDomains(facts.ownDomains, facts.ownDomainsComplete);
    this.signature = config.signature;
    this.save = {
      directory: config.save_dir,
      overwrite: config.save_overwrite,
      closed: new ClosedFiles(storeFiles(config.store)),
    };
    this.spill = {
      directory: config.messages.spill_dir ?? config.data_dir,
      aboveBytes: config.messages.spill_above_bytes,
      memory: new MessageMemory(processLimits(config).messagesMb * 1024 * 1024),
    };
    this.blockLists = blockLists(config, log);
    this.routing = { spamHeaders: config.routing.spam_headers };
    const { directory } = options;
    if (directory !== undefined) this.directory = directory;
    this.uses = { routing: directory !== undefined, signatures: directory !== undefined };
    this.hasRules = config.clients.length > 0 || !config.client_networks.includes("0.0.0.0/0");
    this.doubleBounceSender = facts.doubleBounceSender;
    this.repeats = new Repeats(config.errors.repeat_after * 1000);
    this.transports = { outgoing: facts.defaultTransport, own: facts.ownTransports };
  }

  script(name: string): ScriptState {
    return this.#states.get(name) ?? ABSENT;
  }

  newSessionId(): string {
    return this.#ids.next();
  }

  /** What load() has found, by name. */
  get loaded(): ReadonlyMap<string, ScriptState> {
    return this.#states;
  }

  /** From the disk, each time. */
  userScript(user: string): Promise<ScriptState> {
    return loadUserScript(this.engine, this.#config.scripts_dir, user, this.budgets.callback);
  }

  /** The same service with other scripts, which stay. */
  with({ scripts, userScript, uses }: Installed): DoorServices {
    return {
      ...this,
      uses,
      userScript,
      script: (name) => scripts.get(name) ?? ABSENT,
      newSessionId: () => this.#ids.next(),
    };
  }

  /** Loads the scripts from the disk. A broken one is reported on both logs; if it is SMTPSVR.LUA, its verdict is script_error. */
  async load(): Promise<void> {
    const states = new Map<string, ScriptState>();
    for (const [name, served] of Object.entries(SERVED_SCRIPTS)) {
      states.set(name, await this.#load(name, served));
    }
    this.#states = states;
  }

  async #load(name: string, served: ServedScript): Promise<ScriptState> {
    const { engine, budgets } = this;
    const directory = this.#config.scripts_dir;
    const candidates = Object.keys(served.callbacks);
    let state = await loadScript(engine, directory, name, candidates, budgets.callback);
    if (name === USER_REDIRECT_FILE && state.kind === "absent") {
      state = await loadScript(engine, DEFAULT_DIR, name, candidates, budgets.callback);
    }
    if (state.kind === "broken") {
      const { line, kind } = state.error.details;
      this.output.error(state.error, { session: "", queue: "" });
      this.log.error("script not loaded", {
        script: name,
        line,
        kind,
        message: state.error.message,
        verdict: served.withoutIt ?? this.scriptError,
      });
    } else if (state.kind === "loaded") {
      const callbacks = [...state.loaded.callbacks].join(" ");
      this.log.info("script loaded", { script: state.loaded.script.path, callbacks });
    } else if (name === SMTPSVR_FILE) {
      this.log.warn("no script", { script: name, directory });
    }
    return state;
  }
}
