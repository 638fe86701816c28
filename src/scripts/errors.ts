/**
 * ERRORS.LUA: the mail system is about to send a notice, and the script may
 * change or suppress it (manual, "Error Handling"; the later ProcessMessage3
 * is called where there is no ProcessError).
 *
 * It knows Lua and nothing of how notices are written: smtp/notice.ts carries
 * the answer out.
 */
import type { LuaEngine } from "../lua/engine.ts";
import type { LuaInput, LuaValue } from "../lua/values.ts";
import type { LoadedScript } from "./loader.ts";
import { flagResult, type Origin, originIn, textResult } from "./results.ts";
import type { Budgets, CallTrace } from "./smtpsvr.ts";

/** The context of ERRORS.LUA's environments, and its global variables. */
export interface NoticeContext {
  readonly globals: { readonly SessionID: string; readonly QueueID: string };
}

/** Strings are byte strings; texts are UTF-8 with lines ending in "\n". */
export interface ErrorNotice {
  /** Queue ID of the message that the notice is about, "" when it is about none. */
  readonly itemId: string;
  readonly errorText: string;
  readonly connectionError: boolean;
  readonly subjectId: number;
  readonly subject: string;
  readonly formatId: number;
  readonly format: string;
  readonly parameters: readonly string[];
  readonly target: string;
  readonly sender: string;
  /** For ProcessMessage3, which has no parameters: `format` filled in. */
  readonly message: string;
  /** For ProcessMessage3. */
  readonly type: number;
  readonly severity: number;
}

/** undefined: as it was. */
export interface ErrorAnswer {
  readonly subject: string | undefined;
  readonly format: string | undefined;
  /** For ProcessMessage3: the text itself, not a format. */
  readonly message: string | undefined;
  readonly target: string | undefined;
  readonly sender: string | undefined;
  readonly force: boolean;
  readonly suppress: boolean;
}

/** ProcessMessage3's `component`: the part of VPOP3 that sends mail. */
const MAIL_SENDER = 1;

export interface ErrorsServices {
  readonly engine: LuaEngine;
  readonly budgets: Budgets;
  readonly trace?: (call: CallTrace) => void;
}

/** The callback that a script has for notices; undefined when it has none. */
export function errorsCallback(loaded: LoadedScript): "ProcessError" | "ProcessMessage3" | undefined {
  if (loaded.callbacks.has("ProcessError")) return "ProcessError";
  return loaded.callbacks.has("ProcessMessage3") ? "ProcessMessage3" : undefined;
}

/**
 * Runs the script's top level and asks it about one notice, in an environment of its own.
 * @throws ScriptError when the script fails or returns something of the wrong type
 */
export async function askAboutNotice(
  { engine, budgets, trace }: ErrorsServices,
  loaded: LoadedScript,
  callback: "ProcessError" | "ProcessMessage3",
  notice: ErrorNotice,
  context: NoticeContext,
): Promise<ErrorAnswer> {
  const script = loaded.script.name;
  const args = callback === "ProcessError" ? processError(notice) : processMessage3(notice);
  const env = engine.open(loaded.script, { context, budget: budgets.callback });
  const since = performance.now();
  let results: LuaValue[] = [];
  try {
    for (const [name, value] of Object.entries(context.globals)) env.set(name, value);
    await env.start();
    results = await env.call(callback, args, { budget: budgets.callback });
  } catch (error) {
    trace?.({ script, callback, args, results, ms: performance.now() - since, error });
    throw error;
  } finally {
    env.close();
  }
  trace?.({ script, callback, args, results, ms: performance.now() - since });
  return answer(callback, results, originIn(loaded.script, callback));
}

function processError(notice: ErrorNotice): LuaInput[] {
  return [
    notice.itemId,
    notice.errorText,
    notice.connectionError,
    notice.subjectId,
    notice.subject,
    notice.formatId,
    notice.format,
    notice.parameters,
    notice.target,
    notice.sender,
  ];
}

function processMessage3(notice: ErrorNotice): LuaInput[] {
  return [
    MAIL_SENDER,
    notice.itemId,
    notice.type,
    notice.severity,
    notice.errorText,
    notice.connectionError,
    notice.subjectId,
    notice.subject,
    notice.formatId,
    notice.message,
    notice.target,
    notice.sender,
  ];
}

function answer(
  callback: "ProcessError" | "ProcessMessage3",
  results: readonly LuaValue[],
  origin: Origin,
): ErrorAnswer {
  const text = (index: number, name: string) => textResult(results[index], origin, name);
  const unlessEmpty = (value: string) => (value === "" ? undefined : value);
  const given = text(1, "its message text");
  const target = text(2, "its target");
  const original = callback === "ProcessError";
  return {
    subject: unlessEmpty(text(0, "its subject")),
    format: original ? unlessEmpty(given) : undefined,
    message: original ? undefined : unlessEmpty(given),
    target: unlessEmpty(target),
    sender: unlessEmpty(text(3, "its sender")),
    force: flagResult(results[4], origin, "its force flag"),
    // nil is no answer at all; a blank one is the manual's way to say no.
    suppress: typeof results[original ? 1 : 2] === "string" && (original ? given : target).trim() === "",
  };
}
