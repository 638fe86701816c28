/**
 * The basic functions that compile code: loadstring, loadfile, dofile and
 * require. What they load has the thread's globals for its environment. Files
 * come from ./script-files.ts; the path of require is the global LUA_PATH.
 */
import {
  charge,
  checkBytes,
  generatorNative,
  type NativeStep,
  optBytes,
  pushBytes,
  raise,
  sessionOf,
} from "./native.ts";
import { temporaryNames } from "./os.ts";
import { readScript } from "./script-files.ts";
import {
  compile,
  LUA,
  type LuaState,
  lua_callk,
  lua_error,
  lua_gettop,
  lua_insert,
  lua_pop,
  lua_pushnil,
  lua_settop,
  type Native,
  newString,
  newValue,
  pushSlot,
  rawGet,
  rawSet,
  slotAt,
  slotText,
  type Table,
} from "./vm.ts";

/** Compiling a byte of source costs about as much as this many instructions. */
const STEPS_A_BYTE = 30;
/** Nothing else runs while source is compiled. */
const MAX_SOURCE = 512 * 1024;

const NIL = newValue(LUA.NIL, null);
const TRUE = newValue(LUA.BOOLEAN, true);

/** Pushes the function, or nil and the message. */
function load(L: LuaState, source: string | Uint8Array, name: string): boolean {
  if (source.length > MAX_SOURCE) raise(L, `chunk of ${source.length} bytes (limit ${MAX_SOURCE})`);
  charge(L, source.length * STEPS_A_BYTE);
  return compile(L, source, name, { dialect: sessionOf(L).dialect, globals: L.globals });
}

/** Pushes the function and returns 0, or the message and returns why: no such file, or a mistake in it. */
function loadFile(L: LuaState, name: string): "" | "file" | "syntax" {
  const session = sessionOf(L);
  const bytes = readScript(session, name, temporaryNames(session));
  if (typeof bytes !== "string") return load(L, bytes, `@${name}`) ? "" : "syntax";
  pushBytes(L, `cannot read ${name}: ${bytes}`);
  return "file";
}

function orNil(L: LuaState, loaded: boolean): number {
  if (loaded) return 1;
  lua_pushnil(L);
  lua_insert(L, -2);
  return 2;
}

function loadstring(L: LuaState): number {
  const source = checkBytes(L, 1);
  return orNil(L, load(L, source, optBytes(L, 2, source)));
}

function loadfile(L: LuaState): number {
  return orNil(L, loadFile(L, fileName(L)) === "");
}

/** Without a name, 5.0 reads standard input, which scripts here do not have. */
function fileName(L: LuaState): string {
  return optBytes(L, 1, undefined) ?? raise(L, "cannot read stdin");
}

function dofile(L: LuaState): number {
  const name = fileName(L);
  lua_settop(L, 1);
  if (loadFile(L, name) !== "") return lua_error(L);
  lua_callk(L, 0, LUA.MULTRET, null, allButFirst);
  return allButFirst(L);
}

function allButFirst(L: LuaState): number {
  return lua_gettop(L) - 1;
}

const DEFAULT_PATH = "?;?.lua";

const require = generatorNative(function* (L): Generator<NativeStep, number> {
  const name = checkBytes(L, 1);
  lua_settop(L, 1);
  const globals = L.globals as Table;
  const loaded = rawGet(globals, "_LOADED");
  if (!loaded?.ttistable()) return raise(L, "`_LOADED' is not a table");
  const packages = loaded.value as Table;
  const known = rawGet(packages, name);
  if (known !== undefined && known.value !== false) {
    pushSlot(L, known);
    return 1;
  }
  const path = slotText(rawGet(globals, "LUA_PATH")) ?? DEFAULT_PATH;
  if (!find(L, name, path)) raise(L, `could not load package \`${name}' from path \`${path}'`);
  const previous = rawGet(globals, "_REQUIREDNAME");
  const saved = newValue(previous?.type ?? LUA.NIL, previous?.value ?? null);
  const packageName = newValue(LUA.TAG_STRING, newString(name));
  rawSet(L, globals, "_REQUIREDNAME", packageName);
  yield { call: 0, results: 1 };
  rawSet(L, globals, "_REQUIREDNAME", saved);
  const result = slotAt(L, -1) ?? NIL;
  if (result.ttisnil()) {
    lua_pop(L, 1);
    pushSlot(L, TRUE);
  }
  rawSet(L, packages, name, slotAt(L, -1)!);
  return 1;
});

/** Pushes the first of the path's files that exists, compiled. A mistake in it is an error. */
function find(L: LuaState, name: string, path: string): boolean {
  for (const template of path.split(";")) {
    if (template === "") continue;
    const outcome = loadFile(
      L,
      template.replaceAll("?", () => name),
    );
    if (outcome === "") return true;
    if (outcome === "syntax") raise(L, `error loading package \`${name}' (${slotText(slotAt(L, -1))})`);
    lua_pop(L, 1);
  }
  return false;
}

export const loadFunctions: Record<string, Native> = { loadstring, loadfile, dofile, require };
