/**
 * Finds lines in bytes that come in chunks, wherever these are cut, and shows
 * a reader only those it wants. Lines end in LF, with or without CR before it;
 * a CR alone ends nothing. Knows nothing of mail. Holds at most one line, cut
 * to MAX_LINE, between chunks.
 */

const LF = 0x0a;
const CR = 0x0d;
/** A line over several chunks is shown without what exceeds this. */
const MAX_LINE = 128 * 1024;

/** One line. The object is used again for the next line. */
export interface Line {
  /** The line lies at [start, end), line end included. */
  bytes: Buffer;
  start: number;
  end: number;
  /** Where it lies in the whole, and where the next one does. */
  offset: number;
  next: number;
  /** Bytes of the line end before it: 2, 1 or 0. */
  endBefore: number;
}

export interface LineReader {
  /** Asked before each line: all lines, those that begin with the prefix (others may be shown too), or no more. */
  readonly wants: "all" | "prefixed" | "none";
  line(line: Line): void;
}

export class LineScanner {
  readonly #reader: LineReader;
  readonly #prefix: Buffer;
  readonly #lineEndAndPrefix: Buffer;
  readonly #line: Line;
  /** Offset of the chunk in the whole, and the last two bytes before it. */
  #offset: number;
  #before = 0;
  /** Inside a line that nobody wants. */
  #midLine = false;
  readonly #carry: Buffer[] = [];
  #carryLength = 0;

  /** `prefix` is not empty. `offset`: where the first chunk lies in the whole; a CRLF is taken to stand before it. */
  constructor(reader: LineReader, prefix: string, offset = 0) {
    this.#reader = reader;
    this.#prefix = Buffer.from(prefix, "latin1");
    this.#lineEndAndPrefix = Buffer.from(`\n${prefix}`, "latin1");
    this.#offset = offset;
    this.#before = (CR << 8) | LF;
    this.#line = { bytes: Buffer.alloc(0), start: 0, end: 0, offset: 0, next: 0, endBefore: 0 };
  }

  push(chunk: Buffer): void {
    let pos = this.#carryLength > 0 ? this.#completeCarry(chunk) : 0;
    while (pos < chunk.length) {
      const wants = this.#reader.wants;
      if (wants === "none") break;
      if (this.#midLine || (wants === "prefixed" && !this.#mayHavePrefix(chunk, pos))) {
        pos = this.#seekPrefix(chunk, pos);
        continue;
      }
      const newline = chunk.indexOf(LF, pos);
      this.#line.offset = this.#offset + pos;
      this.#line.endBefore = this.#lineEndBefore(chunk, pos);
      if (newline < 0) {
        this.#keep(chunk.subarray(pos));
        break;
      }
      this.#show(chunk, pos, newline + 1, this.#offset + newline + 1);
      pos = newline + 1;
    }
    const length = chunk.length;
    if (length > 1) this.#before = (chunk[length - 2]! << 8) | chunk[length - 1]!;
    else if (length === 1) this.#before = ((this.#before & 0xff) << 8) | chunk[0]!;
    this.#offset += length;
  }

  /** Shows the last line if it has no end. */
  finish(): void {
    if (this.#carryLength > 0) this.#showCarry(this.#offset);
  }

  #show(bytes: Buffer, start: number, end: number, next: number): void {
    const line = this.#line;
    line.bytes = bytes;
    line.start = start;
    line.end = end;
    line.next = next;
    this.#reader.line(line);
  }

  #keep(piece: Buffer): void {
    const wanted = Math.min(piece.length, MAX_LINE - this.#carryLength);
    if (wanted <= 0) return;
    this.#carry.push(piece.subarray(0, wanted));
    this.#carryLength += wanted;
  }

  /** Returns where the next line starts. */
  #completeCarry(chunk: Buffer): number {
    const newline = chunk.indexOf(LF);
    const end = newline < 0 ? chunk.length : newline + 1;
    this.#keep(chunk.subarray(0, end));
    if (newline >= 0) this.#showCarry(this.#offset + end);
    return end;
  }

  #showCarry(next: number): void {
    const bytes = Buffer.concat(this.#carry, this.#carryLength);
    this.#carry.length = 0;
    this.#carryLength = 0;
    this.#show(bytes, 0, bytes.length, next);
  }

  /** From inside a line: the start of the next line with the prefix, or of one that may have it in the next chunk. */
  #seekPrefix(chunk: Buffer, pos: number): number {
    const found = chunk.indexOf(this.#lineEndAndPrefix, pos);
    this.#midLine = false;
    if (found >= 0) return found + 1;
    const tail = Math.max(pos, chunk.length - this.#prefix.length);
    const newline = chunk.subarray(tail).lastIndexOf(LF);
    if (newline >= 0 && this.#mayHavePrefix(chunk, tail + newline + 1)) return tail + newline + 1;
    this.#midLine = true;
    return chunk.length;
  }

  /** True when the line at `pos` begins with the prefix as far as the chunk shows it. */
  #mayHavePrefix(chunk: Buffer, pos: number): boolean {
    const end = Math.min(this.#prefix.length, chunk.length - pos);
    for (let i = 0; i < end; i++) if (chunk[pos + i] !== this.#prefix[i]) return false;
    return true;
  }

  #lineEndBefore(chunk: Buffer, pos: number): number {
    const last = pos > 0 ? chunk[pos - 1]! : this.#before & 0xff;
    if (last !== LF) return 0;
    const lastButOne = pos > 1 ? chunk[pos - 2]! : pos === 1 ? this.#before & 0xff : this.#before >> 8;
    return lastButOne === CR ? 2 : 1;
  }
}
