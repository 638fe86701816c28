/**
 * Compiles scripts and opens environments for them. One engine a process is
 * enough for everything of one dialect; all engines share one machine.
 */
import { ClosedFiles } from "../config/closed-files.ts";
import type { Budget } from "./budget.ts";
import { type EnvironmentParts, LuaEnvironment } from "./environment.ts";
import { ScriptError } from "./errors.ts";
import type { HostModule } from "./host.ts";
import type { Dialect } from "./lexer.ts";
import { makeLibrary } from "./library.ts";
import { Memory } from "./memory.ts";
import type { Monitor } from "./monitor.ts";
import { type LuaScript, makeScript } from "./script.ts";
import { compile, type LClosure, lua_pop, mainThread, slotAt, slotText } from "./vm.ts";

export interface EngineOptions {
  /** Which side of contradictions between the versions is taken. */
  readonly dialect: Dialect;
  /** "The VPOP3 folder": relative file names start here. Absolute. */
  readonly dataDir: string;
  /** Reads, dofile and require fall back to it. Absolute. */
  readonly scriptsDir: string;
  /** Files that scripts cannot open, load, remove or rename, however they are spelled. Absolute. */
  readonly closedFiles?: readonly string[];
  readonly modules: readonly HostModule[];
  /** Where print goes when an environment does not say: whole lines, with their "\n". */
  readonly print: (text: string, context: object) => void;
  /** Longest string, in bytes. */
  readonly maxStringBytes?: number;
  /** What all scripts of the process and the process itself may hold, in bytes; beyond it, callbacks that ask for more end. */
  readonly maxMemoryBytes?: number;
  readonly monitor?: Monitor;
}

export interface OpenOptions {
  /** For host functions: session, message, user. */
  readonly context: object;
  /** Limits of each callback, unless its call has its own. */
  readonly budget: Budget;
  readonly print?: (text: string) => void;
  /** Starts in safety mode with this key. */
  readonly safetyKey?: string;
}

const DEFAULT_MAX_STRING = 64 * 1024 * 1024;
const DEFAULT_MAX_MEMORY = 768 * 1024 * 1024;

export class LuaEngine {
  readonly dialect: Dialect;
  readonly #parts: EnvironmentParts;
  readonly #print: (text: string, context: object) => void;

  constructor(options: EngineOptions) {
    this.dialect = options.dialect;
    this.#print = options.print;
    this.#parts = {
      library: makeLibrary(options.dialect, options.modules),
      memory: new Memory(options.maxMemoryBytes ?? DEFAULT_MAX_MEMORY),
      dataDir: options.dataDir,
      scriptsDir: options.scriptsDir,
      closedFiles: new ClosedFiles(options.closedFiles ?? []),
      maxStringBytes: options.maxStringBytes ?? DEFAULT_MAX_STRING,
      monitor: options.monitor,
    };
  }

  /**
   * Compiles a script. `name` is what error messages call it, e.g.
   * "SMTPSVR.LUA". Throws a ScriptError of kind "syntax" that names the line.
   */
  compile(name: string, path: string, source: Uint8Array): LuaScript {
    const done = compile(mainThread, source, `@${name}`, { dialect: this.dialect, globals: null });
    const top = slotAt(mainThread, -1);
    lua_pop(mainThread, 1);
    if (done) return makeScript(name, path, this.dialect, (top!.value as LClosure).p);
    const message = slotText(top) ?? "not compiled";
    const line = Number(/^[^\n]*?:(\d+): /.exec(message)?.[1] ?? 0);
    throw new ScriptError(message, { kind: "syntax", script: name, callback: "", line, traceback: "" });
  }

  /** A new environment for `script`; its top level has not run yet. */
  open(script: LuaScript, options: OpenOptions): LuaEnvironment {
    const print = options.print ?? ((text: string) => this.#print(text, options.context));
    return new LuaEnvironment(script, this.#parts, { ...options, print });
  }
}
