/**
 * Script files of a directory, compiled and tried out.
 *
 * A file is found whatever its case. Before it is used its top level runs
 * once in a scratch environment, so that a broken file is refused as a whole
 * and the callbacks it defines are known. Nothing here decides what a broken
 * script means for mail.
 */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fromBytes, toBytes } from "../bytes.ts";
import type { Budget } from "../lua/budget.ts";
import type { LuaEngine } from "../lua/engine.ts";
import { ScriptError } from "../lua/errors.ts";
import type { LuaScript } from "../lua/script.ts";
import { openRedirect, redirectOwner } from "./redirect-trial.ts";
import { TRIAL_GLOBALS } from "./trial-globals.ts";

export type ScriptState =
  | { readonly kind: "absent" }
  | { readonly kind: "loaded"; readonly loaded: LoadedScript }
  | { readonly kind: "broken"; readonly error: ScriptError };

export interface LoadedScript {
  readonly script: LuaScript;
  /** Global functions there are after the top level ran. */
  readonly callbacks: ReadonlySet<string>;
  /** Whether the text of the script uses this word at all. */
  mentions(word: string): boolean;
}

/**
 * Loads `name` (such as "SMTPSVR.LUA") from `directory`, where its file may be called `file`. Never throws: what is
 * wrong is in the state.
 */
export async function loadScript(
  engine: LuaEngine,
  directory: string,
  name: string,
  candidates: Iterable<string>,
  budget: Budget,
  file = name,
): Promise<ScriptState> {
  try {
    const path = findScript(directory, file);
    if (path === undefined) return { kind: "absent" };
    const text = { name, path, source: fromBytes(readScript(path, name)) };
    return {
      kind: "loaded",
      loaded: knownScript(engine, text, await tryScript(engine, text, candidates, budget)),
    };
  } catch (error) {
    if (error instanceof ScriptError) return { kind: "broken", error };
    throw error;
  }
}

/** A script's text, a byte string, and where it came from. */
export interface ScriptText {
  readonly name: string;
  readonly path: string;
  readonly source: string;
}

/**
 * Compiles a text and runs its top level once in a scratch environment.
 * @returns those of `candidates` that it defines
 * @throws ScriptError
 */
export async function tryScript(
  engine: LuaEngine,
  text: ScriptText,
  candidates: Iterable<string>,
  budget: Budget,
): Promise<string[]> {
  const script = engine.compile(text.name, text.path, toBytes(text.source));
  const user = redirectOwner(text.name);
  if (user !== undefined) return tryRedirect(engine, script, [...candidates], user, budget);
  // Printing here would repeat what every session prints from its own top level.
  const scratch = engine.open(script, { context: {}, budget, print: () => {} });
  for (const [name, value] of Object.entries(TRIAL_GLOBALS[text.name] ?? {})) scratch.set(name, value);
  try {
    await scratch.start();
    return [...candidates].filter((name) => scratch.has(name));
  } finally {
    scratch.close();
  }
}

/**
 * A USER_REDIRECT.LUA. Its top level expects the variables of a message; where it defines no function it is the
 * routing itself, which would do for no message what it is to do for some.
 */
async function tryRedirect(
  engine: LuaEngine,
  script: LuaScript,
  candidates: readonly string[],
  user: string,
  budget: Budget,
): Promise<string[]> {
  const defined = new Set(script.functions().map(({ name }) => name));
  if (!candidates.some((name) => defined.has(name))) return [];
  const env = openRedirect(engine, script, user, budget);
  try {
    await env.start();
    return candidates.filter((name) => env.has(name));
  } finally {
    env.close();
  }
}

/** A script that was tried before: compiled, and nothing of it run. @throws ScriptError of kind "syntax" */
export function knownScript(engine: LuaEngine, text: ScriptText, callbacks: Iterable<string>): LoadedScript {
  const script = engine.compile(text.name, text.path, toBytes(text.source));
  return { script, callbacks: new Set(callbacks), mentions: (word) => text.source.includes(word) };
}

/**
 * The path of `name` in `directory`, matched whatever the case; an exact match wins.
 * @returns undefined when there is none
 * @throws ScriptError "missing" when the directory cannot be read
 */
export function findScript(directory: string, name: string): string | undefined {
  let entries: string[];
  try {
    entries = readdirSync(directory);
  } catch (error) {
    throw unreadable(name, directory, error);
  }
  const wanted = name.toLowerCase();
  const found = entries.includes(name)
    ? name
    : entries.sort().find((entry) => entry.toLowerCase() === wanted);
  return found === undefined ? undefined : join(directory, found);
}

/** Why a directory of scripts cannot be read, beginning with its path; undefined when it can. */
export function unreadableDirectory(directory: string): string | undefined {
  try {
    readdirSync(directory);
    return undefined;
  } catch (error) {
    return unreadable("", directory, error).message;
  }
}

/** The bytes of a script file. @throws ScriptError "missing" when it cannot be read */
export function readScript(path: string, name: string): Uint8Array {
  try {
    return readFileSync(path);
  } catch (error) {
    throw unreadable(name, path, error);
  }
}

/** A ScriptError "missing" from a system error. */
export function unreadable(name: string, path: string, error: unknown): ScriptError {
  const { code = "unknown error" } = error as NodeJS.ErrnoException;
  return new ScriptError(`${path} cannot be read (${code})`, {
    kind: "missing",
    script: name,
    callback: "",
    line: 0,
    traceback: "",
  });
}
