/**
 * When metamethods are called, in place of fengari's 5.3 rules: comparisons
 * only between values that share one, operands as 5.0 passes them, and tables
 * as iterators of a loop.
 */
import type { LuaState, Table, TValue } from "./vm-types.ts";

/** What is used of fengari's ltm, lvm and lobject. */
export interface MetamethodParts {
  readonly ltm: {
    readonly TMS: Readonly<Record<"TM_EQ" | "TM_CALL" | "TM_UNM" | "TM_CONCAT", number>>;
    fasttm(L: LuaState, metatable: Table | null, event: number): TValue | null;
    luaT_callTM(L: LuaState, method: TValue, a: TValue, b: TValue, c: TValue, hasResult: number): void;
    luaT_gettmbyobj(L: LuaState, value: TValue, event: number): TValue;
    luaT_trybinTM(L: LuaState, a: TValue, b: TValue, result: TValue, event: number): void;
    ttypename(type: number): Uint8Array;
  };
  isNumber(value: TValue): boolean;
  /** Makes a number slot the string of it. */
  numberToString(L: LuaState, value: TValue): void;
  rawEqual(a: TValue, b: TValue): boolean;
  newValue(type: number, value: unknown): TValue;
  readonly nil: TValue;
  /** Whether the running instruction asks a loop's iterator for the next value. */
  inLoop(L: LuaState): boolean;
  /** The iterator function for tables. */
  readonly walkTable: TValue;
}

export function makeMetamethods(parts: MetamethodParts) {
  const { newValue, rawEqual } = parts;
  const { TMS, fasttm, luaT_callTM, luaT_gettmbyobj, luaT_trybinTM, ttypename } = parts.ltm;
  /** Stands for an __eq whose other side has not been looked at. */
  const EQUALITY = newValue(0, null);

  /** __eq counts when both sides have the same one. */
  function commonEquality(L: LuaState, a: TValue, b: TValue): TValue | undefined {
    const first = fasttm(L, (a.value as Table).metatable, TMS.TM_EQ);
    const second = fasttm(L, (b.value as Table).metatable, TMS.TM_EQ);
    return first !== null && second !== null && rawEqual(first, second) ? first : undefined;
  }

  function call(L: LuaState, method: TValue, a: TValue, b: TValue, c: TValue, hasResult: number): void {
    const real = method === EQUALITY ? commonEquality(L, a, b) : method;
    if (real === undefined) c.setbvalue(false);
    else luaT_callTM(L, real, a, b, c, hasResult);
  }

  return {
    fasttm(L: LuaState, metatable: Table | null, event: number): TValue | null {
      const method = fasttm(L, metatable, event);
      return method !== null && event === TMS.TM_EQ ? EQUALITY : method;
    },

    luaT_callTM: call,

    /** __lt and __le count between values of one type that have the same one; null where they do not. */
    luaT_callorderTM(L: LuaState, a: TValue, b: TValue, event: number): boolean | null {
      if (a.ttnov() !== b.ttnov()) return null;
      const method = luaT_gettmbyobj(L, a, event);
      if (method.ttisnil() || !rawEqual(method, luaT_gettmbyobj(L, b, event))) return null;
      const result = newValue(0, null);
      call(L, method, a, b, result, 1);
      return !result.l_isfalse();
    },

    luaT_gettmbyobj(L: LuaState, value: TValue, event: number): TValue {
      if (event === TMS.TM_CALL && value.ttistable() && parts.inLoop(L)) return parts.walkTable;
      return luaT_gettmbyobj(L, value, event);
    },

    /** The minus sign has one operand; a number to the left of `..` has become a string when __concat gets it. */
    luaT_trybinTM(L: LuaState, a: TValue, b: TValue, result: TValue, event: number): void {
      if (event === TMS.TM_CONCAT && parts.isNumber(a)) parts.numberToString(L, a);
      luaT_trybinTM(L, a, event === TMS.TM_UNM ? parts.nil : b, result, event);
    },

    /** A field __name means nothing. */
    luaT_objtypename: (_L: LuaState, value: TValue) => ttypename(value.ttnov()),
  };
}
