/**
 * What callbacks return, checked: nil, a missing result and "" mean "leave it
 * as it was"; a value of the wrong type is the script's error, never guessed.
 */
import { ScriptError } from "../lua/errors.ts";
import type { LuaScript } from "../lua/script.ts";
import { LuaTable, type LuaValue, typeName } from "../lua/values.ts";

/** Which script and callback a value came from, for error messages. */
export interface Origin {
  readonly script: string;
  readonly callback: string;
  /** The line where the callback begins, 0 when unknown; asked for only when something is wrong. */
  readonly line?: () => number;
}

/** A callback of a compiled script. */
export function originIn(script: LuaScript, callback: string): Origin {
  const line = () => script.functions().findLast(({ name }) => name === callback)?.line ?? 0;
  return { script: script.name, callback, line };
}

/** A ScriptError about a value that a callback returned or left in a global. */
export function wrongValue(origin: Origin, what: string): ScriptError {
  const line = origin.line?.() ?? 0;
  const place = line > 0 ? `${origin.script}:${line}` : origin.script;
  return new ScriptError(`${place}: ${origin.callback} ${what}`, {
    kind: "runtime",
    script: origin.script,
    callback: origin.callback,
    line,
    traceback: "",
  });
}

/** A text result: strings as they are, numbers as Lua prints them; nil and false are "". */
export function textResult(value: LuaValue, origin: Origin, name: string): string {
  if (value === undefined || value === false) return "";
  if (typeof value === "string") return value;
  if (typeof value === "number") return String(value);
  throw wrongValue(origin, `returned a ${typeName(value)} as ${name}, where a string belongs`);
}

/** A truth value. Numbers count as true, 0 included, as in Lua; other types are errors. */
export function flagResult(value: LuaValue, origin: Origin, name: string): boolean {
  if (value === undefined) return false;
  if (typeof value === "boolean") return value;
  if (typeof value === "number") return true;
  throw wrongValue(origin, `returned a ${typeName(value)} as ${name}, where true or false belongs`);
}

/** A list of texts: a table 1..n of strings or numbers; nil is the empty list. */
export function listResult(value: LuaValue, origin: Origin, name: string): string[] {
  if (value === undefined || value === false) return [];
  if (!(value instanceof LuaTable)) {
    throw wrongValue(origin, `returned a ${typeName(value)} as ${name}, where a table belongs`);
  }
  return value.list().map((item) => textResult(item, origin, `an entry of ${name}`));
}

/** A table with names as keys; undefined when the result is nil. */
export function tableResult(value: LuaValue, origin: Origin, name: string): LuaTable | undefined {
  if (value === undefined) return undefined;
  if (value instanceof LuaTable) return value;
  throw wrongValue(origin, `returned a ${typeName(value)} as ${name}, where a table belongs`);
}
