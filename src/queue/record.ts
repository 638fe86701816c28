/**
 * The records a queue file consists of: a type byte, the length in groups of
 * seven bits (lowest first, 0x80 marks that more follow) and that many bytes.
 * Pointer records are followed here and never seen by the reader.
 *
 * Reads through one window of a file that others may be writing to; trusts no
 * length and no pointer. Fails with QueueFileError, which names file and offset.
 */
import { readSync } from "node:fs";

/** The file is no queue file that Postfix would take. The message names what was found and what was expected. */
export class QueueFileError extends Error {
  override name = "QueueFileError";
  readonly file: string;
  readonly offset: number;

  constructor(file: string, offset: number, problem: string) {
    super(`${file}: at byte ${offset}: ${problem}`);
    this.file = file;
    this.offset = offset;
  }
}

/** Postfix's own name of a record type, from rec_type.h; the letters are what stands in the file. */
export const RECORD = {
  size: "C",
  time: "T",
  createTime: "c",
  fullName: "F",
  inspect: "I",
  /** Content filter in the envelope; in the content, the beginning of a line that goes on in the next record. */
  filterOrLinePart: "L",
  sender: "S",
  done: "D",
  todo: "R",
  original: "O",
  cancelled: "/",
  warnTime: "W",
  attribute: "A",
  killed: "K",
  redirect: ">",
  cleanupFlags: "f",
  cleanupDelay: "d",
  content: "M",
  line: "N",
  padding: "w",
  extracted: "X",
  returnReceipt: "r",
  errorsTo: "e",
  priority: "P",
  pointer: "p",
  verp: "V",
  dsnReturn: "<",
  dsnEnvelopeId: "i",
  dsnOriginal: "o",
  dsnNotify: "n",
  milterCount: "m",
  end: "E",
} as const;

const code = (letter: string) => letter.charCodeAt(0);
const POINTER = code(RECORD.pointer);
const PADDING = code(RECORD.padding);

/** Read at once: envelope and header of all but a few messages. */
const WINDOW_BYTES = 16 * 1024;
/** Postfix writes nothing longer than line_length_limit and what came in an attribute. */
const MAX_RECORD_BYTES = 1024 * 1024;
const MAX_RECORD_HEAD = 5;
/** As Postfix's own limit of jumps backwards; ours counts both ways. */
const MAX_JUMPS = 20_000;

/** One reader serves any number of files, one after another, with one buffer. */
export class RecordReader {
  #buffer = Buffer.allocUnsafe(WINDOW_BYTES);
  #fd = -1;
  #file = "";
  #fileSize = 0;
  /** File offset of the window's first byte, and how many bytes are in it. */
  #base = 0;
  #filled = 0;
  #next = 0;
  #jumps = 0;
  #type = 0;
  #at = 0;
  #start = 0;
  #end = 0;

  open(fd: number, file: string, fileSize: number): void {
    this.#fd = fd;
    this.#file = file;
    this.#fileSize = fileSize;
    this.#base = 0;
    this.#filled = 0;
    this.#next = 0;
    this.#jumps = 0;
  }

  /** Letter code of the record last read. */
  get type(): number {
    return this.#type;
  }

  /** File offset of the record last read. */
  get offset(): number {
    return this.#at;
  }

  /** File offset of the record after it. */
  get nextOffset(): number {
    return this.#next;
  }

  get length(): number {
    return this.#end - this.#start;
  }

  /** First byte of the data, 0 when there is none. */
  get firstByte(): number {
    return this.#end > this.#start ? (this.#buffer[this.#start] as number) : 0;
  }

  /** The data as a byte string. */
  get text(): string {
    return this.#buffer.toString("latin1", this.#start, this.#end);
  }

  seek(offset: number): void {
    if (offset < 0 || offset > this.#fileSize) {
      throw this.error(`a jump to byte ${offset} of a file with ${this.#fileSize}`);
    }
    this.#next = offset;
  }

  /** Goes to the next record, over padding and through pointers. @throws QueueFileError, also at the end of the file */
  next(): void {
    for (;;) {
      this.#read();
      if (this.#type === POINTER) this.#jump();
      else if (this.#type !== PADDING) return;
    }
  }

  error(problem: string): QueueFileError {
    return new QueueFileError(this.#file, this.#at, problem);
  }

  #read(): void {
    this.#at = this.#next;
    this.#require(this.#at, 2, MAX_RECORD_HEAD);
    const buffer = this.#buffer;
    let pos = this.#at - this.#base;
    this.#type = buffer[pos++] as number;
    let length = 0;
    for (let shift = 0; ; shift += 7) {
      if (pos >= this.#filled) throw this.error("the file ends within the length of a record");
      const byte = buffer[pos++] as number;
      length |= (byte & 0x7f) << shift;
      if (byte < 0x80) break;
      if (shift >= 21) throw this.error("a record length of more than four bytes");
    }
    if (length > MAX_RECORD_BYTES) throw this.error(`a record of ${length} bytes`);
    const head = pos + this.#base - this.#at;
    this.#require(this.#at, head + length, head + length);
    this.#start = this.#at - this.#base + head;
    this.#end = this.#start + length;
    this.#next = this.#base + this.#end;
  }

  #jump(): void {
    const text = this.text.trim();
    if (!/^\d{1,15}$/.test(text)) throw this.error(`a pointer record ${JSON.stringify(text)}`);
    const target = Number(text);
    // Room for an edit that was never made.
    if (target === 0) return;
    if (++this.#jumps > MAX_JUMPS) throw this.error(`more than ${MAX_JUMPS} pointer records`);
    this.seek(target);
  }

  /** Brings `bytes` bytes from `offset` on into the window; fewer than `wanted` are an error only when below `bytes`. */
  #require(offset: number, bytes: number, wanted: number): void {
    const from = offset - this.#base;
    if (from >= 0 && from + wanted <= this.#filled) return;
    if (from < 0 || from + bytes > this.#filled || offset + wanted <= this.#fileSize)
      this.#fill(offset, wanted);
    if (offset - this.#base + bytes > this.#filled) {
      throw this.error(
        offset >= this.#fileSize ? "the file ends before its end record" : "the file ends within a record",
      );
    }
  }

  #fill(offset: number, wanted: number): void {
    if (wanted > this.#buffer.length) this.#buffer = Buffer.allocUnsafe(wanted + WINDOW_BYTES);
    this.#base = offset;
    this.#filled = 0;
    while (this.#filled < wanted || this.#filled === 0) {
      const got = readSync(
        this.#fd,
        this.#buffer,
        this.#filled,
        this.#buffer.length - this.#filled,
        offset + this.#filled,
      );
      if (got === 0) return;
      this.#filled += got;
    }
  }
}
