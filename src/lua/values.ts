/**
 * Lua values as the host sees them. No engine here, only shapes.
 *
 * Strings are byte strings (see ../bytes.ts). Tables that go to Lua are built
 * from arrays (1..n), Maps, plain objects or header maps; tables that come
 * back are copied into LuaTable, bounded in depth and size by the engine.
 */

/** What the host may hand to Lua. undefined and null are nil; an array is a table 1..n without field `n`. */
export type LuaInput =
  | undefined
  | null
  | boolean
  | number
  | string
  | Uint8Array
  | readonly LuaInput[]
  | ReadonlyMap<string | number, LuaInput>
  | LuaHeaderMap
  | { readonly [key: string]: LuaInput };

/** A table with string keys whose look-up ignores case (a metatable's __index); pairs() shows each key once, as given. */
export class LuaHeaderMap {
  readonly entries: ReadonlyMap<string, LuaInput>;
  constructor(entries: ReadonlyMap<string, LuaInput>) {
    this.entries = entries;
  }
}

/** A table copied out of Lua. Keys are byte strings, numbers or booleans; other keys are left out. */
export class LuaTable {
  readonly entries: Map<string | number | boolean, LuaValue>;
  constructor(entries: Map<string | number | boolean, LuaValue> = new Map()) {
    this.entries = entries;
  }

  get(key: string | number | boolean): LuaValue {
    return this.entries.get(key);
  }

  /** Values at 1, 2, 3 ... up to the first nil. */
  list(): LuaValue[] {
    const out: LuaValue[] = [];
    for (let i = 1; ; i++) {
      const value = this.entries.get(i);
      if (value === undefined) return out;
      out.push(value);
    }
  }
}

/** Something that has no host form; `type` is Lua's name for it. */
export class LuaOpaque {
  readonly type: "function" | "userdata" | "thread";
  constructor(type: "function" | "userdata" | "thread") {
    this.type = type;
  }
}

/** What comes back from Lua; nil is undefined. */
export type LuaValue = undefined | boolean | number | string | LuaTable | LuaOpaque;

/** Lua's truth: everything but nil and false (so 0 and "" are true). */
export function truthy(value: LuaValue): boolean {
  return value !== undefined && value !== false;
}

/** Lua's type name of a value. */
export function typeName(value: LuaValue): string {
  if (value === undefined) return "nil";
  if (value instanceof LuaTable) return "table";
  if (value instanceof LuaOpaque) return value.type;
  return typeof value;
}
