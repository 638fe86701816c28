/**
 * Mail handed to sendmail(1) on this machine, played as one SMTP session:
 * Start to ProcessMessage, when all of it is there.
 *
 * Whatever is refused before the end of the message is refused at its end:
 * Postfix sends mail back for a refusal there, but for one at RCPT it would
 * keep the whole message and try again.
 */
import type { MessageStore } from "../message/store.ts";
import type { SmtpSession } from "./session.ts";
import type { MessageResult, Verdict } from "./verdict.ts";

export interface Submission {
  readonly hostname: string;
  /** Without <>. */
  readonly sender: string;
  readonly recipients: readonly string[];
  readonly store: MessageStore;
  /** Bytes, also when `store` kept only a part. */
  readonly size: number;
}

/** Plays it through `session`, which has not begun. The caller ends the session. */
export async function playSubmission(session: SmtpSession, mail: Submission): Promise<MessageResult> {
  const steps: (() => Promise<Verdict>)[] = [
    () => session.start(),
    () => session.helo(mail.hostname, true),
    () => session.mailFrom([`<${mail.sender}>`], ""),
    ...mail.recipients.map((address) => () => session.rcptTo([`<${address}>`], undefined)),
    () => session.dataStart(),
  ];
  for (const step of steps) {
    const verdict = await step();
    if (verdict.kind !== "continue") return { verdict, edits: [] };
  }
  return session.message(mail.store, mail.size);
}
