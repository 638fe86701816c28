/**
 * Postfix's internal attribute protocol on its unix sockets: lists of
 * name NUL value NUL, ended by one NUL more. Internal to Postfix and the same
 * in all its versions from 2.0 to 3.11; nobody promises that it stays.
 *
 * Trusts the server no further than a length limit and a time limit.
 */
import { connect, type Socket } from "node:net";
import { fromBytes, toBytes } from "../bytes.ts";

export type Attributes = ReadonlyMap<string, string>;

/** The service is not reachable, broke off, was silent for too long or said something else. */
export class ServiceError extends Error {
  override name = "ServiceError";
}

const MAX_ANSWER_BYTES = 64 * 1024;

/** One list as bytes. A value with NUL is a caller's bug. */
function encode(list: Readonly<Record<string, string>>): Buffer {
  let text = "";
  for (const [name, value] of Object.entries(list)) {
    if (value.includes("\0")) throw new RangeError(`attribute ${name} has a NUL`);
    text += `${name}\0${value}\0`;
  }
  return toBytes(`${text}\0`);
}

interface Waiter {
  readonly resolve: (list: Attributes) => void;
  readonly reject: (error: Error) => void;
}

/** A connection to one service. Requests are answered in order, one at a time. */
export class ServiceConnection {
  readonly #socket: Socket;
  readonly #name: string;
  readonly #lists: Attributes[] = [];
  #rest = "";
  #waiter: Waiter | undefined;
  #failure: ServiceError | undefined;

  /** @param path of the socket @param timeoutMs limit of each wait */
  constructor(path: string, timeoutMs: number) {
    this.#name = path;
    this.#socket = connect(path);
    this.#socket.setTimeout(timeoutMs, () => this.#fail(`silent for ${timeoutMs} ms`));
    this.#socket.on("data", (bytes) => this.#take(fromBytes(bytes)));
    this.#socket.on("error", (error) => this.#fail(error.message));
    this.#socket.on("close", () => this.#fail("the connection was closed"));
  }

  get failed(): boolean {
    return this.#failure !== undefined;
  }

  /** Holds the process open only while an answer is waited for. */
  idle(): void {
    this.#socket.unref();
  }

  send(list: Readonly<Record<string, string>>): void {
    this.#socket.ref();
    this.#socket.write(encode(list));
  }

  /** The next list that the server sends. @throws ServiceError */
  receive(): Promise<Attributes> {
    const ready = this.#lists.shift();
    if (ready !== undefined) return Promise.resolve(ready);
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    return new Promise((resolve, reject) => {
      this.#waiter = { resolve, reject };
    });
  }

  close(): void {
    this.#fail("closed");
  }

  #take(text: string): void {
    this.#rest += text;
    if (this.#rest.length > MAX_ANSWER_BYTES) this.#fail("an answer without an end");
    for (;;) {
      const list = this.#list();
      if (list === undefined) return;
      const waiter = this.#waiter;
      this.#waiter = undefined;
      if (waiter === undefined) this.#lists.push(list);
      else waiter.resolve(list);
    }
  }

  #list(): Attributes | undefined {
    const text = this.#rest;
    const list = new Map<string, string>();
    for (let at = 0; ; ) {
      const nameEnd = text.indexOf("\0", at);
      if (nameEnd < 0) return undefined;
      if (nameEnd === at) {
        this.#rest = text.slice(at + 1);
        return list;
      }
      const valueEnd = text.indexOf("\0", nameEnd + 1);
      if (valueEnd < 0) return undefined;
      const name = text.slice(at, nameEnd);
      // trivial-rewrite sends "flags" twice: the server's, then the result's, which counts.
      list.set(name, text.slice(nameEnd + 1, valueEnd));
      at = valueEnd + 1;
    }
  }

  #fail(reason: string): void {
    this.#failure ??= new ServiceError(`${this.#name}: ${reason}`);
    this.#waiter?.reject(this.#failure);
    this.#waiter = undefined;
    this.#socket.destroy();
  }
}

/** One request on a connection of its own, to a service that answers with a status. @throws ServiceError unless it is 0 */
export async function askStatus(
  socket: string,
  timeoutMs: number,
  request: Readonly<Record<string, string>>,
): Promise<void> {
  const connection = new ServiceConnection(socket, timeoutMs);
  try {
    connection.send(request);
    let answer = await connection.receive();
    // The server says which protocol it speaks, since Postfix 3.5.
    if (answer.has("protocol")) answer = await connection.receive();
    const status = answer.get("status");
    if (status !== "0") throw new ServiceError(`${socket}: status ${status}`);
  } finally {
    connection.close();
  }
}
