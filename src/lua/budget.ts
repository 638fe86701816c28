/**
 * What a callback may use, and what it has used.
 *
 * A Task is one run of a callback. Its counters are fed by the count hook
 * (every SLICE instructions), by charge() from library functions whose work
 * depends on their arguments, and by the machine for strings. A budget that is
 * spent throws a Breach: a JavaScript exception, which Lua's pcall cannot
 * catch. Our own library functions never catch it, and the hook throws it
 * again until the callback is gone.
 */
import { Breach } from "./breach.ts";
import { currentLine } from "./frames.ts";
import type { Session } from "./session.ts";
import { LUA, type LuaState, lua_isyieldable, lua_sethook, lua_yieldk, machine } from "./vm.ts";

/** Limits of one callback. */
export interface Budget {
  /** VM instructions; library functions charge their work in the same unit. */
  readonly instructions: number;
  /** Milliseconds of our own running, waits excluded. */
  readonly cpuMs: number;
  /** Milliseconds from start to end, waits included. */
  readonly wallMs: number;
  /** Bytes of strings made, whether kept or not. */
  readonly stringBytes: number;
  /** Bytes printed. */
  readonly outputBytes: number;
  /** Files open at once in the environment. */
  readonly openFiles: number;
}

/** Instructions between two looks at the clock. */
export const SLICE = 2_500;
/** Looks at the clock for one at memory, which costs ten times as much. */
const LOOKS_FOR_MEMORY = 4;
/** Milliseconds that a callback runs before others get a turn. */
export const TURN_MS = 0.4;

/** A thread's `wait` when it has only made room for others. */
export const TURN = { turn: true } as const;

export class Task {
  readonly session: Session;
  readonly budget: Budget;
  /** The callback's own thread; coroutines of the script run on others. */
  readonly thread: LuaState;
  steps = 0;
  stringBytes = 0;
  outputBytes = 0;
  /** CPU milliseconds of the turns that are over. */
  cpuMs = 0;
  turnStart = 0;
  /** On the clock of performance.now(). */
  readonly started = performance.now();
  breach: Breach | null = null;
  /** An exception that is neither Lua's nor a breach: a bug of ours. */
  failure: unknown = null;
  /** The thread whose hook runs before its slice is over, and is not to count the slice. */
  early: LuaState | null = null;
  #nextLook = SLICE;
  #looks = 0;
  #lastLook = 0;
  #controller: AbortController | undefined;
  #over = false;

  constructor(session: Session, budget: Budget, thread: LuaState) {
    this.session = session;
    this.budget = budget;
    this.thread = thread;
  }

  /** Aborted when the callback is over, however it ends. */
  get signal(): AbortSignal {
    this.#controller ??= new AbortController();
    if (this.#over) this.#controller.abort();
    return this.#controller.signal;
  }

  /** Tells those who still work for the callback that nobody waits for them. */
  over(): void {
    this.#over = true;
    this.#controller?.abort();
  }

  /** Adds `steps`; now and then compares everything with the limits. */
  spend(L: LuaState, steps: number): void {
    this.steps += steps;
    if (this.steps < this.#nextLook) return;
    this.#nextLook = this.steps + SLICE;
    this.look(L);
    if (!this.turnOver) return;
    // Let others run at the next instruction. What the hook would have counted by
    // then is counted now.
    this.steps += L.basehookcount - L.hookcount;
    L.hookcount = 1;
    this.early = L;
  }

  /** Throws when a limit has been passed. */
  look(L: LuaState): void {
    if (this.breach !== null) this.throwBreach(L, this.breach);
    const { budget } = this;
    if (this.steps > budget.instructions)
      this.exceed(L, "instructions", `more than ${budget.instructions} instructions`);
    const now = performance.now();
    if (now - this.started > budget.wallMs) this.throwBreach(L, this.wallBreach());
    const cpuMs = this.cpuMs + now - this.turnStart;
    if (cpuMs > budget.cpuMs) this.exceed(L, "cpu", `more than ${budget.cpuMs} ms of CPU time`);
    this.#lastLook = now;
    if (++this.#looks % LOOKS_FOR_MEMORY === 0) this.session.memory.look(this, L);
  }

  /** At the last look, the callback had run for long enough. */
  get turnOver(): boolean {
    return this.#lastLook - this.turnStart > TURN_MS;
  }

  wallBreach(): Breach {
    return new Breach("budget", "wall", `budget exceeded: more than ${this.budget.wallMs} ms`);
  }

  spendString(L: LuaState, bytes: number): void {
    const { session, budget } = this;
    if (bytes > session.maxStringBytes)
      this.throwBreach(
        L,
        new Breach("memory", "string", `a string of ${bytes} bytes (limit ${session.maxStringBytes})`),
      );
    this.stringBytes += bytes;
    if (this.stringBytes > budget.stringBytes)
      this.exceed(L, "string", `more than ${budget.stringBytes} bytes of strings`);
    session.memory.made(this, L, bytes);
    this.spend(L, bytes >>> 6);
  }

  spendOutput(L: LuaState, bytes: number): void {
    this.outputBytes += bytes;
    if (this.outputBytes > this.budget.outputBytes)
      this.exceed(L, "output", `more than ${this.budget.outputBytes} bytes printed`);
    this.spend(L, bytes >>> 4);
  }

  exceed(L: LuaState, budget: string, what: string): never {
    return this.throwBreach(L, new Breach("budget", budget, `budget exceeded: ${what}`));
  }

  throwBreach(L: LuaState, breach: Breach): never {
    this.breach ??= breach;
    // Should anything catch it after all, the next instruction throws again.
    L.allowhook = 1;
    L.hookcount = 1;
    L.basehookcount = 1;
    throw this.breach;
  }
}

/** The running callback; null only while the machine itself is set up. */
export function taskOf(L: LuaState): Task | null {
  return L.task as Task | null;
}

/** Charges `steps` instructions to the running callback. Throws the breach when its budget is spent. */
export function charge(L: LuaState, steps: number): void {
  (L.task as Task | null)?.spend(L, steps);
}

/** Makes `L` count its instructions. Coroutines get the hook from the thread that creates them. */
export function watch(L: LuaState): void {
  lua_sethook(L, hook, LUA.MASKCOUNT, SLICE);
}

function hook(L: LuaState): void {
  const task = L.task as Task | null;
  if (task === null) return;
  if (task.early === L) task.early = null;
  else task.steps += SLICE;
  task.session.monitor?.at(currentLine(L));
  task.look(L);
  task.session.weakTables.tick(L, task);
  if (task.turnOver && lua_isyieldable(L)) {
    L.wait = TURN;
    lua_yieldk(L, 0, null, null);
  }
}

machine.onWork = charge;
machine.onString = (L, bytes) => (L.task as Task | null)?.spendString(L, bytes);
