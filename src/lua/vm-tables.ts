/**
 * Writing into tables, in place of fengari's: numbers stay numbers whatever
 * their source, and next() walks 1..n in order.
 *
 * fengari keeps the entries of a table in a linked list in the order of their
 * creation, and constructors create 3, 2, 1. Here a new integer key is linked
 * beside its neighbour when it has one, and key 1 goes to the front, which is
 * where Lua 5.0's array part comes. A key that was removed and comes back while
 * its table is being walked returns to its old place.
 */
import type { LuaState, Table, TableEntry, TValue } from "./vm-types.ts";

export interface TableParts {
  newValue(type: number, value: unknown): TValue;
  /** Raises Lua's error for nil and NaN keys. */
  badKey(L: LuaState, message: string): never;
  /** A string's Map key. */
  hash(string: unknown): string;
  readonly LUA_TNUMFLT: number;
}

export interface TableFunctions {
  luaH_setint(t: Table, key: number, value: TValue): void;
  luaH_setfrom(L: LuaState, t: Table, key: TValue, value: TValue): void;
}

const NIL = 0;
const LIGHTUSERDATA = 2;
const NUMBER = 3;
const STRING = 4;

export function makeTableFunctions({ newValue, badKey, hash, LUA_TNUMFLT }: TableParts): TableFunctions {
  /** Links a new entry; `front` puts an integer without neighbours first. */
  function add(t: Table, mapKey: unknown, type: number, key: unknown, value: TValue, front: boolean): void {
    const entry: TableEntry = {
      key: newValue(type, key),
      value: newValue(value.type, value.value),
      p: undefined,
      n: undefined,
    };
    let before: TableEntry | undefined;
    if (type === LUA_TNUMFLT) {
      const before1 = t.strong.get((key as number) - 1);
      // Numbers that follow one another are the common case; each hangs on the one before.
      if (before1 !== undefined) before = before1.n;
      else before = t.strong.get((key as number) + 1) ?? (front || key === 1 ? t.f : undefined);
    }
    if (t.dead_strong.size > 0) {
      if (before === undefined) before = oldPlace(t, mapKey);
      t.dead_strong.clear();
    }
    t.dead_weak = undefined;
    if (before === undefined) {
      entry.p = t.l;
      if (t.l) t.l.n = entry;
      else t.f = entry;
      t.l = entry;
    } else {
      entry.n = before;
      entry.p = before.p;
      if (before.p) before.p.n = entry;
      else t.f = entry;
      before.p = entry;
    }
    t.strong.set(mapKey, entry);
  }

  /** The entry that followed a removed key and still lives. */
  function oldPlace(t: Table, mapKey: unknown): TableEntry | undefined {
    let entry = t.dead_strong.get(mapKey)?.n;
    while (entry !== undefined && entry.value === undefined) entry = entry.n;
    return entry;
  }

  /** Removed entries keep their link forward, so that a walk that stands on one can go on. */
  function remove(t: Table, mapKey: unknown): void {
    const entry = t.strong.get(mapKey);
    if (entry === undefined) return;
    (entry.key as unknown as { setdeadvalue(): void }).setdeadvalue();
    (entry as { value: TValue | undefined }).value = undefined;
    const { n, p } = entry;
    entry.p = undefined;
    if (p) p.n = n;
    else t.f = n;
    if (n) n.p = p;
    else t.l = p;
    t.strong.delete(mapKey);
    if ((typeof mapKey === "object" && mapKey !== null) || typeof mapKey === "function") {
      t.dead_weak ??= new WeakMap();
      t.dead_weak.set(mapKey, entry);
    } else t.dead_strong.set(mapKey, entry);
  }

  return {
    luaH_setint(t, key, value) {
      if (value.type === NIL) return remove(t, key);
      const entry = t.strong.get(key);
      if (entry !== undefined) entry.value.setfrom(value);
      else add(t, key, LUA_TNUMFLT, key, value, true);
    },

    luaH_setfrom(L, t, key, value) {
      let mapKey: unknown = key.value;
      let type = key.type;
      switch (type & 0x0f) {
        case NIL:
          badKey(L, "table index is nil");
          break;
        case NUMBER:
          if (Number.isNaN(mapKey)) badKey(L, "table index is NaN");
          type = LUA_TNUMFLT;
          break;
        case STRING:
          mapKey = hash(key.value);
          break;
        case LIGHTUSERDATA:
          // Only the compiler has these keys, for constants; reading them is still fengari's.
          if (typeof mapKey === "number") mapKey = `#${mapKey}`;
          break;
      }
      if (value.type === NIL) return remove(t, mapKey);
      const entry = t.strong.get(mapKey);
      if (entry !== undefined) entry.value.setfrom(value);
      else add(t, mapKey, type, key.value, value, false);
    },
  };
}
