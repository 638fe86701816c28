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

/** New entries between two calls of TableParts.grown. */
const GROWTH = 20_000;

export interface TableParts {
  /** GROWTH entries have been made, perhaps by few instructions. May throw. */
  grown(entries: number): void;
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
  luaH_next(L: LuaState, t: Table, at: number): boolean;
}

const NIL = 0;
const LIGHTUSERDATA = 2;
const NUMBER = 3;
const STRING = 4;

export function makeTableFunctions(parts: TableParts): TableFunctions {
  const { newValue, badKey, hash, grown, LUA_TNUMFLT } = parts;
  let created = 0;

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
    if (++created === GROWTH) {
      created = 0;
      grown(GROWTH);
    }
  }

  /** The entry that followed a removed key and still lives. */
  function oldPlace(t: Table, mapKey: unknown): TableEntry | undefined {
    const removed = t.dead_strong.get(mapKey);
    return removed === undefined ? undefined : afterRemoved(removed);
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

  /** The Map key of a key; for reading, where nil and NaN are found nowhere. */
  function mapKeyOf(key: TValue): unknown {
    return (key.type & 0x0f) === STRING ? hash(key.value) : key.value;
  }

  /**
   * The entry after a removed one. All that are passed on the way learn it too,
   * so that walking over many removed entries again and again costs little.
   */
  function afterRemoved(removed: TableEntry): TableEntry | undefined {
    let live = removed.n;
    while (live !== undefined && live.value === undefined) live = live.n;
    for (let entry: TableEntry | undefined = removed; entry !== undefined && entry !== live; ) {
      const next: TableEntry | undefined = entry.n;
      entry.n = live;
      entry = next;
    }
    return live;
  }

  return {
    /** Replaces the key in stack slot `at` by the next one, and puts its value above. */
    luaH_next(L, t, at) {
      const key = L.stack[at]!;
      let entry: TableEntry | undefined;
      if (key.type === NIL) entry = t.f;
      else {
        const mapKey = mapKeyOf(key);
        const present = t.strong.get(mapKey);
        if (present !== undefined) entry = present.n;
        else {
          const removed = t.dead_weak?.get(mapKey as object) ?? t.dead_strong.get(mapKey);
          if (removed === undefined) badKey(L, "invalid key for `next'");
          else entry = afterRemoved(removed);
        }
      }
      if (entry === undefined) return false;
      key.setfrom(entry.key);
      L.stack[at + 1]!.setfrom(entry.value);
      return true;
    },

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
