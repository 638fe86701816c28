/** What the libraries need of arguments and loops beyond ./native.ts. */
import { charge, checkNumber, isAbsent, type NativeStep, typeError } from "./native.ts";
import { LUA, type LuaState, newValue, slotAt, type Table, type TValue } from "./vm.ts";

export const NIL: TValue = newValue(LUA.NIL, null);
export const PAUSE: NativeStep = { pause: true };

/** LUA.NIL, LUA.STRING ...; LUA.NONE where there is no slot. */
export function typeOf(slot: TValue | undefined): number {
  return slot === undefined ? LUA.NONE : slot.type & 0x0f;
}

export function typeAt(L: LuaState, index: number): number {
  return typeOf(slotAt(L, index));
}

export function checkTable(L: LuaState, arg: number): Table {
  const slot = slotAt(L, arg);
  return typeOf(slot) === LUA.TABLE ? (slot!.value as Table) : typeError(L, arg, "table");
}

export function checkFunction(L: LuaState, arg: number): void {
  if (typeAt(L, arg) !== LUA.FUNCTION) typeError(L, arg, "function");
}

/** A number without its fraction, of any size; NaN counts as the lowest of all, as in C's casts. */
export function checkWhole(L: LuaState, arg: number): number {
  const slot = slotAt(L, arg);
  const whole = Math.trunc(typeOf(slot) === LUA.NUMBER ? (slot!.value as number) : checkNumber(L, arg));
  return Number.isNaN(whole) ? Number.NEGATIVE_INFINITY : whole + 0;
}

export function optWhole(L: LuaState, arg: number, fallback: number): number {
  return isAbsent(L, arg) ? fallback : checkWhole(L, arg);
}

/** Counts the turns of a loop and charges them by the thousand, so that an endless one ends. */
export class Toll {
  readonly #L: LuaState;
  #steps = 0;

  constructor(L: LuaState) {
    this.#L = L;
  }

  /** True when it has charged: a good moment to let others run. */
  step(): boolean {
    if (++this.#steps < 1000) return false;
    this.settle();
    return true;
  }

  /** Charges what is left, at the end of the loop. */
  settle(): void {
    const steps = this.#steps;
    this.#steps = 0;
    charge(this.#L, steps);
  }
}
