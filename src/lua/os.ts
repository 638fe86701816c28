/**
 * The os library of Lua 5.0 without what VPOP3 takes away: exit, setlocale,
 * execute and popen are there and raise. VPOP3's own additions (sleep,
 * timedexecute, getdirectory, safety mode) are host functions elsewhere.
 */

import { randomBytes } from "node:crypto";
import { lstatSync, renameSync, rmdirSync, unlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { encodeText, toBytes } from "../bytes.ts";
import { checkTable } from "./arguments.ts";
import { breakDown, formatTime, localTime } from "./dates.ts";
import { pathOf } from "./file-names.ts";
import { pushFailure, pushOutcome, SYSTEM_CALL_STEPS } from "./io-file.ts";
import {
  charge,
  checkBytes,
  checkNumber,
  isAbsent,
  optBytes,
  optNumber,
  raise,
  type Session,
  sessionOf,
} from "./native.ts";
import { CLOSED, failure, failureOf } from "./system-error.ts";
import {
  LUA,
  type LuaState,
  lua_getfield,
  lua_pop,
  lua_pushnil,
  lua_pushnumber,
  lua_settop,
  lua_toboolean,
  lua_tonumberx,
  lua_type,
  type Native,
  newTable,
  newValue,
  pushSlot,
  pushText,
  rawSet,
} from "./vm.ts";

const now = () => Math.floor(Date.now() / 1000);

/** 5.0 has a buffer of 256 bytes for the result. */
const LONGEST_DATE = 255;
const LONGEST_FORMAT = 65_536;

function date(L: LuaState): number {
  const given = optBytes(L, 1, "%c");
  const asked = Math.trunc(optNumber(L, 2, -1));
  const utc = given.startsWith("!");
  const format = utc ? given.slice(1) : given;
  charge(L, 100 + format.length * 4);
  // -1 is C's "no time".
  const t = breakDown(asked === -1 ? now() : asked, utc);
  if (t === undefined) {
    lua_pushnil(L);
    return 1;
  }
  if (format === "*t") {
    const { second: sec, minute: min, hour, day, month, year } = t;
    const table = newTable(L);
    const numbers = { sec, min, hour, day, month, year, wday: t.weekday + 1, yday: t.yearday + 1 };
    for (const [name, value] of Object.entries(numbers)) rawSet(L, table, name, newValue(LUA.NUMBER, value));
    rawSet(L, table, "isdst", newValue(LUA.BOOLEAN, t.summer));
    pushSlot(L, newValue(LUA.TABLE, table));
    return 1;
  }
  if (format.length > LONGEST_FORMAT) raise(L, "`date' format too long");
  const text = formatTime(format, t);
  if (sessionOf(L).dialect === "5.0" && text.length > LONGEST_DATE) raise(L, "`date' format too long");
  pushText(L, text);
  return 1;
}

/** A field of the table at 1 as a whole number; without `fallback` it must be there. */
function dateField(L: LuaState, name: string, fallback?: number): number {
  lua_getfield(L, 1, toBytes(name));
  const value = lua_tonumberx(L, -1);
  lua_pop(L, 1);
  if (value !== false) return Math.trunc(value) || 0;
  return fallback ?? raise(L, `field \`${name}' missing in date table`);
}

function time(L: LuaState): number {
  if (isAbsent(L, 1)) {
    lua_pushnumber(L, now());
    return 1;
  }
  checkTable(L, 1);
  charge(L, 50);
  lua_settop(L, 1);
  const second = dateField(L, "sec", 0);
  const minute = dateField(L, "min", 0);
  const hour = dateField(L, "hour", 12);
  const day = dateField(L, "day");
  const month = dateField(L, "month");
  const year = dateField(L, "year");
  lua_getfield(L, 1, toBytes("isdst"));
  // 5.0 takes a missing isdst for false: the fields are standard time. To 5.2 the zone decides.
  const known = sessionOf(L).dialect === "5.0" || lua_type(L, -1) !== LUA.NIL;
  const t = localTime({ year, month, day, hour, minute, second }, known ? lua_toboolean(L, -1) : undefined);
  if (t === undefined || t === -1) lua_pushnil(L);
  else lua_pushnumber(L, t);
  return 1;
}

function remove(L: LuaState): number {
  const name = checkBytes(L, 1);
  return changeFiles(L, [name], () => {
    const path = pathOf(sessionOf(L), name);
    if (lstatSync(path).isDirectory()) rmdirSync(path);
    else unlinkSync(path);
  });
}

function rename(L: LuaState): number {
  const from = checkBytes(L, 1);
  const to = checkBytes(L, 2);
  const session = sessionOf(L);
  return changeFiles(L, [from, to], () => renameSync(pathOf(session, from), pathOf(session, to)));
}

/** true, or nil and what the system said, under the first of the names. */
function changeFiles(L: LuaState, names: readonly [string, ...string[]], change: () => void): number {
  charge(L, SYSTEM_CALL_STEPS);
  const [name] = names;
  if (names.some((text) => text.includes("\0"))) return pushFailure(L, failure("EINVAL"), name);
  const session = sessionOf(L);
  if (names.some((text) => session.closedFiles.holdsEntry(pathOf(session, text)))) {
    return pushFailure(L, CLOSED, name);
  }
  try {
    change();
  } catch (error) {
    return pushFailure(L, failureOf(error), name);
  }
  return pushOutcome(L, undefined);
}

/** Whole C time values: fractions and what is no number are cut off. */
function timeValue(n: number): number {
  return Math.trunc(n) || 0;
}

const TEMPORARY = "os.tmpname";

/** The names that os.tmpname has given to this environment. */
export function temporaryNames({ library }: Session): Set<string> {
  let names = library.get(TEMPORARY) as Set<string> | undefined;
  if (names === undefined) {
    names = new Set();
    library.set(TEMPORARY, names);
  }
  return names;
}

function tmpname(L: LuaState): number {
  charge(L, 1000);
  // Nobody can guess it, so nobody can be there first; the file is the script's to make.
  const name = encodeText(join(tmpdir(), `lua_${randomBytes(12).toString("hex")}`));
  temporaryNames(sessionOf(L)).add(name);
  pushText(L, name);
  return 1;
}

function disabled(name: string): Native {
  return (L) => raise(L, `${name} is disabled`);
}

export const osFunctions: Record<string, Native> = {
  clock(L) {
    const { user, system } = process.cpuUsage();
    lua_pushnumber(L, (user + system) / 1e6);
    return 1;
  },
  date,
  difftime(L) {
    lua_pushnumber(L, timeValue(checkNumber(L, 1)) - timeValue(optNumber(L, 2, 0)));
    return 1;
  },
  execute: disabled("os.execute"),
  exit: disabled("os.exit"),
  getenv(L) {
    const name = checkBytes(L, 1);
    const value = process.env[Buffer.from(name, "latin1").toString()];
    if (value === undefined) lua_pushnil(L);
    else pushText(L, encodeText(value));
    return 1;
  },
  popen: disabled("os.popen"),
  remove,
  rename,
  setlocale: disabled("os.setlocale"),
  time,
  tmpname,
};
