/**
 * Host functions (./host.ts) as native functions: arguments copied out of Lua,
 * results copied in, a promise waited for without blocking anything, LuaRaise
 * turned into an error that pcall catches. Any other exception is a bug of the
 * host and ends the callback.
 */
import { Breach } from "./breach.ts";
import { type Task, taskOf } from "./budget.ts";
import { fromLua, toLua } from "./convert.ts";
import { currentLine, runningName } from "./frames.ts";
import { type HostCall, type HostFunction, LuaRaise } from "./host.ts";
import { cannotWait, raise, Wait, yieldToHost } from "./native.ts";
import { numberToString, stringToNumber } from "./numbers.ts";
import { type LuaInput, type LuaValue, typeName } from "./values.ts";
import {
  type LuaState,
  lua_checkstack,
  lua_gettop,
  lua_isyieldable,
  type Native,
  pushSlot,
  slotAt,
} from "./vm.ts";

/** Copying a table's entry. */
const STEPS_AN_ENTRY = 10;

class Call implements HostCall {
  readonly args: readonly LuaValue[];
  readonly #task: Task;
  readonly #thread: LuaState;
  readonly #name: string;
  /** While the function has not returned yet, and the machine knows what it was called as. */
  #live = true;

  constructor(L: LuaState, task: Task, name: string) {
    const args: LuaValue[] = [];
    const count = lua_gettop(L);
    let entries = 0;
    const add = (more: number) => {
      entries += more;
    };
    for (let i = 1; i <= count; i++) args.push(fromLua(slotAt(L, i), add));
    if (entries > 0) task.spend(L, entries * STEPS_AN_ENTRY);
    this.args = args;
    this.#task = task;
    this.#thread = L;
    this.#name = name;
  }

  get context(): object {
    return this.#task.session.context;
  }

  get signal(): AbortSignal {
    return this.#task.signal;
  }

  string(position: number): string {
    const value = this.args[position - 1];
    if (typeof value === "string") return value;
    if (typeof value === "number") return numberToString(value);
    return this.#bad(position, "string");
  }

  optionalString(position: number, fallback: string): string {
    return this.args[position - 1] === undefined ? fallback : this.string(position);
  }

  number(position: number): number {
    const value = this.args[position - 1];
    if (typeof value === "number") return value;
    const number = typeof value === "string" ? stringToNumber(value) : undefined;
    return number ?? this.#bad(position, "number");
  }

  optionalNumber(position: number, fallback: number): number {
    return this.args[position - 1] === undefined ? fallback : this.number(position);
  }

  charge(steps: number): void {
    this.#task.spend(this.#thread, steps);
  }

  returned(): void {
    this.#live = false;
  }

  #bad(position: number, expected: string): never {
    const given = position > this.args.length ? "no value" : typeName(this.args[position - 1]);
    const name = this.#live ? runningName(this.#thread)[1] : this.#name;
    throw new LuaRaise(`bad argument #${position} to \`${name}' (${expected} expected, got ${given})`);
  }
}

/** Makes a native function of a host function; `name` is what it is known as when Lua does not tell. */
export function hostNative(name: string, fn: HostFunction): Native {
  return (L) => {
    const task = taskOf(L) as Task;
    task.session.monitor?.at(currentLine(L));
    const call = new Call(L, task, name);
    let results: ReturnType<HostFunction>;
    try {
      results = fn(call);
    } catch (error) {
      return fail(L, error);
    } finally {
      call.returned();
    }
    if (!(results instanceof Promise)) return pushResults(L, results);
    if (!lua_isyieldable(L)) return fail(L, cannotWait(results));
    const wait = new Wait(results);
    return yieldToHost(L, wait, wait, waited);
  };
}

function waited(L: LuaState, _status: number, wait: Wait): number {
  return wait.failed ? fail(L, wait.error) : pushResults(L, wait.value as readonly LuaInput[]);
}

function pushResults(L: LuaState, results: readonly LuaInput[]): number {
  lua_checkstack(L, results.length);
  for (const result of results) pushSlot(L, toLua(L, result));
  return results.length;
}

function fail(L: LuaState, error: unknown): never {
  if (error instanceof LuaRaise) return raise(L, error.message);
  if (error instanceof Breach) taskOf(L)?.throwBreach(L, error);
  throw error;
}
