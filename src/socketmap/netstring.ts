/**
 * Netstrings: "LENGTH:BYTES,". The decoder takes chunks as they come and gives
 * whole payloads, never keeping more than one payload of the longest length
 * and what came behind it in the same chunks. A length is judged before a
 * byte of its payload is waited for.
 */

export type SocketmapErrorCode =
  /** A byte that cannot stand where it stands. */
  | "ERR_SOCKETMAP_MALFORMED"
  | "ERR_SOCKETMAP_TOO_LONG"
  /** The stream ended inside a netstring. */
  | "ERR_SOCKETMAP_TRUNCATED";

/** The peer's fault; the stream cannot be read any further. */
export class SocketmapError extends Error {
  override name = "SocketmapError";
  readonly code: SocketmapErrorCode;

  constructor(code: SocketmapErrorCode, message: string) {
    super(message);
    this.code = code;
  }
}

const ZERO = 0x30;
const NINE = 0x39;
const COLON = 0x3a;
const COMMA = 0x2c;
const EMPTY = Buffer.alloc(0);

export class NetstringDecoder {
  readonly #maxBytes: number;
  #bytes: Buffer = EMPTY;
  /** Offset in the stream of the first byte of #bytes. */
  #offset = 0;
  #failed: SocketmapError | undefined;

  /** `maxBytes` is the longest payload taken. */
  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  push(chunk: Buffer): void {
    this.#bytes = this.#bytes.length === 0 ? chunk : Buffer.concat([this.#bytes, chunk]);
  }

  /** Bytes that have come and were not taken. */
  get pending(): number {
    return this.#bytes.length;
  }

  /** The next payload; undefined when more has to come. @throws SocketmapError, from then on always the same */
  next(): Buffer | undefined {
    if (this.#failed !== undefined) throw this.#failed;
    const bytes = this.#bytes;
    let length = 0;
    let at = 0;
    for (; ; at++) {
      if (at === bytes.length) return undefined;
      const byte = bytes[at] as number;
      if (byte === COLON && at > 0) break;
      if (byte < ZERO || byte > NINE)
        throw this.#fail("ERR_SOCKETMAP_MALFORMED", `a length expected${this.#at(at)}`);
      if (at > 0 && bytes[0] === ZERO)
        throw this.#fail("ERR_SOCKETMAP_MALFORMED", `a length with a leading zero${this.#at(at)}`);
      length = length * 10 + (byte - ZERO);
      if (length > this.#maxBytes)
        throw this.#fail(
          "ERR_SOCKETMAP_TOO_LONG",
          `more than ${this.#maxBytes} bytes announced${this.#at(at)}`,
        );
    }
    const start = at + 1;
    const end = start + length;
    if (end >= bytes.length) return undefined;
    if (bytes[end] !== COMMA) throw this.#fail("ERR_SOCKETMAP_MALFORMED", `a comma expected${this.#at(end)}`);
    this.#bytes = end + 1 === bytes.length ? EMPTY : bytes.subarray(end + 1);
    this.#offset += end + 1;
    return bytes.subarray(start, end);
  }

  /** The stream is over. @throws SocketmapError when it ended inside a netstring */
  end(): void {
    if (this.#failed === undefined && this.#bytes.length > 0)
      throw this.#fail(
        "ERR_SOCKETMAP_TRUNCATED",
        `the stream ended inside a netstring${this.#at(this.#bytes.length)}`,
      );
  }

  #at(index: number): string {
    return ` at offset ${this.#offset + index}`;
  }

  #fail(code: SocketmapErrorCode, message: string): SocketmapError {
    this.#failed = new SocketmapError(code, message);
    this.#bytes = EMPTY;
    return this.#failed;
  }
}

export function encodeNetstring(payload: Uint8Array): Buffer {
  return Buffer.concat([Buffer.from(`${payload.length}:`), payload, Buffer.from(",")]);
}
