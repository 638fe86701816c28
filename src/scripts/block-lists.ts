/**
 * SMTPSVR.LUA's globals about block lists (manual, "SMTP Server Global
 * Variables", "Start()" and "RBLResults()"): given to the script before its
 * top level runs, read once Start is over, given again with the results, read
 * for the last time after RBLResults.
 */
import type { LuaEnvironment } from "../lua/environment.ts";
import { LuaTable, truthy } from "../lua/values.ts";
import { listResult, type Origin, textResult } from "./results.ts";

/** What is looked up. All of it may be changed by the script's top level and by Start. */
export interface BlockListInput {
  readonly CheckRBL: boolean;
  readonly RBLServers: readonly string[];
  readonly RBLWhitelist: readonly string[];
  readonly RBLCheckAllServers: boolean;
}

/** What is done with the client. RBLFound is ours, the rest the script's; texts are byte strings. */
export interface BlockListOutput {
  readonly RBLFound: boolean;
  readonly RBLBlackhole: boolean;
  readonly RBLAccept: boolean;
  readonly RBLRedirect: string;
  readonly RBLRejectMessage: string;
  readonly RBLHeader: string;
}

/** Those that a script may set. */
export const BLOCK_LIST_GLOBALS: readonly (keyof BlockListInput | keyof BlockListOutput)[] = [
  "CheckRBL",
  "RBLServers",
  "RBLWhitelist",
  "RBLCheckAllServers",
  "RBLFound",
  "RBLBlackhole",
  "RBLAccept",
  "RBLRedirect",
  "RBLRejectMessage",
  "RBLHeader",
];

export class BlockListGlobals {
  readonly #env: LuaEnvironment;

  constructor(env: LuaEnvironment) {
    this.#env = env;
  }

  /** Before the top level runs. */
  give(input: BlockListInput): void {
    const env = this.#env;
    env.set("CheckRBL", input.CheckRBL);
    env.set("RBLServers", input.RBLServers);
    env.set("RBLWhitelist", input.RBLWhitelist);
    env.set("RBLCheckAllServers", input.RBLCheckAllServers);
    env.set("RBLResultInfo", []);
    for (const name of ["RBLFound", "RBLBlackhole", "RBLAccept"]) env.set(name, false);
    for (const name of ["RBLRedirect", "RBLRejectMessage", "RBLHeader"]) env.set(name, "");
  }

  /** @throws ScriptError when one of them has a type that cannot be meant */
  input(origin: Origin): BlockListInput {
    return {
      CheckRBL: this.#flag("CheckRBL"),
      RBLServers: this.#list("RBLServers", origin),
      RBLWhitelist: this.#list("RBLWhitelist", origin),
      RBLCheckAllServers: this.#flag("RBLCheckAllServers"),
    };
  }

  /** `info` has the lists that answered, by name. */
  results(found: boolean, info: ReadonlyMap<string, number>): void {
    this.#env.set("RBLFound", found);
    this.#env.set("RBLResultInfo", info);
  }

  /** @throws ScriptError as input() */
  output(origin: Origin): BlockListOutput {
    const text = (name: string) => textResult(this.#env.get(name), origin, name).trim();
    return {
      RBLFound: this.#flag("RBLFound"),
      RBLBlackhole: this.#flag("RBLBlackhole"),
      RBLAccept: this.#flag("RBLAccept"),
      RBLRedirect: text("RBLRedirect"),
      RBLRejectMessage: text("RBLRejectMessage"),
      RBLHeader: text("RBLHeader"),
    };
  }

  #flag(name: string): boolean {
    return truthy(this.#env.get(name));
  }

  /** A table of texts, or one text with spaces or commas between them. */
  #list(name: string, origin: Origin): string[] {
    const value = this.#env.get(name);
    const entries =
      value instanceof LuaTable
        ? listResult(value, origin, name)
        : textResult(value, origin, name).split(/[\s,;]+/);
    return entries.map((entry) => entry.trim()).filter((entry) => entry !== "");
  }
}
