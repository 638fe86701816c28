/**
 * The core: one SMTP session in VPOP3's words. Whoever drives it (milter,
 * policy service, `postlua try`) calls its methods in the order of the
 * dialogue, one at a time, and carries out the verdicts and edits it returns.
 *
 * It knows order and state; it knows no sockets, no protocol, no Lua. A script
 * that fails has become the script_error verdict in session-script.ts; what
 * is thrown here is a bug of ours and left to the driver.
 */
import type { MessageStore } from "../message/store.ts";
import type { SmtpGlobals } from "../scripts/smtpsvr.ts";
import type { Client } from "./client.ts";
import { Envelope, envelopeAddress } from "./envelope.ts";
import { finishMessage } from "./finish.ts";
import type { PolicyAnswer, RouteAction } from "./policy-answer.ts";
import { answerOf, listedRoute, routeUnseen } from "./policy-routing.ts";
import { type Listing, UNLISTED } from "./rbl.ts";
import type { SessionServices } from "./services.ts";
import {
  announcedSize,
  clientAccess,
  exceeds,
  RELAY_DENIED,
  relayingWithdrawn,
  senderAccess,
  TOO_BIG,
} from "./session-rules.ts";
import { type SessionContext, SessionScript } from "./session-script.ts";
import { signs } from "./sign.ts";
import { Turns } from "./turns.ts";
import { CONTINUE, DISCARD, type MessageResult, type Verdict } from "./verdict.ts";

export class SmtpSession {
  readonly id: string;
  readonly globals: SmtpGlobals;
  /** LocalClientAddress was true before any script ran. */
  readonly enteredLocal: boolean;
  readonly #services: SessionServices;
  readonly #hostname: string;
  readonly #context: SessionContext;
  readonly #script: SessionScript;
  #envelope: Envelope | undefined;
  /** A refusal of the whole session: every later question gets the same answer. */
  #refusal: Verdict = CONTINUE;
  /** What block lists brought upon the client. */
  #listing: Listing = UNLISTED;
  /** Bytes; 0 is no limit. */
  #maxSize: number;
  /** One after another, also when a driver's connection ends while a callback still runs. */
  readonly #turns = new Turns();
  #ended = false;

  constructor(services: SessionServices, client: Client, id: string) {
    this.id = id;
    this.#services = services;
    this.globals = services.rules.globals(client, id);
    this.enteredLocal = this.globals.LocalClientAddress;
    this.#hostname = client.hostname;
    this.#context = { message: undefined, globals: this.globals };
    this.#maxSize = services.maxMessageSize;
    this.#script = new SessionScript(services, this.globals);
  }

  /** The most bytes a message may have now; 0 is no limit. Drivers may stop keeping bytes beyond it. */
  get maxMessageSize(): number {
    return this.#maxSize;
  }

  /** Whether anything here looks at the message itself. Known when its recipients are. */
  get wantsMessage(): boolean {
    if (this.#script.has("ProcessMessage")) return true;
    return this.#envelope !== undefined && signs(this.#services, this.globals, this.#envelope);
  }

  /** Whether anything looks at the header, if not at all of the message. */
  get wantsHeader(): boolean {
    return this.#services.uses.routing || this.wantsMessage;
  }

  set queueId(id: string) {
    this.globals.QueueID = id;
    this.#script.decisions.queue = id;
  }

  /** The script has a say in relaying. */
  get decidesRelaying(): boolean {
    return this.#script.mentions("LocalClientAddress");
  }

  /** What DoRCPTTO does can matter to the policy service. */
  get decidesForPolicy(): boolean {
    return this.decidesRelaying || this.#script.has("DoRoute");
  }

  /** Recipients of the message under way. */
  get recipients(): number {
    return this.#envelope?.recipients.length ?? 0;
  }

  /** The client has connected. Start, block lists, then GetMaxMessageSize with the client's address. */
  start(): Promise<Verdict> {
    return this.#turns.take(async () => {
      const { decisions } = this.#script;
      decisions.about = this.globals.IPAddress;
      let verdict = await this.#script.open(this.#context);
      if (verdict.kind === "continue") verdict = await this.#script.askText("Start");
      if (verdict.kind === "continue") {
        this.#listing = await this.#script.checkBlockLists(this.#hostname);
        // A refusal waits for MAIL where a login may still come that spares the client.
        if (!this.#sparesAuthenticated) verdict = this.#listing.refusal;
      }
      if (verdict.kind === "continue") {
        this.#maxSize = await this.#script.maxSize(this.globals.IPAddress, this.#maxSize);
        verdict = clientAccess(this.globals);
      }
      decisions.about = "";
      this.#refusal = verdict;
      return verdict;
    });
  }

  /** HELO or EHLO. `extended` is whether it was EHLO; a driver that cannot know says true. */
  helo(hostname: string, extended: boolean): Promise<Verdict> {
    return this.#turns.take(async () => {
      this.#envelope = undefined;
      if (this.#refusal.kind !== "continue") return this.#refusal;
      this.#maxSize = await this.#script.maxSize(hostname, this.#maxSize);
      this.#refusal = await this.#script.helo(hostname, extended);
      return this.#refusal;
    });
  }

  /** MAIL FROM; `args` as envelopeAddress takes them. A refusal concerns this transaction only. */
  mailFrom(args: readonly string[], authUser: string): Promise<Verdict> {
    return this.#turns.take(async () => {
      this.#envelope = undefined;
      this.globals.AuthUser = authUser;
      if (this.#refusal.kind !== "continue") return this.#refusal;
      const sender = envelopeAddress(args);
      let rule = this.#listed().refusal;
      if (rule.kind === "continue") rule = senderAccess(this.globals);
      if (rule.kind === "continue") rule = announcedSize(sender.parameters, this.#maxSize);
      if (rule.kind !== "continue") return this.#script.rule("MAIL", rule, sender);
      const verdict = await this.#script.mailFrom(sender);
      if (verdict.kind !== "continue") return verdict;
      const changed = senderAccess(this.globals);
      if (changed.kind !== "continue") return this.#script.rule("MAIL", changed, sender);
      this.#envelope = new Envelope(sender);
      return CONTINUE;
    });
  }

  /**
   * RCPT TO. `relayed` is whether the MTA would pass mail for this recipient
   * on to another host, undefined where the driver cannot tell.
   */
  rcptTo(args: readonly string[], relayed: boolean | undefined): Promise<Verdict> {
    return this.#turns.take(async () => {
      if (this.#refusal.kind !== "continue") return this.#refusal;
      const recipient = envelopeAddress(args, relayed);
      const envelope = this.#envelope;
      if (this.#mayNotRelay(relayed)) return this.#script.rule("RCPT", RELAY_DENIED, recipient);
      const verdict = await this.#script.rcptTo(recipient, envelope);
      if (verdict.kind !== "continue") return verdict;
      if (this.#mayNotRelay(relayed)) return this.#script.rule("RCPT", RELAY_DENIED, recipient);
      envelope?.recipients.push(recipient);
      return CONTINUE;
    });
  }

  /** The recipient that rcptTo() has just accepted, as another door has it, with its parameters. */
  confirmRecipient(args: readonly string[], relayed: boolean | undefined): Promise<Verdict> {
    return this.#turns.take(async () => {
      const recipient = envelopeAddress(args, relayed);
      if (this.#mayNotRelay(relayed)) {
        this.withdrawRecipient();
        return this.#script.rule("RCPT", RELAY_DENIED, recipient);
      }
      this.#envelope?.confirmLast(recipient);
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
    return this.#turns.take(() => this.#script.route(sender, recipient, size, attributes));
  }

  /** What block lists have the policy service alone do at this state of a message. */
  listedRoute(state: string): RouteAction {
    return listedRoute(this.#listed(), state);
  }

  /** DATA. */
  dataStart(): Promise<Verdict> {
    return this.#turns.take(async () => {
      if (this.#refusal.kind !== "continue") return this.#refusal;
      return this.#envelope === undefined ? CONTINUE : this.#script.dataStart(this.#envelope);
    });
  }

  /** The whole message is there. `size` is its size in bytes, also when `store` kept only a part. */
  async message(store: MessageStore, size: number): Promise<MessageResult> {
    const result = await this.#turns.take(async (): Promise<MessageResult> => {
      const envelope = this.#envelope;
      this.#envelope = undefined;
      const verdict = this.#beforeContent(size);
      if (verdict.kind !== "continue" || envelope === undefined) return { verdict, edits: [] };
      const message = { ...this.#surroundings(), envelope, store, size };
      return finishMessage(message, this.#script, this.#listed());
    });
    this.#services.decided?.(result.verdict.kind);
    return result;
  }

  /**
   * End of a message whose content no door shows: only its size can be judged. `recipient` is its only one, or ""; its
   * mail can be routed.
   */
  contentUnseen(size: number, recipient: string): Promise<PolicyAnswer> {
    return this.#turns.take(async () => {
      const envelope = recipient === "" ? undefined : this.#envelope?.only(recipient);
      this.#envelope = undefined;
      const verdict = this.#beforeContent(size);
      const routed = verdict.kind === "continue" && envelope !== undefined && this.#services.uses.routing;
      const answer = routed
        ? await routeUnseen({ ...this.#surroundings(), envelope, size })
        : answerOf(verdict);
      const refused = answer.kind === "refuse" || answer.kind === "discard";
      this.#services.decided?.(refused ? answer.kind : "continue");
      return answer;
    });
  }

  /** A command the MTA does not know, as much of its line as the driver has. */
  unrecognised(line: string): Promise<Verdict> {
    return this.#turns.take(async () => {
      if (this.#refusal.kind !== "continue") return this.#refusal;
      if (!/^help\b/i.test(line) || !this.#script.has("DoHELP")) {
        return this.#script.askText("DoUnrecognised", line);
      }
      await this.#script.notice("DoHELP", "");
      return CONTINUE;
    });
  }

  /** RSET by the client, inside a transaction. */
  rset(): Promise<void> {
    return this.#turns.take(() => {
      this.#envelope = undefined;
      return this.#script.notice("DoRSET");
    });
  }

  /** The transaction is over for another reason than RSET. */
  abandon(): void {
    this.#envelope = undefined;
  }

  /** QUIT by the client, or a lost connection where the driver cannot tell them apart. */
  quit(): Promise<void> {
    return this.#turns.take(() => this.#script.notice("DoQUIT"));
  }

  /** The session is over: End, exactly once, after whatever still runs. The environment is gone afterwards. */
  end(): Promise<void> {
    if (this.#ended) return this.#turns.over();
    this.#ended = true;
    return this.#turns.take(async () => {
      await this.#script.notice("End");
      this.#script.close();
    });
  }

  get #sparesAuthenticated(): boolean {
    return this.#services.blockLists.settings.spare_authenticated;
  }

  /** What holds for a message that is sent now. */
  #listed(): Listing {
    return this.#sparesAuthenticated && this.globals.AuthUser !== "" ? UNLISTED : this.#listing;
  }

  #mayNotRelay(relayed: boolean | undefined): boolean {
    return relayed === true && relayingWithdrawn(this.globals, this.enteredLocal);
  }

  /** What decides about a message whatever it contains. */
  #beforeContent(size: number): Verdict {
    if (this.#refusal.kind !== "continue") return this.#refusal;
    if (exceeds(size, this.#maxSize)) return this.#script.rule("end of message", TOO_BIG);
    return this.#listed().discard ? this.#script.rule("end of message", DISCARD) : CONTINUE;
  }

  #surroundings() {
    return { services: this.#services, context: this.#context, decisions: this.#script.decisions };
  }
}
