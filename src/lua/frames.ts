/**
 * Who called whom: positions for error messages, function names, tracebacks,
 * in the form of Lua 5.0. Levels count as Lua's do: 0 is the running function,
 * 1 its caller; a tail call leaves a level that nothing is known about.
 */
import {
  chunkName,
  type LClosure,
  LUA,
  type LuaState,
  lua_getinfo,
  newDebugInfo,
  rawEqual,
  type TString,
  type TValue,
  textOfBytes,
  textOfString,
} from "./vm.ts";
import type { CallInfo } from "./vm-types.ts";

const IS_LUA = 1 << 1;
const IS_TAIL_CALL = 1 << 5;
const NAME = Buffer.from("n");

/** The call at `level`; "tail" for the trace a tail call leaves, undefined above the first. */
export function frameAt(L: LuaState, level: number): CallInfo | "tail" | undefined {
  let left = level;
  for (let ci: CallInfo | null = L.ci; ci !== null && ci !== L.base_ci; ci = ci.previous) {
    if (left === 0) return ci;
    left--;
    if (isLua(ci) && ci.callstatus & IS_TAIL_CALL && left-- === 0) return "tail";
  }
  return undefined;
}

function isLua(ci: CallInfo): boolean {
  return (ci.callstatus & IS_LUA) !== 0;
}

function closureOf(ci: CallInfo): LClosure {
  return ci.func.value as LClosure;
}

/** "FILE.LUA:4: ", or "" where there is no line to name. */
export function where(L: LuaState, level: number): string {
  const frame = frameAt(L, level);
  if (frame === undefined || frame === "tail" || !isLua(frame)) return "";
  return `${sourceOf(frame)}:${lineOf(frame)}: `;
}

function sourceOf(ci: CallInfo): string {
  return chunkName(textOfString(closureOf(ci).p.source));
}

function lineOf(ci: CallInfo): number {
  return closureOf(ci).p.lineinfo[ci.l_savedpc - 1] ?? 0;
}

/** What the calling code calls the function at `ci`: [kind, name], kind "" when unknown. */
function nameOf(L: LuaState, ci: CallInfo): readonly [kind: string, name: string] {
  const info = newDebugInfo();
  info.i_ci = ci;
  lua_getinfo(L, NAME, info);
  const kind = textOfBytes(info.namewhat);
  if (info.name !== null && (kind === "global" || kind === "local" || kind === "method" || kind === "field"))
    return [kind, textOfBytes(info.name)];
  const global = globalName(L, ci.func);
  return global === undefined ? ["", "?"] : ["global", global];
}

/** The name of the global that holds `value`. */
function globalName(L: LuaState, value: TValue): string | undefined {
  let left = MOST_GLOBALS;
  for (let entry = L.globals?.f; entry !== undefined && left-- > 0; entry = entry.n) {
    if ((entry.key.type & 0x0f) === LUA.STRING && rawEqual(entry.value, value))
      return textOfString(entry.key.value as TString);
  }
  return undefined;
}

/** The library comes first among the globals. */
const MOST_GLOBALS = 500;

/** What the running native function was called as. */
export function runningName(L: LuaState): readonly [kind: string, name: string] {
  return L.ci === L.base_ci ? ["", "?"] : nameOf(L, L.ci);
}

const FIRST_LEVELS = 12;
const LAST_LEVELS = 10;

/** Lua's traceback of a thread, also of one that died of an error. */
export function traceback(L: LuaState): string {
  const frames: CallInfo[] = [];
  for (let ci: CallInfo | null = L.ci; ci !== null && ci !== L.base_ci; ci = ci.previous) {
    // A suspended thread's last call is hidden behind what it yielded.
    if (ci.func?.ttisfunction()) frames.push(ci);
  }
  const last = Math.max(FIRST_LEVELS, frames.length - LAST_LEVELS);
  const lines = ["stack traceback:"];
  for (const ci of frames.slice(0, FIRST_LEVELS)) lines.push(frameLine(L, ci));
  if (last > FIRST_LEVELS) lines.push("...");
  for (const ci of frames.slice(last)) lines.push(frameLine(L, ci));
  return lines.join("\n\t");
}

function frameLine(L: LuaState, ci: CallInfo): string {
  const place = isLua(ci) ? `${sourceOf(ci)}:${lineOf(ci)}:` : "[C]:";
  const [kind, name] = nameOf(L, ci);
  if (kind !== "") return `${place} in ${kind === "global" ? "function" : kind} \`${name}'`;
  if (!isLua(ci)) return "[C]: ?";
  const { linedefined } = closureOf(ci).p;
  return linedefined === 0
    ? `${place} in main chunk`
    : `${place} in function <${sourceOf(ci)}:${linedefined}>`;
}

/** The line at which the innermost Lua function on `L` stands; 0 when there is none. */
export function currentLine(L: LuaState): number {
  for (let ci: CallInfo | null = L.ci; ci !== null && ci !== L.base_ci; ci = ci.previous)
    if (ci.func?.ttisLclosure() && isLua(ci)) return lineOf(ci);
  return 0;
}
