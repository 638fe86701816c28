/** Brings the settings that a USER_REDIRECT.LUA declares into the store. What fails is logged: mail does not depend on it. */
import { DirectoryError, StoreUnavailable } from "../directory/store.ts";
import { ScriptError } from "../lua/errors.ts";
import { declaredSettings } from "../scripts/declared-settings.ts";
import { knownScript, type ScriptText } from "../scripts/loader.ts";
import type { Service } from "./service.ts";

/** `owner` as redirectOwner() says. */
export async function declareSettings(
  { engine, budgets, directory, log, output }: Service,
  text: ScriptText,
  callbacks: readonly string[],
  owner: string,
): Promise<void> {
  if (directory === undefined) return;
  try {
    const script = knownScript(engine, text, callbacks);
    const rows = await declaredSettings(engine, script, owner, budgets.callback);
    if (rows.length > 0) await directory.store.define(rows);
  } catch (error) {
    if (error instanceof ScriptError) output.error(error, { session: "", queue: "" });
    else if (!(error instanceof StoreUnavailable || error instanceof DirectoryError)) throw error;
    const { name: script } = text;
    log.error("settings not declared", { script, problem: error.message });
  }
}
