/**
 * pcall and xpcall, and what becomes of JavaScript exceptions inside Lua.
 *
 * Lua errors are caught here; a Breach never is. Both functions let the
 * protected call wait: an error then comes back through the continuation.
 */
import { Breach } from "./breach.ts";
import { type Task, taskOf } from "./budget.ts";
import { where } from "./frames.ts";
import { LuaRaise } from "./host.ts";
import { argError } from "./native.ts";
import {
  caughtException,
  LUA,
  type LuaState,
  lua_checkstack,
  lua_gettop,
  lua_insert,
  lua_pcallk,
  lua_pushboolean,
  lua_pushvalue,
  lua_replace,
  lua_settop,
  lua_type,
  MachineError,
  type Native,
  onException,
  pushText,
} from "./vm.ts";

/** In 5.0 a handler that keeps failing is called until the C stack is full. */
const HANDLER_TRIES = 200;

/** A call that ended without Lua's doing ends everything else too. */
function rethrow(L: LuaState): void {
  // fengari leaves hooks off after an error that came back through a continuation.
  L.allowhook = 1;
  const task = taskOf(L);
  if (task?.breach) task.throwBreach(L, task.breach);
  if (task?.failure) throw task.failure;
}

/** For threads that a JavaScript exception has ended. */
export function broken(L: LuaState): never {
  rethrow(L);
  throw new Error("the Lua machine has failed");
}

function pcall(L: LuaState): number {
  if (lua_type(L, 1) === LUA.NONE) argError(L, 1, "value expected");
  return pcallDone(L, lua_pcallk(L, lua_gettop(L) - 1, LUA.MULTRET, 0, null, pcallDone));
}

function pcallDone(L: LuaState, status: number): number {
  rethrow(L);
  lua_checkstack(L, 1);
  lua_pushboolean(L, status === LUA.OK || status === LUA.YIELD);
  lua_insert(L, 1);
  return lua_gettop(L);
}

/** The handler runs when the failed call has been left, so that it may wait too. */
function xpcall(L: LuaState): number {
  if (lua_type(L, 2) === LUA.NONE) argError(L, 2, "value expected");
  lua_settop(L, 2);
  lua_insert(L, 1);
  return xpcallDone(L, lua_pcallk(L, 0, LUA.MULTRET, 0, null, xpcallDone));
}

function xpcallDone(L: LuaState, status: number): number {
  rethrow(L);
  lua_checkstack(L, 2);
  if (status === LUA.OK || status === LUA.YIELD) {
    lua_pushboolean(L, true);
    lua_replace(L, 1);
    return lua_gettop(L);
  }
  return handle(L, { left: status === LUA.ERRRUN ? HANDLER_TRIES : 0 });
}

/** Handler at 1, error on top: gives false and what the handler makes of the error. */
function handle(L: LuaState, tries: { left: number }): number {
  for (;;) {
    if (tries.left-- <= 0 || lua_type(L, 1) !== LUA.FUNCTION) {
      lua_settop(L, 1);
      lua_pushboolean(L, false);
      pushText(L, "error in error handling");
      return 2;
    }
    lua_pushvalue(L, 1);
    lua_insert(L, -2);
    const status = lua_pcallk(L, 1, 1, 0, tries, handled);
    if (status === LUA.OK) return handlerDone(L);
    rethrow(L);
  }
}

function handled(L: LuaState, status: number, tries: { left: number }): number {
  rethrow(L);
  return status === LUA.YIELD ? handlerDone(L) : handle(L, tries);
}

function handlerDone(L: LuaState): number {
  lua_pushboolean(L, false);
  lua_insert(L, -2);
  return 2;
}

/**
 * Called where the machine has caught a JavaScript exception: leaves the Lua
 * error that it stands for, or notes it in the task and throws it on.
 */
function fromException(L: LuaState): number {
  const error = caughtException(L);
  if (error instanceof LuaRaise || error instanceof MachineError) {
    pushText(L, (where(L, 1) || where(L, 2)) + error.message);
    return 1;
  }
  if (error instanceof RangeError && /call stack/i.test(error.message)) {
    pushText(L, `${where(L, 1) || where(L, 2)}stack overflow`);
    return 1;
  }
  note(taskOf(L), error);
  throw error;
}

function note(task: Task | null, error: unknown): void {
  if (task === null) return;
  if (error instanceof Breach) task.breach ??= error;
  else if (error instanceof RangeError && /alloc|length|maximum size/i.test(error.message))
    task.breach ??= new Breach("memory", "memory", `not enough memory (${error.message})`);
  else task.failure ??= error;
}

onException(fromException);

export const protectFunctions: Record<string, Native> = { pcall, xpcall };
