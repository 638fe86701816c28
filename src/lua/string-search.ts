/**
 * What find, match, gfind and gsub have in common: compiled patterns at hand,
 * searches that charge their steps and let others run, captures for Lua.
 */
import { PAUSE } from "./arguments.ts";
import { copyBytes } from "./byte-builder.ts";
import { FAILED, Matcher, PAUSED } from "./matcher.ts";
import { charge, checkByteArray, generatorNative, type NativeGenerator, raise, sessionOf } from "./native.ts";
import { compilePattern, type Pattern, type PatternDialect } from "./pattern.ts";
import { type LuaState, lua_checkstack, lua_pushnumber, pushOwnedBytes } from "./vm.ts";

/** Matching steps between two looks at the budget: a fraction of a millisecond. */
export const SLICE = 10_000;
/** Steps after which other sessions get a turn: a fraction of a millisecond. */
export const TURN_STEPS = 30_000;

/** Patterns longer than this are compiled for each call. */
const LONGEST_KEPT = 64;
const SLOTS = 512;

interface Compiled {
  readonly source: Uint8Array;
  readonly pattern: Pattern;
}

/** Patterns compiled lately, each in the slot that its bytes lead to. */
const compiled: Record<PatternDialect, (Compiled | undefined)[]> = {
  "5.0": new Array(SLOTS).fill(undefined),
  "5.2": new Array(SLOTS).fill(undefined),
};

function slotOf(source: Uint8Array): number {
  const n = source.length;
  const mix = n * 131 + source[0]! * 31 + source[n >> 2]! * 61 + source[n >> 1]! * 7 + source[n - 1]! * 17;
  return mix & (SLOTS - 1);
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a === b) return true;
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

export function patternAt(L: LuaState, arg: number): Pattern {
  const source = checkByteArray(L, arg);
  const { dialect } = sessionOf(L);
  if (source.length === 0 || source.length > LONGEST_KEPT) {
    charge(L, source.length);
    return compilePattern(source, dialect);
  }
  const slots = compiled[dialect];
  const at = slotOf(source);
  const known = slots[at];
  if (known !== undefined && sameBytes(known.source, source)) return known.pattern;
  const pattern = compilePattern(source, dialect);
  slots[at] = { source, pattern };
  return pattern;
}

/**
 * The matcher of all searches that end within their turn. Nothing else runs
 * between a search and the use of what it found; a search that pauses keeps
 * the matcher and leaves a new one here.
 */
let shared = new Matcher();

export function sharedMatcher(): Matcher {
  return shared;
}

export function keepMatcher(matcher: Matcher): void {
  if (matcher === shared) shared = new Matcher();
}

/** Charges what was done, goes on until the turn is over, and raises the pattern's mistakes. */
export function settle(L: LuaState, matcher: Matcher, firstStatus: number): number {
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

export function begin(
  L: LuaState,
  matcher: Matcher,
  pattern: Pattern,
  subject: Uint8Array,
  from: number,
): number {
  return settle(L, matcher, matcher.search(pattern, subject, from, false, SLICE));
}

/** Takes a long search to its end, then does `use` with its status. */
export function goOn(L: LuaState, matcher: Matcher, use: (L: LuaState, status: number) => number): number {
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

function pushCapture(L: LuaState, matcher: Matcher, i: number, subject: Uint8Array): void {
  if (matcher.isPosition(i)) lua_pushnumber(L, matcher.captureStart(i) + 1);
  else if (matcher.isUnfinished(i)) raise(L, "unfinished capture");
  else pushOwnedBytes(L, copyBytes(subject, matcher.captureStart(i), matcher.captureEnd(i)));
}

/** Pushes all captures; without any the whole match when `whole` is set. Returns how many. */
export function pushCaptures(L: LuaState, matcher: Matcher, subject: Uint8Array, whole: boolean): number {
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
