/** What ends a callback that Lua's own pcall cannot stop from ending. */
import type { LuaState } from "./vm.ts";

export type BreachKind = "budget" | "memory" | "stopped";

/** Thrown through everything a callback has on its stack. `budget` names the limit, e.g. "cpu". */
export class Breach extends Error {
  override name = "Breach";
  readonly kind: BreachKind;
  readonly budget: string;

  constructor(kind: BreachKind, budget: string, message: string) {
    super(message);
    this.kind = kind;
    this.budget = budget;
  }
}

/** Whoever can be ended by one: a running callback. */
export interface Breakable {
  throwBreach(L: LuaState, breach: Breach): never;
}
