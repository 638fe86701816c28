/**
 * A session that the policy service alone tells of: every step runs at the
 * first request that tells of it, and lists that ask late bring several steps
 * at once.
 */
import { DUNNO, type PolicyAnswer } from "./policy-answer.ts";
import type { PolicyQuestion } from "./policy-question.ts";
import type { SmtpSession } from "./session.ts";
import { CONTINUE, type Verdict } from "./verdict.ts";

/** What came of a request. */
export interface Outcome {
  readonly verdict: Verdict;
  /** At the end of a message: what is to happen to it. */
  readonly ending: PolicyAnswer;
}

interface Transaction {
  readonly sender: string;
  readonly verdict: Verdict;
  instance: string;
  dataStarted: boolean;
}

export class PolicySteps {
  readonly #session: SmtpSession;
  #heloName = "";
  #transaction: Transaction | undefined;
  #ending: PolicyAnswer = DUNNO;

  /** `session` has been started before the first request. */
  constructor(session: SmtpSession) {
    this.#session = session;
  }

  /** One request's step, and those before it that no request told of. */
  async run(question: PolicyQuestion): Promise<Outcome> {
    this.#ending = DUNNO;
    const verdict = await this.#run(question);
    return { verdict, ending: this.#ending };
  }

  async #run(question: PolicyQuestion): Promise<Verdict> {
    const session = this.#session;
    const { state, heloName, recipient } = question;
    session.globals.TLSVersion = question.tlsVersion;
    const now = state === "HELO" || state === "EHLO";
    if (heloName !== "" && (now || heloName !== this.#heloName)) {
      this.#heloName = heloName;
      this.#transaction = undefined;
      const verdict = await session.helo(heloName, question.extended);
      if (verdict.kind !== "continue") return verdict;
    }
    if (!["MAIL", "RCPT", "DATA", "END-OF-MESSAGE"].includes(state)) return CONTINUE;
    session.queueId = question.queueId;
    const transaction = await this.#transactionOf(question);
    if (transaction.verdict.kind !== "continue") return transaction.verdict;
    if (state === "RCPT") return session.rcptTo([`<${recipient}>`], undefined);
    if (state === "MAIL") return CONTINUE;
    // Lists that ask at DATA or later tell of a recipient only where there is just one.
    if (recipient !== "" && session.recipients === 0) {
      const verdict = await session.rcptTo([`<${recipient}>`], undefined);
      if (verdict.kind !== "continue") return verdict;
    }
    if (!transaction.dataStarted) {
      transaction.dataStarted = true;
      const verdict = await session.dataStart();
      if (verdict.kind !== "continue") return verdict;
    }
    if (state === "DATA") return CONTINUE;
    this.#transaction = undefined;
    this.#ending = await session.contentUnseen(question.size, recipient);
    return CONTINUE;
  }

  /** The transaction that a request belongs to, begun by MAIL when nothing told of it before. */
  async #transactionOf({ state, sender, instance, size, authUser }: PolicyQuestion): Promise<Transaction> {
    const open = this.#transaction;
    const same = open?.sender === sender && (open.instance === "" || open.instance === instance);
    if (open !== undefined && same && state !== "MAIL") {
      open.instance = instance;
      return open;
    }
    const args = [`<${sender}>`, ...(size > 0 && state !== "END-OF-MESSAGE" ? [`SIZE=${size}`] : [])];
    const verdict = await this.#session.mailFrom(args, authUser);
    this.#transaction = { sender, verdict, instance, dataStarted: false };
    return this.#transaction;
  }
}
