/**
 * What is done to compiled functions before they run for the first time:
 *
 * - Every function gets its environment as an upvalue, so that getfenv and
 *   setfenv find it in all of them. It is the main chunk's only upvalue.
 * - The constant that ./dialect.ts left for it becomes the function that packs
 *   extra arguments into `arg`; being a constant, no setfenv can hide it.
 * - In "5.0" a numeric loop's variable is the loop's own counter where the body
 *   assigns to it or a closure captures it.
 *
 * Prototypes are shared by all environments and never change afterwards.
 */
import type { Instruction, Proto, TString, TValue } from "./vm-types.ts";

export interface OpcodeFacts {
  readonly names: Readonly<Record<string, number>>;
  /** Whether the instruction writes register A. */
  writesA(opcode: number): boolean;
  /** Whether B or C is a register or a constant, and not a count or an upvalue. */
  isRegisterB(opcode: number): boolean;
  isRegisterC(opcode: number): boolean;
}

export interface FinishOptions {
  readonly facts: OpcodeFacts;
  readonly environmentName: TString;
  readonly sharedLoopVariables: boolean;
  /** Whether `constant` is the mark for the packing function, and that function as a value. */
  isPack(constant: TValue): boolean;
  newPack(): TValue;
}

export function finishPrototype(main: Proto, options: FinishOptions): void {
  finish(main, 0, options);
}

function finish(proto: Proto, environmentAt: number, options: FinishOptions): void {
  for (const [i, constant] of proto.k.entries()) if (options.isPack(constant)) proto.k[i] = options.newPack();
  if (options.sharedLoopVariables) shareCounters(proto, options.facts);
  const name = options.environmentName;
  for (const inner of proto.p) {
    let at = inner.upvalues.findIndex((upvalue) => upvalue.name.hash === name.hash);
    if (at < 0) at = inner.upvalues.push({ instack: false, idx: environmentAt, name }) - 1;
    finish(inner, at, options);
  }
}

/** The registers of a numeric loop, from its base. */
const VARIABLE = 3;

function shareCounters(proto: Proto, facts: OpcodeFacts): void {
  const { code } = proto;
  for (const [pc, prepare] of code.entries()) {
    if (prepare.opcode !== facts.names.OP_FORPREP) continue;
    const end = pc + 1 + prepare.sBx;
    const base = prepare.A;
    const body = code.slice(pc + 1, end);
    if (!needsCounter(proto, body, base + VARIABLE, facts)) continue;
    for (const instruction of body) rename(proto, instruction, base + VARIABLE, base, facts);
    renameVariable(proto, pc, base);
  }
}

/** Whether the body changes the variable at register `at`, or lets a closure do so. */
function needsCounter(proto: Proto, body: readonly Instruction[], at: number, facts: OpcodeFacts): boolean {
  let needed = false;
  for (const { opcode, A, B, Bx } of body) {
    // One instruction that clears several variables cannot be told to spare one.
    if (opcode === facts.names.OP_LOADNIL && A <= at && at <= A + B) {
      if (B > 0) return false;
      needed = true;
    } else if (opcode === facts.names.OP_CLOSURE) {
      needed ||= proto.p[Bx]!.upvalues.some((upvalue) => upvalue.instack && upvalue.idx === at);
    } else if (facts.writesA(opcode) && A === at) needed = true;
  }
  return needed;
}

function rename(proto: Proto, instruction: Instruction, from: number, to: number, facts: OpcodeFacts): void {
  const { opcode } = instruction;
  const { OP_CLOSURE, OP_EQ, OP_EXTRAARG, OP_JMP, OP_LE, OP_LT, OP_SETTABUP } = facts.names;
  if (opcode === OP_JMP) {
    // A jump out of the loop closes from the variable on: A is one more than that register, 0 is none.
    if (instruction.A === from + 1) instruction.A = to + 1;
    return;
  }
  if (opcode === OP_CLOSURE) {
    for (const upvalue of proto.p[instruction.Bx]!.upvalues)
      if (upvalue.instack && upvalue.idx === from) upvalue.idx = to;
  }
  const noRegister = [OP_EQ, OP_LT, OP_LE, OP_SETTABUP, OP_EXTRAARG].includes(opcode);
  if (!noRegister && instruction.A === from) instruction.A = to;
  if (facts.isRegisterB(opcode) && instruction.B === from) instruction.B = to;
  if (facts.isRegisterC(opcode) && instruction.C === from) instruction.C = to;
}

/** Error messages should speak of the variable by its name. */
function renameVariable(proto: Proto, pc: number, base: number): void {
  const active = proto.locvars.filter((variable) => variable.startpc <= pc && pc < variable.endpc);
  const counter = active[base];
  const variable = proto.locvars.find((v) => v.startpc === pc + 1 && v.endpc > pc + 1);
  if (counter !== undefined && variable !== undefined) counter.varname = variable.varname;
}
