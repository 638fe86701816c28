/**
 * File handles: the userdata, their methods, and what the io library shares
 * with them. A handle belongs to one environment, as does its metatable, which
 * scripts can see and change.
 */

import { toBytes } from "../bytes.ts";
import { optWhole, typeAt } from "./arguments.ts";
import { LuaFile, type Reserve } from "./file.ts";
import { readNumber } from "./file-number.ts";
import {
  argError,
  charge,
  checkByteArray,
  checkBytes,
  optBytes,
  raise,
  sessionOf,
  toText,
} from "./native.ts";
import { numberToString } from "./numbers.ts";
import type { Resource } from "./session.ts";
import { isFailure, type SystemFailure } from "./system-error.ts";
import {
  LUA,
  type LuaState,
  lua_checkstack,
  lua_gettop,
  lua_newuserdata,
  lua_pushboolean,
  lua_pushcfunction,
  lua_pushnil,
  lua_pushnumber,
  lua_setmetatable,
  lua_touserdata,
  machine,
  type Native,
  newTable,
  newValue,
  pushOwnedBytes,
  pushSlot,
  pushText,
  rawSet,
  slotAt,
  type Table,
  type TValue,
} from "./vm.ts";

/** What opening, removing or flushing a file costs, in instructions. */
export const SYSTEM_CALL_STEPS = 200;

/** What the io library keeps for an environment. */
interface Io {
  readonly metatable: Table;
  input: TValue | undefined;
  output: TValue | undefined;
}

export function ioOf(L: LuaState): Io {
  const { library } = sessionOf(L);
  let io = library.get("io") as Io | undefined;
  if (io === undefined) {
    const metatable = newTable(L);
    rawSet(L, metatable, "__index", newValue(LUA.TABLE, metatable));
    for (const [name, method] of Object.entries(fileMethods))
      rawSet(L, metatable, name, newValue(LUA.TAG_NATIVE, method));
    io = { metatable, input: undefined, output: undefined };
    library.set("io", io);
  }
  return io;
}

/** Closes files that scripts have dropped without closing them, some time after. */
const dropped = new FinalizationRegistry<{ file: LuaFile; resources: Set<Resource> }>(
  ({ file, resources }) => {
    resources.delete(file);
    file.close();
  },
);

/** Pushes a new handle of an open file. */
export function pushFile(L: LuaState, file: LuaFile): void {
  lua_newuserdata(L, 0).file = file;
  dropped.register(slotAt(L, -1)!.value as object, { file, resources: sessionOf(L).resources });
  pushSlot(L, newValue(LUA.TABLE, ioOf(L).metatable));
  lua_setmetatable(L, -2);
}

/** The file of a handle, open or closed. */
export function isFile(L: LuaState, index: number): LuaFile | undefined {
  if (typeAt(L, index) !== LUA.USERDATA) return undefined;
  const file = lua_touserdata(L, index)?.file;
  return file instanceof LuaFile ? file : undefined;
}

/** The file of a handle that must be open. */
export function fileAt(L: LuaState, index: number): LuaFile {
  const file = isFile(L, index) ?? argError(L, index, "bad file");
  return file.isOpen ? file : raise(L, "attempt to use a closed file");
}

/** nil, "name: message", number. */
export function pushFailure(L: LuaState, failure: SystemFailure, name?: string): number {
  lua_pushnil(L);
  pushText(L, name === undefined ? failure.message : `${name}: ${failure.message}`);
  lua_pushnumber(L, failure.errno);
  return 3;
}

export function pushOutcome(L: LuaState, failure: SystemFailure | undefined): number {
  if (failure !== undefined) return pushFailure(L, failure);
  lua_pushboolean(L, true);
  return 1;
}

export function close(L: LuaState, file: LuaFile): number {
  sessionOf(L).resources.delete(file);
  return pushOutcome(L, file.close());
}

// ---------------------------------------------------------------- reading

/** Lets no string become longer than the environment allows; what is made is charged when it is pushed. */
function reserveFor(L: LuaState): Reserve {
  const { maxStringBytes } = sessionOf(L);
  return (bytes) => {
    if (bytes > maxStringBytes) machine.onString(L, bytes);
  };
}

function pushRead(L: LuaState, bytes: Uint8Array | undefined): boolean {
  if (bytes === undefined) lua_pushnil(L);
  else pushOwnedBytes(L, bytes);
  return bytes !== undefined;
}

/** Reads by the formats from argument `first` up to the one before `end` (negative: from the top). */
export function readFormats(L: LuaState, file: LuaFile, first: number, end = 0): number {
  const last = lua_gettop(L) + end;
  const reserve = reserveFor(L);
  if (last < first) {
    pushRead(L, file.readLine(reserve));
    return 1;
  }
  const count = last - first + 1;
  charge(L, count);
  if (!lua_checkstack(L, count + 20)) raise(L, "stack overflow (too many arguments)");
  for (let arg = first; arg <= last; arg++) if (!readOne(L, file, arg, reserve)) return arg - first + 1;
  return count;
}

/** Reads by one format and pushes the result, nil when there is nothing more. */
function readOne(L: LuaState, file: LuaFile, arg: number, reserve: Reserve): boolean {
  if (typeAt(L, arg) === LUA.NUMBER) {
    const count = Math.trunc(slotAt(L, arg)!.value as number);
    if (count === 0) return pushRead(L, file.atEnd() ? undefined : new Uint8Array(0));
    // As C's size_t, a negative number is a very large one.
    return pushRead(L, file.readBytes(count > 0 ? count : Number.POSITIVE_INFINITY, reserve));
  }
  const format = toText(L, arg) ?? "";
  if (format[0] !== "*") argError(L, arg, "invalid option");
  switch (format[1]) {
    case "n": {
      const n = readNumber(file, (steps) => charge(L, steps));
      if (n === undefined) lua_pushnil(L);
      else lua_pushnumber(L, n);
      return n !== undefined;
    }
    case "l":
      return pushRead(L, file.readLine(reserve));
    case "a":
      return pushRead(L, file.readBytes(Number.POSITIVE_INFINITY, reserve) ?? new Uint8Array(0));
    case "w":
      return raise(L, "obsolete option `*w' to `read'");
    case "L":
      if (sessionOf(L).dialect === "5.2") return pushRead(L, file.readLine(reserve, true));
      break;
  }
  return argError(L, arg, "invalid format");
}

/** Pushes an iterator over the lines of a handle. `close` closes it after the last. */
export function pushLines(L: LuaState, handle: TValue, close: boolean): number {
  const slot = newValue(handle.type, handle.value);
  lua_pushcfunction(L, (L) => {
    pushSlot(L, slot);
    const file = isFile(L, -1)!;
    if (!file.isOpen) raise(L, "file is already closed");
    if (pushRead(L, file.readLine(reserveFor(L)))) return 1;
    if (close) {
      sessionOf(L).resources.delete(file);
      file.close();
    }
    return 0;
  });
  return 1;
}

// ---------------------------------------------------------------- writing

/** The strings and numbers from argument `first` on, as they are written. */
export function textsFrom(L: LuaState, first: number): string[] {
  const texts: string[] = [];
  for (let arg = first; arg <= lua_gettop(L); arg++) texts.push(checkBytes(L, arg));
  return texts;
}

/** Writes the arguments from `first` on, up to the handle on top if it was put there. */
export function writeTexts(L: LuaState, file: LuaFile, first: number, handle: TValue): number {
  const last = lua_gettop(L) - (first === 1 ? 1 : 0);
  for (let arg = first; arg <= last; arg++) {
    const bytes =
      typeAt(L, arg) === LUA.NUMBER
        ? toBytes(numberToString(slotAt(L, arg)!.value as number))
        : checkByteArray(L, arg);
    charge(L, bytes.length >> 6);
    const failed = file.write(bytes);
    if (failed !== undefined) return pushFailure(L, failed);
  }
  if (sessionOf(L).dialect === "5.0") return pushOutcome(L, undefined);
  pushSlot(L, handle);
  return 1;
}

// ---------------------------------------------------------------- methods

const WHENCE = ["set", "cur", "end"] as const;

function seek(L: LuaState): number {
  const file = fileAt(L, 1);
  const mode = optBytes(L, 2, "cur");
  const offset = optWhole(L, 3, 0);
  charge(L, SYSTEM_CALL_STEPS);
  const whence = WHENCE.find((name) => name === mode) ?? argError(L, 2, "invalid mode");
  const at = file.seek(whence, offset);
  if (isFailure(at)) return pushFailure(L, at);
  lua_pushnumber(L, at);
  return 1;
}

const fileMethods: Record<string, Native> = {
  close: (L) => close(L, fileAt(L, 1)),
  flush(L) {
    charge(L, SYSTEM_CALL_STEPS);
    return pushOutcome(L, fileAt(L, 1).flush());
  },
  lines(L) {
    fileAt(L, 1);
    return pushLines(L, slotAt(L, 1)!, false);
  },
  read: (L) => readFormats(L, fileAt(L, 1), 2),
  seek,
  write: (L) => writeTexts(L, fileAt(L, 1), 2, slotAt(L, 1)!),
  __gc(L) {
    const file = isFile(L, 1) ?? argError(L, 1, "bad file");
    sessionOf(L).resources.delete(file);
    file.close();
    return 0;
  },
  __tostring(L) {
    const file = isFile(L, 1) ?? argError(L, 1, "bad file");
    const { id } = slotAt(L, 1)!.value as { id: number };
    pushText(L, file.isOpen ? `file (0x${id.toString(16).padStart(8, "0")})` : "file (closed)");
    return 1;
  },
};
