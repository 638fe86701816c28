/**
 * WHOIS (RFC 3912): one line out, text back until the server closes. The same
 * ranges are out of reach as for HTTP; time and size are bounded.
 */
import { connect } from "node:net";
import { fromBytes, toBytes } from "../bytes.ts";
import { parseHostPort } from "./address.ts";
import { Deadline, Gate } from "./gate.ts";
import type { Reach } from "./reach.ts";

export interface WhoisOptions {
  readonly reach: Reach;
  /** For all of it. */
  readonly timeoutMs?: number;
  readonly maxBytes?: number;
  readonly maxParallel?: number;
}

export type WhoisResult =
  | { readonly ok: true; readonly text: string }
  | { readonly ok: false; readonly reason: string };

const WHOIS_PORT = 43;
const MAX_QUERY = 1000;

export class WhoisClient {
  readonly #reach: Reach;
  readonly #timeoutMs: number;
  readonly #maxBytes: number;
  readonly #gate: Gate;

  constructor(options: WhoisOptions) {
    this.#reach = options.reach;
    this.#timeoutMs = options.timeoutMs ?? 15_000;
    this.#maxBytes = options.maxBytes ?? 256 << 10;
    this.#gate = new Gate(options.maxParallel ?? 64);
  }

  /** `server` is a host, host:port or [v6]:port; `query` one line, a byte string. Never rejects. */
  async query(server: string, query: string, signal: AbortSignal): Promise<WhoisResult> {
    const target = parseHostPort(server.trim(), WHOIS_PORT);
    if (!target) return { ok: false, reason: "bad server name" };
    if (/[\r\n\0]/.test(query)) return { ok: false, reason: "query must be one line" };
    if (query.length > MAX_QUERY) return { ok: false, reason: `query over ${MAX_QUERY} bytes` };
    using deadline = new Deadline(this.#timeoutMs, signal);
    if (!(await this.#gate.enter(deadline.signal))) return { ok: false, reason: "no free place in time" };
    try {
      return { ok: true, text: await this.#exchange(target.host, target.port, query, deadline.signal) };
    } catch (error) {
      const reason = deadline.timedOut ? `no answer within ${this.#timeoutMs} ms` : (error as Error).message;
      return { ok: false, reason };
    } finally {
      this.#gate.leave();
    }
  }

  async #exchange(host: string, port: number, query: string, signal: AbortSignal): Promise<string> {
    this.#reach.checkLiteral(host);
    const socket = connect({ host, port, lookup: this.#reach.lookup(signal), signal });
    try {
      // Not end(): some servers take a half-closed connection for a lost one.
      socket.write(toBytes(`${query}\r\n`));
      const chunks: Buffer[] = [];
      let length = 0;
      for await (const chunk of socket as AsyncIterable<Buffer>) {
        length += chunk.length;
        if (length > this.#maxBytes) throw new Error(`answer over the limit of ${this.#maxBytes} bytes`);
        chunks.push(chunk);
      }
      return fromBytes(Buffer.concat(chunks));
    } finally {
      socket.destroy();
    }
  }
}
