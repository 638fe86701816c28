/**
 * The io library of Lua 5.0: files, and an environment's own default input and
 * output. There are no standard streams: reading without a default input is an
 * error, writing without a default output goes where print's lines go.
 * The methods of files are in ./io-file.ts.
 */

import { randomBytes } from "node:crypto";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { NIL, PAUSE, typeAt } from "./arguments.ts";
import { taskOf } from "./budget.ts";
import { type LuaFile, openFile, openScratchFile } from "./file.ts";
import { pathOf, pathsToRead } from "./file-names.ts";
import {
  close,
  fileAt,
  ioOf,
  isFile,
  pushFailure,
  pushFile,
  pushLines,
  pushOutcome,
  readFormats,
  SYSTEM_CALL_STEPS,
  textsFrom,
  writeTexts,
} from "./io-file.ts";
import {
  argError,
  charge,
  checkBytes,
  generatorNative,
  isAbsent,
  type NativeGenerator,
  openResource,
  optBytes,
  raise,
  sessionOf,
  toText,
} from "./native.ts";
import { CLOSED, isFailure, type SystemFailure } from "./system-error.ts";
import {
  LUA,
  type LuaState,
  lua_pop,
  lua_pushnil,
  type Native,
  newValue,
  pushSlot,
  pushText,
  slotAt,
  type TValue,
} from "./vm.ts";

/** Opens a file by its name in a script and registers it with the environment. */
function open(L: LuaState, name: string, mode: string): LuaFile | SystemFailure {
  charge(L, SYSTEM_CALL_STEPS);
  const session = sessionOf(L);
  const paths =
    mode.startsWith("r") && !mode.includes("+") ? pathsToRead(session, name) : [pathOf(session, name)];
  let result = openFile(paths[0]!, mode, session.closedFiles);
  if (isFailure(result) && result.errno === 2 && paths.length > 1) {
    const second = openFile(paths[1]!, mode, session.closedFiles);
    if (!isFailure(second) || second === CLOSED) result = second;
  }
  if (!isFailure(result)) openResource(L, result);
  return result;
}

/**
 * `open`, which opens a file. When the environment has as many open as it may,
 * those go first that the script has dropped without closing them.
 */
function withRoom(open: Native): Native {
  const openLater = generatorNative(function* (L): NativeGenerator {
    charge(L, COLLECTION_STEPS);
    sessionOf(L).memory.collect();
    // The files are closed by tasks of their own.
    for (let turn = 0; turn < 3; turn++) yield PAUSE;
    return open(L);
  });
  return (L) => {
    const most = taskOf(L)?.budget.openFiles ?? Number.POSITIVE_INFINITY;
    return sessionOf(L).resources.size < most ? open(L) : openLater(L);
  };
}

/** A collection takes as long as about this many instructions. */
const COLLECTION_STEPS = 1_000_000;

/** The default file, which must be there and open. */
function defaultFile(L: LuaState, which: "input" | "output"): LuaFile {
  const { [which]: slot } = ioOf(L);
  if (slot === undefined) raise(L, `no default ${which} file (there are no standard streams)`);
  pushSlot(L, slot!);
  return fileAt(L, -1);
}

/** What was written to the old default output goes out now: scripts often drop it without closing it. */
function replace(L: LuaState, which: "input" | "output", handle: TValue): void {
  const io = ioOf(L);
  const old = io[which];
  io[which] = newValue(handle.type, handle.value);
  if (old === undefined) return;
  pushSlot(L, old);
  isFile(L, -1)?.flush();
  lua_pop(L, 1);
}

/** io.input and io.output: sets the default when there is an argument, returns it. */
function defaultSetter(which: "input" | "output", mode: string): Native {
  return withRoom((L) => {
    const io = ioOf(L);
    if (!isAbsent(L, 1)) {
      const name = toText(L, 1);
      if (name === undefined) {
        fileAt(L, 1);
        replace(L, which, slotAt(L, 1)!);
      } else {
        const file = open(L, name, mode);
        if (isFailure(file)) return argError(L, 1, `${name}: ${file.message}`);
        pushFile(L, file);
        replace(L, which, slotAt(L, -1)!);
      }
    }
    pushSlot(L, io[which] ?? NIL);
    return 1;
  });
}

function write(L: LuaState): number {
  if (ioOf(L).output !== undefined) return writeTexts(L, defaultFile(L, "output"), 1, slotAt(L, -1)!);
  const text = textsFrom(L, 1).join("");
  taskOf(L)?.spendOutput(L, text.length);
  sessionOf(L).print(text);
  return pushOutcome(L, undefined);
}

function lines(L: LuaState): number {
  if (isAbsent(L, 1)) {
    defaultFile(L, "input");
    return pushLines(L, slotAt(L, -1)!, false);
  }
  const file = open(L, checkBytes(L, 1), "r");
  if (isFailure(file)) return argError(L, 1, file.message);
  pushFile(L, file);
  return pushLines(L, slotAt(L, -1)!, true);
}

export const ioFunctions: Record<string, Native> = {
  close: (L) => close(L, typeAt(L, 1) === LUA.NONE ? defaultFile(L, "output") : fileAt(L, 1)),
  flush(L) {
    charge(L, SYSTEM_CALL_STEPS);
    if (ioOf(L).output === undefined) return pushOutcome(L, undefined);
    return pushOutcome(L, defaultFile(L, "output").flush());
  },
  input: defaultSetter("input", "r"),
  lines: withRoom(lines),
  open: withRoom((L) => {
    const name = checkBytes(L, 1);
    const file = open(L, name, optBytes(L, 2, "r"));
    if (isFailure(file)) return pushFailure(L, file, name);
    pushFile(L, file);
    return 1;
  }),
  output: defaultSetter("output", "w"),
  popen: (L) => raise(L, "io.popen is disabled"),
  read: (L) => readFormats(L, defaultFile(L, "input"), 1, -1),
  tmpfile: withRoom((L) => {
    charge(L, 2 * SYSTEM_CALL_STEPS);
    const file = openScratchFile(join(tmpdir(), `lua_${randomBytes(12).toString("hex")}`));
    if (isFailure(file)) return pushFailure(L, file);
    openResource(L, file);
    pushFile(L, file);
    return 1;
  }),
  type(L) {
    const file = isFile(L, 1);
    if (file === undefined) lua_pushnil(L);
    else pushText(L, file.isOpen ? "file" : "closed file");
    return 1;
  },
  write,
};
