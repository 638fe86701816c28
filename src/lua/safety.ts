/**
 * Safety mode (manual, "Safety Mode"): os.setsafety(key) takes away what a
 * user's script must not have, os.clearsafety(key) with the same key gives it
 * back. Calls nest; the key that counts is the last one set. File handles that
 * are open already keep working, which is how an administrator's script lends
 * a file to a user's.
 */
import { checkBytes, raise, sessionOf } from "./native.ts";
import type { SafetySwitch } from "./session.ts";
import {
  LUA,
  type LuaState,
  lua_pushboolean,
  type Native,
  newValue,
  rawGet,
  rawSet,
  type Table,
  type TValue,
} from "./vm.ts";

/** The manual's list. "" stands for the globals. */
const DISABLED: readonly (readonly [table: string, names: readonly string[]])[] = [
  ["", ["loadlib"]],
  ["io", ["close", "open", "input", "output", "lines", "read", "write", "flush"]],
  ["os", ["timedexecute", "remove", "rename", "getenv"]],
  ["VPOP3", ["SetSetting", "GetSetting"]],
];

const NIL = newValue(LUA.NIL, null);

interface Taken {
  readonly table: Table;
  readonly name: string;
  readonly was: TValue;
}

export class Safety implements SafetySwitch {
  readonly #globals: Table;
  readonly #tables: ReadonlyMap<string, Table>;
  readonly #keys: string[] = [];
  #taken: Taken[] = [];

  /** The tables are the environment's own library, which the script may have moved elsewhere. */
  constructor(globals: Table, tables: ReadonlyMap<string, Table>) {
    this.#globals = globals;
    this.#tables = tables;
  }

  get on(): boolean {
    return this.#keys.length > 0;
  }

  set(L: LuaState, key: string): void {
    if (this.#keys.push(key) > 1) return;
    for (const [tableName, names] of DISABLED) {
      const table = tableName === "" ? this.#globals : this.#tables.get(tableName);
      if (table === undefined) continue;
      for (const name of names) {
        const slot = rawGet(table, name);
        this.#taken.push({ table, name, was: slot === undefined ? NIL : newValue(slot.type, slot.value) });
        const full = tableName === "" ? name : `${tableName}.${name}`;
        rawSet(L, table, name, newValue(LUA.TAG_NATIVE, disabled(full)));
      }
    }
  }

  /** False, and nothing changes, unless `key` is the one set last. */
  clear(L: LuaState, key: string): boolean {
    if (this.#keys.at(-1) !== key) return false;
    this.#keys.pop();
    if (this.#keys.length > 0) return true;
    // Whatever the user's script has put in their place goes.
    for (const { table, name, was } of this.#taken) rawSet(L, table, name, was);
    this.#taken = [];
    return true;
  }
}

const stubs = new Map<string, Native>();

function disabled(name: string): Native {
  let stub = stubs.get(name);
  if (stub === undefined) {
    stub = (L) => raise(L, `${name} is disabled in safety mode`);
    stubs.set(name, stub);
  }
  return stub;
}

function setsafety(L: LuaState): number {
  sessionOf(L).safety.set(L, checkBytes(L, 1));
  lua_pushboolean(L, true);
  return 1;
}

function clearsafety(L: LuaState): number {
  lua_pushboolean(L, sessionOf(L).safety.clear(L, checkBytes(L, 1)));
  return 1;
}

export const safetyFunctions: Record<string, Native> = { setsafety, clearsafety };
