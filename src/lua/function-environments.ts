/**
 * getfenv and setfenv. Every compiled function keeps its environment in an
 * upvalue of its own making (./prototype.ts), so what is set here concerns one
 * closure and those that it makes afterwards, as in 5.0. Native functions are
 * shared by all environments: theirs is the thread's table of globals, and
 * nobody can set it.
 */
import { checkTable, typeAt } from "./arguments.ts";
import { taskOf } from "./budget.ts";
import { frameAt } from "./frames.ts";
import { argError, isAbsent, optInteger, raise } from "./native.ts";
import {
  environmentIndex,
  type LClosure,
  LUA,
  type LuaState,
  lua_pushnil,
  lua_tonumberx,
  type Native,
  newValue,
  pushSlot,
  rawGet,
  slotAt,
  type Table,
  type TValue,
} from "./vm.ts";

/** The function that argument 1 means: itself, or a level of the call stack. */
function functionAt1(L: LuaState): TValue {
  const given = slotAt(L, 1);
  if (given?.ttisfunction()) return given;
  const level = isAbsent(L, 1) ? 1 : optInteger(L, 1, 1);
  if (level < 0) argError(L, 1, "level must be non-negative");
  const frame = frameAt(L, level);
  if (frame === undefined) return argError(L, 1, "invalid level");
  if (frame === "tail") return raise(L, `no function environment for tail call at level ${level}`);
  return frame.func;
}

/** The slot that holds a Lua function's environment; undefined for native ones. */
function environmentSlot(fn: TValue): { closure: LClosure; index: number } | undefined {
  if (!fn.ttisLclosure()) return undefined;
  const closure = fn.value as LClosure;
  return { closure, index: environmentIndex(closure.p) };
}

function environmentOf(L: LuaState, fn: TValue): Table | null {
  const slot = environmentSlot(fn);
  return slot === undefined ? L.globals : (slot.closure.upvals[slot.index]!.value as Table);
}

function getfenv(L: LuaState): number {
  const table = environmentOf(L, functionAt1(L));
  if (table === null) lua_pushnil(L);
  else pushSlot(L, rawGet(table, "__fenv") ?? newValue(LUA.TABLE, table));
  return 1;
}

function setfenv(L: LuaState): number {
  const table = checkTable(L, 2);
  const fn = functionAt1(L);
  const current = environmentOf(L, fn);
  if (current !== null && rawGet(current, "__fenv") !== undefined)
    raise(L, "`setfenv' cannot change a protected environment");
  const slot = environmentSlot(fn);
  if (typeAt(L, 1) !== LUA.FUNCTION && lua_tonumberx(L, 1) === 0) setGlobals(L, table);
  else if (slot === undefined) raise(L, "`setfenv' cannot change environment of given function");
  // Closures made earlier share the old slot; they keep it.
  else slot.closure.upvals[slot.index] = newValue(LUA.TABLE, table);
  return 0;
}

/** The callback's own thread stands for 5.0's main thread, whose globals outlive the call. */
function setGlobals(L: LuaState, table: Table): void {
  const task = taskOf(L);
  L.globals = table;
  if (task !== null && task.thread === L) task.session.globals = table;
}

export const environmentFunctions: Record<string, Native> = { getfenv, setfenv };
