/**
 * A small SMTP server for tests of order and speed: greets at once, unlike
 * postfix/sink.ts, may take its time for each message, and tells how many
 * deliveries ran at once.
 */
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import { setTimeout as delay } from "node:timers/promises";

export interface QuickMail {
  readonly sender: string;
  readonly recipients: readonly string[];
  readonly subject: string;
  /** A byte string. */
  readonly text: string;
}

export interface QuickSinkOptions {
  /** Time that a message takes, milliseconds. */
  readonly delayMs?: number;
  /** Counts a message when it is answered, not when it comes; one whose client has gone by then never came. */
  readonly onlyAnswered?: boolean;
  /** Resolves when a message may be answered. */
  readonly hold?: (mail: QuickMail) => Promise<void>;
  /** The reply to RCPT, such as "450 4.2.0 busy"; undefined accepts. */
  readonly refuse?: (recipient: string) => string | undefined;
}

export class QuickSink {
  /** In the order in which they came. */
  readonly mails: QuickMail[] = [];
  readonly #options: QuickSinkOptions;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly #watchers = new Set<() => void>();

  private constructor(options: QuickSinkOptions) {
    this.#options = options;
    this.#server = createServer({ noDelay: true }, (socket) => this.#serve(socket));
    this.#server.unref();
  }

  static async start(options: QuickSinkOptions = {}): Promise<QuickSink> {
    const sink = new QuickSink(options);
    await new Promise<void>((resolve) => sink.#server.listen(0, "127.0.0.1", 1024, resolve));
    return sink;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  get connections(): number {
    return this.#sockets.size;
  }

  get subjects(): string[] {
    return this.mails.map(({ subject }) => subject);
  }

  /** Resolves when so many have come. */
  async count(wanted: number, timeoutMs = 60_000): Promise<void> {
    await this.until(() => this.mails.length >= wanted, `${wanted} messages`, timeoutMs);
  }

  async until(holds: () => boolean, what: string, timeoutMs = 60_000): Promise<void> {
    if (holds()) return;
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#watchers.delete(look);
        reject(new Error(`no ${what} within ${timeoutMs} ms; ${this.mails.length} arrived`));
      }, timeoutMs);
      const look = () => {
        if (!holds()) return;
        clearTimeout(timer);
        this.#watchers.delete(look);
        resolve();
      };
      this.#watchers.add(look);
    });
  }

  async stop(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }

  #serve(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on("close", () => {
      this.#sockets.delete(socket);
      for (const watcher of [...this.#watchers]) watcher();
    });
    socket.on("error", () => {});
    let rest = "";
    let sender = "";
    let recipients: string[] = [];
    let inData = false;
    const take = async (text: string) => {
      const { hold, delayMs, onlyAnswered } = this.#options;
      const subject = /^Subject: (.*?)\r?$/m.exec(text)?.[1] ?? "";
      const mail = { sender, recipients, subject, text };
      const keep = () => {
        this.mails.push(mail);
        for (const watcher of [...this.#watchers]) watcher();
      };
      if (onlyAnswered !== true) keep();
      await hold?.(mail);
      if (delayMs !== undefined) await delay(delayMs);
      if (onlyAnswered === true && socket.destroyed) return;
      socket.write("250 2.0.0 taken\r\n");
      if (onlyAnswered === true) keep();
    };
    socket.on("data", (chunk) => {
      rest += chunk.toString("latin1");
      for (;;) {
        const end = rest.indexOf(inData ? "\r\n.\r\n" : "\r\n");
        if (end < 0) return;
        const line = rest.slice(0, end);
        rest = rest.slice(end + (inData ? 5 : 2));
        if (inData) {
          inData = false;
          void take(line);
          continue;
        }
        const address = /<(.*)>/.exec(line)?.[1] ?? "";
        const verb = line.slice(0, 4).toUpperCase();
        let reply = "250 2.0.0 ok";
        if (verb === "MAIL") {
          sender = address;
          recipients = [];
        } else if (verb === "RCPT") {
          const refusal = this.#options.refuse?.(address);
          if (refusal === undefined) recipients = [...recipients, address];
          reply = refusal ?? reply;
        } else if (verb === "DATA") {
          inData = recipients.length > 0;
          reply = inData ? "354 go" : "554 5.5.1 no recipients";
        } else if (verb === "QUIT") reply = "221 2.0.0 bye";
        socket.write(`${reply}\r\n`);
      }
    });
    socket.write("220 sink.test ESMTP\r\n");
  }
}
