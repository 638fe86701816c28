/**
 * RELAYOUT.LUA and MXOUT.LUA at work: an environment for each script and
 * sending session, whose top level runs at the first message that the script
 * is asked about, and CheckFile for one message after another.
 *
 * A script can neither stop nor lose mail: when it is absent, broken, fails,
 * or has taken too long in this session, the message goes as it is, and the
 * logs say so. A changed file counts from the next session on; while it is
 * broken, the last text whose top level ran stays in use.
 */
import { setTimeout as later } from "node:timers/promises";
import { encodeText, fromBytes, toBytes } from "../bytes.ts";
import type { Log } from "../log.ts";
import type { Budget } from "../lua/budget.ts";
import type { LuaEngine } from "../lua/engine.ts";
import type { LuaEnvironment } from "../lua/environment.ts";
import { ScriptError } from "../lua/errors.ts";
import type { LuaScript } from "../lua/script.ts";
import { MXOUT_FILE, RELAYOUT_FILE } from "../scripts/callbacks.ts";
import { CHECK_CALLBACK, checkArguments, type OutScript, readActions } from "../scripts/checkfile.ts";
import { findScript, readScript } from "../scripts/loader.ts";
import type { ScriptOutput } from "../scripts/output.ts";
import { type CheckActions, type Checker, type CheckQuestion, type Route, UNCHANGED } from "./actions.ts";
import { headerData, headerLines } from "./header.ts";

export interface CheckerOptions {
  readonly engine: LuaEngine;
  readonly scriptsDir: string;
  /** Of one CheckFile, and of the top level. */
  readonly budget: Budget;
  /** What a script may take in one session, besides FREE_MS for each message, milliseconds. */
  readonly sessionMs: number;
  readonly output: ScriptOutput;
  readonly log: Log;
}

export const SCRIPT_OF: Readonly<Record<Route, OutScript>> = { relay: RELAYOUT_FILE, mx: MXOUT_FILE };

/** A script may take this for every message, however many there are. */
const FREE_MS = 20;
/** Failures of a script that are told in full, in one session. */
const TOLD_FAILURES = 10;
const TOLD_PROBLEMS = 50;
/** Messages whose last answer is remembered, so that an answer that stays the same is told once. */
const MAX_REMEMBERED = 200_000;
/** Between two rounds of other work while CheckFile is called for very many messages. */
const SLICE_MS = 10;

/** For the life of the worker: what sessions have in common. */
export class LuaCheckers {
  readonly options: CheckerOptions;
  /** The last text of each script whose top level ran. */
  readonly good = new Map<OutScript, { readonly source: string; readonly script: LuaScript }>();
  readonly #answers = new Map<string, string>();

  constructor(options: CheckerOptions) {
    this.options = options;
  }

  /** For one sending session, which closes it. */
  session(name: string): Checker {
    const scripts = new Map<Route, ScriptSession>();
    const of = (route: Route) => {
      const known = scripts.get(route) ?? new ScriptSession(this, SCRIPT_OF[route], name);
      scripts.set(route, known);
      return known;
    };
    return {
      check: (question) => of(question.route).check(question),
      close: async () => {
        for (const script of scripts.values()) script.close();
      },
    };
  }

  /** Whether this is another answer than the last one about the message. */
  isNews(script: OutScript, id: string, answer: string): boolean {
    const key = `${script} ${id}`;
    if (this.#answers.get(key) === answer) return false;
    if (this.#answers.size >= MAX_REMEMBERED) this.#answers.clear();
    this.#answers.set(key, answer);
    return true;
  }
}

class ScriptSession {
  readonly #checkers: LuaCheckers;
  readonly #script: OutScript;
  readonly #context: { readonly globals: { readonly SessionID: string; QueueID: string } };
  readonly #warned = new Set<string>();
  #environment: Promise<LuaEnvironment | undefined> | undefined;
  /** One message after another: scripts keep counts and tables between them. */
  #last: Promise<unknown> = Promise.resolve();
  #sharedAt = performance.now();
  #slowMs = 0;
  #failures = 0;
  #unasked = 0;
  #closed = false;

  constructor(checkers: LuaCheckers, script: OutScript, session: string) {
    this.#checkers = checkers;
    this.#script = script;
    this.#context = { globals: { SessionID: session, QueueID: "" } };
  }

  check(question: CheckQuestion): Promise<CheckActions> {
    const next = this.#last.then(() => this.#check(question));
    this.#last = next;
    return next;
  }

  close(): void {
    this.#closed = true;
    void this.#environment?.then((environment) => environment?.close());
    const { log } = this.#checkers.options;
    const untold = Math.max(0, this.#failures - TOLD_FAILURES);
    if (untold + this.#unasked === 0) return;
    log.error("script", {
      ...this.#place(),
      problem: `${this.#failures} failures, ${untold} of them untold; not asked about ${this.#unasked} more messages, which go as they are`,
    });
  }

  async #check(question: CheckQuestion): Promise<CheckActions> {
    const { budget, sessionMs } = this.#checkers.options;
    await this.#share();
    this.#environment ??= this.#open();
    const environment = await this.#environment;
    if (environment === undefined || this.#closed) return UNCHANGED;
    if (this.#slowMs > sessionMs) {
      this.#unasked++;
      return UNCHANGED;
    }
    const { id } = question.file;
    this.#context.globals.QueueID = id;
    const since = performance.now();
    try {
      environment.set("QueueID", id);
      const args = checkArguments(this.#script, factsOf(question));
      const [result] = await environment.call(CHECK_CALLBACK, args, { budget });
      const actions = readActions(this.#script, result, (problem) => this.#warn(id, problem));
      this.#record(id, actions, since);
      return actions ?? UNCHANGED;
    } catch (error) {
      if (!this.#closed) this.#failed(error);
      return UNCHANGED;
    } finally {
      this.#spend(performance.now() - since);
    }
  }

  /** Lets others run; a script that waits for nothing would keep the process to itself. */
  async #share(): Promise<void> {
    if (performance.now() - this.#sharedAt < SLICE_MS) return;
    await later(0);
    this.#sharedAt = performance.now();
  }

  async #open(): Promise<LuaEnvironment | undefined> {
    const { scriptsDir, engine } = this.#checkers.options;
    const last = this.#checkers.good.get(this.#script);
    let source: string | undefined;
    try {
      const path = findScript(scriptsDir, this.#script);
      if (path === undefined) {
        this.#checkers.good.delete(this.#script);
        return undefined;
      }
      source = fromBytes(readScript(path, this.#script));
      const known = source === last?.source;
      const script = known ? last.script : engine.compile(this.#script, path, toBytes(source));
      const environment = await this.#start(script);
      this.#checkers.good.set(this.#script, { source, script });
      return this.#fit(environment);
    } catch (error) {
      this.#failed(error, last === undefined ? "every message goes as it is" : "the last good version stays");
      if (last === undefined || last.source === source) return undefined;
    }
    try {
      return this.#fit(await this.#start(last.script));
    } catch (error) {
      this.#failed(error, "every message goes as it is");
      return undefined;
    }
  }

  async #start(script: LuaScript): Promise<LuaEnvironment> {
    const { engine, budget } = this.#checkers.options;
    const environment = engine.open(script, { context: this.#context, budget });
    try {
      environment.set("SessionID", this.#context.globals.SessionID);
      environment.set("QueueID", "");
      await environment.start();
      return environment;
    } catch (error) {
      environment.close();
      throw error;
    }
  }

  #fit(environment: LuaEnvironment): LuaEnvironment | undefined {
    if (environment.has(CHECK_CALLBACK)) return environment;
    this.#warn("", `it has no function ${CHECK_CALLBACK}; every message goes as it is`);
    environment.close();
    return undefined;
  }

  /** What was taken beyond the allowance adds up. */
  #spend(ms: number): void {
    const { sessionMs, log } = this.#checkers.options;
    const before = this.#slowMs;
    this.#slowMs += Math.max(0, ms - FREE_MS);
    if (before > sessionMs || this.#slowMs <= sessionMs) return;
    const problem = `it has taken more than ${sessionMs} ms of this session; it is not asked any more, and messages go as they are`;
    log.error("script", { ...this.#place(), problem });
  }

  /** One line a decision; at level debug where it is the same as the last about this message. */
  #record(id: string, actions: CheckActions | undefined, since: number): void {
    const result = resultOf(actions);
    const ms = Math.round((performance.now() - since) * 1000) / 1000;
    const detail = actions?.reason ?? "";
    const { log } = this.#checkers.options;
    const line = { ...this.#place(), queue: id, result, ms, detail };
    if (this.#checkers.isNews(this.#script, id, `${result} ${detail}`)) log.info("decision", line);
    else log.debug("decision", line);
  }

  #failed(error: unknown, instead = "the message goes as it is"): void {
    const { log, output } = this.#checkers.options;
    if (++this.#failures > TOLD_FAILURES) return;
    const queue = this.#context.globals.QueueID;
    if (!(error instanceof ScriptError)) {
      const { stack, message } = error as Error;
      log.error("internal error", { ...this.#place(), queue, message: stack ?? message, instead });
      return;
    }
    const { line, kind, budget, callback } = error.details;
    output.error(error, { session: this.#context.globals.SessionID, queue });
    log.error("script error", {
      ...this.#place(),
      queue,
      callback: callback === "" ? "(top level)" : callback,
      line,
      kind: budget === undefined ? kind : `${kind}:${budget}`,
      message: error.message,
      instead,
    });
  }

  #warn(queue: string, problem: string): void {
    if (this.#warned.has(problem) || this.#warned.size >= TOLD_PROBLEMS) return;
    this.#warned.add(problem);
    this.#checkers.options.log.warn("script", { ...this.#place(), queue, problem });
  }

  #place(): { session: string; script: string; callback: string } {
    return {
      session: this.#context.globals.SessionID,
      script: this.#script,
      callback: CHECK_CALLBACK,
    };
  }
}

function factsOf({ file, path, recipients, retries, lastTry }: CheckQuestion) {
  const lines = headerLines(file.header);
  return {
    path: encodeText(path),
    size: file.size,
    created: new Date(file.createTime * 1000),
    retries,
    lastTry,
    sender: file.sender,
    recipients,
    headerLines: lines,
    headerData: headerData(lines),
  };
}

function resultOf(actions: CheckActions | undefined): string {
  if (actions === undefined) return "send";
  const { skipSend, forceRetry, forceLastTry, priority } = actions;
  return [
    skipSend ? "skip" : "send",
    `priority ${priority}`,
    ...(forceRetry ? ["force retry"] : []),
    ...(forceLastTry ? ["last try"] : []),
  ].join(", ");
}
