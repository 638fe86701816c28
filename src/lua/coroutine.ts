/**
 * The coroutine library of Lua 5.0.
 *
 * A coroutine that waits for the host, or makes room for others, yields through
 * resume: the thread that resumed it yields too, up to the host, and all of them
 * go on when the host resumes the callback. Scripts see nothing of it.
 * Instructions are counted on, not anew, when execution passes to another
 * thread, so that no chain of short coroutines escapes the budget.
 */
import { charge, type Task, taskOf, watch } from "./budget.ts";
import { where } from "./frames.ts";
import { argError, cannotWait, raise, Wait, yieldToHost } from "./native.ts";
import { broken } from "./protect.ts";
import {
  BROKEN,
  LUA,
  type LuaState,
  lua_checkstack,
  lua_error,
  lua_gettop,
  lua_insert,
  lua_iscfunction,
  lua_isyieldable,
  lua_pop,
  lua_pushboolean,
  lua_pushcclosure,
  lua_pushvalue,
  lua_resume,
  lua_tothread,
  lua_type,
  lua_xmove,
  lua_yieldk,
  type Native,
  newThread,
  newValue,
  pushSlot,
  pushText,
  slotAt,
  slotText,
  upvalueIndex,
} from "./vm.ts";

const STEPS_TO_CREATE = 100;
const STEPS_TO_RESUME = 20;

/** A resume under way: which thread, and what to do with what it gives. */
interface Resumption {
  readonly thread: LuaState;
  readonly done: (L: LuaState, results: number) => number;
}

function create(L: LuaState): number {
  if (lua_type(L, 1) !== LUA.FUNCTION || lua_iscfunction(L, 1)) argError(L, 1, "Lua function expected");
  charge(L, STEPS_TO_CREATE);
  const thread = newThread();
  thread.task = L.task;
  thread.globals = L.globals;
  watch(thread);
  lua_pushvalue(L, 1);
  lua_xmove(L, thread, 1);
  pushSlot(L, newValue(LUA.THREAD, thread));
  return 1;
}

function wrap(L: LuaState): number {
  create(L);
  lua_pushcclosure(L, callWrapped, 1);
  return 1;
}

function callWrapped(L: LuaState): number {
  const thread = lua_tothread(L, upvalueIndex(1))!;
  return start(L, { thread, done: wrapped }, lua_gettop(L));
}

function wrapped(L: LuaState, results: number): number {
  if (results >= 0) return results;
  const message = slotText(slotAt(L, -1));
  if (message !== undefined) {
    lua_pop(L, 1);
    pushText(L, where(L, 1) + message);
  }
  return lua_error(L);
}

function resume(L: LuaState): number {
  return start(L, { thread: threadAt1(L), done: resumed }, lua_gettop(L) - 1);
}

function resumed(L: LuaState, results: number): number {
  lua_pushboolean(L, results >= 0);
  const count = results >= 0 ? results : 1;
  lua_insert(L, -(count + 1));
  return count + 1;
}

function threadAt1(L: LuaState): LuaState {
  return lua_tothread(L, 1) ?? argError(L, 1, "coroutine expected");
}

function start(L: LuaState, resumption: Resumption, args: number): number {
  const { thread, done } = resumption;
  charge(L, STEPS_TO_RESUME);
  if (!lua_checkstack(thread, args)) raise(L, "too many arguments to resume");
  const refusal = whyNot(thread);
  if (refusal !== "") {
    pushText(L, refusal);
    return done(L, -1);
  }
  lua_xmove(L, thread, args);
  return run(L, resumption, args);
}

function whyNot(thread: LuaState): string {
  const unused = thread.status === LUA.OK && thread.ci === thread.base_ci;
  // One that waits for the host does so inside another resume.
  if (thread.wait !== null || (thread.status === LUA.OK && !unused))
    return "cannot resume non-suspended coroutine";
  if (unused ? lua_gettop(thread) === 0 : thread.status !== LUA.YIELD) return "cannot resume dead coroutine";
  return "";
}

function run(L: LuaState, resumption: Resumption, args: number): number {
  const { thread, done } = resumption;
  let given = args;
  for (;;) {
    thread.task = L.task;
    thread.hookcount = L.hookcount;
    const status = lua_resume(thread, L, given);
    L.hookcount = Math.max(1, thread.hookcount);
    if (status === BROKEN) broken(L);
    if (status === LUA.YIELD && thread.wait !== null) {
      waitForThread(L, resumption, thread.wait);
      given = 0;
      continue;
    }
    if (status !== LUA.OK && status !== LUA.YIELD) {
      lua_checkstack(L, 1);
      lua_xmove(thread, L, 1);
      return done(L, -1);
    }
    const results = lua_gettop(thread);
    if (!lua_checkstack(L, results + 1)) raise(L, "too many results to resume");
    lua_xmove(thread, L, results);
    return done(L, results);
  }
}

/** Yields on the thread's behalf; comes back only where that is impossible. */
function waitForThread(L: LuaState, resumption: Resumption, wait: object): void {
  if (lua_isyieldable(L)) yieldToHost(L, wait, resumption, waited);
  resumption.thread.wait = null;
  if (wait instanceof Wait) wait.fail(cannotWait(wait.promise));
}

function waited(L: LuaState, _status: number, resumption: Resumption): number {
  resumption.thread.wait = null;
  return run(L, resumption, 0);
}

function yieldValues(L: LuaState): number {
  if ((taskOf(L) as Task).thread === L) raise(L, "attempt to yield across metamethod/C-call boundary");
  lua_yieldk(L, lua_gettop(L), null, null);
  return 0;
}

function status(L: LuaState): number {
  const thread = threadAt1(L);
  if (thread === L) pushText(L, "running");
  else pushText(L, whyNot(thread) === "cannot resume dead coroutine" ? "dead" : "suspended");
  return 1;
}

export const coroutineFunctions: Record<string, Native> = {
  create,
  wrap,
  resume,
  yield: yieldValues,
  status,
};
