/**
 * Bytes to packets, incrementally. Knows lengths, not meanings.
 *
 * Trusts nothing: a length is checked before it is used, and memory is taken
 * for bytes that came, not for bytes that were announced. A packet that lies
 * within one chunk is a view of it; one spread over several is copied once.
 * Throws MilterProtocolError and is then good for nothing more.
 */
import { MilterProtocolError } from "./errors.ts";

export interface Packet {
  readonly code: number;
  readonly data: Buffer;
  /** Where the packet began, in bytes from the start of the stream. */
  readonly offset: number;
}

export interface DecoderOptions {
  /**
   * Longest packet, its code included. Default 1 MiB: body chunks have at most 64 kB, and a header in Postfix at
   * most header_size_limit (100 kB) unless that was raised.
   */
  readonly maxPacket?: number;
}

export const DEFAULT_MAX_PACKET = 1024 * 1024;

/** Bytes before the data: length and code. */
const HEAD = 5;
/** First allocation for a packet in pieces: a full body chunk fits. */
const FIRST_PIECE = 65536;
const NOTHING: Buffer = Buffer.alloc(0);

export class PacketDecoder {
  readonly #maxPacket: number;
  /** Chunks not yet looked at; #chunk is the one under way, read up to #at. */
  readonly #queue: Buffer[] = [];
  #chunk: Buffer = NOTHING;
  #at = 0;
  /** Stream offset of #chunk[#at]. */
  #offset = 0;
  readonly #head = Buffer.alloc(HEAD);
  #headFill = 0;
  #body: Buffer | undefined;
  #bodyFill = 0;

  constructor(options: DecoderOptions = {}) {
    this.#maxPacket = options.maxPacket ?? DEFAULT_MAX_PACKET;
    if (!Number.isInteger(this.#maxPacket) || this.#maxPacket < 1 || this.#maxPacket > 0x7fffffff) {
      throw new RangeError(`maxPacket: expected a positive integer below 2 GiB, got ${options.maxPacket}`);
    }
  }

  /** Adds bytes; the decoder keeps the chunk, which must not be changed afterwards. */
  push(chunk: Uint8Array): void {
    if (chunk.length === 0) return;
    const buffer = Buffer.isBuffer(chunk)
      ? chunk
      : Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
    if (this.#at < this.#chunk.length) {
      this.#queue.push(buffer);
    } else {
      this.#chunk = buffer;
      this.#at = 0;
    }
  }

  /** The next whole packet, undefined when more bytes are needed. */
  next(): Packet | undefined {
    if (this.#headFill === 0) {
      const whole = this.#nextWithinChunk();
      if (whole !== undefined) return whole;
    }
    return this.#nextInPieces();
  }

  /** To be called at the end of the stream: throws when it ended inside a packet. */
  end(): void {
    if (this.#headFill === 0 && this.#at === this.#chunk.length) return;
    const have = this.#headFill + this.#bodyFill;
    throw new MilterProtocolError(
      "ERR_MILTER_TRUNCATED",
      this.#offset,
      "packet",
      `the stream ended ${have} bytes into a packet`,
    );
  }

  #nextWithinChunk(): Packet | undefined {
    const chunk = this.#chunk;
    const at = this.#at;
    if (chunk.length - at < HEAD) return undefined;
    const length = chunk.readUInt32BE(at);
    this.#check(length, this.#offset);
    const end = at + 4 + length;
    if (end > chunk.length) return undefined;
    const packet = { code: chunk[at + 4]!, data: chunk.subarray(at + HEAD, end), offset: this.#offset };
    this.#at = end;
    this.#offset += 4 + length;
    if (end === chunk.length) this.#nextChunk();
    return packet;
  }

  #nextInPieces(): Packet | undefined {
    while (this.#headFill < HEAD) {
      if (this.#at === this.#chunk.length) return undefined;
      const taken = this.#take(this.#head, this.#headFill, HEAD - this.#headFill);
      this.#headFill += taken;
      if (this.#headFill >= 4) this.#check(this.#head.readUInt32BE(0), this.#offset - this.#headFill);
    }
    const size = this.#head.readUInt32BE(0) - 1;
    let body = this.#body ?? Buffer.allocUnsafe(Math.min(size, FIRST_PIECE));
    while (this.#bodyFill < size && this.#at < this.#chunk.length) {
      if (this.#bodyFill === body.length) body = grow(body, size);
      const wanted = Math.min(size, body.length) - this.#bodyFill;
      this.#bodyFill += this.#take(body, this.#bodyFill, wanted);
    }
    if (this.#bodyFill < size) {
      this.#body = body;
      return undefined;
    }
    const packet = {
      code: this.#head[4]!,
      data: size === body.length ? body : body.subarray(0, size),
      offset: this.#offset - HEAD - size,
    };
    this.#headFill = 0;
    this.#bodyFill = 0;
    this.#body = undefined;
    return packet;
  }

  /** Moves at most `wanted` bytes of the current chunk to `target`. */
  #take(target: Buffer, targetStart: number, wanted: number): number {
    const count = Math.min(wanted, this.#chunk.length - this.#at);
    this.#chunk.copy(target, targetStart, this.#at, this.#at + count);
    this.#at += count;
    this.#offset += count;
    if (this.#at === this.#chunk.length) this.#nextChunk();
    return count;
  }

  /** An idle connection shall not keep its last read alive, hence NOTHING. */
  #nextChunk(): void {
    this.#chunk = this.#queue.shift() ?? NOTHING;
    this.#at = 0;
  }

  #check(length: number, offset: number): void {
    if (length === 0) {
      throw new MilterProtocolError("ERR_MILTER_LENGTH_ZERO", offset, "length", "a packet of length 0");
    }
    if (length > this.#maxPacket) {
      const text = `a packet of ${length} bytes, more than the limit of ${this.#maxPacket}`;
      throw new MilterProtocolError("ERR_MILTER_LENGTH_LIMIT", offset, "length", text);
    }
  }
}

function grow(body: Buffer, limit: number): Buffer {
  const larger = Buffer.allocUnsafe(Math.min(limit, body.length * 2));
  body.copy(larger);
  return larger;
}
