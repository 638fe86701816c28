/**
 * Requests: lines "name=value", ended by an empty line, one request after the
 * other (Postfix SMTPD_POLICY_README, "Protocol description"). Bytes to values
 * and back; which attributes there are is nobody's business here, so those of
 * later versions are kept like all others.
 *
 * Trusts nothing: memory is taken for bytes that came, up to limits. Strings
 * are byte strings, each char code a byte. Throws PolicyProtocolError and is
 * then good for nothing more.
 */
import { PolicyProtocolError } from "./errors.ts";

/** Attributes in the order they came; of a name that came twice the last value, as Postfix's own reader has it. */
export type PolicyRequest = ReadonlyMap<string, string>;

export interface RequestLimits {
  /** Longest line without its end, bytes. Default 16384: addresses have at most 2048, subjects of certificates more. */
  readonly maxLine?: number;
  /** Default 100; Postfix 3.11 sends 34. */
  readonly maxAttributes?: number;
  /** Bytes of all lines of one request. Default 65536. */
  readonly maxRequest?: number;
}

const LF = 0x0a;
const NOTHING: Buffer = Buffer.alloc(0);

export class RequestDecoder {
  readonly #maxLine: number;
  readonly #maxAttributes: number;
  readonly #maxRequest: number;
  /** Bytes that came and are not decoded, from #at on. */
  #bytes: Buffer = NOTHING;
  #at = 0;
  /** Up to here there is no end of line. */
  #searched = 0;
  /** Stream offset of #bytes[0]. */
  #offset = 0;
  #attributes = new Map<string, string>();
  /** Stream offset at which the request under way began. */
  #begin = 0;

  constructor(limits: RequestLimits = {}) {
    this.#maxLine = limits.maxLine ?? 16_384;
    this.#maxAttributes = limits.maxAttributes ?? 100;
    this.#maxRequest = limits.maxRequest ?? 65_536;
  }

  push(chunk: Uint8Array): void {
    if (chunk.length === 0) return;
    const rest = this.#bytes.length - this.#at;
    this.#offset += this.#at;
    this.#searched -= this.#at;
    this.#bytes = rest === 0 ? Buffer.from(chunk) : Buffer.concat([this.#bytes.subarray(this.#at), chunk]);
    this.#at = 0;
  }

  /** Bytes that came and belong to no finished request. */
  get pending(): number {
    return this.#offset + this.#bytes.length - this.#begin;
  }

  /**
   * The next request, or undefined until more bytes come.
   * @throws PolicyProtocolError
   */
  next(): PolicyRequest | undefined {
    for (;;) {
      const start = this.#at;
      const end = this.#bytes.indexOf(LF, Math.max(this.#searched, start));
      const length = (end < 0 ? this.#bytes.length : end) - start;
      if (length > this.#maxLine) {
        this.#fail("ERR_POLICY_LINE_LIMIT", start, `a line of at most ${this.#maxLine} bytes expected`);
      }
      if (this.#offset + start + length - this.#begin > this.#maxRequest) {
        this.#fail(
          "ERR_POLICY_REQUEST_LIMIT",
          start,
          `a request of at most ${this.#maxRequest} bytes expected`,
        );
      }
      if (end < 0) {
        this.#searched = this.#bytes.length;
        return undefined;
      }
      this.#at = end + 1;
      if (length === 0) return this.#finish(start);
      this.#attribute(this.#bytes.toString("latin1", start, end), start);
    }
  }

  /** To be called at the end of the stream. @throws PolicyProtocolError when it ended inside a request */
  end(): void {
    if (this.pending === 0) return;
    this.#fail(
      "ERR_POLICY_TRUNCATED",
      this.#bytes.length,
      "an empty line expected, found the end of the stream",
    );
  }

  #attribute(line: string, start: number): void {
    const at = line.indexOf("=");
    if (at < 1)
      this.#fail("ERR_POLICY_LINE", start, `"name=value" or an empty line expected, found ${clip(line)}`);
    const bad = line.search(/[\0\r]/);
    if (bad >= 0) {
      this.#fail("ERR_POLICY_VALUE", start + bad, `no NUL and no CR expected in ${clip(line)}`);
    }
    const attributes = this.#attributes;
    attributes.set(line.slice(0, at), line.slice(at + 1));
    if (attributes.size > this.#maxAttributes) {
      this.#fail("ERR_POLICY_ATTRIBUTE_LIMIT", start, `at most ${this.#maxAttributes} attributes expected`);
    }
  }

  #finish(start: number): PolicyRequest {
    const attributes = this.#attributes;
    if (attributes.size === 0) {
      this.#fail(
        "ERR_POLICY_EMPTY",
        start,
        'the first "name=value" of a request expected, found an empty line',
      );
    }
    const kind = attributes.get("request");
    if (kind !== "smtpd_access_policy") {
      const found = kind === undefined ? "none" : clip(kind);
      this.#fail("ERR_POLICY_REQUEST", start, `"request=smtpd_access_policy" expected, found ${found}`);
    }
    this.#attributes = new Map();
    this.#begin = this.#offset + this.#at;
    if (this.#at === this.#bytes.length) {
      // A connection at rest shall not keep its last read alive.
      this.#offset += this.#at;
      this.#bytes = NOTHING;
      this.#at = 0;
      this.#searched = 0;
    }
    return attributes;
  }

  #fail(code: PolicyProtocolError["code"], at: number, text: string): never {
    throw new PolicyProtocolError(code, this.#offset + at, text);
  }
}

/** A request as smtpd sends it. @throws TypeError for a name or value that cannot be sent */
export function encodeRequest(attributes: Iterable<readonly [string, string]>): Buffer {
  let text = "";
  for (const [name, value] of attributes) {
    if (!/^[^=\0\r\n]+$/.test(name)) throw new TypeError(`no attribute name: ${clip(name)}`);
    if (/[\0\r\n]/.test(value)) throw new TypeError(`no attribute value: ${clip(value)}`);
    text += `${name}=${value}\n`;
  }
  return Buffer.from(`${text}\n`, "latin1");
}

function clip(text: string): string {
  return JSON.stringify(text.length > 60 ? `${text.slice(0, 60)}...` : text);
}
