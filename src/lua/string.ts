/**
 * The string library of Lua 5.0. Strings are bytes; letters are ASCII's.
 * Work that grows with the arguments is charged: long results by the machine
 * when they are made, everything else here.
 */
import { checkFunction, checkWhole, optWhole, typeAt } from "./arguments.ts";
import { baseFunctions } from "./base.ts";
import { copyBytes } from "./byte-builder.ts";
import {
  argError,
  charge,
  checkByteArray,
  checkBytes,
  checkNumber,
  generatorNative,
  type NativeGenerator,
  optBytes,
  raise,
  sessionOf,
} from "./native.ts";
import { type Directive, formatNumeric, formatText, parseFormat, quote } from "./printf.ts";
import { gsub } from "./string-gsub.ts";
import { matchFunctions } from "./string-match.ts";
import {
  LUA,
  type LuaState,
  lua_checkstack,
  lua_gettop,
  lua_pushcfunction,
  lua_pushnumber,
  lua_pushvalue,
  lua_replace,
  machine,
  type Native,
  pushOwnedBytes,
  pushText,
} from "./vm.ts";

/** A position counted from the end when negative. */
function position(n: number, length: number): number {
  return n >= 0 ? n : length + n + 1;
}

function sub(L: LuaState): number {
  const bytes = checkByteArray(L, 1);
  const { length } = bytes;
  const start = Math.max(position(checkWhole(L, 2), length), 1);
  const end = Math.min(position(optWhole(L, 3, -1), length), length);
  if (start === 1 && end === length && typeAt(L, 1) === LUA.STRING) lua_pushvalue(L, 1);
  else if (start > end) pushText(L, "");
  else pushOwnedBytes(L, copyBytes(bytes, start - 1, end));
  return 1;
}

/** A byte by byte change: `from` to `to` are moved by 32, upper case to lower or back. */
function changeCase(from: number, to: number): Native {
  return (L) => {
    const bytes = checkByteArray(L, 1);
    const out = new Uint8Array(bytes.length);
    for (let i = 0; i < bytes.length; i++) {
      const c = bytes[i]!;
      out[i] = c >= from && c <= to ? c ^ 0x20 : c;
    }
    pushOwnedBytes(L, out);
    return 1;
  };
}

function rep(L: LuaState): number {
  const unit = checkByteArray(L, 1);
  const n = checkWhole(L, 2);
  const separator = sessionOf(L).dialect === "5.2" ? optBytes(L, 3, "") : "";
  const total = n <= 0 ? 0 : unit.length * n + separator.length * (n - 1);
  if (total === 0) {
    pushText(L, "");
    return 1;
  }
  // Before the memory is taken.
  machine.onString(L, total);
  const out = new Uint8Array(total);
  out.set(unit);
  for (let i = 0; i < separator.length; i++) if (n > 1) out[unit.length + i] = separator.charCodeAt(i);
  // What is there doubles with each copy.
  for (let filled = unit.length + separator.length; filled < total; filled *= 2)
    out.copyWithin(filled, 0, Math.min(filled, total - filled));
  pushOwnedBytes(L, out);
  return 1;
}

function byte(L: LuaState): number {
  const bytes = checkByteArray(L, 1);
  const first = position(optWhole(L, 2, 1), bytes.length);
  if (sessionOf(L).dialect === "5.0") {
    if (first <= 0 || first > bytes.length) return 0;
    lua_pushnumber(L, bytes[first - 1]!);
    return 1;
  }
  const from = Math.max(first, 1);
  const to = Math.min(position(optWhole(L, 3, first), bytes.length), bytes.length);
  if (from > to) return 0;
  const count = to - from + 1;
  charge(L, count);
  if (!lua_checkstack(L, count)) raise(L, "string slice too long");
  for (let i = from; i <= to; i++) lua_pushnumber(L, bytes[i - 1]!);
  return count;
}

function char(L: LuaState): number {
  const count = lua_gettop(L);
  charge(L, count);
  const out = new Uint8Array(count);
  for (let i = 1; i <= count; i++) {
    const c = checkWhole(L, i);
    if (c < 0 || c > 255) argError(L, i, "invalid value");
    out[i - 1] = c;
  }
  pushOwnedBytes(L, out);
  return 1;
}

/** Formats live, parsed, as long as the strings they came from. */
const formats = new WeakMap<Uint8Array, Directive[]>();

function directivesAt(L: LuaState, n: number): Directive[] {
  const source = checkByteArray(L, n);
  let directives = formats.get(source);
  if (directives === undefined) {
    charge(L, source.length);
    directives = parseFormat(checkBytes(L, n));
    formats.set(source, directives);
  }
  return directives;
}

/** From this length on %s without a precision takes a string as it is, NUL bytes and all. */
const LONG_STRING = 100;

function formatString(L: LuaState, n: number, directive: Directive): string {
  const text = checkBytes(L, n);
  if (sessionOf(L).dialect === "5.2") return formatText(text, directive);
  if (directive.precision < 0 && text.length >= LONG_STRING) return text;
  // Shorter ones went through sprintf, which stops at a NUL byte.
  const nul = text.indexOf("\0");
  return formatText(nul < 0 ? text : text.slice(0, nul), directive);
}

/** To 5.2 %s takes anything: the stack positions of arguments that tostring must be asked about. */
function positionsToConvert(L: LuaState, directives: readonly Directive[]): number[] {
  const positions: number[] = [];
  let argument = 1;
  for (const { conversion } of directives) {
    if (conversion === "" || conversion === "!") continue;
    const type = typeAt(L, ++argument);
    if (conversion === "s" && type !== LUA.STRING && type !== LUA.NUMBER && type !== LUA.NONE)
      positions.push(argument);
  }
  return positions;
}

const formatAnything = generatorNative(function* (L: LuaState): NativeGenerator {
  const directives = directivesAt(L, 1);
  for (const position of positionsToConvert(L, directives)) {
    lua_pushcfunction(L, baseFunctions.tostring!);
    lua_pushvalue(L, position);
    yield { call: 1, results: 1 };
    if (typeAt(L, -1) !== LUA.STRING) raise(L, "'tostring' must return a string");
    lua_replace(L, position);
  }
  return formatWith(L, directives);
});

function format(L: LuaState): number {
  const directives = directivesAt(L, 1);
  if (sessionOf(L).dialect === "5.2" && positionsToConvert(L, directives).length > 0)
    return formatAnything(L);
  return formatWith(L, directives);
}

function formatWith(L: LuaState, directives: readonly Directive[]): number {
  const { dialect } = sessionOf(L);
  charge(L, directives.length);
  let out = "";
  let announced = 65_536;
  let argument = 1;
  for (const directive of directives) {
    switch (directive.conversion) {
      case "":
        out += directive.text;
        break;
      case "!":
        raise(L, directive.text);
        break;
      case "s":
        out += formatString(L, ++argument, directive);
        break;
      case "q": {
        const text = checkBytes(L, ++argument);
        charge(L, text.length >> 3);
        out += quote(text, dialect === "5.2");
        break;
      }
      default: {
        const item = formatNumeric(checkNumber(L, ++argument), directive);
        // 5.0 drops what follows a NUL byte in an item.
        const nul = dialect === "5.0" && directive.conversion === "c" ? item.indexOf("\0") : -1;
        out += nul < 0 ? item : item.slice(0, nul);
      }
    }
    // JavaScript takes the memory of a concatenation late, and then at once.
    if (out.length > announced) {
      machine.onString(L, out.length);
      announced = out.length * 2;
    }
  }
  pushText(L, out);
  return 1;
}

export const stringFunctions: Record<string, Native> = {
  ...matchFunctions,
  byte,
  char,
  /** There is no binary form of functions here: it could not be checked before it runs. */
  dump(L) {
    checkFunction(L, 1);
    return raise(L, "unable to dump given function");
  },
  format,
  gsub,
  len(L) {
    lua_pushnumber(L, checkByteArray(L, 1).length);
    return 1;
  },
  lower: changeCase(0x41, 0x5a),
  rep,
  reverse(L) {
    pushOwnedBytes(L, Uint8Array.from(checkByteArray(L, 1)).reverse());
    return 1;
  },
  sub,
  upper: changeCase(0x61, 0x7a),
};
