/**
 * USER_REDIRECT.LUA for one user and one message: an environment of its own,
 * the manual's global variables in it, its top level, MainDoRouting where there
 * is one, and the variables read back (manual, "Message Routing").
 *
 * It knows Lua and nothing of recipients: what the values mean is smtp/route.ts's
 * business. Throws ScriptError when the script fails or leaves a value of a
 * wrong type.
 */
import { randomUUID } from "node:crypto";
import { decodeText } from "../bytes.ts";
import type { RoutingContext } from "../helpers/routing.ts";
import type { LuaEngine } from "../lua/engine.ts";
import type { LuaEnvironment } from "../lua/environment.ts";
import { ScriptError } from "../lua/errors.ts";
import { LuaRaise } from "../lua/host.ts";
import { LuaHeaderMap, type LuaInput, type LuaValue } from "../lua/values.ts";
import type { HeaderFields } from "../message/headers.ts";
import type { LoadedScript } from "./loader.ts";
import {
  factGlobals,
  globalsOf,
  type RoutingFacts,
  type RoutingHeaders,
  type RoutingValues,
  valuesOf,
} from "./redirect-values.ts";
import type { Budgets, CallTrace } from "./smtpsvr.ts";

/** Headers1, of each name the last field, and Headers2. */
export function routingHeaders(headers: HeaderFields): RoutingHeaders {
  const last = new Map<string, readonly [name: string, value: string]>();
  const lines: string[] = [];
  for (const field of headers) {
    last.set(field.name.toLowerCase(), [field.name, field.value]);
    lines.push(field.line);
  }
  return { byName: new LuaHeaderMap(new Map(last.values())), lines };
}

export interface RedirectOptions {
  readonly engine: LuaEngine;
  readonly budgets: Budgets;
  /** For helpers: session, and whatever else their modules look for. */
  readonly context: object;
  readonly trace?: ((call: CallTrace) => void) | undefined;
}

export interface RoutingAnswer {
  readonly values: RoutingValues;
  /** What MainDoRouting returned, for the log; "" for nothing. */
  readonly said: string;
  /** The user's own script failed, and the one for all users has made do without it. */
  readonly failed: ScriptError | undefined;
}

const CALLBACK = "MainDoRouting";

/**
 * Runs the script for all users. `own` finds the user's script when it is asked for: undefined for none;
 * a ScriptError when there is one that cannot be run.
 */
export async function routeUser(
  loaded: LoadedScript,
  own: () => Promise<LoadedScript | undefined>,
  entering: RoutingValues,
  facts: RoutingFacts,
  options: RedirectOptions,
): Promise<RoutingAnswer> {
  let failed: ScriptError | undefined;
  const runUserScript = async (signal: AbortSignal): Promise<boolean> => {
    try {
      const script = await own();
      if (script === undefined) return false;
      const origin = { script: loaded.script.name, callback: CALLBACK };
      const values = valuesOf((name) => outer.get(name), origin);
      const context = { ...options.context, onlyUser: decodeText(facts.user) };
      const inner = open(script, context, options, randomUUID());
      const stop = () => inner.close();
      signal.addEventListener("abort", stop);
      try {
        set(outer, globalsOf((await run(inner, script, values, facts, options)).values));
      } finally {
        signal.removeEventListener("abort", stop);
        inner.close();
      }
      return true;
    } catch (error) {
      if (!(error instanceof ScriptError)) throw error;
      failed = error;
      throw new LuaRaise(error.message);
    }
  };
  const context: RoutingContext = { ...options.context, runUserScript };
  const outer = open(loaded, context, options);
  try {
    return { ...(await run(outer, loaded, entering, facts, options)), failed };
  } catch (error) {
    // The one for all users has only passed it on.
    throw failed !== undefined && error instanceof ScriptError && error.message.includes(failed.message)
      ? failed
      : error;
  } finally {
    outer.close();
  }
}

function open(
  { script }: LoadedScript,
  context: object,
  { engine, budgets }: RedirectOptions,
  safetyKey?: string,
): LuaEnvironment {
  const budget = budgets.message;
  return engine.open(script, { context, budget, ...(safetyKey === undefined ? {} : { safetyKey }) });
}

async function run(
  env: LuaEnvironment,
  { script }: LoadedScript,
  entering: RoutingValues,
  facts: RoutingFacts,
  { trace }: RedirectOptions,
): Promise<{ values: RoutingValues; said: string }> {
  set(env, { ...globalsOf(entering), ...factGlobals(facts) });
  const since = performance.now();
  let results: LuaValue[] = [];
  let callback = "(top level)";
  try {
    await env.start();
    if (env.has(CALLBACK)) {
      callback = CALLBACK;
      results = await env.call(CALLBACK, [facts.user]);
    }
    const values = valuesOf((name) => env.get(name), { script: script.name, callback });
    const [said] = results;
    trace?.({ script: script.name, callback, args: [facts.user], results, ms: performance.now() - since });
    return { values, said: typeof said === "string" ? said : "" };
  } catch (error) {
    const ms = performance.now() - since;
    trace?.({ script: script.name, callback, args: [facts.user], results: [], ms, error });
    throw error;
  }
}

function set(env: LuaEnvironment, globals: Readonly<Record<string, LuaInput>>): void {
  for (const [name, value] of Object.entries(globals)) env.set(name, value);
}
