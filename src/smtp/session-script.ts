/**
 * SMTPSVR.LUA as one session has it: opened, its callbacks asked one at a time,
 * every decision on its way to the logs. Which callback is due, and what its
 * verdict means for the steps to come, is the session's business.
 *
 * A script that fails becomes the script_error verdict and a line in both
 * logs; what else is thrown is a bug of ours and passed on.
 */
import type { MessageContext } from "../helpers/message.ts";
import { SMTPSVR_FILE } from "../scripts/callbacks.ts";
import type { LoadedScript } from "../scripts/loader.ts";
import { wrongValue } from "../scripts/results.ts";
import { type SmtpGlobals, SmtpScript } from "../scripts/smtpsvr.ts";
import { Decisions, verdictText } from "./decide.ts";
import type { Envelope, EnvelopeAddress } from "./envelope.ts";
import { DUNNO, type PolicyAnswer, readRoute } from "./policy-answer.ts";
import { blockListInput, blockListStage, type Listing, UNLISTED, usesBlockLists } from "./rbl.ts";
import type { SessionServices } from "./services.ts";
import { clientAccess, HELO_REFUSED } from "./session-rules.ts";
import { CONTINUE, type Verdict } from "./verdict.ts";

/** The context of the session's Lua: what helpers find there, and whose it is. */
export interface SessionContext extends MessageContext {
  readonly globals: Readonly<SmtpGlobals>;
}

export class SessionScript {
  readonly decisions: Decisions;
  readonly #services: SessionServices;
  readonly #globals: SmtpGlobals;
  #script: SmtpScript | undefined;

  constructor(services: SessionServices, globals: SmtpGlobals) {
    this.#services = services;
    this.#globals = globals;
    this.decisions = new Decisions(services, globals.SessionID);
  }

  /** The script, between open() and close(), where there is one that works. */
  get loaded(): SmtpScript | undefined {
    return this.#script;
  }

  has(callback: string): boolean {
    return this.#script?.has(callback) === true;
  }

  /** Whether the text of a script that works names `word`. */
  mentions(word: string): boolean {
    const state = this.#services.script(SMTPSVR_FILE);
    return this.#script !== undefined && state.kind === "loaded" && state.loaded.mentions(word);
  }

  /** Runs the top level. @returns the script_error verdict when the script is broken */
  async open(context: SessionContext): Promise<Verdict> {
    const state = this.#services.script(SMTPSVR_FILE);
    if (state.kind === "absent") return CONTINUE;
    try {
      if (state.kind === "broken") throw state.error;
      this.#script = await this.#load(state.loaded, context);
      return CONTINUE;
    } catch (error) {
      return this.decisions.failed(error);
    }
  }

  close(): void {
    this.#script?.close();
    this.#script = undefined;
  }

  /** A verdict callback whose only result is a text. */
  askText(callback: string, ...args: readonly string[]): Promise<Verdict> {
    const { about } = this.decisions;
    return this.#ask(callback, about, async (script) =>
      this.#read(callback, await script.text(callback, ...args)),
    );
  }

  /** The look-ups between Start and GetMaxMessageSize, and RBLResults. `hostname`: the client's verified name. */
  async checkBlockLists(hostname: string): Promise<Listing> {
    const script = this.#script?.blockLists === undefined ? undefined : this.#script;
    const results = () => this.askText("RBLResults");
    const { decisions } = this;
    const services = this.#services.blockLists;
    try {
      return await blockListStage({ services, globals: this.#globals, script, hostname, decisions, results });
    } catch (error) {
      return { ...UNLISTED, refusal: decisions.failed(error) };
    }
  }

  helo(hostname: string, extended: boolean): Promise<Verdict> {
    return this.#ask("DoHELO", hostname, async (script) => {
      const { text, refuse } = await script.helo(hostname, false, extended);
      const said = this.#read("DoHELO", text);
      return said.kind === "continue" && refuse ? HELO_REFUSED : said;
    });
  }

  /** Parameters that the script changed are in `sender` afterwards. */
  mailFrom(sender: EnvelopeAddress): Promise<Verdict> {
    return this.#ask("DoMAILFROM", path(sender), async (script) => {
      const { text, parameters } = await script.mailFrom(sender.data, sender.address, sender.parameters);
      sender.changed = parameters;
      return this.#read("DoMAILFROM", text);
    });
  }

  /** The same for a recipient; `envelope` has those before it. */
  rcptTo(recipient: EnvelopeAddress, envelope: Envelope | undefined): Promise<Verdict> {
    return this.#ask("DoRCPTTO", path(recipient), async (script) => {
      const { data, address } = recipient;
      const others = envelope?.addresses() ?? [];
      const { text, parameters } = await script.rcptTo(data, address, recipient.parameters, others);
      recipient.changed = parameters;
      return this.#read("DoRCPTTO", text);
    });
  }

  /** The script's header lines are in `envelope` afterwards. */
  dataStart(envelope: Envelope): Promise<Verdict> {
    return this.#ask("DoDATAStart", "", async (script) => {
      const { text, headerLines } = await script.dataStart(envelope.addresses());
      envelope.headerLines = headerLines;
      return this.#read("DoDATAStart", text);
    });
  }

  /** Runs a callback whose result changes nothing. */
  async notice(callback: string, ...args: readonly string[]): Promise<void> {
    const script = this.#script;
    if (script?.has(callback) !== true) return;
    const since = performance.now();
    try {
      const text = await script.text(callback, ...args);
      this.record(callback, "called", since, text);
    } catch (error) {
      this.decisions.failed(error);
      this.record(callback, "failed", since);
    }
  }

  /** GetMaxMessageSize. @returns the limit from now on in bytes, `current` where the script does not change it */
  async maxSize(hostname: string, current: number): Promise<number> {
    const callback = "GetMaxMessageSize";
    const script = this.#script;
    if (script?.has(callback) !== true) return current;
    const since = performance.now();
    try {
      const size = (await script.maxMessageSize(hostname, current)) ?? current;
      this.record(callback, String(size), since);
      return size;
    } catch (error) {
      this.decisions.failed(error);
      this.record(callback, "failed, unchanged", since);
      return current;
    }
  }

  /** DoRoute; parameters as SmtpScript's. */
  async route(...args: Parameters<SmtpScript["route"]>): Promise<PolicyAnswer> {
    const callback = "DoRoute";
    const script = this.#script;
    if (script?.has(callback) !== true) return DUNNO;
    const since = performance.now();
    this.decisions.about = `<${args[1]}>`;
    let answer: PolicyAnswer;
    let said = "";
    try {
      said = await script.route(...args);
      const action = readRoute(said);
      if (typeof action === "string") {
        throw wrongValue(script.origin(callback), `returned "${said}", which ${action}`);
      }
      answer = action;
    } catch (error) {
      const verdict = this.decisions.failed(error);
      answer = verdict.kind === "refuse" ? verdict : DUNNO;
      said = verdictText(verdict);
    }
    this.record(callback, said === "" ? "DUNNO" : said, since);
    this.decisions.about = "";
    return answer;
  }

  /** One decision of the script's; `since` is a performance.now() reading. */
  record(callback: string, result: string, since: number, detail = ""): void {
    this.decisions.record(this.#name(), callback, result, since, detail);
  }

  /** Records a refusal by a rule of ours, which no callback said; `who` is the sender or recipient refused. */
  rule(step: string, verdict: Verdict, who?: EnvelopeAddress): Verdict {
    this.decisions.about = who === undefined ? "" : path(who);
    this.decisions.record("", step, verdictText(verdict), performance.now());
    this.decisions.about = "";
    return verdict;
  }

  /** Runs one verdict callback, if there is one, and records what came of it. */
  async #ask(
    callback: string,
    about: string,
    run: (script: SmtpScript) => Promise<Verdict>,
  ): Promise<Verdict> {
    const script = this.#script;
    if (script?.has(callback) !== true) return CONTINUE;
    const since = performance.now();
    const before = this.decisions.about;
    this.decisions.about = about;
    let verdict: Verdict;
    try {
      verdict = await run(script);
      if (verdict.kind === "continue") verdict = clientAccess(this.#globals);
    } catch (error) {
      verdict = this.decisions.failed(error);
    }
    this.record(callback, verdictText(verdict), since);
    this.decisions.about = before;
    return verdict;
  }

  #read(callback: string, text: string): Verdict {
    return this.decisions.read(this.#name(), callback, text);
  }

  async #load(loaded: LoadedScript, context: SessionContext): Promise<SmtpScript> {
    const script = smtpScript(this.#services, loaded, context, this.#globals);
    try {
      await script.load();
      return script;
    } catch (error) {
      script.close();
      throw error;
    }
  }

  #name(): string {
    return this.#script?.name ?? SMTPSVR_FILE;
  }
}

/** As it stands in the dialogue, for people who look for one address. */
function path({ address }: EnvelopeAddress): string {
  return `<${address}>`;
}

/** An environment for the script, with the globals about block lists where it has a use for them; not loaded yet. */
export function smtpScript(
  { engine, budgets, trace, blockLists: { settings } }: SessionServices,
  loaded: LoadedScript,
  context: SessionContext,
  globals: SmtpGlobals,
): SmtpScript {
  const script = new SmtpScript(engine, loaded, context, globals, budgets, trace);
  if (usesBlockLists(settings, loaded)) script.giveBlockLists(blockListInput(settings, globals));
  return script;
}
