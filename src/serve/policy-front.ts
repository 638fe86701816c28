/**
 * Postfix's policy service in the primary: reads requests, gives each to the
 * worker that has its client's session, and the answer back. It runs no Lua.
 *
 * Nothing hangs: a request is answered within a time limit shorter than
 * smtpd's own, whatever becomes of the worker. The session of a worker that
 * died is over, and its client is told so with 421, which ends the connection.
 */
import type { Socket } from "node:net";
import type { Log } from "../log.ts";
import type { PolicyAction } from "../policy/action.ts";
import { PolicyConnection } from "../policy/connection.ts";
import type { PolicyRequest } from "../policy/request.ts";
import type { PolicyAnswer } from "../smtp/policy-answer.ts";
import { clientKey, type Owners } from "./owners.ts";
import type { WorkerProcess } from "./worker-process.ts";

export interface PolicyFrontOptions {
  readonly owners: Owners;
  /** A worker that serves, one of those with the fewest `load`. */
  readonly serving: (load: (worker: WorkerProcess) => number) => WorkerProcess | undefined;
  readonly idleTimeoutMs: number;
  readonly log: Log;
}

/** A request on its way. */
interface Pending {
  readonly key: string;
  readonly attributes: readonly string[];
  readonly line: Line;
  /** A new client begins with it. */
  readonly opening: boolean;
  readonly until: number;
  worker?: WorkerProcess;
  answer: (action: PolicyAction) => void;
}

/** A connection: smtpd asks about one client at a time on it. */
interface Line {
  readonly name: string;
  /** The client asked about last, and the number of that request. */
  key: string;
  number: number;
}

/** Below smtpd_policy_service_timeout, 100 s. */
const ANSWER_MS = 90_000;
const LOOK_MS = 1_000;

/** In the words of the script_error verdict, with the code that ends the connection. */
const LOST: PolicyAction = {
  kind: "refuse",
  reply: { code: 421, enhanced: "4.3.0", lines: ["Temporary mail policy problem, try again later"] },
};

export class PolicyFront {
  readonly #options: PolicyFrontOptions;
  readonly #connections = new Set<PolicyConnection>();
  /** By number. */
  readonly #asked = new Map<number, Pending>();
  /** No worker serves. */
  #waiting: Pending[] = [];
  readonly #timer: NodeJS.Timeout;
  #lines = 0;

  constructor(options: PolicyFrontOptions) {
    this.#options = options;
    this.#timer = setInterval(() => this.#look(), LOOK_MS).unref();
  }

  /** Takes a connection whose socket is paused. */
  accept(socket: Socket): void {
    const line: Line = { name: `policy ${++this.#lines}`, key: "", number: 0 };
    const connection = new PolicyConnection(socket, {
      answer: (request) => this.#ask(line, request),
      onProblem: (error) => this.#problem(error.message),
      onFailure: LOST,
      idleTimeoutMs: this.#options.idleTimeoutMs,
    });
    this.#connections.add(connection);
    void connection.closed.then((by) => {
      this.#connections.delete(connection);
      // smtpd itself closes only between sessions.
      if (by === "peer") this.#release(line);
      else this.#options.log.debug("policy connection closed", { client: line.key });
    });
  }

  /** A worker's answer. */
  answered(number: number, answer: PolicyAnswer): void {
    const pending = this.#asked.get(number);
    if (pending === undefined) return;
    this.#asked.delete(number);
    pending.answer(answer);
  }

  /** A worker serves now. */
  ready(): void {
    for (const pending of this.#waiting.splice(0)) this.#hand(pending);
  }

  /** A worker is gone, and owners know it. */
  gone(worker: WorkerProcess): void {
    for (const [number, pending] of this.#asked) {
      if (pending.worker !== worker) continue;
      this.#asked.delete(number);
      this.#options.owners.forget(pending.key);
      pending.answer(LOST);
    }
  }

  /** Ends connections between requests; those under way are ended with their answers. */
  close(): void {
    for (const connection of this.#connections) void connection.stop();
  }

  /** Answers whatever is under way; to be called when all workers are gone. */
  end(): void {
    clearInterval(this.#timer);
    for (const pending of [...this.#asked.values(), ...this.#waiting]) pending.answer(LOST);
    this.#asked.clear();
    this.#waiting = [];
  }

  #ask(line: Line, request: PolicyRequest): Promise<PolicyAction> {
    const of = (name: string) => request.get(name) ?? "";
    const key = clientKey(of("client_address"), of("client_port"), of("server_port")) ?? line.name;
    if (line.key !== key) this.#release(line);
    line.key = key;
    const attributes: string[] = [];
    for (const [name, value] of request) attributes.push(name, value);
    return new Promise((answer) => {
      const opening = of("protocol_state") === "CONNECT";
      this.#hand({ key, attributes, line, opening, until: performance.now() + ANSWER_MS, answer });
    });
  }

  #hand(pending: Pending): void {
    const { owners, serving } = this.#options;
    const { key } = pending;
    const owner = owners.of(key);
    if (owner === "lost") {
      owners.forget(key);
      if (!pending.opening) {
        pending.answer(LOST);
        return;
      }
    }
    const alive = typeof owner === "string" ? undefined : owner;
    const worker = alive ?? serving((candidate) => this.#load(candidate));
    if (worker === undefined) {
      this.#waiting.push(pending);
      return;
    }
    pending.worker = worker;
    const number = owners.hand(key, worker);
    pending.line.number = number;
    this.#asked.set(number, pending);
    worker.tell({ type: "policy", number, key, attributes: pending.attributes });
  }

  /** The connection goes on to another client: smtpd has done with this one. */
  #release(line: Line): void {
    if (line.key === "") return;
    const owner = this.#options.owners.of(line.key);
    if (owner === "lost") this.#options.owners.forget(line.key);
    else if (owner !== "none") owner.tell({ type: "clientGone", key: line.key, number: line.number });
    line.key = "";
  }

  /** Requests under way at a worker. There are few at a time, one for each smtpd process. */
  #load(worker: WorkerProcess): number {
    let load = 0;
    for (const pending of this.#asked.values()) if (pending.worker === worker) load++;
    return load;
  }

  #problem(problem: string): void {
    this.#options.log.error("policy", { problem });
  }

  #look(): void {
    const now = performance.now();
    for (const [number, pending] of this.#asked) {
      if (pending.until > now) continue;
      this.#asked.delete(number);
      this.#problem(`no answer within ${ANSWER_MS / 1000} s about ${pending.key}`);
      pending.answer(LOST);
    }
    const late = this.#waiting.filter(({ until }) => until <= now);
    if (late.length === 0) return;
    this.#waiting = this.#waiting.filter(({ until }) => until > now);
    for (const pending of late) pending.answer(LOST);
  }
}
