/**
 * The core: one SMTP session in VPOP3's words. Whoever drives it (milter,
 * policy listener, proxy) calls its methods in the order of the dialogue, one
 * at a time, and carries out the verdicts and edits it returns.
 *
 * It knows order and state; it knows no sockets, no protocol, no Lua. A script
 * that fails becomes the script_error verdict here and a line in both logs;
 * what else is thrown is a bug of ours and left to the driver.
 */
import type { MessageContext } from "../helpers/message.ts";
import { ScriptError } from "../lua/errors.ts";
import type { MessageStore } from "../message/store.ts";
import { SMTPSVR_FILE } from "../scripts/callbacks.ts";
import type { LoadedScript } from "../scripts/loader.ts";
import { wrongValue } from "../scripts/results.ts";
import { type Parameters, type SmtpGlobals, SmtpScript } from "../scripts/smtpsvr.ts";
import type { Client } from "./client.ts";
import { Decisions, verdictText } from "./decide.ts";
import { Envelope, envelopeAddress } from "./envelope.ts";
import { finishMessage } from "./finish.ts";
import { DUNNO, type PolicyAnswer, readRoute } from "./policy-answer.ts";
import { routeUnseen } from "./policy-routing.ts";
import { processMessage } from "./process.ts";
import {
  blockListInput,
  blockListStage,
  type Listing,
  listedEdits,
  listedRoute,
  UNLISTED,
  usesBlockLists,
} from "./rbl.ts";
import { reply } from "./reply.ts";
import type { SessionServices } from "./services.ts";
import { signs } from "./sign.ts";
import { CONTINUE, DISCARD, type MessageResult, refuse, type Verdict } from "./verdict.ts";

const ACCESS_DENIED = refuse(reply(554, "5.7.1", "Access denied"));
const TOO_BIG = refuse(reply(552, "5.3.4", "Message size exceeds limit"));
const AUTHENTICATE = refuse(reply(530, "5.7.0", "Authentication required"));
const USER_NOT_ALLOWED = refuse(reply(535, "5.7.8", "This user may not send from here"));
const RELAY_DENIED = refuse(reply(554, "5.7.1", "Relay access denied"));
const HELO_REFUSED = refuse(reply(554, "5.7.1", "Connection refused"));

/** The context of the session's Lua: what helpers find there, and whose it is. */
export interface SessionContext extends MessageContext {
  readonly globals: Readonly<SmtpGlobals>;
}

export class SmtpSession {
  readonly id: string;
  readonly globals: SmtpGlobals;
  readonly #services: SessionServices;
  readonly #decisions: Decisions;
  readonly #enteredLocal: boolean;
  readonly #hostname: string;
  readonly #context: SessionContext;
  #script: SmtpScript | undefined;
  #envelope: Envelope | undefined;
  /** A refusal of the whole session: every later question gets the same answer. */
  #refusal: Verdict = CONTINUE;
  /** What block lists brought upon the client. */
  #listing: Listing = UNLISTED;
  /** Bytes; 0 is no limit. */
  #maxSize: number;
  #running: Promise<unknown> = Promise.resolve();
  #ended = false;

  constructor(services: SessionServices, client: Client, id: string) {
    this.id = id;
    this.#services = services;
    this.globals = services.rules.globals(client, id);
    this.#enteredLocal = this.globals.LocalClientAddress;
    this.#hostname = client.hostname;
    this.#context = { message: undefined, globals: this.globals };
    this.#maxSize = services.maxMessageSize;
    this.#decisions = new Decisions(services.log, services.output, services.scriptError, id);
  }

  /** The most bytes a message may have now; 0 is no limit. Drivers may stop keeping bytes beyond it. */
  get maxMessageSize(): number {
    return this.#maxSize;
  }

  /** Whether anything here looks at the message itself. Known when its recipients are. */
  get wantsMessage(): boolean {
    if (this.#script?.has("ProcessMessage") === true) return true;
    return this.#envelope !== undefined && signs(this.#services, this.globals, this.#envelope);
  }

  /** Whether anything looks at the header, if not at all of the message. */
  get wantsHeader(): boolean {
    return this.#services.uses.routing || this.wantsMessage;
  }

  set queueId(id: string) {
    this.globals.QueueID = id;
    this.#decisions.queue = id;
  }

  /** LocalClientAddress was true before any script ran. */
  get enteredLocal(): boolean {
    return this.#enteredLocal;
  }

  /** The script has a say in relaying. */
  get decidesRelaying(): boolean {
    const state = this.#services.script(SMTPSVR_FILE);
    return (
      this.#script !== undefined && state.kind === "loaded" && state.loaded.mentions("LocalClientAddress")
    );
  }

  /** What DoRCPTTO does can matter to the policy service. */
  get decidesForPolicy(): boolean {
    return this.decidesRelaying || this.#script?.has("DoRoute") === true;
  }

  /** Recipients of the message under way. */
  get recipients(): number {
    return this.#envelope?.recipients.length ?? 0;
  }

  /** The client has connected. Start, block lists, then GetMaxMessageSize with the client's address. */
  start(): Promise<Verdict> {
    return this.#turn(async () => {
      const script = await this.#open();
      let verdict = this.#refusal;
      if (script !== undefined && verdict.kind === "continue") {
        verdict = await this.#ask("Start", async () => this.#read("Start", await script.text("Start")));
      }
      if (verdict.kind === "continue") verdict = await this.#checkBlockLists();
      if (verdict.kind === "continue") await this.#askMaxSize(this.globals.IPAddress);
      if (verdict.kind === "continue") verdict = this.#access();
      this.#refusal = verdict;
      return verdict;
    });
  }

  /** HELO or EHLO. `extended` is whether it was EHLO; a driver that cannot know says true. */
  helo(hostname: string, extended: boolean): Promise<Verdict> {
    return this.#turn(async () => {
      this.#envelope = undefined;
      if (this.#refusal.kind !== "continue") return this.#refusal;
      const script = this.#script;
      if (script === undefined) return CONTINUE;
      await this.#askMaxSize(hostname);
      const verdict = await this.#ask("DoHELO", async () => {
        const answer = await script.helo(hostname, false, extended);
        const said = this.#read("DoHELO", answer.text);
        return said.kind === "continue" && answer.refuse ? HELO_REFUSED : said;
      });
      this.#refusal = verdict;
      return verdict;
    });
  }

  /** MAIL FROM; `args` as envelopeAddress takes them. A refusal concerns this transaction only. */
  mailFrom(args: readonly string[], authUser: string): Promise<Verdict> {
    return this.#turn(async () => {
      this.#envelope = undefined;
      this.globals.AuthUser = authUser;
      if (this.#refusal.kind !== "continue") return this.#refusal;
      const { refusal } = this.#listed();
      if (refusal.kind !== "continue") return this.#rule("MAIL", refusal);
      const sender = envelopeAddress(args);
      const invalid = this.#unwelcome() ?? this.#announcedSize(sender.parameters);
      if (invalid !== undefined) return this.#rule("MAIL", invalid);
      const script = this.#script;
      const verdict = await this.#ask("DoMAILFROM", async () => {
        if (script === undefined) return CONTINUE;
        const answer = await script.mailFrom(sender.data, sender.address, sender.parameters);
        sender.changed = answer.parameters;
        return this.#read("DoMAILFROM", answer.text);
      });
      if (verdict.kind !== "continue") return verdict;
      const changed = this.#unwelcome();
      if (changed !== undefined) return this.#rule("MAIL", changed);
      this.#envelope = new Envelope(sender);
      return CONTINUE;
    });
  }

  /**
   * RCPT TO. `relayed` is whether the MTA would pass mail for this recipient
   * on to another host, undefined where the driver cannot tell.
   */
  rcptTo(args: readonly string[], relayed: boolean | undefined): Promise<Verdict> {
    return this.#turn(async () => {
      if (this.#refusal.kind !== "continue") return this.#refusal;
      const recipient = envelopeAddress(args, relayed);
      const envelope = this.#envelope;
      const script = this.#script;
      if (relayed === true && this.#relayingWithdrawn()) return this.#rule("RCPT", RELAY_DENIED);
      const verdict = await this.#ask("DoRCPTTO", async () => {
        if (script === undefined) return CONTINUE;
        const { data, address, parameters } = recipient;
        const answer = await script.rcptTo(data, address, parameters, envelope?.addresses() ?? []);
        recipient.changed = answer.parameters;
        return this.#read("DoRCPTTO", answer.text);
      });
      if (verdict.kind !== "continue") return verdict;
      if (relayed === true && this.#relayingWithdrawn()) return this.#rule("RCPT", RELAY_DENIED);
      envelope?.recipients.push(recipient);
      return CONTINUE;
    });
  }

  /** The recipient that rcptTo() has just accepted, as another door has it, with its parameters. */
  confirmRecipient(args: readonly string[], relayed: boolean | undefined): Promise<Verdict> {
    return this.#turn(async () => {
      if (relayed === true && this.#relayingWithdrawn()) {
        this.#envelope?.recipients.pop();
        return this.#rule("RCPT", RELAY_DENIED);
      }
      this.#envelope?.confirmLast(envelopeAddress(args, relayed));
      return CONTINUE;
    });
  }

  /** The recipient that rcptTo() has just accepted was refused elsewhere. */
  withdrawRecipient(): void {
    this.#envelope?.recipients.pop();
  }

  /** DoRoute, for one recipient; strings are byte strings, `size` is SIZE= or 0. */
  route(
    sender: string,
    recipient: string,
    size: number,
    attributes: ReadonlyMap<string, string>,
  ): Promise<PolicyAnswer> {
    return this.#turn(async () => {
      const script = this.#script;
      if (script?.has("DoRoute") !== true) return DUNNO;
      const since = performance.now();
      let answer: PolicyAnswer;
      let said = "";
      try {
        said = await script.route(sender, recipient, size, attributes);
        const action = readRoute(said);
        if (typeof action === "string") {
          throw wrongValue(
            { script: script.name, callback: "DoRoute" },
            `returned "${said}", which ${action}`,
          );
        }
        answer = action;
      } catch (error) {
        const verdict = this.#fail(error);
        answer = verdict.kind === "refuse" ? verdict : DUNNO;
        said = verdictText(verdict);
      }
      this.#decisions.record(this.#name(), "DoRoute", said === "" ? "DUNNO" : said, since);
      return answer;
    });
  }

  /**
   * End of a message whose content no door shows: only its size can be judged. `recipient` is its only one, or ""; its
   * mail can be routed.
   */
  contentUnseen(size: number, recipient: string): Promise<PolicyAnswer> {
    return this.#turn(async () => {
      const envelope = this.#envelope;
      this.#envelope = undefined;
      const answer = await this.#judgeUnseen(size, recipient === "" ? undefined : envelope?.only(recipient));
      const refused = answer.kind === "refuse" || answer.kind === "discard";
      this.#services.decided?.(refused ? answer.kind : "continue");
      return answer;
    });
  }

  async #judgeUnseen(size: number, envelope: Envelope | undefined): Promise<PolicyAnswer> {
    const refusal = this.#refusal;
    if (refusal.kind === "refuse") return refusal;
    if (this.#maxSize > 0 && size > this.#maxSize) {
      this.#rule("end of message", TOO_BIG);
      return TOO_BIG;
    }
    if (this.#listed().discard) {
      this.#rule("end of message", DISCARD);
      return { kind: "discard", text: "" };
    }
    const services = this.#services;
    if (envelope === undefined || !services.uses.routing) return DUNNO;
    return routeUnseen({ services, context: this.#context, decisions: this.#decisions, envelope, size });
  }

  /** What block lists have the policy service alone do at this state of a message. */
  listedRoute(state: string): PolicyAnswer {
    return listedRoute(this.#listed(), state);
  }

  /** DATA. */
  dataStart(): Promise<Verdict> {
    return this.#turn(async () => {
      if (this.#refusal.kind !== "continue") return this.#refusal;
      const envelope = this.#envelope;
      const script = this.#script;
      if (script === undefined || envelope === undefined) return CONTINUE;
      return this.#ask("DoDATAStart", async () => {
        const answer = await script.dataStart(envelope.addresses());
        envelope.headerLines = answer.headerLines;
        return this.#read("DoDATAStart", answer.text);
      });
    });
  }

  /** The whole message is there. `size` is its size in bytes, also when `store` kept only a part. */
  async message(store: MessageStore, size: number): Promise<MessageResult> {
    const result = await this.#message(store, size);
    this.#services.decided?.(result.verdict.kind);
    return result;
  }

  #message(store: MessageStore, size: number): Promise<MessageResult> {
    return this.#turn(async () => {
      const envelope = this.#envelope;
      this.#envelope = undefined;
      const only = (verdict: Verdict): MessageResult => ({ verdict, edits: [] });
      if (this.#refusal.kind !== "continue") return only(this.#refusal);
      if (this.#maxSize > 0 && size > this.#maxSize) return only(this.#rule("end of message", TOO_BIG));
      const listing = this.#listed();
      if (listing.discard) return only(this.#rule("end of message", DISCARD));
      if (envelope === undefined) return only(CONTINUE);
      const since = performance.now();
      try {
        const outcome = await processMessage(
          this.#services,
          this.#script,
          this.#context,
          envelope,
          store,
          size,
          this.#decisions,
        );
        const denied = outcome.verdict.kind === "continue" ? this.#access() : outcome.verdict;
        if (denied.kind !== "continue") return only(denied);
        const edits = listedEdits(listing, outcome.edits, envelope, this.#decisions);
        const rest = { services: this.#services, context: this.#context, decisions: this.#decisions };
        return await finishMessage({ ...rest, envelope, store, size, edits });
      } catch (error) {
        const verdict = this.#fail(error);
        this.#decisions.record(this.#name(), "ProcessMessage", verdictText(verdict), since);
        return only(verdict);
      }
    });
  }

  /** A command the MTA does not know, as much of its line as the driver has. */
  unrecognised(line: string): Promise<Verdict> {
    return this.#turn(async () => {
      if (this.#refusal.kind !== "continue") return this.#refusal;
      const script = this.#script;
      if (script === undefined) return CONTINUE;
      const help = /^help\b/i.test(line) && script.has("DoHELP");
      if (help) return this.#notice("DoHELP", "");
      return this.#ask("DoUnrecognised", async () =>
        this.#read("DoUnrecognised", await script.text("DoUnrecognised", line)),
      );
    });
  }

  /** RSET by the client, inside a transaction. */
  rset(): Promise<void> {
    return this.#turn(async () => {
      this.#envelope = undefined;
      await this.#notice("DoRSET");
    });
  }

  /** The transaction is over for another reason than RSET. */
  abandon(): void {
    this.#envelope = undefined;
  }

  /** QUIT by the client, or a lost connection where the driver cannot tell them apart. */
  quit(): Promise<void> {
    return this.#turn(async () => {
      await this.#notice("DoQUIT");
    });
  }

  /** The session is over: End, exactly once, after whatever still runs. The environment is gone afterwards. */
  end(): Promise<void> {
    if (this.#ended) return this.#running as Promise<void>;
    this.#ended = true;
    return this.#turn(async () => {
      await this.#notice("End");
      this.#script?.close();
      this.#script = undefined;
    });
  }

  /** Keeps turns one after another, also when a driver's connection ends while a callback still runs. */
  #turn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#running.then(work, work);
    this.#running = turn.catch(() => undefined);
    return turn;
  }

  async #open(): Promise<SmtpScript | undefined> {
    const state = this.#services.script(SMTPSVR_FILE);
    if (state.kind === "absent") return undefined;
    try {
      if (state.kind === "broken") throw state.error;
      return await this.#load(state.loaded);
    } catch (error) {
      const verdict = this.#fail(error);
      this.#refusal = verdict;
      return undefined;
    }
  }

  async #load(loaded: LoadedScript): Promise<SmtpScript> {
    const { engine, budgets, trace } = this.#services;
    const script = new SmtpScript(engine, loaded, this.#context, this.globals, budgets, trace);
    const { settings } = this.#services.blockLists;
    if (usesBlockLists(settings, loaded)) script.giveBlockLists(blockListInput(settings, this.globals));
    try {
      await script.load();
    } catch (error) {
      script.close();
      throw error;
    }
    this.#script = script;
    return script;
  }

  /** A refusal waits for MAIL where a login may still come that spares the client. */
  async #checkBlockLists(): Promise<Verdict> {
    const services = this.#services.blockLists;
    const script = this.#script;
    const { globals } = this;
    try {
      this.#listing = await blockListStage({
        services,
        globals,
        script: script?.blockLists === undefined ? undefined : script,
        hostname: this.#hostname,
        decisions: this.#decisions,
        results: () =>
          this.#ask("RBLResults", async () =>
            this.#read("RBLResults", (await script?.text("RBLResults")) ?? ""),
          ),
      });
    } catch (error) {
      this.#listing = { ...UNLISTED, refusal: this.#fail(error) };
    }
    return services.settings.spare_authenticated ? CONTINUE : this.#listing.refusal;
  }

  /** What holds for a message that is sent now. */
  #listed(): Listing {
    const spared = this.#services.blockLists.settings.spare_authenticated && this.globals.AuthUser !== "";
    return spared ? UNLISTED : this.#listing;
  }

  #fail(error: unknown): Verdict {
    if (error instanceof ScriptError) return this.#decisions.failed(error);
    throw error;
  }

  /** Runs one verdict callback, if there is one, and records what came of it. */
  async #ask(callback: string, run: () => Promise<Verdict>): Promise<Verdict> {
    if (this.#script?.has(callback) !== true) return CONTINUE;
    const since = performance.now();
    let verdict: Verdict;
    try {
      verdict = await run();
      if (verdict.kind === "continue") verdict = this.#access();
    } catch (error) {
      verdict = this.#fail(error);
    }
    this.#decisions.record(this.#name(), callback, verdictText(verdict), since);
    return verdict;
  }

  /** Runs a callback whose result changes nothing here. */
  async #notice(callback: string, ...args: readonly string[]): Promise<Verdict> {
    const script = this.#script;
    if (script?.has(callback) !== true) return CONTINUE;
    const since = performance.now();
    try {
      const text = await script.text(callback, ...args);
      this.#decisions.record(this.#name(), callback, "called", since, text);
    } catch (error) {
      this.#fail(error);
      this.#decisions.record(this.#name(), callback, "failed", since);
    }
    return CONTINUE;
  }

  async #askMaxSize(hostname: string): Promise<void> {
    const script = this.#script;
    if (script?.has("GetMaxMessageSize") !== true) return;
    const since = performance.now();
    try {
      const size = await script.maxMessageSize(hostname, this.#maxSize);
      this.#maxSize = size ?? this.#maxSize;
      this.#decisions.record(this.#name(), "GetMaxMessageSize", String(this.#maxSize), since);
    } catch (error) {
      this.#fail(error);
      this.#decisions.record(this.#name(), "GetMaxMessageSize", "failed, unchanged", since);
    }
  }

  #read(callback: string, text: string): Verdict {
    return this.#decisions.read(this.#name(), callback, text);
  }

  /** Records a refusal by a rule of ours, which no callback said. */
  #rule(step: string, verdict: Verdict): Verdict {
    this.#decisions.record("", step, verdictText(verdict), performance.now());
    return verdict;
  }

  #access(): Verdict {
    return this.globals.ValidClientAddress ? CONTINUE : ACCESS_DENIED;
  }

  #unwelcome(): Verdict | undefined {
    const { AuthenticationRequired, AllowedUsers, AuthUser, Submission } = this.globals;
    if (Submission === "sendmail") return undefined;
    if (AuthenticationRequired && AuthUser === "") return AUTHENTICATE;
    const allowed = AllowedUsers.split(/[\s]+/).filter((name) => name !== "");
    if (allowed.length === 0) return undefined;
    const user = AuthUser.toLowerCase();
    return allowed.some((name) => name.toLowerCase() === user) ? undefined : USER_NOT_ALLOWED;
  }

  #announcedSize(parameters: Parameters): Verdict | undefined {
    const announced = Number(parameters.get("SIZE") ?? 0);
    return this.#maxSize > 0 && announced > this.#maxSize ? TOO_BIG : undefined;
  }

  /** A script took relaying from a client that would have it by its address; a login gives it back. */
  #relayingWithdrawn(): boolean {
    return this.#enteredLocal && !this.globals.LocalClientAddress && this.globals.AuthUser === "";
  }

  #name(): string {
    return this.#script?.name ?? SMTPSVR_FILE;
  }
}
