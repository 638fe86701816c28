/**
 * PASSWORDCHECK.LUA for one password: a fresh environment, and Check in it
 * (manual, "Password Validation").
 *
 * Fails closed: a script that cannot be read, raises, exceeds a budget or
 * answers anything but true allows nothing. A missing file or function has no
 * objection. What the script prints goes nowhere unless the caller asks for
 * it, and an error keeps only those of its words that cannot hold the password.
 */
import { encodeText } from "../bytes.ts";
import type { Budget } from "../lua/budget.ts";
import type { LuaEngine } from "../lua/engine.ts";
import { ScriptError } from "../lua/errors.ts";
import type { LuaValue } from "../lua/values.ts";
import { PASSWORDCHECK, PASSWORDCHECK_FILE } from "./callbacks.ts";
import { loadScript } from "./loader.ts";

const CALLBACK = "Check";

/** Ordinary text. */
export interface PasswordQuestion {
  readonly user: string;
  readonly password: string;
  readonly minLength: number;
}

export type PasswordAnswer =
  | { readonly kind: "allowed" }
  /** `reason` is the script's second result, for the person alone: it may hold the password. "" without one. */
  | { readonly kind: "refused"; readonly reason: string }
  /** `told` may be logged; `error` may hold the password. */
  | { readonly kind: "failed"; readonly told: ScriptError; readonly error: ScriptError };

export interface CheckSurroundings {
  readonly engine: LuaEngine;
  readonly scriptsDir: string;
  readonly budget: Budget;
  /** For the helpers. */
  readonly context: object;
  /** What the script prints: it may hold the password. */
  readonly print?: (text: string) => void;
}

export async function checkPassword(
  { user, password, minLength }: PasswordQuestion,
  { engine, scriptsDir, budget, context, print = () => {} }: CheckSurroundings,
): Promise<PasswordAnswer> {
  const state = await loadScript(engine, scriptsDir, PASSWORDCHECK_FILE, Object.keys(PASSWORDCHECK), budget);
  if (state.kind === "absent") return { kind: "allowed" };
  // It has not seen the password yet.
  if (state.kind === "broken") return { kind: "failed", told: state.error, error: state.error };
  if (!state.loaded.callbacks.has(CALLBACK)) return { kind: "allowed" };
  const env = engine.open(state.loaded.script, { context, budget, print });
  try {
    await env.start();
    return answer(await env.call(CALLBACK, [encodeText(user), encodeText(password), minLength]));
  } catch (error) {
    if (!(error instanceof ScriptError)) throw error;
    return { kind: "failed", told: discreet(error, password), error };
  } finally {
    env.close();
  }
}

function answer([allowed, reason]: readonly LuaValue[]): PasswordAnswer {
  if (allowed === true) return { kind: "allowed" };
  return { kind: "refused", reason: typeof reason === "string" ? reason.trim() : "" };
}

/** Messages of the machine itself, which name types, variables and functions, and no values. */
const HARMLESS =
  /^(?:attempt to (?:call|index|perform arithmetic on|compare|concatenate|yield|wait|use) |bad argument #\d+ to `\w+' \([\w ]+ expected, got [\w ]+\)$|malformed pattern \(|unfinished capture$|invalid (?:pattern capture|capture index|option)|stack overflow|budget exceeded: |a string of \d+ bytes |no function \w+$|the session has ended$|\w+ is disabled)/;

const WITHHELD = "(the message is withheld, since it may hold the password)";

/** The error with the place where it happened, and its message and traceback as far as the password cannot be in them. */
function discreet(error: ScriptError, password: string): ScriptError {
  const { details } = error;
  const [, place = `${details.script}: `, words = ""] = /^([\w.-]+:\d+: )?(.*)$/s.exec(error.message) ?? [];
  const secret = encodeText(password).toLowerCase();
  const holdsIt = (text: string) => text.toLowerCase().includes(secret);
  const told = HARMLESS.test(words) && !holdsIt(words) ? words : WITHHELD;
  return new ScriptError(`${place}${told}`, { ...details, traceback: places(details.traceback, holdsIt) });
}

/** The lines of a traceback that name places in files; text given to loadstring is shown there as well. */
function places(traceback: string, holdsIt: (text: string) => boolean): string {
  return traceback
    .split("\n")
    .filter((line) => line === "stack traceback:" || /^\t(?:[\w.-]+:\d+|\[C\]):/.test(line))
    .filter((line) => !holdsIt(line))
    .join("\n");
}
