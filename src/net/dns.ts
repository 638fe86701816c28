/**
 * The DNS stub resolver of a worker: which servers, in which order, how long,
 * how many at once, and what is remembered. It never throws for anything a
 * script or a server can cause; the failure's number says what happened.
 */
import { isIP } from "node:net";
import { type HostPort, parseHostPort } from "./address.ts";
import { DnsCache, type DnsCacheLimits, type DnsResult } from "./dns-cache.ts";
import { askServer, type DnsQuestion } from "./dns-exchange.ts";
import { normaliseName } from "./dns-packet.ts";
import { Deadline, Gate, Pacer } from "./gate.ts";
import { WatchedFile } from "./watched-file.ts";

export type { DnsResult } from "./dns-cache.ts";
export { DNS_TYPE, type DnsRecord } from "./dns-packet.ts";

export interface ResolverOptions {
  /** "address", "address:port" or "[v6]:port", tried in this order; absent: the system's. Throws on any other text. */
  readonly servers?: readonly string[] | undefined;
  /** Where the system's servers stand; read again when it changes. */
  readonly resolvConf?: string;
  /** For one try at one server. */
  readonly timeoutMs?: number;
  /** Wait before a UDP question is sent again within one try; doubles each time. */
  readonly resendMs?: number;
  /** Rounds through the list. */
  readonly attempts?: number;
  /** For a query in all, waiting for a free place included. */
  readonly totalMs?: number;
  /** Queries on the wire at once, each with a socket of its own; more wait. */
  readonly maxParallel?: number;
  readonly cache?: Partial<DnsCacheLimits>;
  /** Clock of the cache, milliseconds. */
  readonly now?: () => number;
}

const DNS_FORMERR = 1;
/** No server answered in time, or there was none to ask. */
export const DNS_NO_ANSWER = -1;

const DNS_PORT = 53;
const MAX_SERVERS = 8;
/** Questions sent in one turn of the event loop: what a server's receive buffer and Node's reader take without loss. */
const BURST = 32;
const CACHE_LIMITS: DnsCacheLimits = {
  entries: 20_000,
  bytes: 32 << 20,
  ttlSeconds: 86_400,
  negativeTtlSeconds: 900,
};
/** Answers that say something about the name; after any other the next server is asked (RFC 1034 5.3.3). */
const isFinal = (rcode: number) => rcode === 0 || rcode === 3;

interface Flight {
  readonly result: Promise<DnsResult>;
  readonly controller: AbortController;
  waiters: number;
}

export class Resolver {
  readonly #servers: readonly HostPort[] | undefined;
  readonly #system: WatchedFile<readonly HostPort[]>;
  readonly #timeoutMs: number;
  readonly #resendMs: number;
  readonly #attempts: number;
  readonly #totalMs: number;
  readonly #gate: Gate;
  readonly #pacer = new Pacer(BURST);
  readonly #cache: DnsCache;
  readonly #flights = new Map<string, Flight>();

  constructor(options: ResolverOptions = {}) {
    this.#servers = options.servers?.map((text) => {
      const server = parseServer(text);
      if (!server) throw new RangeError(`bad DNS server "${text}": expected ADDRESS or ADDRESS:PORT`);
      return server;
    });
    this.#system = new WatchedFile(options.resolvConf ?? "/etc/resolv.conf", parseResolvConf);
    this.#timeoutMs = options.timeoutMs ?? 3000;
    this.#resendMs = options.resendMs ?? 800;
    this.#attempts = options.attempts ?? 2;
    this.#totalMs = options.totalMs ?? 10_000;
    this.#gate = new Gate(options.maxParallel ?? 2000);
    this.#cache = new DnsCache(
      { ...CACHE_LIMITS, ...options.cache },
      options.now ?? (() => performance.now()),
    );
  }

  /**
   * Asks for records of class IN, with recursion.
   *
   * `name` is a byte string, dots between labels, a trailing dot allowed, "." for the root; a name that cannot be
   * asked for, or a type outside 1 to 65535, fails with FORMERR. `servers`, when given, takes the place of the
   * resolver's own (texts that are no address count for nothing). All sections of the first server's answer are
   * returned; NOERROR without records is a success. Equal queries under way share one exchange; `signal` ends only
   * this caller's wait.
   */
  async query(
    name: string,
    type: number,
    servers?: readonly string[],
    signal?: AbortSignal,
  ): Promise<DnsResult> {
    const asked = normaliseName(name);
    if (asked === undefined || !Number.isInteger(type) || type < 1 || type > 65535) {
      return { ok: false, rcode: DNS_FORMERR };
    }
    const list = servers
      ? servers.slice(0, MAX_SERVERS).flatMap((text) => parseServer(text) ?? [])
      : (this.#servers ?? (await this.#system.get()));
    if (list.length === 0 || signal?.aborted) return { ok: false, rcode: DNS_NO_ANSWER };
    const where = servers ? list.map((s) => `${s.host}#${s.port}`).join(" ") : "";
    const key = `${type} ${where} ${asked}`;
    return this.#cache.get(key) ?? this.#share(key, { name: asked, type }, list, signal);
  }

  #share(
    key: string,
    question: DnsQuestion,
    servers: readonly HostPort[],
    signal: AbortSignal | undefined,
  ): Promise<DnsResult> {
    let flight = this.#flights.get(key);
    if (!flight) {
      const controller = new AbortController();
      const result = this.#ask(key, question, servers, controller.signal).finally(() => {
        if (this.#flights.get(key)?.controller === controller) this.#flights.delete(key);
      });
      // Callers that left early do not hear of a failure of ours; it must not end the process.
      result.catch(() => {});
      flight = { result, controller, waiters: 0 };
      this.#flights.set(key, flight);
    }
    return this.#board(key, flight, signal);
  }

  /** Waits for the flight; the last one to leave early ends it. */
  #board(key: string, flight: Flight, signal: AbortSignal | undefined): Promise<DnsResult> {
    flight.waiters++;
    if (!signal) return flight.result;
    return new Promise((resolve, reject) => {
      const leave = () => {
        if (--flight.waiters === 0) {
          this.#flights.delete(key);
          flight.controller.abort();
        }
        resolve({ ok: false, rcode: DNS_NO_ANSWER });
      };
      signal.addEventListener("abort", leave, { once: true });
      flight.result.then(resolve, reject).finally(() => signal.removeEventListener("abort", leave));
    });
  }

  async #ask(
    key: string,
    question: DnsQuestion,
    servers: readonly HostPort[],
    signal: AbortSignal,
  ): Promise<DnsResult> {
    using deadline = new Deadline(this.#totalMs, signal);
    if (!(await this.#gate.enter(deadline.signal))) return { ok: false, rcode: DNS_NO_ANSWER };
    try {
      let rcode = DNS_NO_ANSWER;
      for (let round = 0; round < this.#attempts; round++) {
        for (const server of servers) {
          await this.#pacer.turn();
          using limit = new Deadline(Math.min(this.#timeoutMs, deadline.leftMs), deadline.signal);
          const answer = await askServer(question, server, this.#resendMs, limit.signal);
          if (deadline.signal.aborted) return { ok: false, rcode: DNS_NO_ANSWER };
          rcode = answer ? answer.rcode : DNS_NO_ANSWER;
          if (!answer || !isFinal(rcode)) continue;
          const result: DnsResult =
            rcode === 0 ? { ok: true, records: answer.records } : { ok: false, rcode };
          this.#cache.put(key, result, answer.records);
          return result;
        }
        // A server that refuses will refuse again; only silence is worth another round.
        if (rcode !== DNS_NO_ANSWER) break;
      }
      return { ok: false, rcode };
    } finally {
      this.#gate.leave();
    }
  }
}

function parseServer(text: string): HostPort | undefined {
  const server = parseHostPort(text.trim(), DNS_PORT);
  return server && isIP(server.host) !== 0 ? server : undefined;
}

/** Like the C library: at most three name servers, and the local one when there are none (resolv.conf(5)). */
function parseResolvConf(text: string): readonly HostPort[] {
  const servers: HostPort[] = [];
  for (const match of text.matchAll(/^[ \t]*nameserver[ \t]+(\S+)/gm)) {
    const server = parseServer(match[1]!);
    if (server && servers.length < 3) servers.push(server);
  }
  return servers.length > 0 ? servers : [{ host: "127.0.0.1", port: DNS_PORT }];
}
