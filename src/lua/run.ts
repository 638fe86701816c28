/**
 * One run of a callback, from its call to its end: resumes the callback's
 * thread, and between turns either lets others run or waits for a promise. It
 * ends exactly once: with results, a Lua error, a spent budget, a closed
 * environment, or a bug of ours. Nothing here blocks.
 */
import type { Breach } from "./breach.ts";
import { type Task, TURN, TURN_MS } from "./budget.ts";
import { fromLua } from "./convert.ts";
import { ScriptError } from "./errors.ts";
import { currentLine, traceback } from "./frames.ts";
import type { Wait } from "./native.ts";
import type { LuaValue } from "./values.ts";
import {
  BROKEN,
  LUA,
  type LuaState,
  lua_gettop,
  lua_resume,
  lua_type,
  lua_typename,
  slotAt,
  slotText,
  type Table,
  textOfBytes,
} from "./vm.ts";

/** What a run asks of its environment. */
export interface RunOwner {
  readonly scriptName: string;
  /** The metatable of strings while this environment runs. */
  readonly stringMetatable: Table | null;
  /** The run has ended; `clean` when its thread can be used again. */
  ended(run: Run, clean: boolean): void;
}

export class Run {
  readonly task: Task;
  readonly callback: string;
  readonly #owner: RunOwner;
  #done = false;
  /** The machine is inside this run's thread. */
  #inside = false;
  /** When others could run for the last time, as far as this run has seen to it. */
  #sharedAt = performance.now();
  #timer: NodeJS.Timeout | undefined;
  #settle: { resolve(values: LuaValue[]): void; reject(error: unknown): void } | undefined;

  constructor(owner: RunOwner, task: Task, callback: string) {
    this.#owner = owner;
    this.task = task;
    this.callback = callback;
  }

  /** Starts with the function and `args` arguments on the thread's stack. */
  start(args: number): Promise<LuaValue[]> {
    let outcome: Outcome | undefined;
    try {
      outcome = this.#turn(args);
    } catch (error) {
      outcome = this.#end({ error }, false);
    }
    if (outcome === undefined) return new Promise((resolve, reject) => (this.#settle = { resolve, reject }));
    return "values" in outcome ? Promise.resolve(outcome.values) : Promise.reject(outcome.error);
  }

  /** Ends the run from outside. Inside a turn it ends at the next look. */
  stop(breach: Breach): void {
    this.task.breach ??= breach;
    if (!this.#inside && !this.#done) this.#finish({ error: this.#breached(this.task.breach) });
  }

  /** Runs the script until it ends or leaves the machine; undefined in the latter case. */
  #turn(args: number): Outcome | undefined {
    const { task } = this;
    const { thread } = task;
    const { mt } = thread.l_G;
    const outer = mt[LUA.STRING];
    mt[LUA.STRING] = this.#owner.stringMetatable;
    const { monitor, context } = task.session;
    monitor?.enter(context, this.#owner.scriptName, this.callback);
    this.#inside = true;
    task.turnStart = performance.now();
    let status: number;
    try {
      status = lua_resume(thread, null, args);
    } finally {
      this.#inside = false;
      mt[LUA.STRING] = outer;
      monitor?.leave();
      task.cpuMs += performance.now() - task.turnStart;
      // What a helper charges after its wait is no time of ours.
      task.turnStart = Number.POSITIVE_INFINITY;
    }
    if (task.failure !== null) return this.#end({ error: task.failure }, false);
    if (task.breach !== null) return this.#end({ error: this.#breached(task.breach) }, false);
    if (status === BROKEN) return this.#end({ error: new Error("the Lua machine has failed") }, false);
    if (status === LUA.YIELD) return this.#pause(thread);
    if (status !== LUA.OK) return this.#end({ error: this.#luaError(thread) }, false);
    return this.#end(this.#results(thread), true);
  }

  #pause(thread: LuaState): undefined {
    const { wait } = thread;
    thread.wait = null;
    if (wait === TURN) {
      this.#goOnLater();
      return;
    }
    this.#limitWait();
    const waiting = wait as Wait;
    waiting.promise.then(
      (value) => {
        waiting.value = value;
        this.#goOnSoon();
      },
      (error) => {
        waiting.fail(error);
        this.#goOnSoon();
      },
    );
  }

  /** When others have had their turn. */
  #goOnLater(): void {
    setImmediate(() => {
      this.#sharedAt = performance.now();
      this.#goOn();
    });
  }

  /** At once, but for those whose waits end at once, again and again: nobody else would ever run. */
  #goOnSoon(): void {
    if (performance.now() - this.#sharedAt > TURN_MS) this.#goOnLater();
    else this.#goOn();
  }

  #goOn(): void {
    if (this.#done) return;
    try {
      const outcome = this.#turn(0);
      if (outcome !== undefined) this.#deliver(outcome);
    } catch (error) {
      this.#finish({ error });
    }
  }

  /** Someone who waits takes no notice of the clock. */
  #limitWait(): void {
    if (this.#timer !== undefined) return;
    const { task } = this;
    const left = task.started + task.budget.wallMs - performance.now();
    this.#timer = setTimeout(() => this.stop(task.wallBreach()), Math.max(0, left));
  }

  #results(thread: LuaState): Outcome {
    try {
      const values: LuaValue[] = [];
      const count = lua_gettop(thread);
      for (let i = 1; i <= count; i++) values.push(fromLua(slotAt(thread, i)));
      return { values };
    } catch (error) {
      return { error: this.#scriptError("runtime", (error as Error).message, "") };
    }
  }

  #end(outcome: Outcome, clean: boolean): Outcome {
    this.#done = true;
    clearTimeout(this.#timer);
    this.task.over();
    this.#owner.ended(this, clean);
    return outcome;
  }

  #finish(outcome: Outcome): void {
    this.#deliver(this.#end(outcome, false));
  }

  #deliver(outcome: Outcome): void {
    if ("values" in outcome) this.#settle?.resolve(outcome.values);
    else this.#settle?.reject(outcome.error);
  }

  #luaError(thread: LuaState): ScriptError {
    const type = textOfBytes(lua_typename(thread, lua_type(thread, -1)));
    const message = slotText(slotAt(thread, -1)) ?? `(error object is a ${type} value)`;
    return this.#scriptError("runtime", message, traceback(thread));
  }

  #breached(breach: Breach): ScriptError {
    return this.#scriptError(breach.kind, breach.message, traceback(this.task.thread), breach.budget);
  }

  #scriptError(
    kind: ScriptError["details"]["kind"],
    message: string,
    trace: string,
    budget?: string,
  ): ScriptError {
    const named = /^[^:\n]+:(\d+): /.exec(message);
    const line = named === null ? currentLine(this.task.thread) : Number(named[1]);
    const { scriptName: script } = this.#owner;
    const details = { kind, script, callback: this.callback, line, traceback: trace };
    return new ScriptError(message, budget === undefined ? details : { ...details, budget });
  }
}

type Outcome = { readonly values: LuaValue[] } | { readonly error: unknown };
