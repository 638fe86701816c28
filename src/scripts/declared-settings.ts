/**
 * The settings that a USER_REDIRECT.LUA declares for users: MainGetSettings, or
 * MailGetSettings as the manual also calls it, returns rows {Name, Title, Type,
 * Default}. Called when a script is loaded, not for mail.
 */
import { isUtf8 } from "node:buffer";
import { toBytes } from "../bytes.ts";
import type { SettingDefinition } from "../directory/store.ts";
import type { Budget } from "../lua/budget.ts";
import type { LuaEngine } from "../lua/engine.ts";
import { LuaTable, typeName } from "../lua/values.ts";
import type { LoadedScript } from "./loader.ts";
import { openRedirect } from "./redirect-trial.ts";
import { type Origin, textResult, wrongValue } from "./results.ts";

const NAMES = ["MainGetSettings", "MailGetSettings"] as const;

/**
 * @param user whose own script it is; "" for that of all users
 * @throws ScriptError when the script fails or returns something else
 */
export async function declaredSettings(
  engine: LuaEngine,
  { script, callbacks }: LoadedScript,
  user: string,
  budget: Budget,
): Promise<SettingDefinition[]> {
  const callback = NAMES.find((name) => callbacks.has(name));
  if (callback === undefined) return [];
  const env = openRedirect(engine, script, user, budget);
  try {
    await env.start();
    const [rows] = await env.call(callback, [user]);
    const origin = { script: script.name, callback };
    if (rows === undefined) return [];
    if (!(rows instanceof LuaTable)) {
      throw wrongValue(origin, `returned a ${typeName(rows)}, where a table of rows belongs`);
    }
    return rows.list().map((row, n) => definition(row instanceof LuaTable ? row : undefined, n + 1, origin));
  } finally {
    env.close();
  }
}

function definition(row: LuaTable | undefined, n: number, origin: Origin): SettingDefinition {
  const field = (name: string): string => {
    const value = row?.get(name);
    const text =
      typeof value === "boolean" ? String(value) : textResult(value, origin, `${name} of row ${n}`);
    const bytes = toBytes(text);
    if (!isUtf8(bytes)) throw wrongValue(origin, `returned a ${name} in row ${n} that is no UTF-8`);
    return bytes.toString("utf8");
  };
  const name = field("Name").trim();
  if (name === "") throw wrongValue(origin, `returned row ${n} without a Name`);
  return {
    name,
    title: field("Title") || name,
    type: field("Type") || "string",
    fallback: field("Default"),
  };
}
