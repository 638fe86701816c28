/**
 * Weak tables (metafield __mode). JavaScript collects the garbage itself and
 * tells nobody what a Lua table alone still holds, so an environment that has
 * weak tables finds out as Lua's own collector does: it marks what its globals
 * and threads reach, and takes what is not marked out of them.
 *
 * That happens at collectgarbage() and now and then while the script runs, and
 * is paid for by the script: a step for each thing marked. Environments without
 * weak tables pay nothing. Nothing else is ever collected here.
 */
import { charge, type Task } from "./budget.ts";
import {
  type LClosure,
  LUA,
  type LuaState,
  newValue,
  rawGet,
  removeEntry,
  slotText,
  type Table,
  TableClass,
  type TValue,
  ValueClass,
} from "./vm.ts";
import type { TableEntry } from "./vm-types.ts";

/** Steps of the script between two sweeps at the least; more when there is much to mark. */
const STEPS_BETWEEN = 500_000;
const STEPS_FOR_EACH_MARKED = 20;

interface NativeClosure {
  readonly upvalue: TValue[];
}

interface Userdata {
  readonly metatable: Table | null;
  readonly uservalue: TValue;
}

export class WeakTables {
  /** There is one, as far as is known. */
  #any = false;
  #due = 0;

  /** Told of every metatable that is set. */
  noticed(metatable: Table): void {
    if (!this.#any && modeOf(metatable) !== undefined) this.#any = true;
  }

  /** A good moment to sweep, if it is time. */
  tick(L: LuaState, task: Task): void {
    if (this.#any && task.steps >= this.#due) this.sweep(L, task);
  }

  /** Takes out of the weak tables what nothing else holds. */
  sweep(L: LuaState, task: Task): void {
    if (!this.#any) return;
    const marker = new Marker(L);
    const { session } = task;
    marker.table(session.globals);
    for (const { thread } of session.tasks) marker.thread(thread);
    marker.thread(L);
    for (const state of session.library.values()) marker.hostState(state);
    marker.run();
    for (const table of marker.weak) marker.sweep(table);
    this.#any = marker.weak.length > 0;
    this.#due = task.steps + Math.max(STEPS_BETWEEN, marker.count * STEPS_FOR_EACH_MARKED);
  }
}

function modeOf(metatable: Table | null): string | undefined {
  return metatable === null ? undefined : slotText(rawGet(metatable, "__mode"));
}

class Marker {
  /** Weak tables met on the way. */
  readonly weak: Table[] = [];
  count = 0;
  readonly #L: LuaState;
  readonly #marked = new Set<object>();
  readonly #todo: (() => void)[] = [];
  readonly #tables: Table[] = [];

  constructor(L: LuaState) {
    this.#L = L;
  }

  run(): void {
    for (;;) {
      const table = this.#tables.pop();
      if (table !== undefined) this.#contents(table);
      else {
        const next = this.#todo.pop();
        if (next === undefined) return;
        next();
      }
    }
  }

  table(table: Table | null): void {
    if (table !== null && this.#first(table)) this.#tables.push(table);
  }

  thread(thread: LuaState): void {
    if (!this.#first(thread)) return;
    this.table(thread.globals);
    // Above the top there are only leftovers, but for a Lua function's own variables.
    const end = Math.max(thread.top, thread.ci.callstatus & LUA_FRAME ? thread.ci.top : 0);
    for (let i = 0; i < end; i++) this.value(thread.stack[i]);
    for (let ci: LuaState["ci"] | null = thread.ci; ci !== null; ci = ci.previous) this.value(ci.func);
  }

  /** What a library keeps: tables and values one level down. */
  hostState(state: unknown): void {
    if (typeof state !== "object" || state === null) return;
    for (const part of Object.values(state)) {
      if (part instanceof TableClass) this.table(part as Table);
      else if (part instanceof ValueClass) this.value(part as TValue);
    }
  }

  value(slot: TValue | undefined): void {
    if (slot === undefined || !isObject(slot)) return;
    const object = slot.value as object;
    const type = slot.type & 0x0f;
    if (type === LUA.TABLE) this.table(object as Table);
    else if (type === LUA.THREAD) this.#todo.push(() => this.thread(object as LuaState));
    else if (this.#first(object)) this.#parts(slot, object);
  }

  #parts(slot: TValue, object: object): void {
    if ((slot.type & 0x0f) === LUA.USERDATA) {
      const { metatable, uservalue } = object as Userdata;
      this.table(metatable);
      this.value(uservalue);
      return;
    }
    const upvalues = slot.ttisLclosure() ? (object as LClosure).upvals : (object as NativeClosure).upvalue;
    this.#todo.push(() => {
      for (const upvalue of upvalues) this.value(upvalue);
    });
  }

  #contents(table: Table): void {
    this.table(table.metatable);
    const mode = modeOf(table.metatable);
    const weakKeys = mode?.includes("k") ?? false;
    const weakValues = mode?.includes("v") ?? false;
    if (weakKeys || weakValues) this.weak.push(table);
    for (let entry = table.f; entry !== undefined; entry = entry.n) {
      if (!weakKeys) this.value(entry.key);
      if (!weakValues) this.value(entry.value);
    }
    charge(this.#L, table.strong.size);
  }

  /** Removes the entries of a weak table whose key or value has no mark; strings and the like are values and stay. */
  sweep(table: Table): void {
    const gone: TableEntry[] = [];
    for (let entry = table.f; entry !== undefined; entry = entry.n)
      if (this.#lost(entry.key) || this.#lost(entry.value)) gone.push(entry);
    for (const entry of gone) removeEntry(this.#L, table, newValue(entry.key.type, entry.key.value));
  }

  #lost(slot: TValue): boolean {
    return isObject(slot) && !this.#marked.has(slot.value as object);
  }

  #first(object: object): boolean {
    if (this.#marked.has(object)) return false;
    this.#marked.add(object);
    if (++this.count % 1000 === 0) charge(this.#L, 1000);
    return true;
  }
}

const LUA_FRAME = 1 << 1;

/** Whether a value can be collected: native functions without upvalues are shared by all and never are. */
function isObject(slot: TValue): boolean {
  switch (slot.type & 0x0f) {
    case LUA.TABLE:
    case LUA.USERDATA:
    case LUA.THREAD:
      return true;
    case LUA.FUNCTION:
      return slot.type !== LUA.TAG_NATIVE;
    default:
      return false;
  }
}
