/**
 * One SMTP session behind two doors. Postfix asks about the same step through
 * the policy service and through the milter, in this order and one at a time;
 * each callback runs once, at the door that knows most about its step unless
 * the other one needs the result:
 *
 *   CONNECT, HELO   at the door that asks first, and refusals are said there
 *   MAIL, DATA      at the milter's, which has the ESMTP parameters
 *   RCPT            at the policy request when the script grants relaying
 *                   (mentions LocalClientAddress) or routes (has DoRoute), else
 *                   at the milter's; refusals are said by the milter
 *
 * With the policy service alone every step runs there (policy-steps.ts). Which
 * of two requests belong together shows by their attributes: a request that
 * repeats the last one is answered as that was.
 */
import type { MessageStore } from "../message/store.ts";
import type { SmtpGlobals } from "../scripts/smtpsvr.ts";
import { DUNNO, type PolicyAnswer } from "./policy-answer.ts";
import type { PolicyQuestion } from "./policy-question.ts";
import { type Outcome, PolicySteps } from "./policy-steps.ts";
import type { SmtpSession } from "./session.ts";
import { Turns } from "./turns.ts";
import { CONTINUE, type MessageResult, type Verdict } from "./verdict.ts";

/** A step that policy requests were about. */
interface Step extends Outcome {
  readonly key: string;
  /** DoRoute was asked, or its like: an action must not be given twice. */
  routed: boolean;
}

export class SharedSession {
  readonly #session: SmtpSession;
  /** "refused": Postfix lets go of a milter that refuses the client, and gives its reply by itself. */
  #milter: "none" | "serving" | "refused" = "none";
  #started: Promise<Verdict> | undefined;
  readonly #asked = new Turns();
  #step: Step | undefined;
  /** What the policy request said, for the milter's event that follows. */
  #heloAhead: Verdict | undefined;
  #rcptAhead: Verdict | undefined;
  readonly #alone: PolicySteps;

  constructor(session: SmtpSession) {
    this.#session = session;
    this.#alone = new PolicySteps(session);
  }

  get id(): string {
    return this.#session.id;
  }

  get globals(): SmtpGlobals {
    return this.#session.globals;
  }

  get maxMessageSize(): number {
    return this.#session.maxMessageSize;
  }

  /** Known when the recipients are. */
  get wantsHeader(): boolean {
    this.#withdraw();
    return this.#session.wantsHeader;
  }

  get wantsMessage(): boolean {
    this.#withdraw();
    return this.#session.wantsMessage;
  }

  set queueId(id: string) {
    this.#session.queueId = id;
  }

  /** A milter connection serves this session, or has done so. */
  get hasMilter(): boolean {
    return this.#milter !== "none";
  }

  /** A milter connection is open: it will say when the session is over. */
  get served(): boolean {
    return this.#milter === "serving";
  }

  // The milter's events.

  async start(): Promise<Verdict> {
    this.#milter = "serving";
    return this.#start();
  }

  /** The milter protocol does not tell HELO from EHLO; nearly all clients say EHLO. */
  async helo(name: string): Promise<Verdict> {
    this.#milterSaw();
    const ahead = this.#heloAhead;
    this.#heloAhead = undefined;
    return ahead ?? this.#session.helo(name, true);
  }

  mailFrom(args: readonly string[], authUser: string): Promise<Verdict> {
    this.#milterSaw();
    this.#rcptAhead = undefined;
    return this.#session.mailFrom(args, authUser);
  }

  async rcptTo(args: readonly string[], relayed: boolean | undefined): Promise<Verdict> {
    this.#milterSaw();
    const ahead = this.#rcptAhead;
    this.#rcptAhead = undefined;
    if (ahead === undefined) return this.#session.rcptTo(args, relayed);
    return ahead.kind === "continue" ? this.#session.confirmRecipient(args, relayed) : ahead;
  }

  dataStart(): Promise<Verdict> {
    this.#milterSaw();
    this.#withdraw();
    return this.#session.dataStart();
  }

  message(store: MessageStore, size: number): Promise<MessageResult> {
    this.#milterSaw();
    this.#withdraw();
    return this.#session.message(store, size);
  }

  unrecognised(line: string): Promise<Verdict> {
    this.#milterSaw();
    return this.#session.unrecognised(line);
  }

  rset(): Promise<void> {
    this.#rcptAhead = undefined;
    return this.#session.rset();
  }

  abandon(): void {
    this.#rcptAhead = undefined;
    this.#session.abandon();
  }

  quit(): Promise<void> {
    return this.#session.quit();
  }

  /**
   * The milter connection is over without an end of the session: `refused` when it had said so. What it would have
   * refused is then refused through the policy service.
   */
  milterGone(refused: boolean): void {
    this.#milter = refused ? "refused" : "none";
  }

  end(): Promise<void> {
    return this.#session.end();
  }

  // The policy service's requests.

  /** Whether this request shows that another session of the same client has begun. */
  begunAnew(question: PolicyQuestion): boolean {
    return question.state === "CONNECT" && this.#started !== undefined && this.#step?.key !== question.step;
  }

  /** Requests are answered one after the other. */
  ask(question: PolicyQuestion): Promise<PolicyAnswer> {
    return this.#asked.take(() => this.#answer(question));
  }

  async #answer(question: PolicyQuestion): Promise<PolicyAnswer> {
    let step = this.#step;
    if (step?.key !== question.step) {
      this.#withdraw();
      step = { key: question.step, ...(await this.#run(question)), routed: false };
      this.#step = step;
    }
    const { state, relaying } = question;
    if (step.verdict.kind === "refuse") return this.#refuse(step.verdict, state);
    if (step.ending.kind === "refuse") return step.ending;
    if (state === "RCPT" && relaying) return this.#relay(question);
    if (step.routed) return DUNNO;
    step.routed = true;
    if (state !== "RCPT") {
      if (this.#milter !== "none") return DUNNO;
      const listed = this.#session.listedRoute(state);
      return listed.kind === "dunno" ? step.ending : listed;
    }
    return this.#session.route(question.sender, question.recipient, question.size, question.attributes);
  }

  #refuse(verdict: Verdict & { kind: "refuse" }, state: string): PolicyAnswer {
    const { reply } = verdict;
    // Postfix lets a client that is refused at CONNECT go on with any other code.
    if (state === "CONNECT")
      return { kind: "refuse", reply: { ...reply, code: reply.code < 500 ? 421 : 521 } };
    const early = state === "HELO" || state === "EHLO";
    return this.#milter === "none" || early ? verdict : DUNNO;
  }

  async #run(question: PolicyQuestion): Promise<Outcome> {
    const verdict = await this.#start();
    if (verdict.kind !== "continue" || question.state === "CONNECT") return { verdict, ending: DUNNO };
    if (this.#milter === "none") return this.#alone.run(question);
    return { verdict: await this.#runAhead(question), ending: DUNNO };
  }

  /** A milter will hear of this step, too. */
  async #runAhead({ state, heloName, recipient, tlsVersion }: PolicyQuestion): Promise<Verdict> {
    const session = this.#session;
    session.globals.TLSVersion = tlsVersion;
    if (state === "HELO" || state === "EHLO") {
      this.#heloAhead = await session.helo(heloName, state === "EHLO");
      return this.#heloAhead;
    }
    if (state !== "RCPT" || !session.decidesForPolicy) return CONTINUE;
    this.#rcptAhead = await session.rcptTo([`<${recipient}>`], undefined);
    return this.#rcptAhead;
  }

  /** smtpd_relay_restrictions asks: may this client have mail relayed? */
  #relay({ authUser, certificate }: PolicyQuestion): PolicyAnswer {
    const session = this.#session;
    if (!session.decidesRelaying) return DUNNO;
    const { LocalClientAddress } = session.globals;
    if (LocalClientAddress) return session.enteredLocal ? DUNNO : { kind: "ok" };
    return authUser !== "" || certificate ? DUNNO : { kind: "rejectUnauthDestination" };
  }

  #start(): Promise<Verdict> {
    this.#started ??= this.#session.start();
    return this.#started;
  }

  /** Whatever policy request comes next is about another step, however much it looks like the last. */
  #milterSaw(): void {
    this.#step = undefined;
  }

  /** A recipient that the milter never heard of was refused by Postfix. */
  #withdraw(): void {
    if (this.#rcptAhead?.kind === "continue") this.#session.withdrawRecipient();
    this.#rcptAhead = undefined;
  }
}
