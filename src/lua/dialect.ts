/**
 * Lua 5.0's grammar on fengari's 5.3 parser: the functions between parser and
 * lexer, made for ./vm.ts to put in place of fengari's.
 *
 * The parser calls them for every token, and that is where the differences are
 * made up for, in "5.0" only:
 * - `function f(...)` gets `local arg = PACK(...);`, tokens put in after `)`;
 * - a loop's variables live as long as the loop, so closures over them share
 *   one variable (./prototype.ts does the rest for loops that change theirs);
 * - the condition of `until` does not see the locals of its block;
 * - errors have 5.0's wording and form.
 * Source text is never rewritten, so lines stay those of the file.
 */
import { fromBytes, toBytes } from "../bytes.ts";
import { type Dialect, Lexer, TK, type TokenValue, tokenText } from "./lexer.ts";
import type { LocalVariable, LuaState, Proto, TString } from "./vm-types.ts";

interface SemInfo {
  r: number;
  ts: TString | null;
}

interface Token {
  token: number;
  seminfo: SemInfo;
}

interface Block {
  previous: Block | null;
  nactvar: number;
  upval: number | boolean;
  isloop: number | boolean;
}

interface FuncState {
  f: Proto;
  prev: FuncState | null;
  bl: Block;
  nactvar: number;
  firstlocal: number;
}

/** fengari's LexState, as far as its parser and this file use it. */
interface LexState {
  L: LuaState;
  linenumber: number;
  lastline: number;
  t: Token;
  lookahead: Token;
  fs: FuncState | null;
  source: TString;
  envn: TString;
  dyd: { actvar: { arr: { idx: number }[] } };
  reader: Reader;
}

interface Input {
  readonly buffer: Uint8Array | null;
}

export interface DialectParts {
  dialect(): Dialect;
  newString(text: string): TString;
  /** Throws the syntax error `message` out of the parser. */
  raise(L: LuaState, message: string): never;
  chunkName(source: TString): string;
}

/** Names no program can use. The first is the upvalue that holds a function's globals. */
export const ENVIRONMENT = "(globals)";
const HIDDEN = "(hidden)";
/** The constant that stands for the function that packs arguments into `arg`. */
export const PACK = "(pack)";

const OPEN = 40;
const CLOSE = 41;
const COMMA = 44;
const EQUALS = 61;
const BRACKET = 93;

/** `local arg = (PACK)(...);` */
const PACK_ARGUMENTS: readonly (readonly [token: number, text: string])[] = [
  [TK.LOCAL, ""],
  [TK.NAME, "arg"],
  [EQUALS, ""],
  [OPEN, ""],
  [TK.STRING, PACK],
  [CLOSE, ""],
  [OPEN, ""],
  [TK.DOTS, ""],
  [CLOSE, ""],
  [59, ""],
];

export function makeDialect(parts: DialectParts) {
  const hidden = parts.newString(HIDDEN);

  function read(ls: LexState, value: SemInfo): number {
    const token = ls.reader.next(value);
    ls.linenumber = ls.reader.line;
    return token;
  }

  function fail(ls: LexState, message: string, near: string): never {
    const where = `${parts.chunkName(ls.source)}:${ls.reader.line}`;
    return parts.raise(ls.L, `${where}: ${message} near \`${near.split("\0")[0]}'`);
  }

  function syntaxError(ls: LexState, message: string): never {
    const { reader } = ls;
    const { token } = ls.t;
    const valued = token === TK.NAME || token === TK.STRING || token === TK.FLT;
    // The parser sets the token to 0 where it has no place to point at.
    const near = valued ? reader.shown : tokenText(token || TK.EOS);
    const noVararg = reader.dialect === "5.0" && ls.fs !== null && !ls.fs.f.is_vararg;
    return fail(ls, reword(statementError(message, reader), noVararg), near);
  }

  return {
    /** fengari's name for the variable that holds the globals; a program cannot name ours, so `_ENV` is free. */
    LUA_ENV: toBytes(ENVIRONMENT),

    luaX_setinput(L: LuaState, ls: LexState, z: Input, source: TString): void {
      ls.L = L;
      ls.source = source;
      ls.fs = null;
      ls.t = { token: 0, seminfo: { r: Number.NaN, ts: null } };
      ls.lookahead = { token: TK.EOS, seminfo: { r: Number.NaN, ts: null } };
      ls.linenumber = 1;
      ls.lastline = 1;
      ls.envn = parts.newString(ENVIRONMENT);
      const text = z.buffer === null ? "" : fromBytes(z.buffer);
      ls.reader = new Reader(text, parts, (message, near) => fail(ls, message, near));
    },

    luaX_next(ls: LexState): void {
      const { reader } = ls;
      const passed = ls.t.token;
      if (reader.dialect === "5.0") reader.scopes.pass(ls, passed, hidden);
      ls.lastline = ls.linenumber;
      if (ls.lookahead.token !== TK.EOS) {
        ls.t.token = ls.lookahead.token;
        ls.t.seminfo.r = ls.lookahead.seminfo.r;
        ls.t.seminfo.ts = ls.lookahead.seminfo.ts;
        ls.lookahead.token = TK.EOS;
      } else ls.t.token = read(ls, ls.t.seminfo);
      if (passed === TK.BREAK && !insideLoop(ls)) syntaxError(ls, "no loop to break");
    },

    luaX_lookahead(ls: LexState): number {
      ls.lookahead.token = read(ls, ls.lookahead.seminfo);
      return ls.lookahead.token;
    },

    /** fengari's parser puts this between its words: "%s expected". */
    luaX_token2str(_ls: LexState, token: number): Uint8Array {
      return toBytes(token === TK.NAME ? "<name>" : token === TK.EOS ? "<eof>" : `'${tokenText(token)}'`);
    },

    luaX_syntaxerror(ls: LexState, message: Uint8Array): never {
      return syntaxError(ls, fromBytes(message));
    },
  };
}

/** 5.0 ends a statement at a call, and takes a variable for the start of an assignment. */
function statementError(message: string, { before, current }: Reader): string {
  if (message !== "syntax error") return message;
  if (before === TK.NAME || before === BRACKET) return "'=' expected";
  return current === EQUALS || current === COMMA ? "unexpected symbol" : message;
}

/** A syntax error of 5.3 in 5.0's words. */
function reword(text: string, noVararg: boolean): string {
  const limit = /^too many (.*) \(limit is (\d+)\)/.exec(text);
  if (limit !== null)
    return limit[1] === "JS levels" ? "too many syntax levels" : `too many ${limit[1]} (limit=${limit[2]})`;
  if (text === "function or expression needs too many registers") return "function or expression too complex";
  if (noVararg && text.startsWith("cannot use '...'")) return "unexpected symbol";
  return text.replace(/'([^']*)'/g, "`$1'");
}

function insideLoop(ls: LexState): boolean {
  for (let block: Block | null = ls.fs?.bl ?? null; block; block = block.previous)
    if (block.isloop) return true;
  return false;
}

/** The lexer's tokens with those that 5.0's grammar implies. */
class Reader {
  readonly dialect: Dialect;
  readonly scopes = new Scopes();
  /** The token read last, and the one before. */
  current = 0;
  before = 0;
  readonly #lexer: Lexer;
  readonly #strings = new Map<string, TString>();
  readonly #newString: (text: string) => TString;
  readonly #value: TokenValue = { number: 0, text: "" };
  #implied: readonly (readonly [number, string])[] = [];
  #impliedAt = 0;
  /** Where in a function's head the last token was. */
  #head: "" | "name" | "parameters" = "";
  #dots = false;

  constructor(text: string, parts: DialectParts, fail: (message: string, near: string) => never) {
    this.dialect = parts.dialect();
    this.#newString = parts.newString;
    this.#lexer = new Lexer(text, this.dialect, fail);
  }

  get line(): number {
    return this.#lexer.line;
  }

  get shown(): string {
    return this.#lexer.shown;
  }

  next(value: SemInfo): number {
    if (this.#impliedAt < this.#implied.length) {
      const [token, text] = this.#implied[this.#impliedAt++]!;
      value.ts = this.#string(text);
      return token;
    }
    const token = this.#lexer.next(this.#value);
    if (token === TK.NAME || token === TK.STRING) value.ts = this.#string(this.#value.text);
    else if (token === TK.FLT) value.r = this.#value.number;
    this.#follow(token);
    this.before = this.current;
    this.current = token;
    return token;
  }

  /** One object for equal strings, so that constants are found again. */
  #string(text: string): TString {
    let string = this.#strings.get(text);
    if (string === undefined) {
      string = this.#newString(text);
      this.#strings.set(text, string);
    }
    return string;
  }

  #follow(token: number): void {
    if (token === TK.FUNCTION) this.#head = "name";
    else if (this.#head === "name" && token === OPEN) {
      this.#head = "parameters";
      this.#dots = false;
    } else if (this.#head === "parameters") {
      if (token === TK.DOTS) this.#dots = true;
      else if (token === CLOSE) {
        this.#head = "";
        if (this.#dots && this.dialect === "5.0") {
          this.#implied = PACK_ARGUMENTS;
          this.#impliedAt = 0;
        }
      }
    }
  }
}

/** 5.0's scopes, made out of the parser's own records of blocks and locals. */
class Scopes {
  /** A `for` whose body is about to begin. */
  #loop: { fs: FuncState; outer: Block } | undefined;
  #hidden: { fs: FuncState; block: Block; variables: [LocalVariable, TString][] }[] = [];

  /** Called when the parser has passed `token` and is about to read the next. */
  pass(ls: LexState, token: number, hiddenName: TString): void {
    const { fs } = ls;
    if (fs === null) return;
    if (this.#hidden.length > 0) this.#restore((entry) => entry.fs === fs && entry.block !== fs.bl);
    if (this.#loop !== undefined) this.#shareVariables(this.#loop, fs);
    this.#loop = undefined;
    // Only a `for` has its three control variables at `do` already.
    if (token === TK.DO && fs.bl.isloop && fs.nactvar === fs.bl.nactvar + 3)
      this.#loop = { fs, outer: fs.bl };
    else if (token === TK.UNTIL) this.#hide(ls, fs, hiddenName);
  }

  /**
   * The parser closes a loop's variables at the end of each turn when a
   * closure has captured one. This block tells it that there is nothing to
   * close at that place, only where a `break` or the loop's end leaves it.
   */
  #shareVariables({ outer }: { outer: Block }, fs: FuncState): void {
    let block: Block | null = fs.bl;
    while (block !== null && block.previous !== outer) block = block.previous;
    if (block === null) return;
    const own = block;
    let captured = 0;
    Object.defineProperty(own, "upval", {
      get: () => (fs.bl === own ? 0 : captured),
      set: () => {
        captured = 1;
        outer.upval = 1;
      },
    });
  }

  #hide(ls: LexState, fs: FuncState, name: TString): void {
    const variables: [LocalVariable, TString][] = [];
    for (let i = fs.bl.nactvar; i < fs.nactvar; i++) {
      const variable = fs.f.locvars[ls.dyd.actvar.arr[fs.firstlocal + i]!.idx]!;
      variables.push([variable, variable.varname]);
      variable.varname = name;
    }
    if (variables.length > 0) this.#hidden.push({ fs, block: fs.bl, variables });
  }

  #restore(over: (entry: { fs: FuncState; block: Block }) => boolean): void {
    this.#hidden = this.#hidden.filter((entry) => {
      if (!over(entry)) return true;
      for (const [variable, name] of entry.variables) variable.varname = name;
      return false;
    });
  }
}
