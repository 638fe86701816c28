/**
 * find, match, gfind, gmatch, gsub: Lua 5.0's searching functions on our own
 * matcher (./matcher.ts), whose steps are charged to the callback's budget.
 * A search that takes long lets other sessions run in between.
 *
 * The "5.2" dialect differs where 5.2 contradicts 5.0: what a replacement may
 * be, what nil from a replacement function means, and starts past the end.
 */
import { optWhole, PAUSE, typeAt } from "./arguments.ts";
import { ByteBuilder, copyBytes } from "./byte-builder.ts";
import { FAILED, FOUND, Matcher, NOT_FOUND, PAUSED } from "./matcher.ts";
import {
  argError,
  charge,
  checkByteArray,
  generatorNative,
  type NativeGenerator,
  raise,
  sessionOf,
  toText,
  typeNameAt,
} from "./native.ts";
import { compilePattern, isDigit, type Pattern, type PatternDialect } from "./pattern.ts";
import {
  LUA,
  type LuaState,
  lua_checkstack,
  lua_gettable,
  lua_pop,
  lua_pushcfunction,
  lua_pushnil,
  lua_pushnumber,
  lua_pushvalue,
  lua_settop,
  lua_toboolean,
  type Native,
  pushOwnedBytes,
  pushText,
} from "./vm.ts";

/** Matching steps between two looks at the budget: a fraction of a millisecond. */
const SLICE = 10_000;
/** Steps after which other sessions get a turn: about a millisecond. */
const TURN_STEPS = 100_000;
const PERCENT = 0x25;

/** Compiled patterns live as long as the strings they were made of. */
const compiled: Record<PatternDialect, WeakMap<Uint8Array, Pattern>> = {
  "5.0": new WeakMap(),
  "5.2": new WeakMap(),
};

function patternAt(L: LuaState, arg: number): Pattern {
  const source = checkByteArray(L, arg);
  const { dialect } = sessionOf(L);
  let pattern = compiled[dialect].get(source);
  if (pattern === undefined) {
    charge(L, source.length);
    pattern = compilePattern(source, dialect);
    compiled[dialect].set(source, pattern);
  }
  return pattern;
}

/**
 * The matcher of all searches that end within their turn. Nothing else runs
 * between a search and the use of what it found; a search that pauses keeps
 * the matcher and leaves a new one here.
 */
let shared = new Matcher();

function keepMatcher(matcher: Matcher): void {
  if (matcher === shared) shared = new Matcher();
}

/** Charges what was done, goes on until the turn is over, and raises the pattern's mistakes. */
function settle(L: LuaState, matcher: Matcher, firstStatus: number): number {
  let status = firstStatus;
  for (let turn = 0; status === PAUSED && turn < TURN_STEPS; turn += SLICE) {
    charge(L, matcher.steps);
    matcher.steps = 0;
    status = matcher.resume(SLICE);
  }
  charge(L, matcher.steps);
  matcher.steps = 0;
  if (status === FAILED) raise(L, matcher.error);
  return status;
}

function begin(L: LuaState, matcher: Matcher, pattern: Pattern, subject: Uint8Array, from: number): number {
  return settle(L, matcher, matcher.search(pattern, subject, from, false, SLICE));
}

/** Takes a long search to its end, then does `use` with its status. */
function goOn(L: LuaState, matcher: Matcher, use: (L: LuaState, status: number) => number): number {
  keepMatcher(matcher);
  const rest = generatorNative(function* (L: LuaState): NativeGenerator {
    let status: number = PAUSED;
    while (status === PAUSED) {
      yield PAUSE;
      status = settle(L, matcher, matcher.resume(SLICE));
    }
    return use(L, status);
  });
  return rest(L);
}

const bufferIndexOf = Buffer.prototype.indexOf as (
  this: Uint8Array,
  text: Uint8Array,
  from: number,
) => number;

function plainSearch(L: LuaState, subject: Uint8Array, text: Uint8Array, from: number): number {
  if (text.length === 0) return from;
  const at = text.length === 1 ? subject.indexOf(text[0]!, from) : bufferIndexOf.call(subject, text, from);
  charge(L, ((at < 0 ? subject.length : at) - from) >> 4);
  return at;
}

function pushCapture(L: LuaState, matcher: Matcher, i: number, subject: Uint8Array): void {
  if (matcher.isPosition(i)) lua_pushnumber(L, matcher.captureStart(i) + 1);
  else if (matcher.isUnfinished(i)) raise(L, "unfinished capture");
  else pushOwnedBytes(L, copyBytes(subject, matcher.captureStart(i), matcher.captureEnd(i)));
}

/** Pushes all captures; without any the whole match when `whole` is set. Returns how many. */
function pushCaptures(L: LuaState, matcher: Matcher, subject: Uint8Array, whole: boolean): number {
  const { captures } = matcher;
  if (captures === 0) {
    if (!whole) return 0;
    pushOwnedBytes(L, copyBytes(subject, matcher.start, matcher.end));
    return 1;
  }
  if (captures > 10 && !lua_checkstack(L, captures)) raise(L, "stack overflow (too many captures)");
  for (let i = 0; i < captures; i++) pushCapture(L, matcher, i, subject);
  return captures;
}

function pushNotFound(L: LuaState): number {
  lua_pushnil(L);
  return 1;
}

function searchOnce(L: LuaState, find: boolean): number {
  const subject = checkByteArray(L, 1);
  const pattern = patternAt(L, 2);
  const init = optWhole(L, 3, 1);
  let from = (init >= 0 ? init : subject.length + init + 1) - 1;
  if (from < 0) from = 0;
  else if (from > subject.length) {
    if (sessionOf(L).dialect === "5.2") return pushNotFound(L);
    from = subject.length;
  }
  if (find && (pattern.literal || lua_toboolean(L, 4))) {
    const text = checkByteArray(L, 2);
    const at = plainSearch(L, subject, text, from);
    if (at < 0) return pushNotFound(L);
    lua_pushnumber(L, at + 1);
    lua_pushnumber(L, at + text.length);
    return 2;
  }
  const matcher = shared;
  const status = begin(L, matcher, pattern, subject, from);
  if (status !== PAUSED) return pushFound(L, matcher, status, subject, find);
  return goOn(L, matcher, (L, status) => pushFound(L, matcher, status, subject, find));
}

function pushFound(
  L: LuaState,
  matcher: Matcher,
  status: number,
  subject: Uint8Array,
  find: boolean,
): number {
  if (status !== FOUND) return pushNotFound(L);
  if (!find) return pushCaptures(L, matcher, subject, true);
  lua_pushnumber(L, matcher.start + 1);
  lua_pushnumber(L, matcher.end);
  return 2 + pushCaptures(L, matcher, subject, false);
}

/** Pushes an iterator over all matches; a "^" has no special meaning in its pattern. */
function gfind(L: LuaState): number {
  const subject = checkByteArray(L, 1);
  let pattern = patternAt(L, 2);
  if (pattern.anchored) pattern = compilePattern(checkByteArray(L, 2), sessionOf(L).dialect, false);
  let from = 0;
  const pushNext = (L: LuaState, matcher: Matcher, status: number) => {
    if (status !== FOUND) {
      from = subject.length + 1;
      return 0;
    }
    from = matcher.end === matcher.start ? matcher.end + 1 : matcher.end;
    return pushCaptures(L, matcher, subject, true);
  };
  lua_pushcfunction(L, (L) => {
    if (from > subject.length) return 0;
    const matcher = shared;
    const status = begin(L, matcher, pattern, subject, from);
    if (status !== PAUSED) return pushNext(L, matcher, status);
    return goOn(L, matcher, (L, status) => pushNext(L, matcher, status));
  });
  return 1;
}

/** Walks the matches of a gsub and collects the result. */
class Substitution {
  readonly dialect: PatternDialect;
  readonly subject: Uint8Array;
  /** Holds the match found, until anything else runs. */
  matcher = shared;
  readonly #L: LuaState;
  readonly #pattern: Pattern;
  readonly #most: number;
  #count = 0;
  #out: ByteBuilder | undefined;
  /** The subject up to here is in the result. */
  #copied = 0;
  /** Where to search next, -1 when all is done. */
  #from = 0;
  #start = 0;
  #searching = false;
  #turn = 0;

  constructor(L: LuaState) {
    this.#L = L;
    this.dialect = sessionOf(L).dialect;
    this.subject = checkByteArray(L, 1);
    this.#pattern = patternAt(L, 2);
    this.#most = optWhole(L, 4, this.subject.length + 1);
  }

  /** Goes to the next match and copies what lies before it; PAUSED when others should run first. */
  next(): number {
    if (this.#count >= this.#most || this.#from < 0) return NOT_FOUND;
    if (++this.#turn > TURN_STEPS / 10) {
      this.#turn = 0;
      return PAUSED;
    }
    if (!this.#searching) this.matcher = shared;
    const status = this.#searching
      ? settle(this.#L, this.matcher, this.matcher.resume(SLICE))
      : begin(this.#L, this.matcher, this.#pattern, this.subject, this.#from);
    this.#searching = status === PAUSED;
    if (this.#searching) keepMatcher(this.matcher);
    if (status === FOUND) this.#take();
    return status;
  }

  #take(): void {
    const { start, end } = this.matcher;
    this.#count++;
    this.#out ??= new ByteBuilder(this.#L, this.subject.length + 8);
    this.#out.add(this.subject, this.#copied, start);
    this.#start = start;
    this.#copied = end;
    const after = end > start ? end : end + 1;
    this.#from = after > this.subject.length || this.#pattern.anchored ? -1 : after;
  }

  replace(bytes: Uint8Array): void {
    this.#out!.add(bytes, 0, bytes.length);
  }

  replaceByte(byte: number): void {
    this.#out!.addByte(byte);
  }

  replaceByCapture(i: number): void {
    const { matcher } = this;
    if (!matcher.isPosition(i)) this.#out!.add(this.subject, matcher.captureStart(i), matcher.captureEnd(i));
    else for (const digit of String(matcher.captureStart(i) + 1)) this.#out!.addByte(digit.charCodeAt(0));
  }

  keep(): void {
    this.#out!.add(this.subject, this.#start, this.#copied);
  }

  /** Pushes the two results. */
  finish(): number {
    const L = this.#L;
    if (this.#out !== undefined) {
      this.#out.add(this.subject, this.#copied, this.subject.length);
      pushOwnedBytes(L, this.#out.finish());
    } else if (typeAt(L, 1) === LUA.STRING) lua_pushvalue(L, 1);
    else pushText(L, toText(L, 1)!);
    lua_pushnumber(L, this.#count);
    return 2;
  }
}

/** Adds a replacement string in which %1 to %9 stand for captures. */
function expand(L: LuaState, out: Substitution, text: Uint8Array): void {
  const { captures } = out.matcher;
  const modern = out.dialect === "5.2";
  charge(L, text.length >> 3);
  for (let i = 0; i < text.length; i++) {
    if (text[i] !== PERCENT) {
      out.replaceByte(text[i]!);
      continue;
    }
    const c = text[++i];
    if (!isDigit(c)) {
      if (modern && c !== PERCENT) raise(L, "invalid use of `%' in replacement string");
      // To 5.0 a "%" at the end quotes the NUL byte that ends a C string.
      out.replaceByte(c ?? 0);
      continue;
    }
    const n = c! - 0x31;
    if (modern && (n < 0 || (n === 0 && captures === 0))) out.keep();
    else if (n < 0 || n >= captures || out.matcher.isUnfinished(n)) raise(L, "invalid capture index");
    else out.replaceByCapture(n);
  }
}

/** Adds what a function or table gave for a match, on top of the stack; 5.0 drops the match where 5.2 keeps it. */
function addValue(L: LuaState, out: Substitution): void {
  const type = typeAt(L, -1);
  if (type === LUA.STRING || type === LUA.NUMBER) out.replace(checkByteArray(L, -1));
  else if (out.dialect === "5.2") {
    if (lua_toboolean(L, -1)) raise(L, `invalid replacement value (a ${typeNameAt(L, -1)})`);
    out.keep();
  }
  lua_pop(L, 1);
}

const gsubByFunction = generatorNative(function* (L: LuaState): NativeGenerator {
  const out = new Substitution(L);
  lua_settop(L, 4);
  for (let status = out.next(); status !== NOT_FOUND; status = out.next()) {
    if (status === PAUSED) {
      yield PAUSE;
      continue;
    }
    lua_pushvalue(L, 3);
    const captures = pushCaptures(L, out.matcher, out.subject, true);
    yield { call: captures, results: 1 };
    addValue(L, out);
  }
  return out.finish();
});

/** Does `add` for every match, without a generator as long as it does not take long. */
function substitute(L: LuaState, out: Substitution, add: () => void): number {
  for (;;) {
    const status = out.next();
    if (status === NOT_FOUND) return out.finish();
    if (status === FOUND) add();
    else
      return generatorNative(function* (): NativeGenerator {
        yield PAUSE;
        for (let status = out.next(); status !== NOT_FOUND; status = out.next())
          if (status === FOUND) add();
          else yield PAUSE;
        return out.finish();
      })(L);
  }
}

function gsub(L: LuaState): number {
  const type = typeAt(L, 3);
  if (type === LUA.FUNCTION) return gsubByFunction(L);
  const out = new Substitution(L);
  const modern = out.dialect === "5.2";
  if (type === LUA.TABLE && modern)
    return substitute(L, out, () => {
      const captures = pushCaptures(L, out.matcher, out.subject, true);
      lua_pop(L, captures - 1);
      lua_gettable(L, 3);
      addValue(L, out);
    });
  if (type !== LUA.STRING && type !== LUA.NUMBER)
    argError(L, 3, modern ? "string/function/table expected" : "string or function expected");
  const text = checkByteArray(L, 3);
  const plain = text.indexOf(PERCENT) < 0;
  return substitute(L, out, plain ? () => out.replace(text) : () => expand(L, out, text));
}

export const matchFunctions: Record<string, Native> = {
  find: (L) => searchOnce(L, true),
  gfind,
  gmatch: gfind,
  gsub,
  match: (L) => searchOnce(L, false),
};
