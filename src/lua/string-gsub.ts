/**
 * gsub, which replaces the matches of a pattern by a string, by what a function
 * gives for them (which may wait) or, in the "5.2" dialect, by a table's
 * values. When a function gives nil, 5.0 drops the match and 5.2 keeps it.
 */
import { optWhole, PAUSE, typeAt } from "./arguments.ts";
import { ByteBuilder } from "./byte-builder.ts";
import { FOUND, NOT_FOUND, PAUSED } from "./matcher.ts";
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
import { isDigit, type Pattern, type PatternDialect } from "./pattern.ts";
import {
  begin,
  keepMatcher,
  patternAt,
  pushCaptures,
  SLICE,
  settle,
  sharedMatcher,
  TURN_STEPS,
} from "./string-search.ts";
import {
  LUA,
  type LuaState,
  lua_gettable,
  lua_pop,
  lua_pushnumber,
  lua_pushvalue,
  lua_settop,
  lua_toboolean,
  pushOwnedBytes,
  pushText,
} from "./vm.ts";

const PERCENT = 0x25;

/** Walks the matches of a gsub and collects the result. */
class Substitution {
  readonly dialect: PatternDialect;
  readonly subject: Uint8Array;
  /** Holds the match found, until anything else runs. */
  matcher = sharedMatcher();
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
    if (!this.#searching) this.matcher = sharedMatcher();
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

export function gsub(L: LuaState): number {
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
