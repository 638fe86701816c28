/**
 * The message as it came, its bytes kept once: header block, blank line and
 * body, addressed by offsets from the first byte.
 *
 * Small bodies lie in memory in a few blocks; with `spill`, what exceeds a
 * limit goes to a file that has no name. The store knows nothing of MIME.
 * Errors are those of the file system, and only when spilling.
 */
import { randomBytes } from "node:crypto";
import { closeSync, openSync, readSync, unlinkSync, writeSync } from "node:fs";
import { join } from "node:path";
import { HeaderFields } from "./headers.ts";
import { asMtaWould } from "./raw.ts";

const FIRST_BLOCK_BYTES = 16 * 1024;
const MAX_BLOCK_BYTES = 1024 * 1024;
const READ_WINDOW_BYTES = 256 * 1024;

export interface StoreOptions {
  /** Header values bring the white space after the colon (milter flag HDR_LEADSPC); otherwise one space is put there. Default true. */
  readonly leadingSpace?: boolean;
  /** Body bytes past `aboveBytes` go to a file in `directory`; without it everything stays in memory. */
  readonly spill?: { readonly directory: string; readonly aboveBytes: number };
}

interface Block {
  readonly start: number;
  readonly bytes: Buffer;
}

export class MessageStore {
  readonly #separator: string;
  readonly #spill: StoreOptions["spill"];
  #headers = new HeaderFields();
  #bodyStart = -1;
  #size = 0;
  /** In order, without gaps; only the last has room left. The file follows them. */
  readonly #blocks: Block[] = [];
  #file = -1;
  #fileStart = 0;
  /** What was read last from the file: lines are read one by one. */
  #lastRead: Block | undefined;

  constructor(options: StoreOptions = {}) {
    this.#separator = options.leadingSpace === false ? " " : "";
    this.#spill = options.spill;
  }

  /**
   * A store of a whole message, `raw`, which the caller no longer touches.
   * Line ends become CRLF and a missing blank line is put in, as the MTA does
   * before a filter sees the message; `verbatim` keeps every byte.
   */
  static fromBytes(raw: Uint8Array, options: { readonly verbatim?: boolean } = {}): MessageStore {
    const given = Buffer.from(raw.buffer, raw.byteOffset, raw.byteLength);
    const bytes = options.verbatim ? given : asMtaWould(given);
    const store = new MessageStore();
    const { headers, bodyStart } = HeaderFields.parse(bytes);
    store.#headers = headers;
    store.#bodyStart = bodyStart;
    store.#size = bytes.length;
    store.#blocks.push({ start: 0, bytes });
    return store;
  }

  /** One field as a milter gives it: folds are "\n". Strings are byte strings. */
  addHeader(name: Uint8Array | string, value: Uint8Array | string): void {
    if (this.#bodyStart >= 0) throw new Error("a header after the end of the headers");
    this.#headers.append(name, value, this.#separator);
  }

  /** The blank line. Body bytes may follow. Further calls do nothing. */
  endOfHeaders(): void {
    if (this.#bodyStart >= 0) return;
    const bytes = this.#headers.end();
    this.#blocks.push({ start: 0, bytes });
    this.#bodyStart = bytes.length;
    this.#size = bytes.length;
  }

  /** Appends body bytes; they are copied, so the caller may reuse its buffer. */
  addBody(chunk: Uint8Array): void {
    this.endOfHeaders();
    let rest = chunk;
    if (this.#spill && this.#size - this.#bodyStart + rest.length > this.#spill.aboveBytes) {
      this.#toFile(rest, this.#spill.directory);
      return;
    }
    const last = this.#blocks[this.#blocks.length - 1]!;
    const room = last.start + last.bytes.length - this.#size;
    if (room > 0) {
      const part = rest.subarray(0, room);
      last.bytes.set(part, this.#size - last.start);
      this.#size += part.length;
      rest = rest.subarray(room);
    }
    if (rest.length === 0) return;
    const wanted = Math.min(MAX_BLOCK_BYTES, Math.max(FIRST_BLOCK_BYTES, this.#size));
    const bytes = Buffer.allocUnsafeSlow(Math.max(rest.length, wanted));
    bytes.set(rest);
    this.#blocks.push({ start: this.#size, bytes });
    this.#size += rest.length;
  }

  get headers(): HeaderFields {
    return this.#headers;
  }

  /** Offset of the first body byte. Before endOfHeaders: 0. */
  get bodyStart(): number {
    return Math.max(this.#bodyStart, 0);
  }

  /** Bytes so far, header block and blank line included. */
  get size(): number {
    return this.#size;
  }

  /** The bytes [start, end), clamped; a view where they lie together in memory, else a copy. Not to be written to. */
  slice(start: number, end: number = this.#size): Buffer {
    const from = Math.max(start, 0);
    const to = Math.min(end, this.#size);
    const block = this.#blocks[this.#blockAt(from)];
    if (block && to <= Math.min(block.start + block.bytes.length, this.#memoryEnd)) {
      return block.bytes.subarray(from - block.start, Math.max(from, to) - block.start);
    }
    return Buffer.concat([...this.chunks(from, to)]);
  }

  /** The bytes [start, end), clamped, in pieces of at most a megabyte that stay valid. */
  *chunks(start = 0, end: number = this.#size): Generator<Buffer, void, undefined> {
    const to = Math.min(end, this.#size);
    let at = Math.max(start, 0);
    const inMemory = Math.min(to, this.#memoryEnd);
    for (let i = this.#blockAt(at); at < inMemory; ) {
      const block = this.#blocks[i]!;
      const blockEnd = block.start + block.bytes.length;
      const stop = Math.min(inMemory, blockEnd, at + MAX_BLOCK_BYTES);
      yield block.bytes.subarray(at - block.start, stop - block.start);
      at = stop;
      if (at === blockEnd) i++;
    }
    while (at < to) {
      const window = this.#window(at);
      const from = at - window.start;
      const piece = window.bytes.subarray(from, from + to - at);
      yield piece;
      at += piece.length;
    }
  }

  /** Gives the file of a large message back, if there is one. The store is not used after that. */
  close(): void {
    if (this.#file >= 0) closeSync(this.#file);
    this.#file = -1;
    this.#size = 0;
    this.#blocks.length = 0;
  }

  get #memoryEnd(): number {
    return this.#file < 0 ? this.#size : this.#fileStart;
  }

  /** Index of the block that holds `offset`. */
  #blockAt(offset: number): number {
    let low = 0;
    let high = this.#blocks.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.#blocks[middle]!.start <= offset) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  /** Bytes of the file around `offset`, never written to again. */
  #window(offset: number): Block {
    const last = this.#lastRead;
    if (last && offset >= last.start && offset < last.start + last.bytes.length) return last;
    const bytes = Buffer.allocUnsafeSlow(Math.min(this.#size - offset, READ_WINDOW_BYTES));
    const read = readSync(this.#file, bytes, 0, bytes.length, offset - this.#fileStart);
    if (read === 0) throw new Error("the file of a large message ends early");
    this.#lastRead = { start: offset, bytes: bytes.subarray(0, read) };
    return this.#lastRead;
  }

  #toFile(chunk: Uint8Array, directory: string): void {
    if (this.#file < 0) {
      const path = join(directory, `postlua-${process.pid}-${randomBytes(8).toString("hex")}`);
      this.#file = openSync(path, "wx+", 0o600);
      unlinkSync(path);
      this.#fileStart = this.#size;
    }
    for (let done = 0; done < chunk.length; ) {
      const at = this.#size - this.#fileStart;
      const written = writeSync(this.#file, chunk, done, chunk.length - done, at);
      done += written;
      this.#size += written;
    }
  }
}
