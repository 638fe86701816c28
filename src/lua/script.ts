/** A compiled script: shared by every environment that runs it, never changed. */
import type { Dialect } from "./lexer.ts";
import { LUA, opcodeNames, type Proto, type TString, type TValue, textOfString } from "./vm.ts";

/** A function that the script's top level assigns to a global. */
export interface GlobalFunction {
  readonly name: string;
  /** Names of the parameters; "..." last when there are more. */
  readonly params: readonly string[];
  readonly line: number;
}

export interface LuaScript {
  /** What the admin calls it, "SMTPSVR.LUA"; it stands in error messages. */
  readonly name: string;
  readonly path: string;
  readonly dialect: Dialect;
  readonly prototype: Proto;
  /** In the order of the file; conditional ones too. */
  functions(): GlobalFunction[];
}

export function makeScript(name: string, path: string, dialect: Dialect, prototype: Proto): LuaScript {
  return { name, path, dialect, prototype, functions: () => globalFunctions(prototype) };
}

/** Reads the main chunk's code for `globals[name] = closure`. */
function globalFunctions(main: Proto): GlobalFunction[] {
  const { OP_CLOSURE, OP_SETTABUP } = opcodeNames;
  const found: GlobalFunction[] = [];
  for (const [pc, { opcode, A, Bx }] of main.code.entries()) {
    if (opcode !== OP_CLOSURE) continue;
    const next = main.code[pc + 1];
    if (next === undefined || next.opcode !== OP_SETTABUP || next.C !== A || next.A !== 0) continue;
    const key = keyOf(main, pc, next.B);
    if (key === undefined || (key.type & 0x0f) !== LUA.STRING) continue;
    const inner = main.p[Bx]!;
    const params = inner.locvars.slice(0, inner.numparams).map((variable) => textOfString(variable.varname));
    if (inner.is_vararg) params.push("...");
    found.push({ name: textOfString(key.value as TString), params, line: inner.linedefined });
  }
  return found;
}

/** The constant that operand `b` is, itself or by the instruction before the one at `pc`. */
function keyOf(main: Proto, pc: number, b: number): TValue | undefined {
  if (b >= CONSTANTS) return main.k[b - CONSTANTS];
  const before = main.code[pc - 1];
  if (before === undefined || before.opcode !== opcodeNames.OP_LOADK || before.A !== b) return undefined;
  return main.k[before.Bx];
}

/** Operands from here on are constants. */
const CONSTANTS = 256;
