/**
 * GET over http and https for scripts: one page, whole or not at all.
 *
 * It trusts nothing it is told: addresses are checked by Reach at every hop;
 * time, size, lines and redirects are bounded. No proxy, cookies, cache or
 * compression.
 */
import { request as httpRequest, type IncomingMessage } from "node:http";
import { request as httpsRequest, type RequestOptions } from "node:https";
import { decodeText, fromBytes } from "../bytes.ts";
import { Deadline, Gate } from "./gate.ts";
import type { Reach } from "./reach.ts";

export interface HttpOptions {
  readonly reach: Reach;
  /** For all of it: waiting for a free place, name look-up, redirects, body. */
  readonly timeoutMs?: number;
  readonly maxBytes?: number;
  readonly maxLines?: number;
  readonly maxRedirects?: number;
  /** Pages under way at once; more wait. */
  readonly maxParallel?: number;
  readonly userAgent?: string;
  /** PEM certificates to trust in place of Node's. */
  readonly ca?: string | undefined;
}

/** All strings are byte strings. */
export interface HttpPage {
  /** Host and path with query of the page that came in the end. */
  readonly host: string;
  readonly file: string;
  /** "Name: value", as received, in order. */
  readonly headers: readonly string[];
  /** Without line ends. */
  readonly body: readonly string[];
  /** Why redirects ended early, or the reason phrase of a 4xx or 5xx; "" otherwise. */
  readonly errorInfo: string;
  readonly status: number;
  /** Content-Length, -1 when absent. */
  readonly statedLength: number;
  readonly actualLength: number;
}

export type HttpResult =
  | { readonly ok: true; readonly page: HttpPage }
  | { readonly ok: false; readonly reason: string };

const MAX_URL = 8192;
const REDIRECTS: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);

export class HttpClient {
  readonly #options: HttpOptions;
  readonly #timeoutMs: number;
  readonly #maxBytes: number;
  readonly #maxLines: number;
  readonly #maxRedirects: number;
  readonly #gate: Gate;

  constructor(options: HttpOptions) {
    this.#options = options;
    this.#timeoutMs = options.timeoutMs ?? 15_000;
    this.#maxBytes = options.maxBytes ?? 1 << 20;
    this.#maxLines = options.maxLines ?? 100_000;
    this.#maxRedirects = options.maxRedirects ?? 5;
    this.#gate = new Gate(options.maxParallel ?? 64);
  }

  /**
   * Fetches `address`, a byte string; "http://" is put in front when it names no scheme. A page that arrived whole
   * is a success whatever its status. Never rejects.
   */
  async get(address: string, signal: AbortSignal): Promise<HttpResult> {
    using deadline = new Deadline(this.#timeoutMs, signal);
    if (!(await this.#gate.enter(deadline.signal))) return { ok: false, reason: "no free place in time" };
    try {
      return { ok: true, page: await this.#follow(parseUrl(address), deadline.signal) };
    } catch (error) {
      const reason = deadline.timedOut ? `no page within ${this.#timeoutMs} ms` : (error as Error).message;
      return { ok: false, reason };
    } finally {
      this.#gate.leave();
    }
  }

  async #follow(first: URL, signal: AbortSignal): Promise<HttpPage> {
    let url = first;
    for (let redirects = 0; ; redirects++) {
      const response = await this.#send(url, signal);
      try {
        const status = response.statusCode ?? 0;
        const location = response.headers.location;
        let errorInfo = status >= 400 ? (response.statusMessage ?? "") : "";
        if (location !== undefined && REDIRECTS.has(status)) {
          const next = redirectTarget(location, url);
          if (next && redirects < this.#maxRedirects) {
            url = next;
            continue;
          }
          errorInfo = next
            ? `more than ${this.#maxRedirects} redirects`
            : "redirect to something not http or https";
        }
        return await this.#read(url, response, errorInfo);
      } finally {
        response.destroy();
      }
    }
  }

  #send(url: URL, signal: AbortSignal): Promise<IncomingMessage> {
    const { reach, ca, userAgent = "postlua" } = this.#options;
    reach.checkLiteral(url.hostname.replace(/^\[|\]$/g, ""));
    return new Promise((resolve, reject) => {
      const options: RequestOptions = {
        agent: false,
        signal,
        lookup: reach.lookup(signal),
        headers: { "User-Agent": userAgent, Accept: "*/*", "Accept-Encoding": "identity" },
        maxHeaderSize: 65_536,
        ...(ca !== undefined && { ca }),
      };
      const request = url.protocol === "https:" ? httpsRequest(url, options) : httpRequest(url, options);
      request.on("response", resolve);
      request.on("error", reject);
      // A server that switches protocols or goes away silently causes neither of the two.
      request.on("close", () => reject(new Error("the server closed the connection without an answer")));
      request.end();
    });
  }

  async #read(url: URL, response: IncomingMessage, errorInfo: string): Promise<HttpPage> {
    const stated = response.headers["content-length"];
    const statedLength = stated !== undefined && /^\d{1,15}$/.test(stated) ? Number(stated) : -1;
    if (statedLength > this.#maxBytes)
      throw new Error(`body of ${statedLength} bytes, limit ${this.#maxBytes}`);
    const chunks: Buffer[] = [];
    let actualLength = 0;
    for await (const chunk of response as AsyncIterable<Buffer>) {
      actualLength += chunk.length;
      if (actualLength > this.#maxBytes) throw new Error(`body over the limit of ${this.#maxBytes} bytes`);
      chunks.push(chunk);
    }
    if (!response.complete) throw new Error(`body ended early after ${actualLength} bytes`);
    const headers: string[] = [];
    const raw = response.rawHeaders;
    for (let i = 0; i + 1 < raw.length; i += 2) headers.push(`${raw[i]}: ${raw[i + 1]}`);
    return {
      host: url.hostname,
      file: url.pathname + url.search,
      headers,
      body: splitLines(fromBytes(Buffer.concat(chunks)), this.#maxLines),
      errorInfo,
      status: response.statusCode ?? 0,
      statedLength,
      actualLength,
    };
  }
}

/** Throws with a reason that says what is wrong. */
function parseUrl(address: string): URL {
  if (address.length > MAX_URL) throw new Error(`URL of ${address.length} bytes, limit ${MAX_URL}`);
  const text = decodeText(address).trim();
  const full = /^[a-z][a-z0-9+.-]*:\/\//i.test(text) ? text : `http://${text}`;
  const url = URL.parse(full);
  if (!url) throw new Error("not a URL");
  if (!isHttp(url)) throw new Error(`scheme ${url.protocol} is not http or https`);
  return url;
}

function redirectTarget(location: string, base: URL): URL | undefined {
  const text = decodeText(location);
  const url = text.length > MAX_URL ? null : URL.parse(text, base.href);
  return url && isHttp(url) ? url : undefined;
}

function isHttp(url: URL): boolean {
  return url.protocol === "http:" || url.protocol === "https:";
}

/** Lines end in LF or CRLF; what follows the last line end is a line unless it is empty. */
function splitLines(text: string, maxLines: number): string[] {
  const lines: string[] = [];
  for (let at = 0; at < text.length; ) {
    if (lines.length === maxLines) throw new Error(`body over the limit of ${maxLines} lines`);
    const newline = text.indexOf("\n", at);
    const end = newline < 0 ? text.length : newline;
    lines.push(text.slice(at, newline > at && text[end - 1] === "\r" ? end - 1 : end));
    at = end + 1;
  }
  return lines;
}
