/**
 * Users' own scripts below the scripts directory: `users/NAME/USER_REDIRECT.LUA`,
 * found whatever the case of directory and file. A user's name never becomes a
 * path: it is looked for among the directories that there are.
 */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import type { Budget } from "../lua/budget.ts";
import type { LuaEngine } from "../lua/engine.ts";
import { USER_REDIRECT, USER_REDIRECT_FILE } from "./callbacks.ts";
import { loadScript, type ScriptState } from "./loader.ts";
import { USERS_DIRECTORY, userScriptName } from "./redirect-trial.ts";

/** As users' names are compared. */
export function userKey(name: string): string {
  return name.replace(/[A-Z]+/g, (letters) => letters.toLowerCase());
}

/** The users who have a directory, by userKey, with its path. None where there is no directory `users`. */
export function userDirectories(scriptsDir: string): Map<string, string> {
  const top = join(scriptsDir, USERS_DIRECTORY);
  try {
    const entries = readdirSync(top, { withFileTypes: true }).filter(
      (entry) => entry.isDirectory() || entry.isSymbolicLink(),
    );
    // An exact match wins over one in capitals, which sorts before it.
    return new Map(
      entries
        .map(({ name }) => name)
        .sort()
        .map((name) => [userKey(name), join(top, name)]),
    );
  } catch {
    return new Map();
  }
}

/** Loads a user's script. Never throws: what is wrong is in the state. */
export async function loadUserScript(
  engine: LuaEngine,
  scriptsDir: string,
  user: string,
  budget: Budget,
): Promise<ScriptState> {
  const directory = userDirectories(scriptsDir).get(userKey(user));
  if (directory === undefined) return { kind: "absent" };
  const candidates = Object.keys(USER_REDIRECT);
  return loadScript(engine, directory, userScriptName(user), candidates, budget, USER_REDIRECT_FILE);
}
