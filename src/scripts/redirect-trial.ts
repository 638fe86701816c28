/**
 * USER_REDIRECT.LUA outside of mail, while it is tried out or asked for its
 * settings: in an environment whose variables are those of a message that
 * nobody has sent. The names of users' own scripts say whose they are.
 */
import { randomUUID } from "node:crypto";
import { encodeText } from "../bytes.ts";
import type { Budget } from "../lua/budget.ts";
import type { LuaEngine } from "../lua/engine.ts";
import type { LuaEnvironment } from "../lua/environment.ts";
import type { LuaScript } from "../lua/script.ts";
import { LuaHeaderMap } from "../lua/values.ts";
import { USER_REDIRECT_FILE } from "./callbacks.ts";
import { enteringValues, factGlobals, globalsOf } from "./redirect-values.ts";

/** Below the scripts directory: a directory for each user who has a script. */
export const USERS_DIRECTORY = "users";

/** "users/joe/USER_REDIRECT.LUA", as messages and logs call it. */
export function userScriptName(user: string): string {
  return `${USERS_DIRECTORY}/${user}/${USER_REDIRECT_FILE}`;
}

/** Whose USER_REDIRECT.LUA a name means: "" for all users; undefined for another script. */
export function redirectOwner(name: string): string | undefined {
  if (name === USER_REDIRECT_FILE) return "";
  return /^users\/([^/]+)\/USER_REDIRECT\.LUA$/.exec(name)?.[1];
}

/** `user` as redirectOwner() says: a user's own script is in safety mode and knows this user alone. */
export function openRedirect(
  engine: LuaEngine,
  script: LuaScript,
  user: string,
  budget: Budget,
): LuaEnvironment {
  const limits = user === "" ? {} : { safetyKey: randomUUID() };
  const context = user === "" ? {} : { onlyUser: user };
  const env = engine.open(script, { context, budget, print: () => {}, ...limits });
  const globals = {
    ...globalsOf(enteringValues(new Map(), new Map(), undefined).values),
    ...factGlobals({
      user: encodeText(user),
      messageSize: 0,
      spamScore: undefined,
      sender: "",
      subject: "",
      userSettings: new Map(),
      headers: { byName: new LuaHeaderMap(new Map()), lines: [] },
    }),
  };
  for (const [name, value] of Object.entries(globals)) env.set(name, value);
  return env;
}
