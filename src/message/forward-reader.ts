/** Reads bytes that come in pieces, forwards only: small fields are copied out, what lies between is passed over. */
import type { Steps } from "./steps.ts";

export class ForwardReader {
  readonly #pieces: Iterator<Buffer>;
  #piece: Buffer = Buffer.alloc(0);
  /** Offset of the piece in the whole, and of the next byte in the piece. */
  #base = 0;
  #pos = 0;

  constructor(pieces: Iterable<Buffer>) {
    this.#pieces = pieces[Symbol.iterator]();
  }

  /** Offset of the next byte. */
  get at(): number {
    return this.#base + this.#pos;
  }

  /** The next `length` bytes; undefined when there are fewer, which are gone then. */
  take(length: number): Buffer | undefined {
    const inPiece = this.#piece.subarray(this.#pos, this.#pos + length);
    this.#pos += inPiece.length;
    if (inPiece.length === length) return inPiece;
    const bytes = Buffer.allocUnsafe(length);
    let done = inPiece.copy(bytes);
    while (done < length) {
      if (!this.#next()) return undefined;
      this.#pos = this.#piece.copy(bytes, done, 0, length - done);
      done += this.#pos;
    }
    return bytes;
  }

  /** To `offset`, or where it is further already. False when the bytes end before. */
  *skipTo(offset: number): Steps<boolean> {
    while (offset > this.#base + this.#piece.length) {
      if (!this.#next()) return false;
      yield;
    }
    this.#pos = Math.max(this.#pos, offset - this.#base);
    return true;
  }

  #next(): boolean {
    const { value, done } = this.#pieces.next();
    if (done === true) {
      this.#pos = this.#piece.length;
      return false;
    }
    this.#base += this.#piece.length;
    this.#piece = value;
    this.#pos = 0;
    return true;
  }
}
