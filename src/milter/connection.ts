/**
 * One stream and its session: reading, back-pressure, writing, time-outs and
 * an orderly stop. Works on any Duplex; a process that only accepts sockets
 * may hand them to others, with bytes it has read already as `head`.
 *
 * All replies of one read leave in one write, and so do the edits and the
 * reply at end of message. While a handler waits or the peer does not read,
 * nothing more is read. Never throws: what goes wrong is reported through
 * onProblem and ends the connection.
 */
import { randomUUID } from "node:crypto";
import type { Duplex } from "node:stream";
import { type DecoderOptions, PacketDecoder } from "./decoder.ts";
import { type OnProblem, toProblem } from "./errors.ts";
import type { CloseCause, MilterFilter, Transport } from "./filter.ts";
import { type MilterReply, TEMPFAIL } from "./reply.ts";
import { MilterSession } from "./session.ts";

export interface ConnectionOptions extends DecoderOptions {
  /** Names the connection in reports and MilterContext; default a random UUID. */
  readonly id?: string;
  /** Bytes of the stream that were read before. */
  readonly head?: Uint8Array;
  /** The negotiation in `head` was answered by whoever read it, as the filter would have done. */
  readonly negotiated?: boolean;
  /** Told of everything that goes wrong; default nobody. */
  readonly onProblem?: OnProblem;
  /** Reply when the filter fails: it threw, or answered what cannot be sent. Default tempfail. */
  readonly onFailure?: MilterReply;
  /** While a handler waits, SMFIR_PROGRESS is sent this often, so that the MTA goes on waiting. Default 10000. */
  readonly progressMs?: number;
  /** Postfix takes SMFIR_PROGRESS at every event; for Sendmail choose "endOfMessage", the one event where it does. */
  readonly progress?: "always" | "endOfMessage";
  /** Longest silence of the MTA while it is its turn; 0 for no limit. Default 7200000, near libmilter's. */
  readonly idleTimeoutMs?: number;
}

const IDLE_MS = 7_200_000;
const PROGRESS_MS = 10_000;
/** How long a closed connection waits for its peer to take the last replies. */
const LINGER_MS = 2_000;
/** Packets of up to this many bytes in all are joined rather than written as a vector. */
const JOIN_LIMIT = 16_384;

/** Serves `socket` until either side ends. */
export function serveConnection(
  socket: Duplex,
  transport: Transport,
  filter: MilterFilter,
  options: ConnectionOptions = {},
): MilterConnection {
  return new MilterConnection(socket, transport, filter, options);
}

export class MilterConnection {
  readonly id: string;
  /** Resolves, never rejects, when socket and handler are closed. */
  readonly closed: Promise<CloseCause>;
  readonly #socket: Duplex;
  readonly #onProblem: OnProblem;
  readonly #decoder: PacketDecoder;
  readonly #session: MilterSession;
  readonly #out: Buffer[] = [];
  readonly #idleTimer: NodeJS.Timeout | undefined;
  #stopTimer: NodeJS.Timeout | undefined;
  #resolveClosed: (cause: CloseCause) => void = () => {};
  /** A handler waits. */
  #busy = false;
  /** The peer does not read what was written. */
  #blocked = false;
  #peerEnded = false;
  #stopping = false;
  #ended = false;

  constructor(socket: Duplex, transport: Transport, filter: MilterFilter, options: ConnectionOptions) {
    this.id = options.id ?? randomUUID();
    this.#socket = socket;
    this.#onProblem = options.onProblem ?? (() => {});
    this.#decoder = new PacketDecoder(options);
    this.#session = new MilterSession(
      {
        id: this.id,
        transport,
        filter,
        onProblem: this.#onProblem,
        onFailure: options.onFailure ?? TEMPFAIL,
        progressMs: options.progressMs ?? PROGRESS_MS,
        progress: options.progress ?? "always",
        negotiated: options.negotiated ?? false,
      },
      { write: (packet) => this.#out.push(packet), flush: () => this.#flush() },
    );
    this.closed = new Promise((resolve) => {
      this.#resolveClosed = resolve;
    });
    this.#idleTimer = startIdleTimer(options.idleTimeoutMs ?? IDLE_MS, () => this.#idle());
    this.#attach();
    if (options.head !== undefined) this.#decoder.push(options.head);
    queueMicrotask(() => this.#run());
  }

  /**
   * Ends the connection between messages: at once, or when the message under way is finished. When that takes
   * longer than `deadlineMs`, a command that waits for its reply gets tempfail and the connection is closed.
   */
  stop(deadlineMs: number): Promise<CloseCause> {
    if (!this.#stopping) {
      this.#stopping = true;
      this.#stopTimer = setTimeout(() => this.#deadline(), deadlineMs);
      this.#run();
    }
    return this.closed;
  }

  #attach(): void {
    const socket = this.#socket as Duplex & { setNoDelay?: (on: boolean) => void };
    socket.setNoDelay?.(true);
    socket.on("data", (chunk: Buffer) => this.#receive(chunk));
    socket.on("drain", () => this.#unblock());
    socket.on("end", () => this.#peerGone());
    socket.on("error", (error) => this.#failed(error, "ERR_MILTER_SOCKET"));
    socket.on("close", () => this.#peerGone());
    socket.resume();
    if (socket.destroyed) this.#peerEnded = true;
  }

  #receive(chunk: Buffer): void {
    if (this.#ended) return;
    this.#idleTimer?.refresh();
    this.#decoder.push(chunk);
    if (this.#busy || this.#blocked) this.#socket.pause();
    else this.#run();
  }

  #unblock(): void {
    this.#blocked = false;
    this.#goOn();
  }

  #goOn(): void {
    if (this.#busy || this.#blocked || this.#ended) return;
    this.#socket.resume();
    this.#run();
  }

  #peerGone(): void {
    this.#peerEnded = true;
    this.#blocked = false;
    this.#run();
  }

  /** Takes packets until one has to wait or none is left, then sends the replies and sees whether to go on. */
  #run(): void {
    if (this.#busy || this.#blocked || this.#ended) return;
    try {
      this.#takePackets();
    } catch (error) {
      this.#failed(error, "ERR_MILTER_HANDLER");
      return;
    }
    this.#flush();
    if (this.#busy || this.#ended) return;
    if (this.#session.closed) this.#end("quit");
    else if (this.#stopping && this.#session.betweenMessages) this.#end("stopped");
    else if (this.#peerEnded) this.#endOfStream();
  }

  #takePackets(): void {
    const session = this.#session;
    while (!this.#busy && !session.closed && !(this.#stopping && session.betweenMessages)) {
      const packet = this.#decoder.next();
      if (packet === undefined) return;
      const waiting = session.receive(packet);
      if (waiting !== undefined) this.#wait(waiting);
    }
  }

  #wait(waiting: Promise<undefined>): void {
    this.#busy = true;
    waiting.then(
      () => {
        this.#busy = false;
        this.#idleTimer?.refresh();
        this.#goOn();
      },
      (error) => {
        this.#busy = false;
        this.#failed(error, "ERR_MILTER_HANDLER");
      },
    );
  }

  #endOfStream(): void {
    try {
      this.#decoder.end();
    } catch (error) {
      this.#failed(error, "ERR_MILTER_TRUNCATED");
      return;
    }
    this.#end("closed");
  }

  #idle(): void {
    if (this.#busy) this.#idleTimer?.refresh();
    else this.#failed(new Error("nothing came from the MTA for too long"), "ERR_MILTER_IDLE");
  }

  #deadline(): void {
    if (this.#busy && !this.#ended) this.#session.interrupt();
    this.#end("stopped");
    this.#resolveClosed("stopped");
  }

  #failed(thrown: unknown, fallback: string): void {
    if (this.#ended) return;
    const problem = toProblem(thrown, fallback, "", this.id);
    this.#onProblem(problem);
    this.#flush();
    this.#end("error", problem.error);
  }

  /** The one way out: tells the handler, closes the socket, once. */
  #end(cause: CloseCause, error?: Error): void {
    if (this.#ended) return;
    this.#ended = true;
    clearTimeout(this.#idleTimer);
    const finishing = this.#session.finish(cause, error);
    this.#closeSocket();
    Promise.resolve(finishing).then(() => {
      clearTimeout(this.#stopTimer);
      this.#resolveClosed(cause);
    });
  }

  /** What was written still goes out, unless the peer does not take it. */
  #closeSocket(): void {
    const socket = this.#socket;
    socket.end(() => socket.destroy());
    if (socket.writableLength > 0) setTimeout(() => socket.destroy(), LINGER_MS).unref();
  }

  #flush(): void {
    const out = this.#out;
    if (out.length === 0) return;
    const socket = this.#socket;
    if (!socket.writable) {
      out.length = 0;
      return;
    }
    if (out.length === 1) {
      socket.write(out[0]!);
    } else if (out.reduce((sum, packet) => sum + packet.length, 0) <= JOIN_LIMIT) {
      socket.write(Buffer.concat(out));
    } else {
      socket.cork();
      for (const packet of out) socket.write(packet);
      socket.uncork();
    }
    out.length = 0;
    if (socket.writableNeedDrain) this.#blocked = true;
  }
}

function startIdleTimer(idleMs: number, expired: () => void): NodeJS.Timeout | undefined {
  return idleMs === 0 ? undefined : setTimeout(expired, idleMs).unref();
}
