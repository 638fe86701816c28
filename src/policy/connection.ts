/**
 * One policy connection: request after request, each answered before the next
 * is looked at, in their order. Works on any Duplex.
 *
 * Costs a silent or slow peer nothing but its socket: no more is read while a
 * request waits for its answer or the peer does not take what was answered,
 * what is kept has limits, and silence ends the connection. Never throws: what
 * goes wrong is reported and ends the connection.
 */
import type { Duplex } from "node:stream";
import { DUNNO, encodeAction, type PolicyAction } from "./action.ts";
import { type PolicyRequest, RequestDecoder, type RequestLimits } from "./request.ts";

export interface PolicyConnectionOptions extends RequestLimits {
  /** May answer at once or later; what it throws is reported and answered with `onFailure`. */
  readonly answer: (request: PolicyRequest) => PolicyAction | Promise<PolicyAction>;
  readonly onProblem: (error: Error) => void;
  /** Answer when `answer` throws or returns what cannot be sent. Default DUNNO. */
  readonly onFailure?: PolicyAction;
  /** Longest silence of the peer, milliseconds; it counts also while it does not read. Default 1500000. */
  readonly idleTimeoutMs?: number;
}

/** Longer than smtpd keeps a connection by itself (smtpd_policy_service_max_ttl, 1000 s). */
const IDLE_MS = 1_500_000;
/** How long a closed connection waits for its peer to take the last answers. */
const LINGER_MS = 2_000;

export class PolicyConnection {
  /** Resolves when the socket is closed: by whom, as far as it began. */
  readonly closed: Promise<"peer" | "own">;
  readonly #socket: Duplex;
  readonly #options: PolicyConnectionOptions;
  readonly #decoder: RequestDecoder;
  readonly #idle: NodeJS.Timeout;
  #out: Buffer[] = [];
  /** A request waits for its answer. */
  #busy = false;
  /** The peer does not read what was written. */
  #blocked = false;
  #peerEnded = false;
  #stopping = false;
  #ended = false;
  #closedBy: "peer" | "own" = "peer";

  constructor(socket: Duplex, options: PolicyConnectionOptions) {
    this.#socket = socket;
    this.#options = options;
    this.#decoder = new RequestDecoder(options);
    this.#idle = setTimeout(() => this.#silent(), options.idleTimeoutMs ?? IDLE_MS).unref();
    this.closed = new Promise((resolve) => {
      socket.once("close", () => {
        this.#ended = true;
        clearTimeout(this.#idle);
        resolve(this.#closedBy);
      });
    });
    socket.on("data", (chunk: Buffer) => this.#receive(chunk));
    socket.on("drain", () => {
      this.#blocked = false;
      this.#idle.refresh();
      this.#goOn();
    });
    socket.on("end", () => {
      this.#peerEnded = true;
      this.#run();
    });
    socket.on("error", (error) => this.#failed(error));
    socket.resume();
    if (socket.destroyed) this.#end();
  }

  /** Ends the connection as soon as no request waits for its answer. */
  stop(): Promise<"peer" | "own"> {
    this.#stopping = true;
    this.#run();
    return this.closed;
  }

  #receive(chunk: Buffer): void {
    if (this.#ended) return;
    this.#idle.refresh();
    this.#decoder.push(chunk);
    if (this.#busy || this.#blocked) this.#socket.pause();
    else this.#run();
  }

  #goOn(): void {
    if (this.#ended || this.#busy || this.#blocked) return;
    this.#socket.resume();
    this.#run();
  }

  /** Takes requests until one has to wait or none is left; the answers of one read leave together. */
  #run(): void {
    if (this.#busy || this.#blocked || this.#ended) return;
    try {
      while (!this.#busy && !this.#stopping) {
        const request = this.#decoder.next();
        if (request === undefined) break;
        this.#take(request);
      }
      if (!this.#busy && this.#peerEnded) this.#decoder.end();
    } catch (error) {
      this.#flush();
      this.#failed(error as Error);
      return;
    }
    this.#flush();
    if (!this.#busy && (this.#peerEnded || this.#stopping)) this.#end();
  }

  #take(request: PolicyRequest): void {
    let answer: PolicyAction | Promise<PolicyAction>;
    try {
      answer = this.#options.answer(request);
    } catch (error) {
      this.#unanswered(error);
      return;
    }
    if (!(answer instanceof Promise)) {
      this.#say(answer);
      return;
    }
    this.#busy = true;
    void answer
      .then(
        (action) => this.#say(action),
        (error) => this.#unanswered(error),
      )
      .then(() => {
        this.#busy = false;
        this.#idle.refresh();
        this.#flush();
        this.#goOn();
      });
  }

  #say(action: PolicyAction): void {
    try {
      this.#out.push(encodeAction(action));
    } catch (error) {
      this.#unanswered(error);
    }
  }

  #unanswered(error: unknown): void {
    this.#options.onProblem(error as Error);
    this.#out.push(encodeAction(this.#options.onFailure ?? DUNNO));
  }

  #flush(): void {
    const out = this.#out;
    if (out.length === 0) return;
    this.#out = [];
    if (!this.#socket.writable) return;
    this.#socket.write(out.length === 1 ? out[0] : Buffer.concat(out));
    if (this.#socket.writableNeedDrain) this.#blocked = true;
  }

  #silent(): void {
    if (this.#busy) this.#idle.refresh();
    else if (this.#blocked) this.#failed(new Error("the peer does not read its answers"));
    else if (this.#decoder.pending > 0) this.#failed(new Error("the peer stopped within a request"));
    else this.#end();
  }

  #failed(error: Error): void {
    if (this.#ended) return;
    this.#options.onProblem(error);
    this.#end();
  }

  #end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#closedBy = this.#peerEnded ? "peer" : "own";
    clearTimeout(this.#idle);
    this.#socket.end(() => this.#socket.destroy());
    // Whoever does not read would keep it open.
    setTimeout(() => this.#socket.destroy(), LINGER_MS).unref();
  }
}
