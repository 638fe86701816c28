/**
 * Mail under load: many clients, every message with a Message-ID of its own,
 * every reply written down, 4xx and lost connections retried as a mail server
 * would, until the message is accepted or refused for good.
 */
import { setTimeout as delay } from "node:timers/promises";
import { SmtpClient, type SmtpReply } from "../../postfix/smtp-client.ts";

/** What must come of a message. */
export type Kind =
  /** Accepted, and delivered with the script's stamp. */
  | "good"
  /** Refused at RCPT. */
  | "refused"
  /** Refused at end of message. */
  | "bad";

export interface Sent {
  readonly id: string;
  readonly n: number;
  readonly kind: Kind;
  /** Replies to all attempts, in order. */
  readonly replies: string[];
  /** "unknown": the connection was lost after the message and before the reply. */
  outcome: "open" | "accepted" | "refused" | "unknown";
  attempts: number;
  /** Of the attempt that brought the outcome, milliseconds. */
  ms: number;
  /** When that attempt began, on performance.now()'s clock. */
  began: number;
}

export interface LoadOptions {
  readonly port: number;
  readonly clients: number;
  /** Messages a client sends in one session before it opens another. Default 1. */
  readonly perSession?: number;
  /** Each client begins a session that often at most, so that the machine has time to spare. Default: at once. */
  readonly everyMs?: number;
  /** MAIL FROM of a message; default one for all. */
  readonly sender?: (n: number) => string;
}

const RETRY_MS = 50;
/** A reply takes this long only when a time-out of Postfix's own is behind it. */
const REPLY_MS = 120_000;

export class Load {
  readonly sent: Sent[] = [];
  readonly #options: LoadOptions;
  #stopping = false;
  #aborted = false;
  #numbers = 0;
  readonly #clients: Promise<void>[] = [];

  /** Starts at once. */
  constructor(options: LoadOptions) {
    this.#options = options;
    for (let n = 0; n < options.clients; n++) this.#clients.push(this.#client());
  }

  /** No new messages; resolves when every message begun has its outcome. */
  async finish(): Promise<void> {
    this.#stopping = true;
    await Promise.all(this.#clients);
  }

  /** Gives up whatever is still open. */
  abort(): void {
    this.#stopping = true;
    this.#aborted = true;
  }

  /** Resolves when `count` more messages have their outcome. */
  async more(count: number): Promise<void> {
    const done = () => this.sent.filter(({ outcome }) => outcome !== "open").length;
    for (const wanted = done() + count; done() < wanted; ) {
      if (this.#aborted) throw new Error("the load was given up");
      await delay(5);
    }
  }

  async #client(): Promise<void> {
    while (!this.#stopping) {
      const next = delay(this.#options.everyMs ?? 0);
      const session = Array.from({ length: this.#options.perSession ?? 1 }, () => this.#message());
      for (const message of session) this.sent.push(message);
      let open = session;
      while (open.length > 0 && !this.#aborted) {
        await this.#session(open);
        open = open.filter(({ outcome }) => outcome === "open");
        if (open.length > 0) await delay(RETRY_MS);
      }
      if (!this.#stopping && this.#options.everyMs !== undefined) await next;
    }
  }

  #message(): Sent {
    const n = this.#numbers++;
    const kind = n % 10 === 3 ? "refused" : n % 10 === 7 ? "bad" : "good";
    const id = `${kind}-${n}-${process.pid}@load.test`;
    return { id, n, kind, replies: [], outcome: "open", attempts: 0, ms: 0, began: 0 };
  }

  /** One SMTP session for the messages that are still open. Whatever breaks leaves them open. */
  async #session(messages: readonly Sent[]): Promise<void> {
    let client: SmtpClient | undefined;
    let connected = performance.now();
    try {
      for (const message of messages) {
        if (client === undefined) {
          connected = performance.now();
          message.attempts++;
          message.began = connected;
          const dialled = await SmtpClient.connect({ port: this.#options.port, timeoutMs: REPLY_MS });
          client = dialled.client;
          if (!note(message, dialled.greeting)) return;
          if (!note(message, await client.command("EHLO load.test"))) return;
        } else {
          connected = performance.now();
          message.attempts++;
          message.began = connected;
        }
        await this.#send(client, message);
        message.ms = performance.now() - connected;
        if (message.outcome === "open") return;
      }
      await client?.command("QUIT");
    } catch (error) {
      for (const message of messages) {
        if (message.outcome === "open" && message.attempts > 0)
          message.replies.push((error as Error).message);
      }
    } finally {
      client?.close();
    }
  }

  async #send(client: SmtpClient, message: Sent): Promise<void> {
    const sender = this.#options.sender?.(message.n) ?? "sender@load.test";
    const recipient = message.kind === "refused" ? "refused@example.test" : "user@example.test";
    if (!note(message, await client.command(`MAIL FROM:<${sender}>`))) return;
    const rcpt = await client.command(`RCPT TO:<${recipient}>`);
    if (!note(message, rcpt)) {
      // The transaction is over for this client; the session may go on.
      if (message.outcome === "refused") note({ ...message }, await client.command("RSET"));
      return;
    }
    if (!note(message, await client.command("DATA"))) return;
    const text = `From: <${sender}>\r\nSubject: ${message.kind}\r\nMessage-ID: <${message.id}>\r\n\r\n${BODY}`;
    let reply: SmtpReply;
    try {
      reply = await client.message(text);
    } catch (error) {
      message.outcome = "unknown";
      throw error;
    }
    if (note(message, reply)) message.outcome = "accepted";
  }
}

const BODY = `${"A line of an ordinary letter, nothing to see here.\r\n".repeat(40)}`;

/** Writes a reply down. @returns whether the dialogue goes on; a 5xx is the message's outcome */
function note(message: Sent, reply: SmtpReply): boolean {
  message.replies.push(reply.text);
  if (reply.code >= 500) message.outcome = "refused";
  return reply.code < 400;
}
