/**
 * Shapes of the virtual machine's own objects, as far as src/lua looks into
 * them. Types only; ./vm.ts loads and repairs the machine itself.
 */

/** A slot: variables, stack entries, table keys and values. Mutable; never share one between tables. */
export interface TValue {
  type: number;
  value: unknown;
  ttype(): number;
  ttnov(): number;
  ttisnil(): boolean;
  ttisstring(): boolean;
  ttistable(): boolean;
  ttisfunction(): boolean;
  ttisLclosure(): boolean;
  setfrom(other: TValue): void;
  setfltvalue(n: number): void;
  setnilvalue(): void;
  setbvalue(b: boolean): void;
  sethvalue(t: Table): void;
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
  nupvalues: number;
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
  nresults: number;
  callstatus: number;
}

export interface GlobalState {
  id_counter: number;
  mainthread: LuaState;
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
  /** Ours. What runs on this thread now (./task.ts); null on the main thread. */
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
  short_src: Uint8Array;
  currentline: number;
  linedefined: number;
  what: Uint8Array;
  i_ci: CallInfo;
}
