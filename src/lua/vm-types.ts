/**
 * Shapes of the virtual machine's own objects, as far as src/lua looks into
 * them. Types only; ./vm.ts loads and repairs the machine itself.
 */

/** A slot: variables, stack entries, table keys and values. Mutable; never share one between tables. */
export interface TValue {
  type: number;
  value: unknown;
  ttnov(): number;
  ttisnil(): boolean;
  ttisstring(): boolean;
  ttistable(): boolean;
  ttisfunction(): boolean;
  ttisLclosure(): boolean;
  l_isfalse(): boolean;
  setfrom(other: TValue): void;
  setfltvalue(n: number): void;
  setbvalue(b: boolean): void;
}

/** A Lua string: the byte string, the bytes, or both; one is made of the other when it is first asked for. */
export interface TString {
  /** Map key, and what comparisons use: the byte string. */
  hash: string | null;
  realstring: Uint8Array | null;
  getstr(): Uint8Array;
  tsslen(): number;
}

export interface TableEntry {
  key: TValue;
  value: TValue;
  p: TableEntry | undefined;
  n: TableEntry | undefined;
}

export interface Table {
  readonly id: number;
  readonly strong: Map<unknown, TableEntry>;
  readonly dead_strong: Map<unknown, TableEntry>;
  dead_weak: WeakMap<object, TableEntry> | undefined;
  /** First and last entry in the order of next(). */
  f: TableEntry | undefined;
  l: TableEntry | undefined;
  metatable: Table | null;
  flags: number;
}

export interface Instruction {
  opcode: number;
  A: number;
  B: number;
  C: number;
  Bx: number;
  sBx: number;
}

export interface LocalVariable {
  varname: TString;
  startpc: number;
  endpc: number;
}

export interface Upvalue {
  instack: boolean;
  idx: number;
  name: TString;
}

export interface Proto {
  readonly k: TValue[];
  readonly p: Proto[];
  readonly code: Instruction[];
  readonly lineinfo: number[];
  readonly upvalues: Upvalue[];
  numparams: number;
  is_vararg: boolean;
  readonly locvars: LocalVariable[];
  linedefined: number;
  source: TString;
}

/** A closure of a Lua function. */
export interface LClosure {
  readonly id: number;
  p: Proto;
  upvals: TValue[];
}

export interface CallInfo {
  func: TValue;
  funcOff: number;
  top: number;
  previous: CallInfo | null;
  next: CallInfo | null;
  l_base: number;
  l_savedpc: number;
  callstatus: number;
}

export interface GlobalState {
  id_counter: number;
  /** Metatables of the basic types, by type number. */
  readonly mt: (Table | null | undefined)[];
}

/** A thread: a coroutine, or the machine's main thread. */
export interface LuaState {
  readonly id: number;
  readonly l_G: GlobalState;
  readonly stack: TValue[];
  top: number;
  ci: CallInfo;
  readonly base_ci: CallInfo;
  status: number;
  nny: number;
  nCcalls: number;
  allowhook: number;
  hookcount: number;
  basehookcount: number;
  /** Ours. What runs on this thread now (./budget.ts); null on the main thread. */
  task: object | null;
  /** Ours. The thread's table of globals, as in Lua 5.0: new chunks and coroutines take it over. */
  globals: Table | null;
  /** Ours. Why the thread has yielded to the host instead of to a script's resume. */
  wait: object | null;
}

/** A C-API-style function: arguments on the stack, results on top of it, their number returned. */
export type Native = (L: LuaState) => number;

export type Continuation<T> = (L: LuaState, status: number, context: T) => number;

export interface DebugInfo {
  name: Uint8Array | null;
  namewhat: Uint8Array;
  linedefined: number;
  what: Uint8Array;
  i_ci: CallInfo;
}

// ---------------------------------------------------------------- the C API, as far as it is used

export interface Api {
  lua_absindex(L: LuaState, index: number): number;
  lua_callk<T>(L: LuaState, args: number, results: number, context: T, k: Continuation<T> | null): void;
  lua_checkstack(L: LuaState, slots: number): boolean;
  lua_compare(L: LuaState, a: number, b: number, operation: number): number;
  lua_concat(L: LuaState, count: number): void;
  lua_createtable(L: LuaState, array: number, record: number): void;
  /** Raises the value on top of the stack. */
  lua_error(L: LuaState): never;
  lua_getfield(L: LuaState, index: number, key: Uint8Array): number;
  lua_getmetatable(L: LuaState, index: number): boolean;
  lua_gettable(L: LuaState, index: number): number;
  lua_gettop(L: LuaState): number;
  lua_insert(L: LuaState, index: number): void;
  lua_iscfunction(L: LuaState, index: number): boolean;
  lua_isnumber(L: LuaState, index: number): boolean;
  lua_isstring(L: LuaState, index: number): boolean;
  lua_next(L: LuaState, index: number): number;
  lua_newuserdata(L: LuaState, size: number): Record<string, unknown>;
  lua_pcallk<T>(
    L: LuaState,
    args: number,
    results: number,
    handler: number,
    context: T,
    k: Continuation<T> | null,
  ): number;
  lua_pop(L: LuaState, count: number): void;
  lua_pushboolean(L: LuaState, value: boolean): void;
  lua_pushcclosure(L: LuaState, fn: Native, upvalues: number): void;
  lua_pushcfunction(L: LuaState, fn: Native): void;
  lua_pushnil(L: LuaState): void;
  lua_pushnumber(L: LuaState, value: number): void;
  lua_pushvalue(L: LuaState, index: number): void;
  lua_rawequal(L: LuaState, a: number, b: number): number;
  lua_rawget(L: LuaState, index: number): number;
  lua_rawgeti(L: LuaState, index: number, n: number): number;
  lua_rawlen(L: LuaState, index: number): number;
  lua_rawset(L: LuaState, index: number): void;
  lua_rawseti(L: LuaState, index: number, n: number): void;
  lua_remove(L: LuaState, index: number): void;
  lua_replace(L: LuaState, index: number): void;
  lua_rotate(L: LuaState, index: number, n: number): void;
  lua_setfield(L: LuaState, index: number, key: Uint8Array): void;
  lua_setmetatable(L: LuaState, index: number): boolean;
  lua_settable(L: LuaState, index: number): void;
  lua_settop(L: LuaState, index: number): void;
  lua_toboolean(L: LuaState, index: number): boolean;
  /** The bytes of a string or number (which becomes a string in place), else null. Do not change them. */
  lua_tolstring(L: LuaState, index: number): Uint8Array | null;
  /** A number, or a string that is one, else false. */
  lua_tonumberx(L: LuaState, index: number): number | false;
  lua_tothread(L: LuaState, index: number): LuaState | null;
  lua_touserdata(L: LuaState, index: number): Record<string, unknown> | null;
  lua_type(L: LuaState, index: number): number;
  lua_typename(L: LuaState, type: number): Uint8Array;
  lua_xmove(from: LuaState, to: LuaState, count: number): void;
}

export interface ControlApi {
  lua_isyieldable(L: LuaState): boolean;
  lua_yieldk<T>(L: LuaState, results: number, context: T, k: Continuation<T> | null): void;
}

export interface DebugApi {
  lua_getinfo(L: LuaState, what: Uint8Array, info: DebugInfo): number;
  lua_getstack(L: LuaState, level: number, info: DebugInfo): number;
  lua_sethook(L: LuaState, hook: ((L: LuaState) => void) | null, mask: number, count: number): void;
}
