/**
 * What belongs to one environment: where its files are, what it may open, where
 * its output goes. Shapes only; library functions reach it through sessionOf(L).
 * It outlives callbacks.
 */
import type { ClosedFiles } from "../config/closed-files.ts";
import type { Dialect } from "./lexer.ts";
import type { Memory } from "./memory.ts";
import type { Monitor } from "./monitor.ts";
import type { LuaState, Table } from "./vm.ts";

/** Something to close when the environment ends, an open file. */
export interface Resource {
  close(): void;
}

/** Safety mode of one environment (safety.ts). */
export interface SafetySwitch {
  set(L: LuaState, key: string): void;
  clear(L: LuaState, key: string): boolean;
}

/** Weak tables of one environment (weak-tables.ts). */
export interface WeakTableKeeper {
  noticed(metatable: Table): void;
  tick(L: LuaState, task: object): void;
  sweep(L: LuaState, task: object): void;
}

export interface Session {
  readonly dialect: Dialect;
  /** "The VPOP3 folder": relative file names start here. An absolute path, ordinary text. */
  readonly dataDir: string;
  /** Where scripts are; reading falls back to it. */
  readonly scriptsDir: string;
  /** Files that no name leads to. */
  readonly closedFiles: ClosedFiles;
  /** The owner's own object, for host functions. */
  readonly context: object;
  /** Longest string there may be, in bytes. */
  readonly maxStringBytes: number;
  readonly memory: Memory;
  /** Told what is running. */
  readonly monitor: Monitor | undefined;
  readonly weakTables: WeakTableKeeper;
  /** The callbacks under way. */
  readonly tasks: ReadonlySet<{ readonly thread: LuaState }>;
  /** Open files and the like; see openResource(). */
  readonly resources: Set<Resource>;
  /** Where print goes; whole lines, with their "\n". */
  print(text: string): void;
  readonly safety: SafetySwitch;
  /** What libraries keep for the environment, by library: io its default files. */
  readonly library: Map<string, unknown>;
  /** The table of globals that callbacks start with; setfenv(0, t) changes it. */
  globals: Table;
}
