/**
 * CheckFile of RELAYOUT.LUA and MXOUT.LUA: its arguments and what it answers,
 * exactly as the manual's two pages have them ("Outgoing Mail - SMTP Relay",
 * "Outgoing Mail - SMTP MX").
 *
 * Pure: values in, values out. It knows no queue and opens no environment.
 */
import { localStamp } from "../helpers/os-directory.ts";
import { stringToNumber } from "../lua/numbers.ts";
import { LuaHeaderMap, type LuaInput, LuaTable, type LuaValue, truthy, typeName } from "../lua/values.ts";
import { MXOUT_FILE, RELAYOUT_FILE } from "./callbacks.ts";
import { type Origin, wrongValue } from "./results.ts";

export const CHECK_CALLBACK = "CheckFile";

export type OutScript = typeof RELAYOUT_FILE | typeof MXOUT_FILE;

/** Byte strings. */
export interface CheckFacts {
  readonly path: string;
  /** Bytes of the message. */
  readonly size: number;
  readonly created: Date;
  readonly retries: number;
  /** undefined before the first try. */
  readonly lastTry: Date | undefined;
  /** "" for the null sender. */
  readonly sender: string;
  readonly recipients: readonly string[];
  /** Fields as they stand, folds kept. */
  readonly headerLines: readonly string[];
  /** By name in lower case; of several, the last. */
  readonly headerData: ReadonlyMap<string, string>;
}

/** The Actions table, checked. */
export interface Actions {
  readonly skipSend: boolean;
  readonly forceRetry: boolean;
  /** Never together with skipSend, which wins. */
  readonly forceLastTry: boolean;
  /** One line without control characters. */
  readonly reason: string;
  /** Finite. */
  readonly priority: number;
}

const PRIORITY = 50;
const LONGEST_REASON = 500;

/** Entries of the Actions table on entry; there are no others. */
const ON_ENTRY: Readonly<Record<OutScript, Readonly<Record<string, LuaInput>>>> = {
  [RELAYOUT_FILE]: { SkipSend: false, Reason: "", Priority: PRIORITY },
  [MXOUT_FILE]: { SkipSend: false, ForceRetry: false, ForceLastTry: false, Reason: "", Priority: PRIORITY },
};

/** The eight arguments of RELAYOUT.LUA's CheckFile, or the ten of MXOUT.LUA's. */
export function checkArguments(script: OutScript, facts: CheckFacts): LuaInput[] {
  const { path, size, created, retries, lastTry, sender, recipients, headerLines, headerData } = facts;
  return [
    path,
    ON_ENTRY[script],
    size,
    localStamp(created),
    ...(script === MXOUT_FILE ? [retries, lastTry === undefined ? "" : localStamp(lastTry)] : []),
    sender,
    recipients,
    new LuaHeaderMap(headerData),
    headerLines,
  ];
}

/**
 * What CheckFile answered; undefined when it left everything as it was: nothing, nil, false or "".
 *
 * @param warn told of entries that mean nothing
 * @throws ScriptError when the result is no table
 */
export function readActions(
  script: OutScript,
  result: LuaValue,
  warn: (problem: string) => void,
): Actions | undefined {
  if (result === undefined || result === false || result === "") return undefined;
  const origin: Origin = { script, callback: CHECK_CALLBACK };
  if (!(result instanceof LuaTable)) {
    throw wrongValue(origin, `returned a ${typeName(result)}, where the Actions table belongs`);
  }
  const known = ON_ENTRY[script];
  for (const name of result.entries.keys()) {
    if (typeof name === "string" && Object.hasOwn(known, name)) continue;
    warn(`Actions has an entry ${name}, which means nothing; it has ${Object.keys(known).join(", ")}`);
  }
  const flag = (name: string) => Object.hasOwn(known, name) && truthy(result.get(name));
  const skipSend = flag("SkipSend");
  return {
    skipSend,
    forceRetry: flag("ForceRetry"),
    forceLastTry: flag("ForceLastTry") && !skipSend,
    reason: reasonOf(result.get("Reason"), warn),
    priority: priorityOf(result.get("Priority"), warn),
  };
}

function reasonOf(value: LuaValue, warn: (problem: string) => void): string {
  if (value === undefined || value === false) return "";
  if (typeof value !== "string" && typeof value !== "number") {
    warn(`Reason is a ${typeName(value)}, where a string belongs; it is left out`);
    return "";
  }
  const text = String(value)
    .replace(/[\x00-\x20\x7f]+/g, " ")
    .trim();
  return text.slice(0, LONGEST_REASON);
}

/** Strings that are numbers count, as everywhere in Lua; infinities are as far as there is to go. */
function priorityOf(value: LuaValue, warn: (problem: string) => void): number {
  if (value === undefined) return PRIORITY;
  const number =
    typeof value === "number" ? value : typeof value === "string" ? stringToNumber(value) : undefined;
  if (number === undefined || Number.isNaN(number)) {
    const shown = typeof value === "string" ? `"${value.slice(0, 40)}"` : `a ${typeName(value)}`;
    warn(`Priority is ${number === undefined ? shown : "not a number (NaN)"}; it stays ${PRIORITY}`);
    return PRIORITY;
  }
  return Math.min(Math.max(number, -Number.MAX_VALUE), Number.MAX_VALUE);
}
