/**
 * The message as it came, its bytes kept once: header block, blank line and
 * body, addressed by offsets from the first byte.
 *
 * Small bodies lie in memory in a few blocks; with `spill`, what exceeds a
 * limit goes to a file that has no name. Where the file cannot be written the
 * message stays in memory as long as there is room; after that it is given up,
 * and says so (`lost`). The store knows nothing of MIME. Only reading a file
 * back throws.
 */
import { HeaderFields } from "./headers.ts";
import type { MessageMemory } from "./message-memory.ts";
import { asMtaWould } from "./raw.ts";
import { SpillFile } from "./spill-file.ts";

const FIRST_BLOCK_BYTES = 16 * 1024;
const MAX_BLOCK_BYTES = 1024 * 1024;
/** Of what is read or handed out at a time: little enough that others get their turn in between. */
const PIECE_BYTES = 256 * 1024;

export interface StoreOptions {
  /** Header values bring the white space after the colon (milter flag HDR_LEADSPC); otherwise one space is put there. Default true. */
  readonly leadingSpace?: boolean;
  /** Without it everything stays in memory. */
  readonly spill?: SpillOptions;
}

export interface SpillOptions {
  readonly directory: string;
  /** Body bytes past these go to a file in `directory`. */
  readonly aboveBytes: number;
  /** What all messages may take: where it is used up, smaller bodies go to files, too. */
  readonly memory: MessageMemory;
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
  #file: SpillFile | undefined;
  #fileStart = 0;
  /** Of the memory that all messages share. */
  #taken = 0;
  #problem = "";
  #lost = false;
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
    this.#push(0, bytes);
    this.#bodyStart = bytes.length;
    this.#size = bytes.length;
  }

  /** Appends body bytes; they are copied, so the caller may reuse its buffer. */
  addBody(chunk: Uint8Array): void {
    this.endOfHeaders();
    if (this.#lost) return;
    if (this.#spill === undefined || !this.#spills(this.#spill, chunk.length)) this.#toMemory(chunk);
    else this.#toFile(this.#spill, chunk);
  }

  /** Why the file could not be written, "" when all is well. The message is complete nevertheless, unless it is `lost`. */
  get problem(): string {
    return this.#problem;
  }

  /** Body bytes are missing: neither file nor memory had room. */
  get lost(): boolean {
    return this.#lost;
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
    const bytes = Buffer.allocUnsafeSlow(Math.max(to - from, 0));
    let length = 0;
    for (const piece of this.chunks(from, to)) length += piece.copy(bytes, length);
    return bytes;
  }

  /** The bytes [start, end), clamped, in pieces of at most 256 KB that stay valid. */
  *chunks(start = 0, end: number = this.#size): Generator<Buffer, void, undefined> {
    const to = Math.min(end, this.#size);
    let at = Math.max(start, 0);
    const inMemory = Math.min(to, this.#memoryEnd);
    for (let i = this.#blockAt(at); at < inMemory; ) {
      const block = this.#blocks[i]!;
      const blockEnd = block.start + block.bytes.length;
      const stop = Math.min(inMemory, blockEnd, at + PIECE_BYTES);
      yield block.bytes.subarray(at - block.start, stop - block.start);
      at = stop;
      if (at === blockEnd) i++;
    }
    while (this.#file !== undefined && at < to) {
      const window = this.#window(this.#file, at);
      const from = at - window.start;
      const piece = window.bytes.subarray(from, from + to - at);
      yield piece;
      at += piece.length;
    }
  }

  /** Gives memory and file back. The store is not used after that. */
  close(): void {
    this.#clear();
    this.#size = 0;
  }

  #clear(): void {
    this.#file?.close();
    this.#file = undefined;
    this.#lastRead = undefined;
    this.#blocks.length = 0;
    this.#spill?.memory.give(this.#taken);
    this.#taken = 0;
  }

  get #memoryEnd(): number {
    return this.#file === undefined ? this.#size : this.#fileStart;
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
  #window(file: SpillFile, offset: number): Block {
    const last = this.#lastRead;
    if (last && offset >= last.start && offset < last.start + last.bytes.length) return last;
    const at = offset - this.#fileStart;
    this.#lastRead = { start: offset, bytes: file.read(at, at + PIECE_BYTES) };
    return this.#lastRead;
  }

  #push(start: number, bytes: Buffer): void {
    this.#blocks.push({ start, bytes });
    this.#taken += bytes.length;
    this.#spill?.memory.take(bytes.length);
  }

  #spills({ aboveBytes, memory }: SpillOptions, length: number): boolean {
    if (this.#file !== undefined) return true;
    if (this.#problem !== "") return false;
    const size = this.#size - this.#bodyStart + length;
    return size > aboveBytes || !memory.has(this.#blockFor(length));
  }

  /** Bytes of the next block, when `length` bytes have to go there. */
  #blockFor(length: number): number {
    return Math.max(length, Math.min(MAX_BLOCK_BYTES, Math.max(FIRST_BLOCK_BYTES, this.#size)));
  }

  #toMemory(chunk: Uint8Array): void {
    let rest = chunk;
    const last = this.#blocks[this.#blocks.length - 1]!;
    const room = last.start + last.bytes.length - this.#size;
    if (room > 0) {
      const part = rest.subarray(0, room);
      last.bytes.set(part, this.#size - last.start);
      this.#size += part.length;
      rest = rest.subarray(room);
    }
    if (rest.length === 0) return;
    const wanted = this.#blockFor(rest.length);
    if (this.#spill?.memory.has(wanted) === false) {
      this.#clear();
      this.#lost = true;
      this.#size = 0;
      return;
    }
    const bytes = Buffer.allocUnsafeSlow(wanted);
    bytes.set(rest);
    this.#push(this.#size, bytes);
    this.#size += rest.length;
  }

  #toFile({ directory }: SpillOptions, chunk: Uint8Array): void {
    try {
      if (this.#file === undefined) {
        this.#file = new SpillFile(directory);
        this.#fileStart = this.#size;
      }
      this.#file.append(chunk);
      this.#size += chunk.length;
    } catch (error) {
      this.#problem = (error as Error).message;
      this.#backToMemory();
      if (!this.#lost) this.#toMemory(chunk);
    }
  }

  #backToMemory(): void {
    const file = this.#file;
    if (file === undefined) return;
    this.#file = undefined;
    this.#lastRead = undefined;
    this.#size = this.#fileStart;
    try {
      for (let at = 0; at < file.size && !this.#lost; at += PIECE_BYTES) {
        this.#toMemory(file.read(at, at + PIECE_BYTES));
      }
    } finally {
      file.close();
    }
  }
}
