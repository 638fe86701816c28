/**
 * The message under way on a milter connection: its bytes are counted in any
 * case, and kept where somebody wants them.
 */
import { MessageStore } from "../message/store.ts";
import type { MilterContext } from "../milter/filter.ts";
import { SMFIP_HDR_LEADSPC } from "../milter/protocol.ts";
import type { DoorServices } from "./door.ts";

export class IncomingMessage {
  readonly #services: DoorServices;
  readonly #context: MilterContext;
  #store: MessageStore | undefined;
  /** The store is in use, even if the connection ends meanwhile. */
  #deciding = false;
  #size = 0;

  constructor(services: DoorServices, context: MilterContext) {
    this.#services = services;
    this.#context = context;
  }

  /** `limit` in bytes, 0 for none: a message over it is refused at its end, and until then need not be kept. */
  header(name: Buffer, value: Buffer, wanted: boolean, limit = 0): void {
    this.#size += fieldBytes(name, value);
    if (wanted && this.#fits(limit)) this.#open().addHeader(name, value);
  }

  body(chunk: Buffer, wanted: boolean, limit = 0): void {
    this.#size += chunk.length;
    if (wanted && this.#fits(limit)) this.#open().addBody(chunk);
  }

  /**
   * All of it has come. What went wrong with keeping it is put into the log, with the names of session and queue file;
   * then `work` decides, and the message is forgotten. `size` is that of the whole message, in bytes.
   */
  async decide<T>(
    session: string,
    queue: string,
    work: (store: MessageStore, size: number) => Promise<T>,
  ): Promise<T> {
    const store = this.#open();
    store.endOfHeaders();
    reportStore(this.#services, store, session, queue);
    this.#deciding = true;
    try {
      // The empty line between header and body.
      return await work(store, this.#size + 2);
    } finally {
      this.#deciding = false;
      this.forget();
    }
  }

  /** The message is over; one that is being decided about goes on. */
  forget(): void {
    if (this.#deciding) return;
    this.#store?.close();
    this.#store = undefined;
    this.#size = 0;
  }

  #open(): MessageStore {
    this.#store ??= openStore(this.#services, this.#context);
    return this.#store;
  }

  #fits(limit: number): boolean {
    return limit === 0 || this.#size <= limit;
  }
}

function openStore(services: DoorServices, { steps }: MilterContext): MessageStore {
  return new MessageStore({ leadingSpace: (steps & SMFIP_HDR_LEADSPC) !== 0, spill: services.spill });
}

/** Puts into the log what went wrong with keeping a message. */
function reportStore({ log }: DoorServices, store: MessageStore, session: string, queue: string): void {
  const { problem, lost } = store;
  if (lost) log.error("message not kept", { session, queue, problem: problem || "no memory is left" });
  else if (problem !== "") log.warn("message kept in memory", { session, queue, problem });
}

/** Bytes of a header field in the message: ":" and CRLF come to it, and a fold's LF becomes CRLF. */
function fieldBytes(name: Buffer, value: Buffer): number {
  let bytes = name.length + value.length + 3;
  for (let at = value.indexOf(0x0a); at >= 0; at = value.indexOf(0x0a, at + 1)) bytes++;
  return bytes;
}
