/** From what a script said to a verdict, with a log line for each decision. */
import type { Config } from "../config/load.ts";
import type { Log } from "../log.ts";
import { ScriptError } from "../lua/errors.ts";
import type { ScriptOutput } from "../scripts/output.ts";
import { parseResult, reply, replyText } from "./reply.ts";
import { CONTINUE, refuse, type Verdict } from "./verdict.ts";

/** What the client gets when a script fails, by the script_error setting. */
export function failureVerdict(setting: Config["script_error"]): Verdict {
  if (setting === "accept") return CONTINUE;
  if (setting === "reject") return refuse(reply(554, "5.3.0", "Message refused: mail policy failed"));
  return refuse(reply(451, "4.3.0", "Temporary mail policy problem, try again later"));
}

export function verdictText(verdict: Verdict): string {
  return verdict.kind === "refuse" ? `refuse ${replyText(verdict.reply)}` : verdict.kind;
}

export interface DecisionServices {
  readonly log: Log;
  readonly output: ScriptOutput;
  readonly scriptError: Config["script_error"];
}

/** One session's decisions on their way to the logs. */
export class Decisions {
  readonly #log: Log;
  readonly #output: ScriptOutput;
  readonly #setting: Config["script_error"];
  readonly #session: string;
  /** Known once the MTA has opened a queue file. */
  queue = "";
  /** The client, HELO name, sender or recipient that is asked about now; "" where it is the whole message or session. */
  about = "";
  readonly #warned = new Set<string>();

  constructor({ log, output, scriptError }: DecisionServices, session: string) {
    this.#log = log;
    this.#output = output;
    this.#setting = scriptError;
    this.#session = session;
  }

  /** One line for one decision; `since` is a performance.now() reading. */
  record(script: string, callback: string, result: string, since: number, detail = ""): void {
    const ms = Math.round((performance.now() - since) * 1000) / 1000;
    this.#log.info("decision", {
      session: this.#session,
      queue: this.queue,
      script,
      callback,
      about: this.about,
      result,
      ms,
      detail,
    });
  }

  /** Reads a result string; what cannot be served is warned of once a session and callback. */
  read(script: string, callback: string, text: string): Verdict {
    const result = parseResult(text);
    switch (result.kind) {
      case "default":
        return CONTINUE;
      case "refuse":
        if (result.problem !== "") this.warn(script, callback, result.problem);
        return refuse(result.reply);
      case "positive":
        this.warn(
          script,
          callback,
          `a milter cannot show the text "${result.text}"; Postfix answers with its own`,
        );
        return CONTINUE;
      case "uncoded":
        this.warn(script, callback, `"${result.text}" has no reply code, so it refuses nothing`);
        return CONTINUE;
      case "malformed":
        this.warn(script, callback, result.problem);
        return failureVerdict(this.#setting);
    }
  }

  warn(script: string, callback: string, problem: string): void {
    const key = `${callback}\0${problem}`;
    if (this.#warned.has(key) || this.#warned.size > 50) return;
    this.#warned.add(key);
    this.#log.warn("script", {
      session: this.#session,
      queue: this.queue,
      script,
      callback,
      about: this.about,
      problem,
    });
  }

  /**
   * Logs a script's failure on both logs and returns the stated verdict for it.
   * @throws `error` when it is no script's: a bug of ours, or a store that is down
   */
  failed(error: unknown): Verdict {
    if (!(error instanceof ScriptError)) throw error;
    const { script, callback, line, kind, budget } = error.details;
    this.#output.error(error, { session: this.#session, queue: this.queue });
    this.#log.error("script error", {
      session: this.#session,
      queue: this.queue,
      script,
      callback: callback === "" ? "(top level)" : callback,
      about: this.about,
      line,
      kind: budget === undefined ? kind : `${kind}:${budget}`,
      message: error.message,
    });
    return failureVerdict(this.#setting);
  }
}
