/**
 * A line-based SMTP client that hides nothing: what is sent is sent as is,
 * replies come back whole. Strict about what a server may say; every wait has
 * a time limit. No TLS, no retries; for tests and the quickstart.
 */
import { connect, type Socket } from "node:net";
import { fromBytes, toBytes } from "../src/bytes.ts";

export interface SmtpReply {
  readonly code: number;
  /** The lines as received, byte strings with their code, without line ends. */
  readonly lines: readonly string[];
  /** `lines` joined by "\n". */
  readonly text: string;
}

export interface ClientOptions {
  readonly port: number;
  /** The address to come from, such as "127.0.0.2"; default: the system's choice. */
  readonly from?: string;
  /** Limit of each wait for a reply; default 30 s. */
  readonly timeoutMs?: number;
}

/** The server broke off, was silent for too long or said something that is no SMTP reply. */
export class SmtpClientError extends Error {
  override name = "SmtpClientError";
}

interface Waiter {
  resolve(reply: SmtpReply): void;
  reject(error: Error): void;
}

const LAST_LINE = /^[2-5]\d\d(?: |$)/;
const ANY_LINE = /^[2-5]\d\d(?:[- ]|$)/;

export class SmtpClient {
  readonly #socket: Socket;
  readonly #timeoutMs: number;
  readonly #replies: SmtpReply[] = [];
  #rest = "";
  #lines: string[] = [];
  #waiter: Waiter | undefined;
  #failure: SmtpClientError | undefined;
  #onEnd: () => void = () => {};
  /** Resolves when the connection is closed, by whichever side. */
  readonly closed: Promise<void>;

  private constructor(socket: Socket, timeoutMs: number) {
    this.#socket = socket;
    this.#timeoutMs = timeoutMs;
    this.closed = new Promise((resolve) => {
      this.#onEnd = resolve;
    });
    socket.setNoDelay(true);
    socket.on("data", (bytes) => this.#take(fromBytes(bytes)));
    socket.on("error", (error) => this.#fail(error.message));
    socket.on("close", () => {
      this.#fail(
        this.#rest === "" && this.#lines.length === 0
          ? "the server closed the connection"
          : `the server closed the connection within a reply: ${JSON.stringify([...this.#lines, this.#rest])}`,
      );
      this.#onEnd();
    });
  }

  /** Connects to 127.0.0.1 and reads the greeting. */
  static async connect(options: ClientOptions): Promise<{ client: SmtpClient; greeting: SmtpReply }> {
    const socket = connect({
      port: options.port,
      host: "127.0.0.1",
      ...(options.from === undefined ? {} : { localAddress: options.from }),
    });
    const client = new SmtpClient(socket, options.timeoutMs ?? 30_000);
    return { client, greeting: await client.reply() };
  }

  /** The next reply; rejects with SmtpClientError. One wait at a time. */
  reply(): Promise<SmtpReply> {
    const ready = this.#replies.shift();
    if (ready !== undefined) return Promise.resolve(ready);
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => this.#fail(`no reply within ${this.#timeoutMs} ms`), this.#timeoutMs);
      this.#waiter = {
        resolve: (reply) => {
          clearTimeout(timer);
          resolve(reply);
        },
        reject: (error) => {
          clearTimeout(timer);
          reject(error);
        },
      };
    });
  }

  /** Sends bytes as they are. */
  write(bytes: string | Uint8Array): void {
    this.#socket.write(typeof bytes === "string" ? toBytes(bytes) : bytes);
  }

  /** Sends `line` with CRLF and resolves with the reply. A reply that nobody asked for is an error. */
  command(line: string): Promise<SmtpReply> {
    const early = this.#replies[0];
    if (early !== undefined) this.#fail(`a reply to nothing: ${JSON.stringify(early.text)}`);
    this.write(`${line}\r\n`);
    return this.reply();
  }

  /** Sends a message after the 354, dots doubled, and resolves with the reply. Line ends stay as they are. */
  message(bytes: string): Promise<SmtpReply> {
    const end = bytes === "" || bytes.endsWith("\r\n") ? "" : "\r\n";
    return this.command(`${bytes.replace(/(^|\n)\./g, "$1..")}${end}.`);
  }

  close(): void {
    this.#socket.destroy();
  }

  #take(text: string): void {
    const lines = (this.#rest + text).split("\n");
    this.#rest = lines.pop() ?? "";
    for (const line of lines) this.#takeLine(line);
  }

  #takeLine(ended: string): void {
    const line = ended.slice(0, -1);
    const code = this.#lines[0]?.slice(0, 3) ?? line.slice(0, 3);
    if (!ended.endsWith("\r") || !ANY_LINE.test(line) || line.slice(0, 3) !== code) {
      this.#fail(`not a line of an SMTP reply: ${JSON.stringify(ended)}`);
      return;
    }
    this.#lines.push(line);
    if (!LAST_LINE.test(line)) return;
    const reply = { code: Number(code), lines: this.#lines, text: this.#lines.join("\n") };
    this.#lines = [];
    const waiter = this.#waiter;
    this.#waiter = undefined;
    if (waiter === undefined) this.#replies.push(reply);
    else waiter.resolve(reply);
  }

  #fail(reason: string): void {
    this.#failure ??= new SmtpClientError(reason);
    this.#waiter?.reject(this.#failure);
    this.#waiter = undefined;
    this.#socket.destroy();
  }
}
