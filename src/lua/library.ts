/**
 * What is in an environment when its script starts: the standard library of the
 * dialect and the host's modules. Functions are shared by all environments, the
 * tables that hold them never are.
 */
import { baseFunctions, laterBaseFunctions } from "./base.ts";
import { coroutineFunctions } from "./coroutine.ts";
import { environmentFunctions } from "./function-environments.ts";
import type { HostModule } from "./host.ts";
import { hostNative } from "./host-call.ts";
import { ioFunctions } from "./io.ts";
import type { Dialect } from "./lexer.ts";
import { loadFunctions } from "./load.ts";
import { mathConstants, mathFunctions, powGlobal } from "./math.ts";
import { osFunctions } from "./os.ts";
import { protectFunctions } from "./protect.ts";
import { safetyFunctions } from "./safety.ts";
import { stringFunctions } from "./string.ts";
import { tableFunctions } from "./table.ts";
import {
  LUA,
  type LuaState,
  type Native,
  newString,
  newTableOf,
  newValue,
  rawSet,
  type Table,
  type TString,
} from "./vm.ts";

type Entry = readonly [key: TString, tag: number, value: unknown];

/** The contents of an environment's tables, ready to be copied. */
export interface Library {
  readonly globals: readonly Entry[];
  readonly tables: readonly (readonly [name: string, entries: readonly Entry[]])[];
}

export function makeLibrary(dialect: Dialect, modules: readonly HostModule[]): Library {
  const tables = new Map<string, Map<string, unknown>>();
  const add = (table: string, contents: Readonly<Record<string, unknown>>): void => {
    const entries = tables.get(table) ?? new Map<string, unknown>();
    for (const [name, value] of Object.entries(contents)) entries.set(name, value);
    tables.set(table, entries);
  };
  for (const functions of [baseFunctions, loadFunctions, environmentFunctions, protectFunctions])
    add("", functions);
  if (dialect === "5.2") add("", laterBaseFunctions);
  else add("", { __pow: powGlobal });
  add("", { _VERSION: `Lua ${dialect}` });
  add("coroutine", coroutineFunctions);
  add("io", ioFunctions);
  add("math", { ...mathFunctions, ...mathConstants });
  add("os", { ...osFunctions, ...safetyFunctions });
  add("string", stringFunctions);
  add("table", tableFunctions);
  for (const { table, functions } of modules) {
    const natives: Record<string, Native> = {};
    for (const [name, fn] of Object.entries(functions)) natives[name] = hostNative(name, fn);
    add(table, natives);
  }
  const globals = entriesOf(tables.get("")!);
  tables.delete("");
  return { globals, tables: [...tables].map(([name, entries]) => [name, entriesOf(entries)]) };
}

function entriesOf(contents: ReadonlyMap<string, unknown>): Entry[] {
  return [...contents].map(([name, value]) => {
    const key = newString(name);
    if (typeof value === "function") return [key, LUA.TAG_NATIVE, value];
    if (typeof value === "number") return [key, LUA.NUMBER, value];
    return [key, LUA.TAG_STRING, newString(String(value))];
  });
}

/** An environment's own copy. */
export interface OpenLibrary {
  readonly globals: Table;
  /** The library tables by name, whatever the script does to its globals. */
  readonly tables: ReadonlyMap<string, Table>;
}

export function openLibrary(L: LuaState, library: Library): OpenLibrary {
  const globals = newTableOf(L, library.globals);
  rawSet(L, globals, "_G", newValue(LUA.TABLE, globals));
  rawSet(L, globals, "_LOADED", newValue(LUA.TABLE, newTableOf(L, [])));
  const tables = new Map<string, Table>();
  for (const [name, entries] of library.tables) {
    const table = newTableOf(L, entries);
    tables.set(name, table);
    rawSet(L, globals, name, newValue(LUA.TABLE, table));
  }
  return { globals, tables };
}
