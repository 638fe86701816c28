/** The machine's own error messages in Lua 5.0's words. */
import { toBytes } from "../bytes.ts";
import { LuaString, textOf } from "./lua-string.ts";
import type { LClosure, LuaState, TString, TValue } from "./vm-types.ts";

export interface ErrorParts {
  /** fengari's functions: both raise, with position where there is one. */
  runError(L: LuaState, format: Uint8Array, ...args: unknown[]): void;
  typeError(L: LuaState, value: TValue, operation: Uint8Array): void;
  typeName(L: LuaState, value: TValue): Uint8Array;
  isText(value: TValue): boolean;
  isNumeric(value: TValue): boolean;
  /** Whether the running instruction asks a loop's iterator for the next value. */
  inLoop(L: LuaState): boolean;
  /** The instruction that fails has done the work of `steps`. */
  work(L: LuaState, steps: number): void;
}

const WORDING: ReadonlyMap<string, string> = new Map([
  ["'for' limit must be a number", "`for' limit must be a number"],
  ["'__index' chain too long; possible loop", "loop in gettable"],
  ["'__newindex' chain too long; possible loop", "loop in settable"],
  ["JS stack overflow", "C stack overflow"],
  ["attempt to yield across a JS-call boundary", "attempt to yield across metamethod/C-call boundary"],
  ["attempt to yield from outside a coroutine", "attempt to yield across metamethod/C-call boundary"],
]);
/** 5.0 subtracts the step from the start before the loop, and stumbles there: the operand's place from the loop's base. */
const FOR_ARITHMETIC: ReadonlyMap<string, number> = new Map([
  ["'for' initial value must be a number", 0],
  ["'for' step must be a number", 2],
]);
/** A metatable's chain is followed this far. */
const CHAIN_STEPS = 2000;

/** "attempt to index a nil value (local 'x')" becomes "attempt to index local `x' (a nil value)". */
const NAMED_VALUE = /attempt to (.+?) a (\S+) value \((\w[\w ]*) '(.*)'\)$/s;
const KINDS = new Set(["global", "local", "field", "method"]);

export function makeErrors(parts: ErrorParts) {
  function raiseTypeError(L: LuaState, value: TValue, operation: Uint8Array): never {
    try {
      parts.typeError(L, value, operation);
    } catch (error) {
      const top = L.stack[L.top - 1];
      if (top?.ttisstring())
        top.value = new LuaString(reword(L, textOf((top.value as TString).getstr())), null);
      throw error;
    }
    throw new Error("unreachable");
  }

  function reword(L: LuaState, text: string): string {
    const named = NAMED_VALUE.exec(text);
    if (named === null) return text;
    const [all, doing, type, kind, name] = named;
    const known = KINDS.has(kind!) && !name!.startsWith("(") && !parts.inLoop(L);
    const value = known ? `${kind} \`${name}' (a ${type} value)` : `a ${type} value`;
    return `${text.slice(0, text.length - all.length)}attempt to ${doing} ${value}`;
  }

  return {
    luaG_runerror(L: LuaState, format: Uint8Array, ...args: unknown[]): void {
      const text = textOf(format);
      const at = FOR_ARITHMETIC.get(text);
      if (at !== undefined) {
        const { ci } = L;
        const register = (ci.func.value as LClosure).p.code[ci.l_savedpc - 1]!.A;
        const type = textOf(parts.typeName(L, L.stack[ci.l_base + register + at]!));
        parts.runError(L, toBytes(`attempt to perform arithmetic on a ${type} value`));
      }
      const wording = WORDING.get(text);
      if (wording?.startsWith("loop in")) parts.work(L, CHAIN_STEPS);
      parts.runError(L, wording === undefined ? format : toBytes(wording), ...args);
    },

    luaG_typeerror: raiseTypeError,

    luaG_concaterror: (L: LuaState, a: TValue, b: TValue) =>
      raiseTypeError(L, parts.isText(a) ? b : a, toBytes("concatenate")),

    luaG_opinterror: (L: LuaState, a: TValue, b: TValue, operation: Uint8Array) =>
      raiseTypeError(L, parts.isNumeric(a) ? b : a, operation),
  };
}

/** How messages name a chunk: the file's name, or the start of the source. `room` is C's buffer. */
export function chunkName(source: string, room = 60): string {
  const text = source.split("\0")[0]!;
  if (text.startsWith("=")) return text.slice(1, room);
  if (text.startsWith("@")) {
    const name = text.slice(1);
    const most = room - 8;
    return name.length > most ? `...${name.slice(-most)}` : name;
  }
  const line = text.split("\n")[0]!.slice(0, room - 17);
  return line.length < text.length ? `[string "${line}..."]` : `[string "${line}"]`;
}
