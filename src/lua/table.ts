/**
 * The table library of Lua 5.0. A table's size is its field `n`, else what
 * insert, remove and setn have noted, else the count of elements up to the
 * first nil. The "5.2" dialect knows only the last. Everything is raw: no
 * metamethods, but sort's __lt. Loops over tables are charged.
 */
import { checkFunction, checkTable, checkWhole, NIL, optWhole, PAUSE, Toll, typeOf } from "./arguments.ts";
import {
  argError,
  charge,
  checkByteArray,
  generatorNative,
  isAbsent,
  type NativeGenerator,
  raise,
  sessionOf,
} from "./native.ts";
import { numberToString, stringToNumber } from "./numbers.ts";
import { sort } from "./table-sort.ts";
import {
  LUA,
  type LuaState,
  lua_checkstack,
  lua_gettop,
  lua_next,
  lua_pop,
  lua_pushnil,
  lua_pushnumber,
  lua_pushvalue,
  lua_settop,
  lua_type,
  machine,
  type Native,
  newTable,
  newValue,
  pushOwnedBytes,
  pushSlot,
  rawGet,
  rawSet,
  slotAt,
  type Table,
  type TString,
  textOfString,
} from "./vm.ts";

/** Sizes noted for tables without a field `n`. */
const sizes = new WeakMap<Table, number>();

/** The field `n` where it is a number, or a string that is one, from 0 up. */
function fieldN(t: Table): number | undefined {
  const slot = rawGet(t, "n");
  const type = typeOf(slot);
  let n: number | undefined;
  if (type === LUA.NUMBER) n = slot!.value as number;
  else if (type === LUA.STRING) n = stringToNumber(textOfString(slot!.value as TString));
  return n !== undefined && Math.trunc(n) >= 0 ? Math.trunc(n) : undefined;
}

/** The size of a table: table.getn, and what unpack unpacks. */
export function getn(L: LuaState, t: Table): number {
  if (sessionOf(L).dialect === "5.0") {
    const n = fieldN(t) ?? sizes.get(t);
    if (n !== undefined) return n;
  }
  let n = 0;
  while (t.strong.has(n + 1)) n++;
  charge(L, n >> 2);
  return n;
}

function setn(L: LuaState, t: Table, n: number): void {
  if (sessionOf(L).dialect !== "5.0") return;
  if (fieldN(t) !== undefined) rawSet(L, t, "n", newValue(LUA.NUMBER, n));
  else if (n >= 0) sizes.set(t, n);
  else sizes.delete(t);
}

function insert(L: LuaState): number {
  const t = checkTable(L, 1);
  let n = getn(L, t) + 1;
  let at = n;
  let value = lua_gettop(L);
  if (value !== 2) {
    at = checkWhole(L, 2);
    if (at > n) n = at;
    value = 3;
  }
  setn(L, t, n);
  const toll = new Toll(L);
  while (--n >= at) {
    rawSet(L, t, n + 1, rawGet(t, n) ?? NIL);
    toll.step();
  }
  toll.settle();
  rawSet(L, t, at, slotAt(L, value) ?? NIL);
  return 0;
}

function remove(L: LuaState): number {
  const t = checkTable(L, 1);
  const n = getn(L, t);
  let at = optWhole(L, 2, n);
  if (n <= 0) return 0;
  setn(L, t, n - 1);
  pushSlot(L, rawGet(t, at) ?? NIL);
  const toll = new Toll(L);
  for (; at < n; at++) {
    rawSet(L, t, at, rawGet(t, at + 1) ?? NIL);
    toll.step();
  }
  toll.settle();
  rawSet(L, t, n, NIL);
  return 1;
}

const latin1Write = (Buffer.prototype as unknown as { latin1Write(text: string, at: number): number })
  .latin1Write;

/** Writes the bytes of a string without making them a part of it. */
function writeString(out: Uint8Array, at: number, string: TString): void {
  if (string.realstring !== null) out.set(string.realstring, at);
  else latin1Write.call(out, string.hash!, at);
}

function concat(L: LuaState): number {
  const t = checkTable(L, 1);
  const separator = isAbsent(L, 2) ? new Uint8Array(0) : checkByteArray(L, 2);
  const first = optWhole(L, 3, 1);
  let last = optWhole(L, 4, 0);
  if (last === 0 && (sessionOf(L).dialect === "5.0" || isAbsent(L, 4))) last = getn(L, t);
  const parts: (TString | string)[] = [];
  let total = 0;
  const toll = new Toll(L);
  for (let i = first; i <= last; i++) {
    toll.step();
    const slot = rawGet(t, i);
    const type = typeOf(slot);
    if (type === LUA.STRING) {
      parts.push(slot!.value as TString);
      total += (slot!.value as TString).tsslen();
    } else if (type === LUA.NUMBER) {
      const text = numberToString(slot!.value as number);
      parts.push(text);
      total += text.length;
    } else argError(L, 1, "table contains non-strings");
  }
  toll.settle();
  total += separator.length * Math.max(0, parts.length - 1);
  // Before the memory is taken.
  if (total > 4096) machine.onString(L, total);
  const out = new Uint8Array(total);
  let at = 0;
  for (let i = 0; i < parts.length; i++) {
    const part = parts[i]!;
    if (i > 0) {
      out.set(separator, at);
      at += separator.length;
    }
    if (typeof part === "string") at += latin1Write.call(out, part, at);
    else {
      writeString(out, at, part);
      at += part.tsslen();
    }
  }
  pushOwnedBytes(L, out);
  return 1;
}

const foreach = generatorNative(function* (L: LuaState): NativeGenerator {
  checkTable(L, 1);
  checkFunction(L, 2);
  lua_settop(L, 2);
  lua_pushnil(L);
  const toll = new Toll(L);
  while (lua_next(L, 1)) {
    if (toll.step()) yield PAUSE;
    lua_pushvalue(L, 2);
    lua_pushvalue(L, -3);
    lua_pushvalue(L, -3);
    yield { call: 2, results: 1 };
    if (lua_type(L, -1) !== LUA.NIL) return 1;
    lua_pop(L, 2);
  }
  return 0;
});

const foreachi = generatorNative(function* (L: LuaState): NativeGenerator {
  const t = checkTable(L, 1);
  const n = getn(L, t);
  checkFunction(L, 2);
  lua_settop(L, 2);
  const toll = new Toll(L);
  for (let i = 1; i <= n; i++) {
    if (toll.step()) yield PAUSE;
    lua_pushvalue(L, 2);
    lua_pushnumber(L, i);
    pushSlot(L, rawGet(t, i) ?? NIL);
    yield { call: 2, results: 1 };
    if (lua_type(L, -1) !== LUA.NIL) return 1;
    lua_pop(L, 1);
  }
  return 0;
});

/** 5.2's unpack, with 5.2's limit and message; the global unpack (base.ts) has 5.0's. */
function unpack(L: LuaState): number {
  const t = checkTable(L, 1);
  const first = optWhole(L, 2, 1);
  const last = isAbsent(L, 3) ? getn(L, t) : checkWhole(L, 3);
  const n = last - first + 1;
  if (!(n > 0)) return 0;
  if (n >= 1e6 || !lua_checkstack(L, n)) raise(L, "too many results to unpack");
  charge(L, n);
  for (let i = first; i <= last; i++) pushSlot(L, rawGet(t, i) ?? NIL);
  return n;
}

function pack(L: LuaState): number {
  const n = lua_gettop(L);
  charge(L, n);
  const t = newTable(L);
  for (let i = 1; i <= n; i++) rawSet(L, t, i, slotAt(L, i)!);
  rawSet(L, t, "n", newValue(LUA.NUMBER, n));
  pushSlot(L, newValue(LUA.TABLE, t));
  return 1;
}

function maxn(L: LuaState): number {
  const t = checkTable(L, 1);
  charge(L, t.strong.size);
  let most = 0;
  for (const key of t.strong.keys()) if (typeof key === "number" && key > most) most = key;
  lua_pushnumber(L, most);
  return 1;
}

export const tableFunctions: Record<string, Native> = {
  concat,
  foreach,
  foreachi,
  getn(L) {
    lua_pushnumber(L, getn(L, checkTable(L, 1)));
    return 1;
  },
  insert,
  maxn,
  pack,
  remove,
  setn(L) {
    setn(L, checkTable(L, 1), checkWhole(L, 2));
    return 0;
  },
  sort: (L) => {
    checkTable(L, 1);
    return sort(L, getn(L, checkTable(L, 1)));
  },
  unpack,
};
