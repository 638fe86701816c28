/**
 * One connection of a socketmap client: requests one after another, each
 * answered before the next is looked at, whatever came in at once. Works on
 * any Duplex. Never throws: what goes wrong is reported, and ends the
 * connection where the peer cannot be understood any more.
 */
import type { Duplex } from "node:stream";
import { NetstringDecoder } from "./netstring.ts";
import { readRequest, type SocketmapReply, type SocketmapRequest, writeReply } from "./protocol.ts";

export interface SocketmapOptions {
  /** When it throws or rejects, the client gets TEMP. */
  readonly lookup: (request: SocketmapRequest) => SocketmapReply | Promise<SocketmapReply>;
  readonly onProblem?: (problem: Error) => void;
  /** Longest request taken, bytes. Default 10000. */
  readonly maxRequest?: number;
}

const MAX_REQUEST = 10_000;

/** Serves `socket` until either side ends. */
export function serveSocketmap(socket: Duplex, options: SocketmapOptions): SocketmapConnection {
  return new SocketmapConnection(socket, options);
}

export class SocketmapConnection {
  /** Resolves, never rejects, when the socket is closed. */
  readonly closed: Promise<void>;
  readonly #socket: Duplex;
  readonly #options: SocketmapOptions;
  readonly #decoder: NetstringDecoder;
  readonly #maxRequest: number;
  #busy = false;
  #peerEnded = false;
  #stopping = false;
  #ended = false;

  constructor(socket: Duplex, options: SocketmapOptions) {
    this.#socket = socket;
    this.#options = options;
    this.#maxRequest = options.maxRequest ?? MAX_REQUEST;
    this.#decoder = new NetstringDecoder(this.#maxRequest);
    this.closed = new Promise((resolve) => socket.once("close", resolve));
    socket.on("data", (chunk: Buffer) => this.#receive(chunk));
    socket.on("end", () => this.#peerGone());
    socket.on("error", (error) => {
      this.#report(error);
      this.#end();
    });
    socket.resume();
    if (socket.destroyed) queueMicrotask(() => socket.emit("close"));
  }

  /** Answers the request under way, if there is one, and closes. */
  stop(): Promise<void> {
    this.#stopping = true;
    if (!this.#busy) this.#end();
    return this.closed;
  }

  #receive(chunk: Buffer): void {
    if (this.#ended) return;
    this.#decoder.push(chunk);
    if (!this.#busy) void this.#run();
    else if (this.#decoder.pending > this.#maxRequest) this.#socket.pause();
  }

  #peerGone(): void {
    this.#peerEnded = true;
    if (!this.#busy) void this.#run();
  }

  async #run(): Promise<void> {
    this.#busy = true;
    try {
      for (let payload = this.#next(); payload !== undefined; payload = this.#next()) {
        const reply = await this.#answer(readRequest(payload));
        if (this.#ended) return;
        if (!this.#socket.writable) return this.#end();
        if (!this.#socket.write(writeReply(reply))) await this.#drained();
      }
      if (this.#stopping) this.#end();
      else if (this.#peerEnded) {
        this.#decoder.end();
        this.#end();
      }
    } catch (error) {
      this.#report(error as Error);
      this.#end();
    } finally {
      this.#busy = false;
      if (!this.#ended) this.#socket.resume();
    }
  }

  #next(): Buffer | undefined {
    return this.#ended || this.#stopping ? undefined : this.#decoder.next();
  }

  async #answer(request: SocketmapRequest): Promise<SocketmapReply> {
    try {
      return await this.#options.lookup(request);
    } catch (error) {
      this.#report(error as Error);
      return { kind: "temporary", reason: "internal error" };
    }
  }

  /** Resolves also when the socket closes instead. */
  #drained(): Promise<void> {
    const socket = this.#socket;
    return new Promise((resolve) => {
      const done = () => {
        socket.off("drain", done);
        socket.off("close", done);
        resolve();
      };
      socket.on("drain", done);
      socket.on("close", done);
    });
  }

  #report(problem: Error): void {
    if (!this.#ended) this.#options.onProblem?.(problem);
  }

  /** What was written still goes out. */
  #end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#socket.end(() => this.#socket.destroy());
  }
}
