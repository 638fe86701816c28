/**
 * The basic functions of Lua 5.0, but for those that load code (./load.ts),
 * deal with environments (./function-environments.ts) or protect calls (./protect.ts).
 */

import { checkTable, checkWhole, optWhole, typeAt } from "./arguments.ts";
import { charge, taskOf } from "./budget.ts";
import { where } from "./frames.ts";
import { held } from "./memory.ts";
import {
  argError,
  checkAny,
  checkBytes,
  checkNumber,
  generatorNative,
  isAbsent,
  type NativeStep,
  optBytes,
  optInteger,
  optNumber,
  raise,
  sessionOf,
  typeNameAt,
} from "./native.ts";
import { getn } from "./table.ts";
import {
  LUA,
  type LuaState,
  lua_callk,
  lua_checkstack,
  lua_error,
  lua_gettop,
  lua_next,
  lua_pop,
  lua_pushboolean,
  lua_pushnil,
  lua_pushnumber,
  lua_pushvalue,
  lua_rawget,
  lua_rawset,
  lua_setmetatable,
  lua_settop,
  lua_toboolean,
  lua_tonumberx,
  type Native,
  newValue,
  pushSlot,
  pushText,
  rawEqual,
  rawGet,
  slotAt,
  slotText,
  type Table,
  type TValue,
} from "./vm.ts";

function pushNilOr(L: LuaState, value: TValue | undefined): void {
  if (value === undefined) lua_pushnil(L);
  else pushSlot(L, value);
}

// ---------------------------------------------------------------- errors

function error(L: LuaState): number {
  const level = optInteger(L, 2, 1);
  checkAny(L, 1);
  const text = slotText(slotAt(L, 1));
  if (text === undefined || level === 0) lua_pushvalue(L, 1);
  else pushText(L, where(L, level) + text);
  return lua_error(L);
}

function assert(L: LuaState): number {
  checkAny(L, 1);
  const later = sessionOf(L).dialect === "5.2";
  if (!lua_toboolean(L, 1)) {
    const message = optBytes(L, 2, "assertion failed!");
    if (!later) raise(L, message.split("\0")[0]!);
    pushText(L, message);
    return lua_error(L);
  }
  if (!later) lua_settop(L, 1);
  return lua_gettop(L);
}

// ---------------------------------------------------------------- conversions

/** The metamethod or metafield `event` of a value. */
function metafield(L: LuaState, value: TValue, event: string): TValue | undefined {
  const metatable = metatableOf(L, value);
  return metatable === null ? undefined : rawGet(metatable, event);
}

function metatableOf(L: LuaState, value: TValue): Table | null {
  const type = value.type & 0x0f;
  if (type === LUA.TABLE || type === LUA.USERDATA) return (value.value as Table).metatable;
  return L.l_G.mt[type] ?? null;
}

/** What tostring gives for a value without __tostring. */
function plainText(L: LuaState, value: TValue, n: number): string {
  const text = slotText(value);
  if (text !== undefined) return text;
  if (value.ttisnil()) return "nil";
  if ((value.type & 0x0f) === LUA.BOOLEAN) return value.value ? "true" : "false";
  return `${typeNameAt(L, n)}: 0x${identity(L, value.value as object)
    .toString(16)
    .padStart(8, "0")}`;
}

const identities = new WeakMap<object, number>();

/** A number that no other object of the machine has: fengari's, or one of the same series. */
function identity(L: LuaState, object: object & { id?: number }): number {
  if (typeof object === "object" && object.id !== undefined) return object.id * 16;
  let id = identities.get(object);
  if (id === undefined) {
    id = L.l_G.id_counter++;
    identities.set(object, id);
  }
  return id * 16;
}

function tostring(L: LuaState): number {
  checkAny(L, 1);
  const value = slotAt(L, 1)!;
  const method = metafield(L, value, "__tostring");
  if (method === undefined) {
    if (value.ttisstring()) lua_pushvalue(L, 1);
    else pushText(L, plainText(L, value, 1));
    return 1;
  }
  pushSlot(L, method);
  lua_pushvalue(L, 1);
  lua_callk(L, 1, 1, null, one);
  return 1;
}

function one(): number {
  return 1;
}

function tonumber(L: LuaState): number {
  const base = optInteger(L, 2, 10);
  let number: number | false | undefined;
  if (base === 10) {
    checkAny(L, 1);
    number = lua_tonumberx(L, 1);
  } else {
    const text = checkBytes(L, 1);
    if (base < 2 || base > 36) argError(L, 2, "base out of range");
    number = parseUnsigned(text, base);
  }
  if (number === false || number === undefined) lua_pushnil(L);
  else lua_pushnumber(L, number);
  return 1;
}

/** C's strtoul on 64 bits, with nothing but space allowed after the digits. */
function parseUnsigned(text: string, base: number): number | undefined {
  const parts = /^[ \t-\r]*([+-]?)(0[xX])?([0-9A-Za-z]*)[ \t-\r]*$/.exec(text.split("\0")[0]!);
  if (parts === null) return undefined;
  const [, sign, prefix = "", digits = ""] = parts;
  // The prefix belongs to base 16 only; in base 34 and up, x is a digit.
  const all = prefix !== "" && base === 16 ? digits : prefix + digits;
  if (all === "") return undefined;
  let value = 0n;
  for (const c of all.toLowerCase()) {
    const digit = c <= "9" ? c.charCodeAt(0) - 48 : c.charCodeAt(0) - 87;
    if (digit >= base) return undefined;
    if (value < 2n ** 64n) value = value * BigInt(base) + BigInt(digit);
  }
  if (value >= 2n ** 64n) return 2 ** 64;
  return Number(sign === "-" ? BigInt.asUintN(64, -value) : value);
}

function type(L: LuaState): number {
  checkAny(L, 1);
  pushText(L, typeNameAt(L, 1));
  return 1;
}

// ---------------------------------------------------------------- tables

function next(L: LuaState): number {
  checkTable(L, 1);
  lua_settop(L, 2);
  if (lua_next(L, 1)) return 2;
  lua_pushnil(L);
  return 1;
}

function pairs(L: LuaState): number {
  checkTable(L, 1);
  pushNilOr(L, L.globals === null ? undefined : rawGet(L.globals, "next"));
  lua_pushvalue(L, 1);
  lua_pushnil(L);
  return 3;
}

/** Gives itself as the iterator: called with an index, it is a step of the loop. */
function ipairs(L: LuaState): number {
  const t = checkTable(L, 1);
  if (slotAt(L, 2) === undefined) {
    pushNilOr(L, L.globals === null ? undefined : rawGet(L.globals, "ipairs"));
    lua_pushvalue(L, 1);
    lua_pushnumber(L, 0);
    return 3;
  }
  const i = checkNumber(L, 2) + 1;
  const value = rawGet(t, Math.trunc(i));
  if (value === undefined) return 0;
  lua_pushnumber(L, i);
  pushSlot(L, value);
  return 2;
}

function rawequal(L: LuaState): number {
  checkAny(L, 1);
  checkAny(L, 2);
  lua_pushboolean(L, rawEqual(slotAt(L, 1)!, slotAt(L, 2)!));
  return 1;
}

function rawget(L: LuaState): number {
  checkTable(L, 1);
  checkAny(L, 2);
  lua_settop(L, 2);
  lua_rawget(L, 1);
  return 1;
}

function rawset(L: LuaState): number {
  checkTable(L, 1);
  checkAny(L, 2);
  checkAny(L, 3);
  lua_settop(L, 3);
  lua_rawset(L, 1);
  return 1;
}

/** unpack(t [, first [, last]]); the positions are 5.1's. */
function unpack(L: LuaState): number {
  const t = checkTable(L, 1);
  const first = optWhole(L, 2, 1);
  const last = isAbsent(L, 3) ? getn(L, t) : checkWhole(L, 3);
  const count = Math.max(0, last - first + 1);
  charge(L, count);
  if (count > MAX_UNPACKED || !lua_checkstack(L, count)) raise(L, "stack overflow (table too big to unpack)");
  for (let i = first; i <= last; i++) pushNilOr(L, rawGet(t, i));
  return count;
}
/** 5.0 has room for 2,048 values, 5.1 for 8,000. */
const MAX_UNPACKED = 8_000;

function getmetatable(L: LuaState): number {
  checkAny(L, 1);
  const metatable = metatableOf(L, slotAt(L, 1)!);
  if (metatable === null) lua_pushnil(L);
  else pushSlot(L, rawGet(metatable, "__metatable") ?? newValue(LUA.TABLE, metatable));
  return 1;
}

function setmetatable(L: LuaState): number {
  const t = checkTable(L, 1);
  const kind = typeAt(L, 2);
  if (kind !== LUA.NIL && kind !== LUA.TABLE) argError(L, 2, "nil or table expected");
  if (t.metatable !== null && rawGet(t.metatable, "__metatable") !== undefined)
    raise(L, "cannot change a protected metatable");
  lua_settop(L, 2);
  lua_setmetatable(L, 1);
  if (t.metatable !== null) sessionOf(L).weakTables.noticed(t.metatable);
  return 1;
}

// ---------------------------------------------------------------- the rest

/** Values as tostring gives them, tabs between, to the environment's output. */
function print(L: LuaState): number {
  const count = lua_gettop(L);
  const global = L.globals === null ? undefined : rawGet(L.globals, "tostring");
  let line = "";
  for (let i = 1; i <= count; i++) {
    const value = slotAt(L, i)!;
    // The global function is what counts, and anything may stand there.
    if (global?.value !== tostring || metafield(L, value, "__tostring") !== undefined) return printSlowly(L);
    line += (i > 1 ? "\t" : "") + plainText(L, value, i);
  }
  return output(L, line);
}

const printSlowly = generatorNative(function* (L): Generator<NativeStep, number> {
  const count = lua_gettop(L);
  let line = "";
  for (let i = 1; i <= count; i++) {
    pushNilOr(L, L.globals === null ? undefined : rawGet(L.globals, "tostring"));
    lua_pushvalue(L, i);
    yield { call: 1, results: 1 };
    const text = slotText(slotAt(L, -1));
    if (text === undefined) raise(L, "`tostring' must return a string to `print'");
    line += (i > 1 ? "\t" : "") + text;
    lua_pop(L, 1);
  }
  return output(L, line);
});

function output(L: LuaState, line: string): number {
  taskOf(L)?.spendOutput(L, line.length + 1);
  sessionOf(L).print(`${line}\n`);
  return 0;
}

/** Kilobytes that all scripts of the process use, and the threshold: twice that, or what the script has set. */
function gcinfo(L: LuaState): number {
  const kilobytes = Math.floor(held() / 1024);
  lua_pushnumber(L, kilobytes);
  lua_pushnumber(L, (sessionOf(L).library.get("threshold") as number | undefined) ?? kilobytes * 2);
  return 2;
}

/**
 * JavaScript collects its own garbage; what a script can see of a collection are
 * its weak tables. 5.0 takes a threshold and collects when it has been passed,
 * 5.2 takes a word.
 */
function collectgarbage(L: LuaState): number {
  const session = sessionOf(L);
  const task = taskOf(L);
  if (session.dialect === "5.0") {
    const threshold = optNumber(L, 1, 0);
    if (threshold > held() / 1024) session.library.set("threshold", threshold);
    else {
      session.library.delete("threshold");
      if (task !== null) session.weakTables.sweep(L, task);
    }
    return 0;
  }
  const what = optBytes(L, 1, "collect");
  if (what === "collect" && task !== null) session.weakTables.sweep(L, task);
  lua_pushnumber(L, what === "count" ? held() / 1024 : 0);
  return 1;
}

function loadlib(L: LuaState): number {
  checkBytes(L, 1);
  checkBytes(L, 2);
  lua_pushnil(L);
  pushText(L, "`loadlib' not supported");
  pushText(L, "absent");
  return 3;
}

/** 5.1's, for scripts of newer versions: the arguments from `n` on, or their number for "#". */
function select(L: LuaState): number {
  const count = lua_gettop(L);
  if (slotText(slotAt(L, 1)) === "#") {
    lua_pushnumber(L, count - 1);
    return 1;
  }
  const n = checkWhole(L, 1);
  const from = n < 0 ? count + n : Math.min(n, count);
  if (from < 1) argError(L, 1, "index out of range");
  return count - from;
}

export const baseFunctions: Record<string, Native> = {
  assert,
  collectgarbage,
  error,
  gcinfo,
  getmetatable,
  ipairs,
  loadlib,
  next,
  pairs,
  print,
  rawequal,
  rawget,
  rawset,
  setmetatable,
  tonumber,
  tostring,
  type,
  unpack,
};

/** Functions that only "5.2" has. */
export const laterBaseFunctions: Record<string, Native> = { select };
