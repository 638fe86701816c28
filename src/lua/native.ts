/**
 * How library functions are written: arguments checked with Lua 5.0's own
 * messages, strings in and out as byte strings, and generators for those that
 * call back into Lua or wait.
 *
 * A generator native yields steps. Lua that it calls may itself wait or make
 * room for others: the machine's stack is left and entered again in between,
 * the generator goes on where it was. When the Lua it calls raises an error,
 * the generator is simply never resumed, so it must not count on `finally`.
 */

import { TURN } from "./budget.ts";
import { runningName, where } from "./frames.ts";
import { LuaRaise } from "./host.ts";
import { numberToString } from "./numbers.ts";
import {
  LUA,
  type LuaState,
  lua_callk,
  lua_error,
  lua_isyieldable,
  lua_tonumberx,
  lua_type,
  lua_typename,
  lua_yieldk,
  type Native,
  pushOwnedBytes,
  pushText,
  slotAt,
  type TString,
  textOfBytes,
  textOfString,
} from "./vm.ts";

export { charge } from "./budget.ts";
export { openResource, sessionOf } from "./resources.ts";
export type { Session } from "./session.ts";
export type { LuaState, Native } from "./vm.ts";

export type NativeStep =
  /** Calls the function below the `call` arguments on top of the stack; its `results` (-1: all) are there afterwards. */
  | { readonly call: number; readonly results: number }
  /** Waits; the generator gets the promise's value, or its rejection thrown. */
  | { readonly wait: Promise<unknown> }
  /** Lets other sessions run, in long work. */
  | { readonly pause: true };

// biome-ignore lint/suspicious/noExplicitAny: what a wait gives is the generator's own business
export type NativeGenerator = Generator<NativeStep, number, any>;

/** What a thread that waits shows to whoever resumed it (LuaState.wait). */
export class Wait {
  readonly promise: Promise<unknown>;
  value: unknown = undefined;
  error: unknown = undefined;
  failed = false;

  constructor(promise: Promise<unknown>) {
    this.promise = promise;
  }

  fail(error: unknown): void {
    this.failed = true;
    this.error = error;
  }
}

interface Run {
  readonly generator: NativeGenerator;
  wait: Wait | undefined;
}

/** Makes a function of the C API out of a generator. */
export function generatorNative(fn: (L: LuaState) => NativeGenerator): Native {
  return (L) => drive(L, { generator: fn(L), wait: undefined });
}

function goOn(L: LuaState, _status: number, run: Run): number {
  return drive(L, run);
}

function drive(L: LuaState, run: Run): number {
  for (;;) {
    const step = advance(L, run);
    if (step.done) return step.value;
    const todo = step.value;
    if ("call" in todo) {
      // With a continuation, the call may leave this stack for good and come back through goOn.
      lua_callk(L, todo.call, todo.results, run, goOn);
    } else if ("wait" in todo) {
      run.wait = new Wait(todo.wait);
      if (lua_isyieldable(L)) yieldToHost(L, run.wait, run, goOn);
      run.wait.fail(cannotWait(todo.wait));
    } else if (lua_isyieldable(L)) yieldToHost(L, TURN, run, goOn);
  }
}

function advance(L: LuaState, run: Run): IteratorResult<NativeStep, number> {
  const { generator, wait } = run;
  run.wait = undefined;
  try {
    if (wait?.failed) return generator.throw(wait.error);
    return generator.next(wait?.value);
  } catch (error) {
    if (error instanceof LuaRaise) return raise(L, error.message);
    throw error;
  }
}

/** The error of a wait where the machine cannot be left; the promise's own end no longer matters. */
export function cannotWait(promise: Promise<unknown>): LuaRaise {
  promise.catch(() => {});
  return new LuaRaise("attempt to wait across metamethod/C-call boundary");
}

/** Leaves the machine until the host resumes the thread, then goes on in `k`. Never returns. */
export function yieldToHost<T>(
  L: LuaState,
  reason: object,
  context: T,
  k: (L: LuaState, status: number, context: T) => number,
): never {
  L.wait = reason;
  lua_yieldk(L, 0, context, k);
  throw new Error("unreachable");
}

// ---------------------------------------------------------------- results

/** Pushes a byte string, or bytes, which nobody may change afterwards. */
export function pushBytes(L: LuaState, s: string | Uint8Array): void {
  if (typeof s === "string") pushText(L, s);
  else pushOwnedBytes(L, s);
}

// ---------------------------------------------------------------- errors

/** Raises `message` with the position of the calling Lua function in front. */
export function raise(L: LuaState, message: string): never {
  pushText(L, where(L, 1) + message);
  return lua_error(L);
}

/** "bad argument #1 to `f' (message)". */
export function argError(L: LuaState, arg: number, message: string): never {
  const [kind, name] = runningName(L);
  if (kind !== "method") return raise(L, `bad argument #${arg} to \`${name}' (${message})`);
  if (arg === 1) return raise(L, `calling \`${name}' on bad self (${message})`);
  return raise(L, `bad argument #${arg - 1} to \`${name}' (${message})`);
}

/** "bad argument #1 to `f' (string expected, got nil)". */
export function typeError(L: LuaState, arg: number, expected: string): never {
  return argError(L, arg, `${expected} expected, got ${typeNameAt(L, arg)}`);
}

/** "no value" where there is no such argument. */
export function typeNameAt(L: LuaState, index: number): string {
  return textOfBytes(lua_typename(L, lua_type(L, index)));
}

// ---------------------------------------------------------------- arguments

/** Whether the argument is absent or nil. */
export function isAbsent(L: LuaState, arg: number): boolean {
  return lua_type(L, arg) <= LUA.NIL;
}

/** Raises unless there is an argument, nil included. */
export function checkAny(L: LuaState, arg: number): void {
  if (lua_type(L, arg) === LUA.NONE) argError(L, arg, "value expected");
}

/** A string or number argument as a byte string; the argument itself stays as it is. */
export function checkBytes(L: LuaState, arg: number): string {
  return toText(L, arg) ?? typeError(L, arg, "string");
}

export function optBytes<T>(L: LuaState, arg: number, fallback: T): string | T {
  return isAbsent(L, arg) ? fallback : checkBytes(L, arg);
}

/** The byte string of a string or number at a stack position, else undefined. */
export function toText(L: LuaState, index: number): string | undefined {
  const slot = slotAt(L, index);
  if (slot === undefined) return undefined;
  if (slot.ttisstring()) return textOfString(slot.value as TString);
  return (slot.type & 0x0f) === LUA.NUMBER ? numberToString(slot.value as number) : undefined;
}

/** A string or number argument as bytes. Do not change them. */
export function checkByteArray(L: LuaState, arg: number): Uint8Array {
  const slot = slotAt(L, arg);
  if (slot?.ttisstring()) return (slot.value as TString).getstr();
  return Buffer.from(checkBytes(L, arg), "latin1");
}

/** A number argument; strings are converted. */
export function checkNumber(L: LuaState, arg: number): number {
  const number = lua_tonumberx(L, arg);
  return number === false ? typeError(L, arg, "number") : number;
}

export function optNumber(L: LuaState, arg: number, fallback: number): number {
  return isAbsent(L, arg) ? fallback : checkNumber(L, arg);
}

/** A number argument without its fraction, as a C integer gets it; NaN and what is out of range become -2^31. */
function checkInteger(L: LuaState, arg: number): number {
  return toInteger(checkNumber(L, arg));
}

export function optInteger(L: LuaState, arg: number, fallback: number): number {
  return isAbsent(L, arg) ? fallback : checkInteger(L, arg);
}

/** C's (int) of a double, as x86 does it. */
function toInteger(n: number): number {
  const whole = Math.trunc(n);
  return whole >= -2147483648 && whole <= 2147483647 ? whole + 0 : -2147483648;
}
