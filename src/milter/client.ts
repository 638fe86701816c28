/**
 * The other side: plays the MTA against a filter, for tests and tools. One
 * command at a time, as MTAs do; what was negotiated is obeyed, so an event
 * that the filter does not want is not sent and a quiet one is not waited for.
 *
 * Not an MTA: it neither applies edits nor decides what follows a reply.
 */
import { connect as dial } from "node:net";
import type { Duplex } from "node:stream";
import { parseAddress } from "./address.ts";
import { encodeCommand, type MilterCommand } from "./command.ts";
import { PacketDecoder } from "./decoder.ts";
import type { MilterEdit } from "./edit.ts";
import type { ConnectEvent } from "./filter.ts";
import { NO_EVENT, NO_REPLY, type Offer } from "./negotiate.ts";
import {
  SMFIC_BODY,
  SMFIC_BODYEOB,
  SMFIC_CONNECT,
  SMFIC_DATA,
  SMFIC_EOH,
  SMFIC_HEADER,
  SMFIC_HELO,
  SMFIC_MAIL,
  SMFIC_RCPT,
  SMFIC_UNKNOWN,
} from "./protocol.ts";
import { CONTINUE, type MilterReply, type ReplyEvent } from "./reply.ts";
import { decodeResponse, type MilterResponse } from "./response.ts";

/** What Postfix 3.7 offers. */
export const POSTFIX_OFFER: Offer = { version: 6, actions: 0x1ff, steps: 0x1fffff };

const STAGES: Readonly<Record<ReplyEvent, number>> = {
  connect: SMFIC_CONNECT,
  helo: SMFIC_HELO,
  mail: SMFIC_MAIL,
  rcpt: SMFIC_RCPT,
  data: SMFIC_DATA,
  header: SMFIC_HEADER,
  eoh: SMFIC_EOH,
  body: SMFIC_BODY,
  eom: SMFIC_BODYEOB,
  unknown: SMFIC_UNKNOWN,
};

export interface ClientMessageReply {
  readonly edits: readonly MilterEdit[];
  readonly reply: MilterReply;
}

/** Every method that waits rejects when the filter closes the connection or sends what is malformed. */
export class MilterClient {
  readonly #socket: Duplex;
  readonly #decoder = new PacketDecoder({ maxPacket: 64 * 1024 * 1024 });
  readonly #arrived: MilterResponse[] = [];
  #wake: () => void = () => {};
  #failure: Error | undefined;
  #unsent: Buffer[] = [];
  #steps = 0;
  /** SMFIR_PROGRESS packets seen so far. */
  progress = 0;

  /** @throws the socket's error */
  static connect(address: string): Promise<MilterClient> {
    const parsed = parseAddress(address);
    const socket =
      parsed.kind === "unix" ? dial(parsed.path) : dial({ host: parsed.host, port: parsed.port });
    return new Promise((resolve, reject) => {
      socket.once("error", reject);
      socket.once("connect", () => {
        socket.off("error", reject);
        resolve(new MilterClient(socket));
      });
    });
  }

  constructor(socket: Duplex) {
    this.#socket = socket;
    socket.on("data", (chunk: Buffer) => this.#receive(chunk));
    socket.on("error", (error) => this.#fail(error));
    const closed = () => this.#fail(new Error("the filter closed the connection"));
    socket.on("end", closed);
    socket.on("close", closed);
  }

  async negotiate(offer: Offer = POSTFIX_OFFER): Promise<MilterResponse & { kind: "optneg" }> {
    this.#send({ kind: "optneg", ...offer });
    const response = await this.#next();
    if (response.kind !== "optneg") throw new Error(`negotiation answered with ${response.kind}`);
    this.#steps = response.steps;
    return response;
  }

  /** Macros for the next event of this kind; they leave together with it. */
  macros(event: ReplyEvent, values: Readonly<Record<string, string>>): void {
    this.#queue({ kind: "macro", stage: STAGES[event], values: Object.entries(values).flat() });
  }

  connect(event: ConnectEvent): Promise<MilterReply> {
    return this.#event({ kind: "connect", event });
  }

  helo(name: string): Promise<MilterReply> {
    return this.#event({ kind: "helo", name });
  }

  mail(...args: readonly string[]): Promise<MilterReply> {
    return this.#event({ kind: "mail", args });
  }

  rcpt(...args: readonly string[]): Promise<MilterReply> {
    return this.#event({ kind: "rcpt", args });
  }

  data(): Promise<MilterReply> {
    return this.#event({ kind: "data" });
  }

  header(name: string, value: string): Promise<MilterReply> {
    return this.#event({
      kind: "header",
      name: Buffer.from(name, "latin1"),
      value: Buffer.from(value, "latin1"),
    });
  }

  endOfHeaders(): Promise<MilterReply> {
    return this.#event({ kind: "eoh" });
  }

  body(chunk: Uint8Array | string): Promise<MilterReply> {
    const bytes = typeof chunk === "string" ? Buffer.from(chunk, "latin1") : Buffer.from(chunk);
    return this.#event({ kind: "body", chunk: bytes });
  }

  unknown(line: string): Promise<MilterReply> {
    return this.#event({ kind: "unknown", line });
  }

  /** The body comes back as one replaceBody a packet. */
  async endOfMessage(): Promise<ClientMessageReply> {
    this.#send({ kind: "eom", chunk: Buffer.alloc(0) });
    const edits: MilterEdit[] = [];
    for (;;) {
      const response = await this.#next();
      if (response.kind === "reply") return { edits, reply: response.reply };
      if (response.kind === "edit") edits.push(response.edit);
      else throw new Error("negotiation in answer to end of message");
    }
  }

  /** Leaves with the next command, as Postfix does it. */
  abort(): void {
    this.#queue({ kind: "abort" });
  }

  /** Ends the session; resolves when the filter has closed its side. */
  async quit(): Promise<void> {
    this.#send({ kind: "quit" });
    while (this.#failure === undefined) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  /** Ends the session and goes on with the next on the same connection. */
  quitNewConnection(): void {
    this.#queue({ kind: "quitnc" });
  }

  /** Sends bytes as they are, and whatever is still queued before them. */
  raw(bytes: Uint8Array): void {
    this.#unsent.push(Buffer.from(bytes));
    this.#flush();
  }

  /** Closes without a word. */
  destroy(): void {
    this.#socket.destroy();
  }

  async #event(command: MilterCommand & { kind: Exclude<ReplyEvent, "eom"> }): Promise<MilterReply> {
    if ((this.#steps & NO_EVENT[command.kind]) !== 0) return CONTINUE;
    if ((this.#steps & NO_REPLY[command.kind]) !== 0) {
      this.#queue(command);
      return CONTINUE;
    }
    this.#send(command);
    const response = await this.#next();
    if (response.kind === "reply") return response.reply;
    throw new Error(`${response.kind} in answer to ${command.kind}`);
  }

  #queue(command: MilterCommand): void {
    this.#unsent.push(encodeCommand(command));
  }

  #send(command: MilterCommand): void {
    this.#queue(command);
    this.#flush();
  }

  #flush(): void {
    this.#socket.write(Buffer.concat(this.#unsent));
    this.#unsent = [];
  }

  async #next(): Promise<MilterResponse> {
    for (;;) {
      const response = this.#arrived.shift();
      if (response?.kind === "progress") this.progress++;
      else if (response !== undefined) return response;
      else if (this.#failure !== undefined) throw this.#failure;
      else {
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
      }
    }
  }

  #receive(chunk: Buffer): void {
    try {
      this.#decoder.push(chunk);
      for (let packet = this.#decoder.next(); packet !== undefined; packet = this.#decoder.next()) {
        this.#arrived.push(decodeResponse(packet));
      }
    } catch (error) {
      this.#fail(error as Error);
      this.#socket.destroy();
    }
    this.#wake();
  }

  #fail(error: Error): void {
    this.#failure ??= error;
    this.#wake();
  }
}
