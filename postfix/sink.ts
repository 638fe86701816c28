/**
 * The end of every road in tests and the quickstart: an SMTP server on a free
 * port of 127.0.0.1 that keeps each message with its envelope and exact bytes,
 * and refuses or defers recipients on request.
 */
import type { AddressInfo } from "node:net";
import { SMTPServer, type SMTPServerAddress } from "smtp-server";
import { fromBytes } from "../src/bytes.ts";

export interface SinkMessage {
  /** Without <>; "" for the null sender. */
  readonly sender: string;
  readonly recipients: readonly string[];
  /** ESMTP parameters of MAIL and of each RCPT, such as { ENVID: "x" }; `true` for one without a value. */
  readonly senderParameters: Readonly<Record<string, string | true>>;
  readonly recipientParameters: readonly Readonly<Record<string, string | true>>[];
  /** The message as it was sent, dots undone, line ends kept. */
  readonly bytes: Buffer;
  /** Header fields as name and value, top first; folds kept, CR removed, the space after the colon kept. */
  readonly headers: readonly (readonly [name: string, value: string])[];
  /** What follows the empty line, a byte string. */
  readonly body: string;
  /** The queue ID that Postfix wrote into its Received field, "" when there is none. */
  readonly queueId: string;
}

/** What the sink says instead of 250, such as { code: 550, text: "5.1.1 No such user" }. */
export interface SinkRefusal {
  readonly code: number;
  readonly text: string;
}

export interface SinkOptions {
  /** Asked for every recipient; undefined accepts. Code 4xx defers, 5xx bounces. */
  readonly refuse?: (recipient: string) => SinkRefusal | undefined;
  /** Asked for every message, after its content. */
  readonly refuseMessage?: (message: SinkMessage) => SinkRefusal | undefined;
  /** Called for every message taken. */
  readonly onMessage?: (message: SinkMessage) => void;
}

const DEADLINE_MS = 30_000;

export class Sink {
  /** All messages taken so far, in order of arrival. */
  readonly messages: SinkMessage[] = [];
  readonly #server: SMTPServer;
  readonly #watchers = new Set<() => void>();

  private constructor(options: SinkOptions) {
    this.#server = new SMTPServer({
      disabledCommands: ["AUTH", "STARTTLS"],
      disableReverseLookup: true,
      lenientAddressParsing: true,
      hideDSN: false,
      logger: false,
      onRcptTo: (address, _session, done) => {
        const refusal = options.refuse?.(address.address);
        done(refusal === undefined ? undefined : smtpError(refusal));
      },
      onData: (stream, session, done) => {
        const chunks: Buffer[] = [];
        stream.on("data", (chunk: Buffer) => chunks.push(chunk));
        stream.on("end", () => {
          const { mailFrom, rcptTo } = session.envelope;
          const message = describe(mailFrom, rcptTo, Buffer.concat(chunks));
          const refusal = options.refuseMessage?.(message);
          if (refusal !== undefined) {
            done(smtpError(refusal));
            return;
          }
          this.messages.push(message);
          done();
          options.onMessage?.(message);
          for (const watcher of [...this.#watchers]) watcher();
        });
      },
    });
    // A client that breaks off is no news here.
    this.#server.on("error", () => {});
  }

  static async start(options: SinkOptions = {}): Promise<Sink> {
    const sink = new Sink(options);
    await new Promise<void>((resolve, reject) => {
      sink.#server.server.once("error", reject);
      sink.#server.listen(0, "127.0.0.1", resolve);
    });
    sink.#server.server.unref();
    return sink;
  }

  get port(): number {
    return (this.#server.server.address() as AddressInfo).port;
  }

  /** The first message, taken already or to come, that `wanted` holds for. Rejects after `timeoutMs`. */
  waitFor(wanted: (message: SinkMessage) => boolean, timeoutMs = DEADLINE_MS): Promise<SinkMessage> {
    return new Promise((resolve, reject) => {
      const look = () => {
        const found = this.messages.find(wanted);
        if (found === undefined) return;
        clearTimeout(timer);
        this.#watchers.delete(look);
        resolve(found);
      };
      const timer = setTimeout(() => {
        this.#watchers.delete(look);
        reject(
          new Error(
            `no such message within ${timeoutMs} ms; ${this.messages.length} others arrived at the sink`,
          ),
        );
      }, timeoutMs);
      this.#watchers.add(look);
      look();
    });
  }

  /** Forgets the messages taken so far. */
  clear(): void {
    this.messages.length = 0;
  }

  /** Closes the port and open connections. */
  async stop(): Promise<void> {
    for (const connection of this.#server.connections) connection.close();
    await new Promise<void>((resolve) => this.#server.close(resolve));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }
}

function describe(
  sender: SMTPServerAddress | false,
  recipients: readonly SMTPServerAddress[],
  bytes: Buffer,
): SinkMessage {
  const text = fromBytes(bytes);
  const { headers, body } = splitMessage(text);
  const received = headers.find(([name]) => name.toLowerCase() === "received")?.[1] ?? "";
  return {
    sender: sender === false ? "" : sender.address,
    recipients: recipients.map(({ address }) => address),
    senderParameters: sender === false ? {} : sender.args || {},
    recipientParameters: recipients.map(({ args }) => args || {}),
    bytes,
    headers,
    body,
    queueId: /\bid (\w+)/.exec(received)?.[1] ?? "",
  };
}

/** Header fields and body of a message given as byte string with CRLF. */
function splitMessage(text: string): { headers: [name: string, value: string][]; body: string } {
  const end = text.startsWith("\r\n") ? 0 : text.indexOf("\r\n\r\n");
  const head = end < 0 ? text : text.slice(0, end);
  const body = end < 0 ? "" : text.slice(end === 0 ? 2 : end + 4);
  const headers = head
    .replace(/\r\n$/, "")
    .split(/\r\n(?![ \t])/)
    .filter((field) => field !== "")
    .map((field): [string, string] => {
      const colon = field.indexOf(":");
      return [field.slice(0, Math.max(colon, 0)), field.slice(colon + 1).replaceAll("\r", "")];
    });
  return { headers, body };
}

function smtpError({ code, text }: SinkRefusal): Error {
  return Object.assign(new Error(text), { responseCode: code });
}
