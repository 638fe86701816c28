/** A script is tried out, in a worker that serves no mail. */
import { ScriptError } from "../lua/errors.ts";
import { SERVED_SCRIPTS, USER_REDIRECT_FILE } from "../scripts/callbacks.ts";
import { tryScript } from "../scripts/loader.ts";
import { redirectOwner } from "../scripts/redirect-trial.ts";
import { declareSettings } from "./declare-settings.ts";
import type { ScriptCandidate, ToPrimary } from "./messages.ts";
import type { Service } from "./service.ts";

/** Compiles it and runs its top level; the settings that a user's script declares are stored. */
export async function tryOut(
  service: Service,
  candidate: ScriptCandidate,
): Promise<ToPrimary & { type: "tried" }> {
  try {
    const { engine, budgets } = service;
    const owner = redirectOwner(candidate.name);
    const served = SERVED_SCRIPTS[owner === undefined ? candidate.name : USER_REDIRECT_FILE];
    const known = Object.keys(served?.callbacks ?? {});
    const callbacks = await tryScript(engine, candidate, known, budgets.callback);
    if (owner !== undefined) await declareSettings(service, candidate, callbacks, owner);
    return { type: "tried", callbacks };
  } catch (error) {
    if (!(error instanceof ScriptError)) throw error;
    const { message, details } = error;
    return { type: "tried", callbacks: [], problem: { message, details } };
  }
}
