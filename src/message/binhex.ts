/**
 * Files in BinHex 4.0 (RFC 1741): a line that says so, then digits between
 * two colons, run lengths inside, and in these a header, a data fork and a
 * resource fork. What counts as the file is its data fork; checksums are not
 * looked at. Linear in text and result, never an error.
 */
import { Collector } from "./collector.ts";
import { type EmbeddedFile, type FileReader, MAX_FILES_IN_TEXT } from "./embedded.ts";
import { fileName } from "./header-text.ts";
import type { Line } from "./lines.ts";

const ANNOUNCEMENT = /^\(This file must be converted/;
const DIGITS = "!\"#$%&'()*+,-012345689@ABCDEFGHIJKLMNPQRSTUVXYZ[`abcdefhijklmpqr";
const VALUES = new Int8Array(256).fill(-1);
for (let i = 0; i < DIGITS.length; i++) VALUES[DIGITS.charCodeAt(i)] = i;
const COLON = 0x3a;
const RUN = 0x90;
/** After the name: version, type, creator, flags, two fork lengths, checksum. */
const HEADER_BYTES = 1 + 4 + 4 + 2 + 4 + 4 + 2;
/** A few bytes can stand for very many; a file that claims more is not taken for one. */
const MAX_FILE_BYTES = 256 * 1024 * 1024;

export class HqxReader implements FileReader {
  readonly prefix = "(This file";
  wants: "all" | "prefixed" | "none" = "prefixed";
  readonly bytes = new Collector();
  /** Those whose header has been read. */
  readonly files: HqxFile[] = [];
  readonly #wanted: number;
  readonly #bare: boolean;
  /** The file whose digits are awaited or being read. */
  #file: HqxFile | undefined;
  #started = false;

  /** `bare`: digits may come without the line that announces them. `wanted`: index of the file whose bytes are asked for, -1 for none. */
  constructor(bare: boolean, wanted = -1) {
    this.#wanted = wanted;
    this.#bare = bare;
    if (bare) this.#expect();
  }

  line({ bytes, start, end }: Line): void {
    if (ANNOUNCEMENT.test(bytes.toString("latin1", start, Math.min(end, start + 64)))) this.#expect();
    else if (this.wants === "all") this.#digits(bytes, start, end);
  }

  #digits(bytes: Buffer, start: number, end: number): void {
    const file = this.#file!;
    for (let i = start; i < end; i++) {
      const byte = bytes[i]!;
      if (byte <= 0x20) continue;
      if (!this.#started) {
        this.#started = byte === COLON;
        if (this.#started) continue;
        if (!this.#bare) this.#leave();
        return;
      }
      const known = file.known;
      const more = byte !== COLON && file.digit(VALUES[byte]!);
      if (file.known && !known) this.files.push(file);
      if (more) continue;
      this.#leave();
      return;
    }
  }

  #expect(): void {
    this.#started = false;
    this.wants = "all";
    this.#file = new HqxFile(this.files.length === this.#wanted ? this.bytes : undefined);
  }

  /** Outside of files again; no more lines when the wanted file is behind. */
  #leave(): void {
    this.#file = undefined;
    const last = this.#wanted < 0 ? MAX_FILES_IN_TEXT - 1 : this.#wanted;
    this.wants = this.files.length > last ? "none" : "prefixed";
  }
}

/** Digits to bytes, run lengths to runs, these to the name and the data fork. */
class HqxFile implements EmbeddedFile {
  name = "";
  size = 0;
  /** True once the header has been read. */
  known = false;
  readonly #sink: Collector | undefined;
  #bits = 0;
  #bitCount = 0;
  #last = 0;
  #inRun = false;
  readonly #header: number[] = [];
  #left = 0;

  constructor(sink: Collector | undefined) {
    this.#sink = sink;
  }

  /** Takes one digit. Returns false when it is none, or nothing more is wanted. */
  digit(value: number): boolean {
    if (value < 0) return false;
    this.#bits = ((this.#bits << 6) | value) & 0xffff;
    this.#bitCount += 6;
    if (this.#bitCount < 8) return true;
    this.#bitCount -= 8;
    return this.#packed((this.#bits >> this.#bitCount) & 0xff);
  }

  #packed(byte: number): boolean {
    if (this.#inRun) {
      this.#inRun = false;
      // A run of length 0 is the byte that begins runs itself.
      if (byte !== 0) return this.#plain(this.#last, byte - 1);
      this.#last = RUN;
      return this.#plain(RUN, 1);
    }
    if (byte === RUN) {
      this.#inRun = true;
      return true;
    }
    this.#last = byte;
    return this.#plain(byte, 1);
  }

  #plain(byte: number, count: number): boolean {
    let left = count;
    while (!this.known && left > 0) {
      this.#header.push(byte);
      left--;
      const nameLength = this.#header[0]!;
      if (this.#header.length === 1 + nameLength + HEADER_BYTES && !this.#readHeader(nameLength))
        return false;
    }
    if (!this.known) return true;
    const data = Math.min(left, this.#left);
    this.#left -= data;
    this.size += data;
    this.#sink?.repeat(byte, data);
    return this.#left > 0;
  }

  #readHeader(nameLength: number): boolean {
    const header = Buffer.from(this.#header);
    this.#left = header.readUInt32BE(1 + nameLength + 11);
    if (nameLength === 0 || nameLength > 63 || this.#left > MAX_FILE_BYTES) return false;
    this.name = fileName(header.toString("latin1", 1, 1 + nameLength));
    this.known = true;
    return true;
  }
}
