/**
 * The virtual machine: fengari 0.1.5 with its 5.3 semantics bent to Lua 5.0.
 *
 * This is the only file that replaces anything of fengari's. fengari's modules
 * call one another through their CommonJS exports, so an export replaced here
 * is replaced everywhere; what other modules copy while they load is replaced
 * before they load. REPLACED names every one of them, and a test compares the
 * list with fengari's version, so that no upgrade goes unnoticed.
 *
 * What the rest of src/lua needs of the C API is exported at the end, with
 * types. Standard libraries, lauxlib and all that runs JavaScript on a
 * script's behalf are never loaded.
 */
import { createRequire } from "node:module";
import { fromBytes, toBytes } from "../bytes.ts";
import { ENVIRONMENT, makeDialect, PACK } from "./dialect.ts";
import type { Dialect } from "./lexer.ts";
import { bytesOf, LuaString, textOf } from "./lua-string.ts";
import { numberToString, stringToNumber } from "./numbers.ts";
import { finishPrototype, type OpcodeFacts } from "./prototype.ts";
import { chunkName, makeErrors } from "./vm-errors.ts";
import { makeMetamethods } from "./vm-metamethods.ts";
import { makeTableFunctions } from "./vm-tables.ts";
import type {
  Api,
  ControlApi,
  DebugApi,
  DebugInfo,
  LClosure,
  LuaState,
  Native,
  Table,
  TableEntry,
  TString,
  TValue,
} from "./vm-types.ts";

export { chunkName } from "./vm-errors.ts";
export type { LClosure, LuaState, Native, Proto, Table, TString, TValue } from "./vm-types.ts";

/** Exports replaced, by module; members of classes as "Class.member". */
export const REPLACED: Readonly<Record<string, readonly string[]>> = {
  lapi: ["lua_pushcfunction"],
  luaconf: ["lua_number2str"],
  lstring: [
    "TString",
    "luaS_bless",
    "luaS_eqlngstr",
    "luaS_hash",
    "luaS_hashlongstr",
    "luaS_new",
    "luaS_newliteral",
  ],
  lobject: [
    "TValue.chgfltvalue",
    "TValue.setivalue",
    "TValue.ttisfloat",
    "TValue.ttisinteger",
    "luaO_chunkid",
    "luaO_str2num",
  ],
  lfunc: ["Proto.cache"],
  ltable: ["luaH_next", "luaH_setfrom", "luaH_setint"],
  ldo: ["luaD_checkstack"],
  ltm: ["fasttm", "luaT_callTM", "luaT_callorderTM", "luaT_gettmbyobj", "luaT_objtypename", "luaT_trybinTM"],
  ldebug: ["luaG_concaterror", "luaG_opinterror", "luaG_runerror", "luaG_typeerror"],
  llex: ["LUA_ENV", "luaX_lookahead", "luaX_next", "luaX_setinput", "luaX_syntaxerror", "luaX_token2str"],
  lparser: ["luaY_parser"],
};

/** What the machine tells the layer above; until ./budget.ts sets it, nothing is counted. */
export const machine = {
  /** A string of `bytes` bytes, MANY_BYTES or more, is about to exist on `L`. May throw. */
  onString(_L: LuaState, _bytes: number): void {},
  /** An instruction is about to do the work of `steps` ordinary ones on `L`. May throw. */
  onWork(_L: LuaState, _steps: number): void {},
};
/** Shorter strings are paid for by the instruction that makes them. */
const MANY_BYTES = 128;

/** The thread that runs now. */
let running: LuaState | null = null;

/** Reports work on strings or tables by instructions that do not say on which thread they run. */
function work(steps: number): void {
  if (running !== null) machine.onWork(running, steps);
}
/** Bytes that comparing strings gets through in the time of an instruction. */
const COMPARED_A_STEP = 64;
const LONG = 4096;

/** Slots of one thread's stack; 5.0 allows about this much in 4,096 nested calls. */
const MAX_STACK = 200_000;

// biome-ignore lint/suspicious/noExplicitAny: fengari has no types; its functions get theirs at the end of this file
type Untyped = any;

const require = createRequire(import.meta.url);
function load(module: string): Untyped {
  return require(`fengari/src/${module}.js`);
}

export const FENGARI_VERSION: string = require("fengari/package.json").version;

// ---------------------------------------------------------------- before the machine loads

// fengari reads its settings from the environment, once.
process.env.FENGARICONF = JSON.stringify({ LUAI_MAXSTACK: MAX_STACK, LUA_COMPAT_FLOATSTRING: true });
const defs = load("defs");
delete process.env.FENGARICONF;

load("luaconf").lua_number2str = numberToString;

function hashOf(string: TString): string {
  string.hash ??= textOf(string.realstring!);
  // Whoever asks is going to compare it.
  if (string.hash.length > LONG) work(string.hash.length / COMPARED_A_STEP);
  return string.hash;
}

/** Takes `bytes` over; nobody may change them afterwards. */
function bless(L: LuaState, bytes: Uint8Array): TString {
  if (bytes.length >= MANY_BYTES) machine.onString(L, bytes.length);
  return new LuaString(null, bytes);
}

const lstring = load("lstring");
lstring.TString = LuaString;
lstring.luaS_hash = textOf;
lstring.luaS_hashlongstr = hashOf;
lstring.luaS_bless = bless;
// A function proper: fengari calls it with `new` in places.
lstring.luaS_new = function luaS_new(L: LuaState, bytes: Uint8Array) {
  return bless(L, bytes.slice());
};
lstring.luaS_newliteral = (L: LuaState, text: string) => bless(L, defs.to_luastring(text));
lstring.luaS_eqlngstr = (a: TString, b: TString) =>
  a === b || (a.tsslen() === b.tsslen() && hashOf(a) === hashOf(b));

// ---------------------------------------------------------------- the machine

const lapi = load("lapi");
const ldebug = load("ldebug");
const ldo = load("ldo");
const lfunc = load("lfunc");
const llex = load("llex");
const lobject = load("lobject");
const lopcodes = load("lopcodes");
const lparser = load("lparser");
const lstate = load("lstate");
const ltable = load("ltable");
const ltm = load("ltm");
const lvm = load("lvm");

const { LUA_TNUMFLT, LUA_TNUMINT, LUA_TLNGSTR, LUA_TLCF, LUA_TLCL } = defs.constant_types;
const { OpCodesI } = lopcodes;
const newValue: (type: number, value: unknown) => TValue = (type, value) => new lobject.TValue(type, value);

// ---- numbers are doubles; only the compiler tells the two kinds apart

let compiling = 0;
let dialect: Dialect = "5.0";

const slot = lobject.TValue.prototype;
slot.ttisinteger = function (this: TValue) {
  return compiling > 0 && this.type === LUA_TNUMINT;
};
slot.ttisfloat = function (this: TValue) {
  return (this.type & 0x0f) === LUA_TNUMFLT;
};
slot.setivalue = function (this: TValue, n: number) {
  this.type = compiling > 0 ? LUA_TNUMINT : LUA_TNUMFLT;
  this.value = n;
};
/** Only loops use it, on their counter, which in 5.0 the loop's body may have changed to anything. */
slot.chgfltvalue = function (this: TValue, n: number) {
  if ((this.type & 0x0f) !== LUA_TNUMFLT) throw new MachineError("`for' initial value must be a number");
  this.value = n;
};

/** Thrown where the machine's own way to raise an error is out of reach; ./protect.ts makes a Lua error of it. */
export class MachineError extends Error {}

lobject.luaO_str2num = (bytes: Uint8Array, out: TValue) => {
  if (bytes.length > LONG) work(bytes.length / 8);
  const number = stringToNumber(textOf(bytes));
  if (number === undefined) return 0;
  out.setfltvalue(number);
  return bytes.length + 1;
};

// ---- closures are never shared, and functions of one prototype never mistaken for one another

Object.defineProperty(lfunc.Proto.prototype, "cache", { get: () => null, set: () => {} });

// ---- tables

Object.assign(
  ltable,
  makeTableFunctions({
    newValue,
    badKey(L, message) {
      ldebug.luaG_runerror(L, toBytes(message));
      throw new Error("unreachable");
    },
    hash: (string) => hashOf(string as TString),
    grown: work,
    LUA_TNUMFLT,
  }),
);

// ---- `...` is one instruction however many values there are

const { luaD_checkstack: checkStack } = ldo;
ldo.luaD_checkstack = (L: LuaState, slots: number) => {
  if (slots > 64) machine.onWork(L, slots);
  checkStack(L, slots);
};

// ---- metamethods and error messages

/** Whether the running instruction asks a loop's iterator for the next value. */
function inLoop(L: LuaState): boolean {
  const { ci } = L;
  if (!(ci.callstatus & lstate.CIST_LUA)) return false;
  return (ci.func.value as LClosure).p.code[ci.l_savedpc - 1]!.opcode === OpCodesI.OP_TFORCALL;
}

/** `for k, v in t`: what is called for each turn when `t` is a table. */
function walkTable(L: LuaState): number {
  lapi.lua_settop(L, 3);
  if (lapi.lua_next(L, 1)) return 2;
  lapi.lua_pushnil(L);
  return 1;
}

Object.assign(
  ltm,
  makeMetamethods({
    ltm: { ...ltm },
    newValue,
    rawEqual,
    inLoop,
    isNumber: lvm.cvt2str,
    numberToString: lobject.luaO_tostring,
    nil: lobject.luaO_nilobject,
    walkTable: newValue(LUA_TLCF, walkTable),
  }),
);

Object.assign(
  ldebug,
  makeErrors({
    runError: ldebug.luaG_runerror,
    typeError: ldebug.luaG_typeerror,
    typeName: ltm.luaT_objtypename,
    isText: (value) => value.ttisstring() || lvm.cvt2str(value),
    isNumeric: (value) => lvm.tonumber(value) !== false,
    inLoop,
    work: (L, steps) => machine.onWork(L, steps),
  }),
);
lobject.luaO_chunkid = (source: Uint8Array) => toBytes(chunkName(textOf(source)));

// ---- the compiler

const newString = (text: string): TString => new LuaString(text, null);

const grammar = makeDialect({
  dialect: () => dialect,
  newString,
  chunkName: (source) => chunkName(hashOf(source), 80),
  raise(L, message) {
    pushText(L, message);
    ldo.luaD_throw(L, defs.thread_status.LUA_ERRSYNTAX);
    throw new Error("unreachable");
  },
});
for (const name of REPLACED.llex!) llex[name] = (grammar as Untyped)[name];

/** Packs its arguments into the table that a vararg function of 5.0 finds in `arg`. */
function packArguments(L: LuaState): number {
  const count = lapi.lua_gettop(L);
  lapi.lua_createtable(L, count, 1);
  const table: Table = L.stack[L.top - 1]!.value as Table;
  const first = L.ci.funcOff + 1;
  for (let i = 0; i < count; i++) ltable.luaH_setint(table, i + 1, L.stack[first + i]);
  ltable.luaH_setfrom(L, table, newValue(LUA_TLNGSTR, N), newValue(LUA_TNUMFLT, count));
  return 1;
}
const N = newString("n");

const registerOrConstant = [lopcodes.OpArgR, lopcodes.OpArgK];
const opcodeFacts: OpcodeFacts = {
  names: OpCodesI,
  writesA: (opcode) => Boolean(lopcodes.testAMode(opcode)),
  isRegisterB: (opcode) =>
    lopcodes.getOpMode(opcode) === lopcodes.iABC && registerOrConstant.includes(lopcodes.getBMode(opcode)),
  isRegisterC: (opcode) =>
    lopcodes.getOpMode(opcode) === lopcodes.iABC && registerOrConstant.includes(lopcodes.getCMode(opcode)),
};

const { luaY_parser: parse } = lparser;
lparser.luaY_parser = (L: LuaState, ...rest: unknown[]) => {
  compiling++;
  try {
    const closure: LClosure = parse(L, ...rest);
    finishPrototype(closure.p, {
      facts: opcodeFacts,
      environmentName: closure.p.upvalues[0]!.name,
      sharedLoopVariables: dialect === "5.0",
      isPack: (constant) => constant.type === LUA_TLNGSTR && (constant.value as TString).hash === PACK,
      newPack: () => newValue(LUA_TLCF, packArguments),
    });
    return closure;
  } finally {
    compiling--;
  }
};

const MAX_NAME = 500;

/**
 * Compiles `source` (a byte string or bytes) and pushes the function, whose
 * globals are those of `globals`, or else pushes the error message. `name` is
 * as in Lua: "@file", "=text", or the source itself. Binary chunks are refused.
 */
export function compile(
  L: LuaState,
  source: string | Uint8Array,
  name: string,
  options: { dialect: Dialect; globals: Table | null },
): boolean {
  const bytes = typeof source === "string" ? bytesOf(source) : source;
  let given = false;
  const reader = () => {
    if (given) return null;
    given = true;
    return bytes;
  };
  // A chunk may be named by its source, of which messages show only the start.
  const label = name.startsWith("@") ? name : name.slice(0, MAX_NAME);
  const before = dialect;
  dialect = options.dialect;
  try {
    if (lapi.lua_load(L, reader, null, bytesOf(label), "t") !== 0) return false;
  } finally {
    dialect = before;
  }
  const closure = L.stack[L.top - 1]!.value as LClosure;
  closure.upvals[0] = options.globals === null ? newValue(0, null) : newValue(TABLE, options.globals);
  return true;
}

export const opcodeNames: Readonly<Record<string, number>> = OpCodesI;

const TABLE: number = defs.constant_types.LUA_TTABLE;

// ---------------------------------------------------------------- values and strings for the layers above

export const LUA = {
  NONE: -1,
  NIL: 0,
  BOOLEAN: 1,
  LIGHTUSERDATA: 2,
  NUMBER: 3,
  STRING: 4,
  TABLE: 5,
  FUNCTION: 6,
  USERDATA: 7,
  THREAD: 8,
  /** Statuses of threads and calls. */
  OK: 0,
  YIELD: 1,
  ERRRUN: 2,
  ERRMEM: 4,
  ERRERR: 6,
  /** For result counts: all of them. */
  MULTRET: -1,
  MASKCOUNT: 8,
  /** Type tags of TValue, finer than the types. */
  TAG_STRING: LUA_TLNGSTR as number,
  TAG_NATIVE: LUA_TLCF as number,
  TAG_CLOSURE: LUA_TLCL as number,
} as const;

export { newString, newValue };

/** The byte string of a Lua string; kept by it, so asking again costs nothing. */
export function textOfString(string: TString): string {
  return hashOf(string);
}

/** A Lua string of bytes that nobody changes afterwards, for values from the host, which no script pays for. */
export function ownedString(bytes: Uint8Array): TString {
  return new LuaString(null, bytes);
}

/** The byte string of a slot that holds a string or a number, else undefined. */
export function slotText(slot: TValue | undefined): string | undefined {
  if (slot === undefined) return undefined;
  if (slot.ttisstring()) return hashOf(slot.value as TString);
  return (slot.type & 0x0f) === LUA_TNUMFLT ? numberToString(slot.value as number) : undefined;
}

/** Pushes a byte string. */
export function pushText(L: LuaState, text: string): void {
  if (text.length >= MANY_BYTES) machine.onString(L, text.length);
  L.stack[L.top++] = newValue(LUA_TLNGSTR, new LuaString(text, null));
}

/** Pushes bytes, which nobody may change afterwards. */
export function pushOwnedBytes(L: LuaState, bytes: Uint8Array): void {
  L.stack[L.top++] = newValue(LUA_TLNGSTR, bless(L, bytes));
}

/** Pushes a copy of a slot, whatever it holds. */
export function pushSlot(L: LuaState, value: TValue): void {
  L.stack[L.top++] = newValue(value.type, value.value);
}

/** The slot at stack position `index` (from 1 for arguments, negative from the top); undefined past the top. */
export function slotAt(L: LuaState, index: number): TValue | undefined {
  const at = index > 0 ? L.ci.funcOff + index : L.top + index;
  return at < L.top ? L.stack[at] : undefined;
}

export function newTable(L: LuaState): Table {
  return ltable.luaH_new(L);
}

/** A table with these string keys, in this order. */
export function newTableOf(L: LuaState, entries: readonly (readonly [TString, number, unknown])[]): Table {
  const table: Table = ltable.luaH_new(L);
  let last: TableEntry | undefined;
  for (const [key, tag, value] of entries) {
    const entry: TableEntry = {
      key: newValue(LUA_TLNGSTR, key),
      value: newValue(tag, value),
      p: last,
      n: undefined,
    };
    if (last === undefined) table.f = entry;
    else last.n = entry;
    last = entry;
    table.strong.set(hashOf(key), entry);
  }
  table.l = last;
  table.flags = 0;
  return table;
}

/** t[key] without metamethods; undefined for nil. `key` is a byte string, number or boolean. */
export function rawGet(t: Table, key: string | number | boolean): TValue | undefined {
  return t.strong.get(key)?.value;
}

/** t[key] = value without metamethods. */
export function rawSet(L: LuaState, t: Table, key: string | number | boolean, value: TValue): void {
  const tag = typeof key === "string" ? LUA_TLNGSTR : typeof key === "number" ? LUA_TNUMFLT : LUA.BOOLEAN;
  ltable.luaH_setfrom(L, t, newValue(tag, typeof key === "string" ? newString(key) : key), value);
  t.flags = 0;
}

/** t[key] = nil without metamethods. */
export function removeEntry(L: LuaState, t: Table, key: TValue): void {
  ltable.luaH_setfrom(L, t, key, lobject.luaO_nilobject);
}

/** The machine's own classes, for those who meet its objects among others. */
export const TableClass = ltable.Table as new () => object;
export const ValueClass = lobject.TValue as new () => object;

/** Equality without metamethods. */
export function rawEqual(a: TValue, b: TValue): boolean {
  return lvm.luaV_rawequalobj(a, b) === 1;
}

/** Which upvalue of a function is its environment. */
export function environmentIndex(prototype: LClosure["p"]): number {
  return prototype.upvalues.findIndex((upvalue) => upvalue.name.hash === ENVIRONMENT);
}

/** Makes a closure of a compiled main function with `globals` as its environment. */
export function newClosure(L: LuaState, prototype: LClosure["p"], globals: Table): TValue {
  const closure: LClosure = new lobject.LClosure(L, 1);
  closure.p = prototype;
  closure.upvals[0] = newValue(TABLE, globals);
  return newValue(LUA_TLCL, closure);
}

/** The machine of this process. It runs no script itself; every callback has a thread of its own. */
export const mainThread: LuaState = lstate.lua_newstate();

export function newThread(): LuaState {
  lstate.lua_newthread(mainThread);
  const thread = mainThread.stack[--mainThread.top]!.value as LuaState;
  delete (mainThread.stack as unknown[])[mainThread.top];
  thread.task = null;
  thread.globals = null;
  thread.wait = null;
  return thread;
}

// ---------------------------------------------------------------- the C API, as far as it is used

export const {
  lua_absindex,
  lua_callk,
  lua_checkstack,
  lua_compare,
  lua_concat,
  lua_createtable,
  lua_error,
  lua_getfield,
  lua_getmetatable,
  lua_gettable,
  lua_gettop,
  lua_insert,
  lua_iscfunction,
  lua_isnumber,
  lua_isstring,
  lua_next,
  lua_newuserdata,
  lua_pcallk,
  lua_pop,
  lua_pushboolean,
  lua_pushcclosure,
  lua_pushcfunction,
  lua_pushnil,
  lua_pushnumber,
  lua_pushvalue,
  lua_rawequal,
  lua_rawget,
  lua_rawgeti,
  lua_rawlen,
  lua_rawset,
  lua_rawseti,
  lua_remove,
  lua_replace,
  lua_rotate,
  lua_setfield,
  lua_setmetatable,
  lua_settable,
  lua_settop,
  lua_toboolean,
  lua_tolstring,
  lua_tonumberx,
  lua_tothread,
  lua_touserdata,
  lua_type,
  lua_typename,
  lua_xmove,
} = lapi as Api;

export const { lua_isyieldable, lua_yieldk } = ldo as ControlApi;

/** What lua_resume gives for a thread that a JavaScript exception has ended. */
export const BROKEN = -1;

/**
 * Resumes a thread. A JavaScript exception in it (given to onException's
 * handler before) gives BROKEN: fengari then reports a Lua error that is none,
 * or fails an assertion where it came after a caught Lua error. The thread must
 * not be used again.
 */
export function lua_resume(L: LuaState, from: LuaState | null, args: number): number {
  if (from !== null && from.nCcalls + 1 >= MAX_C_CALLS) {
    lapi.lua_settop(L, -args - 1);
    pushText(L, "C stack overflow");
    return LUA.ERRRUN;
  }
  const { nny } = L;
  const outer = running;
  running = L;
  try {
    const status: number = ldo.lua_resume(L, from, args);
    return status === L.status ? status : BROKEN;
  } catch (error) {
    L.nny = nny;
    if (error instanceof Error && error.message === "assertion failed") return BROKEN;
    throw error;
  } finally {
    running = outer;
  }
}
const MAX_C_CALLS: number = load("llimits").LUAI_MAXCCALLS;

export const { lua_getinfo, lua_getstack, lua_sethook } = ldebug as DebugApi;

export function newDebugInfo(): DebugInfo {
  return new defs.lua_Debug();
}

/** The stack position of the running native closure's upvalue `n`, from 1. */
export function upvalueIndex(n: number): number {
  return defs.lua_upvalueindex(n);
}

/** A JavaScript exception inside a protected call is given to `handler`, which leaves a Lua error value or throws. */
export function onException(handler: Native): void {
  const { lua_pushcfunction: push } = lapi;
  // It is pushed on whatever frame the exception was thrown in, and a Lua function's has no room.
  lapi.lua_pushcfunction = (L: LuaState, fn: Native) => {
    if (fn === handler) L.ci.top = Math.max(L.ci.top, L.top + 2);
    push(L, fn);
  };
  lapi.lua_atnativeerror(mainThread, handler);
}

/** The caught exception that the handler of onException runs for. */
export function caughtException(L: LuaState): unknown {
  return lapi.lua_touserdata(L, 1);
}

export function textOfBytes(bytes: Uint8Array): string {
  return bytes.length > 24 ? fromBytes(bytes) : textOf(bytes);
}
