/**
 * SIGNATURE.LUA for one message: an environment of its own, and GetSignature
 * in it (manual, "Signature Generation"). Every method throws ScriptError
 * when the script fails or returns something of the wrong type.
 */
import type { Budget } from "../lua/budget.ts";
import type { LuaEngine } from "../lua/engine.ts";
import type { LuaEnvironment } from "../lua/environment.ts";
import type { LuaValue } from "../lua/values.ts";
import type { SignatureFormat } from "../message/signature.ts";
import type { LoadedScript } from "./loader.ts";
import { type Origin, originIn, textResult } from "./results.ts";
import type { Budgets, CallTrace } from "./smtpsvr.ts";

/** Whose message it is; byte strings. */
export interface SignatureFacts {
  /** "" without a login. */
  readonly authUser: string;
  readonly sender: string;
  readonly subject: string;
}

export type SignatureAnswer =
  | { readonly kind: "text"; readonly text: string }
  /** `<blank>`: none, whatever the settings say. */
  | { readonly kind: "blank" }
  /** "": what the settings say. */
  | { readonly kind: "default" };

const CALLBACK = "GetSignature";

export class SignatureScript {
  readonly name: string;
  readonly #origin: Origin;
  readonly #env: LuaEnvironment;
  readonly #budget: Budget;
  readonly #trace: ((call: CallTrace) => void) | undefined;

  constructor(
    engine: LuaEngine,
    { script }: LoadedScript,
    context: object,
    budgets: Budgets,
    trace?: (call: CallTrace) => void,
  ) {
    this.name = script.name;
    this.#origin = originIn(script, CALLBACK);
    this.#env = engine.open(script, { context, budget: budgets.callback });
    this.#budget = budgets.message;
    this.#trace = trace;
  }

  /** Runs the top level. */
  load(): Promise<void> {
    return this.#env.start();
  }

  async signature(format: SignatureFormat, facts: SignatureFacts): Promise<SignatureAnswer> {
    const args = [format, facts.authUser, facts.sender, facts.subject];
    const seen = { script: this.name, callback: CALLBACK, args };
    const since = performance.now();
    let results: LuaValue[];
    try {
      results = await this.#env.call(CALLBACK, args, { budget: this.#budget });
    } catch (error) {
      this.#trace?.({ ...seen, results: [], ms: performance.now() - since, error });
      throw error;
    }
    this.#trace?.({ ...seen, results, ms: performance.now() - since });
    const text = textResult(results[0], this.#origin, "the signature");
    if (text.trim() === "") return { kind: "default" };
    return text.trim() === "<blank>" ? { kind: "blank" } : { kind: "text", text };
  }

  close(): void {
    this.#env.close();
  }
}
