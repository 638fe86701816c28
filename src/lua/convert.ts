/**
 * Values between host and Lua. Going in, tables are built directly; coming out,
 * they are copied, with bounds on depth and entries, so that neither cycles nor
 * size can hurt the host.
 */
import { LuaRaise } from "./host.ts";
import { LuaHeaderMap, type LuaInput, LuaOpaque, LuaTable, type LuaValue } from "./values.ts";
import {
  LUA,
  type LuaState,
  newString,
  newTable,
  newValue,
  ownedString,
  rawSet,
  type Table,
  type TString,
  type TValue,
  textOfString,
} from "./vm.ts";

export interface CopyLimits {
  /** Tables inside tables; deeper ones come out empty. */
  readonly depth: number;
  /** Entries of all tables together. */
  readonly entries: number;
}

const DEFAULT_COPY_LIMITS: CopyLimits = { depth: 8, entries: 200_000 };

/** Thrown when a script hands the host more entries than it takes. */
class TooManyEntries extends LuaRaise {}

/** A new slot that holds `input`. Bytes are taken over: nobody may change them afterwards. */
export function toLua(L: LuaState, input: LuaInput): TValue {
  switch (typeof input) {
    case "string":
      return newValue(LUA.TAG_STRING, newString(input));
    case "number":
      return newValue(LUA.NUMBER, input);
    case "boolean":
      return newValue(LUA.BOOLEAN, input);
    case "undefined":
      return newValue(LUA.NIL, null);
  }
  if (input === null) return newValue(LUA.NIL, null);
  if (input instanceof Uint8Array) return newValue(LUA.TAG_STRING, ownedString(input));
  return newValue(LUA.TABLE, tableOf(L, input));
}

type TableInput = Exclude<LuaInput, undefined | null | boolean | number | string | Uint8Array>;

function tableOf(L: LuaState, input: TableInput): Table {
  const table = newTable(L);
  if (Array.isArray(input)) {
    for (const [i, value] of input.entries()) rawSet(L, table, i + 1, toLua(L, value));
  } else if (input instanceof Map) {
    for (const [key, value] of input) rawSet(L, table, key, toLua(L, value));
  } else if (input instanceof LuaHeaderMap) {
    for (const [key, value] of input.entries) rawSet(L, table, key, toLua(L, value));
    table.metatable = anyCase(L, input.entries.keys());
  } else {
    for (const [key, value] of Object.entries(input as Record<string, LuaInput>))
      rawSet(L, table, key, toLua(L, value));
  }
  return table;
}

/** A metatable whose __index finds a key in any case; __metatable keeps it from the script. */
function anyCase(L: LuaState, keys: Iterable<string>): Table {
  const spelled = new Map<string, string>();
  for (const key of keys) {
    const lower = lowerCase(key);
    if (!spelled.has(lower)) spelled.set(lower, key);
  }
  const metatable = newTable(L);
  rawSet(
    L,
    metatable,
    "__index",
    newValue(LUA.TAG_NATIVE, (thread: LuaState) => {
      const [table, key] = [thread.stack[thread.ci.funcOff + 1], thread.stack[thread.ci.funcOff + 2]];
      const name = key?.ttisstring() ? spelled.get(lowerCase(textOfString(key.value as TString))) : undefined;
      const found = name === undefined ? undefined : (table!.value as Table).strong.get(name)?.value;
      thread.stack[thread.top++] = newValue(found?.type ?? LUA.NIL, found?.value ?? null);
      return 1;
    }),
  );
  rawSet(L, metatable, "__metatable", newValue(LUA.BOOLEAN, false));
  return metatable;
}

function lowerCase(text: string): string {
  return text.replace(/[A-Z]/g, (c) => c.toLowerCase());
}

/** A copy of what a slot holds. `count` is told how many entries were copied. Throws TooManyEntries. */
export function fromLua(
  value: TValue | undefined,
  count?: (entries: number) => void,
  limits: CopyLimits = DEFAULT_COPY_LIMITS,
): LuaValue {
  const room = { left: limits.entries, most: limits.entries };
  try {
    return copy(value, limits.depth, room);
  } finally {
    count?.(limits.entries - room.left);
  }
}

function copy(slot: TValue | undefined, depth: number, room: { left: number; most: number }): LuaValue {
  if (slot === undefined) return undefined;
  switch (slot.type & 0x0f) {
    case LUA.NIL:
      return undefined;
    case LUA.BOOLEAN:
    case LUA.NUMBER:
      return slot.value as boolean | number;
    case LUA.STRING:
      return textOfString(slot.value as TString);
    case LUA.TABLE:
      return copyTable(slot.value as Table, depth, room);
    case LUA.FUNCTION:
      return new LuaOpaque("function");
    case LUA.THREAD:
      return new LuaOpaque("thread");
    default:
      return new LuaOpaque("userdata");
  }
}

function copyTable(table: Table, depth: number, room: { left: number; most: number }): LuaTable {
  const entries = new Map<string | number | boolean, LuaValue>();
  if (depth > 0) {
    for (let entry = table.f; entry !== undefined; entry = entry.n) {
      const key = copyKey(entry.key);
      if (key === undefined) continue;
      if (room.left-- <= 0) throw new TooManyEntries(`a table of more than ${room.most} entries`);
      entries.set(key, copy(entry.value, depth - 1, room));
    }
  }
  return new LuaTable(entries);
}

function copyKey(key: TValue): string | number | boolean | undefined {
  const type = key.type & 0x0f;
  if (type === LUA.STRING) return textOfString(key.value as TString);
  return type === LUA.NUMBER || type === LUA.BOOLEAN ? (key.value as number | boolean) : undefined;
}
