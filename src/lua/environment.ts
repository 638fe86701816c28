/**
 * A script's environment: its globals, its own copy of the library, its open
 * files. Callbacks run in it one after another (or beside one another, when
 * one waits); environments see nothing of each other.
 */
import type { ClosedFiles } from "../config/closed-files.ts";
import { Breach } from "./breach.ts";
import { type Budget, SLICE, Task, watch } from "./budget.ts";
import { fromLua, toLua } from "./convert.ts";
import { ScriptError } from "./errors.ts";
import { type Library, type OpenLibrary, openLibrary } from "./library.ts";
import type { Memory } from "./memory.ts";
import type { Monitor } from "./monitor.ts";
import { Run, type RunOwner } from "./run.ts";
import { Safety } from "./safety.ts";
import type { LuaScript } from "./script.ts";
import type { Resource, Session } from "./session.ts";
import type { LuaInput, LuaValue } from "./values.ts";
import {
  LUA,
  type LuaState,
  lua_checkstack,
  lua_settop,
  mainThread,
  newClosure,
  newTableOf,
  newThread,
  newValue,
  pushSlot,
  rawGet,
  rawSet,
  type Table,
  type TValue,
} from "./vm.ts";
import { WeakTables } from "./weak-tables.ts";

/** What all environments of an engine have in common. */
export interface EnvironmentParts {
  readonly library: Library;
  readonly memory: Memory;
  readonly dataDir: string;
  readonly scriptsDir: string;
  readonly closedFiles: ClosedFiles;
  readonly maxStringBytes: number;
  readonly monitor: Monitor | undefined;
}

export interface EnvironmentOptions {
  /** For host functions: session, message, user. */
  readonly context: object;
  /** Limits of each callback, unless its call has its own. */
  readonly budget: Budget;
  /** Where print goes, whole lines with their "\n". */
  readonly print: (text: string) => void;
  /** Starts in safety mode with this key, so that nothing but the key ends it. */
  readonly safetyKey?: string;
}

export interface CallOptions {
  readonly budget?: Budget;
}

export class LuaEnvironment {
  readonly script: LuaScript;
  readonly context: object;
  readonly #session: Session;
  readonly #budget: Budget;
  readonly #owner: RunOwner;
  readonly #runs = new Set<Run>();
  readonly #tasks = new Set<Task>();
  /** A thread that a callback has left clean. */
  #spare: LuaState | undefined;
  #closed = false;

  constructor(script: LuaScript, parts: EnvironmentParts, options: EnvironmentOptions) {
    this.script = script;
    this.context = options.context;
    this.#budget = options.budget;
    const opened = openLibrary(mainThread, parts.library);
    this.#session = {
      dialect: script.dialect,
      dataDir: parts.dataDir,
      scriptsDir: parts.scriptsDir,
      closedFiles: parts.closedFiles,
      context: options.context,
      maxStringBytes: parts.maxStringBytes,
      memory: parts.memory,
      monitor: parts.monitor,
      weakTables: new WeakTables(),
      tasks: this.#tasks,
      resources: new Set<Resource>(),
      print: options.print,
      safety: new Safety(opened.globals, opened.tables),
      library: new Map(),
      globals: opened.globals,
    };
    if (options.safetyKey !== undefined) this.#session.safety.set(mainThread, options.safetyKey);
    this.#owner = {
      scriptName: script.name,
      stringMetatable: script.dialect === "5.2" ? stringMetatable(opened) : null,
      ended: (run, clean) => {
        this.#runs.delete(run);
        this.#tasks.delete(run.task);
        if (clean) this.#keep(run.task.thread);
      },
    };
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** Runs the script's top level. Rejects with a ScriptError. */
  async start(budget: Budget = this.#budget): Promise<void> {
    await this.#run(newClosure(mainThread, this.script.prototype, this.#session.globals), [], "", budget);
  }

  /** Whether there is a global function of this name. */
  has(name: string): boolean {
    return rawGet(this.#session.globals, name)?.ttisfunction() ?? false;
  }

  /** The value of a global, copied. */
  get(name: string): LuaValue {
    return fromLua(rawGet(this.#session.globals, name));
  }

  set(name: string, value: LuaInput): void {
    rawSet(mainThread, this.#session.globals, name, toLua(mainThread, value));
  }

  /**
   * Calls a global function. Rejects with a ScriptError: "missing" when there
   * is no such function, "runtime", "budget", "memory", or "stopped" when the
   * environment was closed meanwhile. Anything else it rejects with is a bug of
   * ours or of a host function.
   */
  call(name: string, args: readonly LuaInput[] = [], options: CallOptions = {}): Promise<LuaValue[]> {
    const fn = rawGet(this.#session.globals, name);
    if (!fn?.ttisfunction()) return Promise.reject(this.#error("missing", name, `no function ${name}`));
    return this.#run(fn, args, name, options.budget ?? this.#budget);
  }

  /** Ends callbacks that wait, and closes files. Harmless when repeated. */
  close(): void {
    this.#closed = true;
    for (const run of this.#runs) run.stop(new Breach("stopped", "", "the session has ended"));
    for (const resource of this.#session.resources) resource.close();
    this.#session.resources.clear();
  }

  #run(fn: TValue, args: readonly LuaInput[], callback: string, budget: Budget): Promise<LuaValue[]> {
    if (this.#closed) return Promise.reject(this.#error("stopped", callback, "the session has ended"));
    const thread = this.#thread();
    const task = new Task(this.#session, budget, thread);
    thread.task = task;
    thread.globals = this.#session.globals;
    lua_checkstack(thread, args.length + 1);
    pushSlot(thread, fn);
    for (const arg of args) pushSlot(thread, toLua(thread, arg));
    const run = new Run(this.#owner, task, callback);
    this.#runs.add(run);
    this.#tasks.add(task);
    return run.start(args.length);
  }

  #thread(): LuaState {
    const spare = this.#spare;
    this.#spare = undefined;
    if (spare === undefined) {
      const thread = newThread();
      watch(thread);
      return thread;
    }
    spare.hookcount = SLICE;
    return spare;
  }

  /** A thread that has grown large goes. */
  #keep(thread: LuaState): void {
    if (thread.stack.length > MAX_SPARE_STACK) return;
    lua_settop(thread, 0);
    thread.task = null;
    this.#spare = thread;
  }

  #error(kind: "missing" | "stopped", callback: string, message: string): ScriptError {
    return new ScriptError(message, { kind, script: this.script.name, callback, line: 0, traceback: "" });
  }
}

const MAX_SPARE_STACK = 400;

/** "5.2": methods of strings are those of the environment's own string table. */
function stringMetatable({ tables }: OpenLibrary): Table {
  const metatable = newTableOf(mainThread, []);
  rawSet(mainThread, metatable, "__index", newValue(LUA.TABLE, tables.get("string")!));
  return metatable;
}
