/**
 * find, match, gfind and gmatch: Lua 5.0's searching functions on our own
 * matcher, whose steps are charged to the callback's budget. A search that
 * takes long lets other sessions run in between. To the "5.2" dialect nothing
 * is found past the end of a string.
 */
import { optWhole } from "./arguments.ts";
import { FOUND, type Matcher, PAUSED } from "./matcher.ts";
import { charge, checkByteArray, sessionOf } from "./native.ts";
import { compilePattern } from "./pattern.ts";
import { begin, goOn, patternAt, pushCaptures, sharedMatcher } from "./string-search.ts";
import {
  type LuaState,
  lua_pushcfunction,
  lua_pushnil,
  lua_pushnumber,
  lua_toboolean,
  type Native,
} from "./vm.ts";

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
  const matcher = sharedMatcher();
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
    const matcher = sharedMatcher();
    const status = begin(L, matcher, pattern, subject, from);
    if (status !== PAUSED) return pushNext(L, matcher, status);
    return goOn(L, matcher, (L, status) => pushNext(L, matcher, status));
  });
  return 1;
}

export const matchFunctions: Record<string, Native> = {
  find: (L) => searchOnce(L, true),
  gfind,
  gmatch: gfind,
  match: (L) => searchOnce(L, false),
};
