/**
 * SMTPSVR.LUA: one SMTP session's environment, its globals, and the arguments
 * and results of each callback (manual, "SMTP Server Script").
 *
 * It knows Lua and no protocol: what a result means for a client is the
 * session's business (smtp/session.ts). Every method throws ScriptError when
 * the script fails or returns something of the wrong type.
 */
import type { Budget } from "../lua/budget.ts";
import type { LuaEngine } from "../lua/engine.ts";
import type { LuaEnvironment } from "../lua/environment.ts";
import type { LuaInput, LuaValue } from "../lua/values.ts";
import { LuaTable, truthy, typeName } from "../lua/values.ts";
import { BLOCK_LIST_GLOBALS, BlockListGlobals, type BlockListInput } from "./block-lists.ts";
import type { LoadedScript } from "./loader.ts";
import type { MessageArguments } from "./message-arguments.ts";
import { type ProcessActions, readActions } from "./process-actions.ts";
import {
  flagResult,
  listResult,
  type Origin,
  originIn,
  tableResult,
  textResult,
  wrongValue,
} from "./results.ts";

/** The global variables of SMTPSVR.LUA. The first five are the manual's, the rest are extras of ours. */
export interface SmtpGlobals {
  IPAddress: string;
  ValidClientAddress: boolean;
  LocalClientAddress: boolean;
  AuthenticationRequired: boolean;
  AllowedUsers: string;
  AuthUser: string;
  SessionID: string;
  QueueID: string;
  TLSVersion: string;
  /** "sendmail" for mail handed to sendmail(1) on this machine, else "smtp". */
  Submission: "smtp" | "sendmail";
}

const NAMES = [
  "IPAddress",
  "ValidClientAddress",
  "LocalClientAddress",
  "AuthenticationRequired",
  "AllowedUsers",
  "AuthUser",
  "SessionID",
  "QueueID",
  "TLSVersion",
  "Submission",
] as const satisfies readonly (keyof SmtpGlobals)[];

/** Globals marked IN: what a script assigns to them is dropped at the next callback. */
export const READ_ONLY_GLOBALS: ReadonlySet<string> = new Set([
  "IPAddress",
  "AuthUser",
  "SessionID",
  "QueueID",
  "TLSVersion",
  "Submission",
  "RBLResultInfo",
]);

/** Globals marked IN/OUT. */
export const WRITABLE_GLOBALS: ReadonlySet<string> = new Set([
  "ValidClientAddress",
  "LocalClientAddress",
  "AuthenticationRequired",
  "AllowedUsers",
  ...BLOCK_LIST_GLOBALS,
]);

export interface Budgets {
  readonly callback: Budget;
  readonly message: Budget;
}

/** One call of a callback, for whoever wants to watch. */
export interface CallTrace {
  readonly script: string;
  readonly callback: string;
  readonly args: readonly LuaInput[];
  readonly results: readonly LuaValue[];
  /** Milliseconds. */
  readonly ms: number;
  /** What it threw; there are no results then. */
  readonly error?: unknown;
}

export type Parameters = ReadonlyMap<string, string>;

export class SmtpScript {
  readonly name: string;
  readonly #env: LuaEnvironment;
  readonly #loaded: LoadedScript;
  readonly #budgets: Budgets;
  readonly #globals: SmtpGlobals;
  /** What the environment holds, to hand over only what has changed. */
  readonly #given: Partial<SmtpGlobals> = {};

  readonly #trace: ((call: CallTrace) => void) | undefined;
  #blockLists: BlockListGlobals | undefined;

  /** `globals` is shared with the session: read before each callback, updated after it. */
  constructor(
    engine: LuaEngine,
    loaded: LoadedScript,
    context: object,
    globals: SmtpGlobals,
    budgets: Budgets,
    trace?: (call: CallTrace) => void,
  ) {
    this.name = loaded.script.name;
    this.#loaded = loaded;
    this.#globals = globals;
    this.#budgets = budgets;
    this.#trace = trace;
    this.#env = engine.open(loaded.script, { context, budget: budgets.callback });
  }

  /** Gives the script the globals about block lists; before load(). */
  giveBlockLists(input: BlockListInput): void {
    this.#blockLists = new BlockListGlobals(this.#env);
    this.#blockLists.give(input);
  }

  /** Those globals, where the script was given them. */
  get blockLists(): BlockListGlobals | undefined {
    return this.#blockLists;
  }

  /** Runs the top level, which may set globals that the callbacks use. */
  async load(): Promise<void> {
    this.#hand();
    await this.#env.start();
    this.#take({ script: this.name, callback: "(top level)" });
  }

  has(callback: string): boolean {
    return this.#loaded.callbacks.has(callback) || this.#env.has(callback);
  }

  /** A callback whose only result is a text: Start, RBLResults, DoQUIT, DoRSET, DoHELP, DoUnrecognised, End. */
  async text(callback: string, ...args: readonly string[]): Promise<string> {
    const [result] = await this.#call(callback, args);
    return textResult(result, this.origin(callback), "its result string");
  }

  /** @returns the new limit in bytes (0: none), or undefined for no change */
  async maxMessageSize(hostname: string, current: number): Promise<number | undefined> {
    const [result] = await this.#call("GetMaxMessageSize", [hostname, current]);
    if (result === undefined) return undefined;
    const bytes = typeof result === "string" && result.trim() !== "" ? Number(result) : result;
    if (typeof bytes === "number" && bytes >= 0 && Number.isFinite(bytes)) return Math.trunc(bytes);
    throw wrongValue(
      this.origin("GetMaxMessageSize"),
      `returned ${typeof result === "number" ? result : `a ${typeName(result)}`}, where a size in bytes belongs`,
    );
  }

  /** @returns the lines that the script wants offered, "" to leave them as they are */
  async ehloCapabilities(hostname: string, lines: string): Promise<string> {
    const [result] = await this.#call("GetEHLOCapabilities", [hostname, lines]);
    return textResult(result, this.origin("GetEHLOCapabilities"), "its capabilities").trim();
  }

  async helo(
    hostname: string,
    refused: boolean,
    extended: boolean,
  ): Promise<{ refuse: boolean; text: string }> {
    const [refuse, text] = await this.#call("DoHELO", [hostname, refused, extended]);
    const origin = this.origin("DoHELO");
    return {
      refuse: flagResult(refuse, origin, "bRefuse"),
      text: textResult(text, origin, "its response string"),
    };
  }

  /** @returns `parameters` undefined when the script left them alone */
  async mailFrom(
    data: string,
    address: string,
    parameters: Parameters,
  ): Promise<{ text: string; parameters: Parameters | undefined }> {
    return this.#envelope("DoMAILFROM", [data, address, parameters]);
  }

  async rcptTo(
    data: string,
    address: string,
    parameters: Parameters,
    recipients: readonly string[],
  ): Promise<{ text: string; parameters: Parameters | undefined }> {
    return this.#envelope("DoRCPTTO", [data, address, parameters, recipients]);
  }

  /** @returns header lines as the script gave them: one string of lines, or a table of lines */
  async dataStart(recipients: readonly string[]): Promise<{ text: string; headerLines: string[] }> {
    const [text, lines] = await this.#call("DoDATAStart", [recipients]);
    const origin = this.origin("DoDATAStart");
    return {
      text: textResult(text, origin, "its result string"),
      headerLines:
        lines instanceof LuaTable
          ? listResult(lines, origin, "its header lines")
          : [textResult(lines, origin, "its header lines")],
    };
  }

  async processMessage(message: MessageArguments): Promise<{ actions: ProcessActions; results: string }> {
    const [actions, results] = await this.#call("ProcessMessage", message.list, this.#budgets.message);
    const origin = this.origin("ProcessMessage");
    return {
      actions: readActions(actions, origin),
      results: textResult(results, origin, "its results string"),
    };
  }

  /** @returns a policy action as text, "" for none */
  async route(
    sender: string,
    recipient: string,
    size: number,
    attributes: ReadonlyMap<string, string>,
  ): Promise<string> {
    const [action] = await this.#call("DoRoute", [sender, recipient, size, attributes]);
    return textResult(action, this.origin("DoRoute"), "its action");
  }

  close(): void {
    this.#env.close();
  }

  async #envelope(callback: string, args: readonly LuaInput[]) {
    const [text, table] = await this.#call(callback, args);
    const origin = this.origin(callback);
    const given = tableResult(table, origin, "its parameters");
    return {
      text: textResult(text, origin, "its result string"),
      parameters: given === undefined ? undefined : readParameters(given, origin),
    };
  }

  async #call(callback: string, args: readonly LuaInput[], budget?: Budget): Promise<LuaValue[]> {
    this.#hand();
    const since = performance.now();
    const seen = { script: this.name, callback, args };
    let results: LuaValue[];
    try {
      results = await this.#env.call(callback, args, { budget: budget ?? this.#budgets.callback });
    } catch (error) {
      this.#trace?.({ ...seen, results: [], ms: performance.now() - since, error });
      throw error;
    }
    this.#trace?.({ ...seen, results, ms: performance.now() - since });
    this.#take(this.origin(callback));
    return results;
  }

  #hand(): void {
    for (const name of NAMES) {
      const value = this.#globals[name];
      if (this.#given[name] === value) continue;
      this.#env.set(name, value);
      (this.#given as Record<string, unknown>)[name] = value;
    }
  }

  #take(origin: Origin): void {
    const env = this.#env;
    const globals = this.#globals;
    globals.ValidClientAddress = truthy(env.get("ValidClientAddress"));
    globals.LocalClientAddress = truthy(env.get("LocalClientAddress"));
    globals.AuthenticationRequired = truthy(env.get("AuthenticationRequired"));
    const users = env.get("AllowedUsers");
    if (users !== undefined && typeof users !== "string") {
      throw wrongValue(origin, `left a ${typeName(users)} in AllowedUsers, where a string belongs`);
    }
    globals.AllowedUsers = users ?? "";
    // What the script now holds in its own variables may differ in type from what we gave; hand all of them over again.
    this.#given.ValidClientAddress = undefined;
    this.#given.LocalClientAddress = undefined;
    this.#given.AuthenticationRequired = undefined;
    this.#given.AllowedUsers = users;
  }

  /** For errors about what a callback returned. */
  origin(callback: string): Origin {
    return originIn(this.#loaded.script, callback);
  }
}

function readParameters(table: LuaTable, origin: Origin): Parameters {
  const parameters = new Map<string, string>();
  for (const [key, value] of table.entries) {
    if (typeof key !== "string")
      throw wrongValue(origin, "returned parameters with a key that is not a string");
    parameters.set(key.toUpperCase(), textResult(value, origin, `parameter ${key}`));
  }
  return parameters;
}
