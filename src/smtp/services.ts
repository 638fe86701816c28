/** What every session of a process shares. A reload swaps the script under it; sessions keep what they opened. */
import type { Config } from "../config/load.ts";
import type { Directory } from "../directory/directory.ts";
import type { Log } from "../log.ts";
import type { LuaEngine } from "../lua/engine.ts";
import type { SaveTarget } from "../message/save.ts";
import type { SignaturePosition } from "../message/signature-place.ts";
import type { ScriptState } from "../scripts/loader.ts";
import type { ScriptOutput } from "../scripts/output.ts";
import type { Budgets, CallTrace } from "../scripts/smtpsvr.ts";
import type { ClientRules } from "./client.ts";
import type { OwnDomains } from "./outside.ts";
import type { BlockListServices } from "./rbl.ts";
import type { Repeats } from "./repeats.ts";
import type { Verdict } from "./verdict.ts";

/** Where neither is of use, no message costs more than without a directory. */
export interface DirectoryUses {
  /** Some user's mail may be routed. */
  readonly routing: boolean;
  /** There are signatures in the store. */
  readonly signatures: boolean;
}

export interface SessionServices {
  readonly engine: LuaEngine;
  readonly log: Log;
  readonly output: ScriptOutput;
  readonly rules: ClientRules;
  readonly budgets: Budgets;
  readonly scriptError: Config["script_error"];
  /** Bytes, 0 for no limit: what GetMaxMessageSize is told at the start. */
  readonly maxMessageSize: number;
  readonly save: SaveTarget;
  /** Notices sent lately. */
  readonly repeats: Repeats;
  /** Domains of the MTA's own, as far as its configuration lists them. */
  readonly ownDomains: OwnDomains;
  readonly signature: { readonly position: SignaturePosition };
  readonly blockLists: BlockListServices;
  readonly routing: { readonly spamHeaders: readonly string[] };
  /** Users, their settings, and what addresses mean. */
  readonly directory?: Directory;
  /** What of it there is a use for. */
  readonly uses: DirectoryUses;
  /** A script as it is loaded now, such as "SMTPSVR.LUA". */
  script(name: string): ScriptState;
  /** The USER_REDIRECT.LUA of a user's own. */
  userScript?(user: string): Promise<ScriptState>;
  /** Told of every call of a callback, when it is over. */
  readonly trace?: (call: CallTrace) => void;
  /** Told what came of every message. */
  readonly decided?: (verdict: Verdict["kind"]) => void;
}
