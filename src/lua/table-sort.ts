/**
 * table.sort as Lua 5.0 sorts: the same quicksort, so that the order of equal
 * elements, the comparisons a script sees, what is left after an error and
 * "invalid order function" agree. Comparison functions and __lt may wait; long
 * sorts let others run.
 */
import { checkFunction, NIL, PAUSE, Toll, typeOf } from "./arguments.ts";
import { charge, generatorNative, isAbsent, type NativeGenerator, type NativeStep, raise } from "./native.ts";
import {
  LUA,
  type LuaState,
  lua_compare,
  lua_pop,
  lua_pushboolean,
  lua_pushcfunction,
  lua_pushvalue,
  lua_settop,
  lua_toboolean,
  newValue,
  pushSlot,
  rawEqual,
  rawGet,
  rawSet,
  slotAt,
  type Table,
  type TString,
  type TValue,
  textOfString,
} from "./vm.ts";

const COMPARE: NativeStep = { call: 2, results: 1 };
/** lua_compare's "less than". */
const LESS = 1;
/** Up to this many elements JavaScript's own sort is over in a few milliseconds. */
const AT_ONCE = 10_000;

/** What a slot holds now; slots of tables change. */
function copyOf(slot: TValue | undefined): TValue {
  return slot === undefined ? NIL : newValue(slot.type, slot.value);
}

/** Sorts the `n` elements of the table at 1, by the function at 2 if there is one. */
export function sort(L: LuaState, n: number): number {
  if (!isAbsent(L, 2)) checkFunction(L, 2);
  lua_settop(L, 2);
  if (n < 2) return 0;
  const t = slotAt(L, 1)!.value as Table;
  if (isAbsent(L, 2) && n <= AT_ONCE && sortPlain(L, t, n)) return 0;
  return generatorNative(function* (L): NativeGenerator {
    yield* new Quicksort(L, t).sort(1, n);
    return 0;
  })(L);
}

/** Numbers alone, or strings alone, in their own order: equal ones cannot be told apart, so any way to sort will do. */
function sortPlain(L: LuaState, t: Table, n: number): boolean {
  const type = typeOf(rawGet(t, 1));
  if (type !== LUA.NUMBER && type !== LUA.STRING) return false;
  const elements: TValue[] = [];
  for (let i = 1; i <= n; i++) {
    const slot = rawGet(t, i);
    if (typeOf(slot) !== type || Number.isNaN(slot!.value)) return false;
    elements.push(copyOf(slot));
  }
  charge(L, n * Math.ceil(Math.log2(n)));
  elements.sort(type === LUA.NUMBER ? byNumber : byText);
  for (let i = 0; i < n; i++) rawSet(L, t, i + 1, elements[i]!);
  return true;
}

function byNumber(a: TValue, b: TValue): number {
  const x = a.value as number;
  const y = b.value as number;
  return x < y ? -1 : x > y ? 1 : 0;
}

function byText(a: TValue, b: TValue): number {
  const x = textOfString(a.value as TString);
  const y = textOfString(b.value as TString);
  return x < y ? -1 : x > y ? 1 : 0;
}

/** Compares two plain values or raises; what __lt does not cover. */
function compareAsLua(L: LuaState): number {
  lua_pushboolean(L, Boolean(lua_compare(L, 1, 2, LESS)));
  return 1;
}

class Quicksort {
  readonly #L: LuaState;
  readonly #table: Table;
  readonly #byFunction: boolean;
  readonly #toll: Toll;

  constructor(L: LuaState, table: Table) {
    this.#L = L;
    this.#table = table;
    this.#byFunction = !isAbsent(L, 2);
    this.#toll = new Toll(L);
  }

  /** Element `i`, as it is now; a wrong order function leads past the ends. */
  #at(i: number): TValue {
    return rawGet(this.#table, i) ?? NIL;
  }

  #swap(i: number, j: number): void {
    const element = copyOf(this.#at(i));
    rawSet(this.#L, this.#table, i, this.#at(j));
    rawSet(this.#L, this.#table, j, element);
  }

  /** Whether x < y; undefined when Lua must be asked: then everything for the call has been pushed. */
  #less(x: TValue, y: TValue): boolean | undefined {
    const L = this.#L;
    if (this.#byFunction) lua_pushvalue(L, 2);
    else {
      const type = typeOf(x);
      if (type === typeOf(y)) {
        if (type === LUA.NUMBER) return (x.value as number) < (y.value as number);
        if (type === LUA.STRING) return textOfString(x.value as TString) < textOfString(y.value as TString);
      }
      // Called directly, a metamethod may wait.
      const method = commonLess(x, y);
      if (method !== undefined) pushSlot(L, method);
      else lua_pushcfunction(L, compareAsLua);
    }
    pushSlot(L, x);
    pushSlot(L, y);
    return undefined;
  }

  #answer(): boolean {
    const answer = lua_toboolean(this.#L, -1);
    lua_pop(this.#L, 1);
    return answer;
  }

  /** Sorts elements `from` to `to`. The steps are those of 5.0's auxsort. */
  *sort(from: number, to: number): Generator<NativeStep, void> {
    let l = from;
    let u = to;
    while (l < u) {
      if (yield* this.#isLess(this.#at(u), this.#at(l))) this.#swap(l, u);
      if (u - l === 1) return;
      const middle = Math.floor((l + u) / 2);
      if (yield* this.#isLess(this.#at(middle), this.#at(l))) this.#swap(middle, l);
      else if (yield* this.#isLess(this.#at(u), this.#at(middle))) this.#swap(middle, u);
      if (u - l === 2) return;
      const pivot = copyOf(this.#at(middle));
      this.#swap(middle, u - 1);
      // Now a[l] <= pivot == a[u - 1] <= a[u]; the elements from l + 1 to u - 2 are to be divided.
      let i = l;
      let j = u - 1;
      for (;;) {
        while (yield* this.#isLess(this.#at(++i), pivot)) if (i > u) this.#complain();
        while (yield* this.#isLess(pivot, this.#at(--j))) if (j < l) this.#complain();
        if (j < i) break;
        this.#swap(i, j);
      }
      this.#swap(u - 1, i);
      // The smaller part first, so that few parts wait.
      if (i - l < u - i) {
        yield* this.sort(l, i - 1);
        l = i + 1;
      } else {
        yield* this.sort(i + 1, u);
        u = i - 1;
      }
    }
  }

  *#isLess(x: TValue, y: TValue): Generator<NativeStep, boolean> {
    if (this.#toll.step()) yield PAUSE;
    const known = this.#less(x, y);
    if (known !== undefined) return known;
    yield COMPARE;
    return this.#answer();
  }

  #complain(): never {
    return raise(this.#L, "invalid order function for sorting");
  }
}

/** The __lt that two tables or userdata share. */
function commonLess(x: TValue, y: TValue): TValue | undefined {
  const type = typeOf(x);
  if (type !== typeOf(y) || (type !== LUA.TABLE && type !== LUA.USERDATA)) return undefined;
  const first = (x.value as Table).metatable;
  const second = (y.value as Table).metatable;
  const method = first && rawGet(first, "__lt");
  const other = second && rawGet(second, "__lt");
  if (!method || !other || !rawEqual(method, other)) return undefined;
  return typeOf(method) === LUA.FUNCTION ? method : undefined;
}
