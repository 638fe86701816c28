/**
 * Files that stand uuencoded in text: "begin 644 NAME", lines of a length
 * character and digits, "end" (POSIX uuencode, its base64 form too).
 *
 * A line that begins with "begin" starts a file only when the next line is
 * encoded too, so prose does not. A file that breaks off has the bytes up to
 * there. Linear time, a line at a time in memory, never an error.
 */
import { Collector } from "./collector.ts";
import { type EmbeddedFile, type FileReader, MAX_FILES_IN_TEXT } from "./embedded.ts";
import { fileName } from "./header-text.ts";
import { trimLineEnd } from "./headers.ts";
import type { Line } from "./lines.ts";

const BEGIN = /^begin(-base64)? +[0-7]{3,4} +(\S.*?)\s*$/;
const NOTHING = new Uint8Array(0);
const MAX_BEGIN_LINE = 1024;
const BASE64_LINE = /^[A-Za-z0-9+/]+={0,2}$/;

export class UuReader implements FileReader {
  readonly prefix = "begin";
  wants: "all" | "prefixed" | "none" = "prefixed";
  readonly bytes = new Collector();
  readonly #wanted: number;
  readonly files: { -readonly [key in keyof EmbeddedFile]: EmbeddedFile[key] }[] = [];
  /** "begun": behind a begin line that nothing has confirmed yet; "last": behind a line of length 0. */
  #state: "outside" | "begun" | "inside" | "last" = "outside";
  #name = "";
  #base64 = false;
  #listed = false;
  readonly #decoded = Buffer.alloc(66);

  /** `wanted`: index of the file whose bytes are asked for, -1 for none. */
  constructor(wanted = -1) {
    this.#wanted = wanted;
  }

  line({ bytes, start, end }: Line): void {
    const stop = trimLineEnd(bytes, start, end);
    if (this.#state !== "outside") {
      if (this.#base64 ? this.#base64Line(bytes, start, stop) : this.#uuLine(bytes, start, stop)) return;
      this.#leave();
    }
    if (this.wants === "prefixed") this.#begin(bytes, start, stop);
  }

  #begin(bytes: Buffer, start: number, stop: number): void {
    if (stop - start > MAX_BEGIN_LINE) return;
    const found = BEGIN.exec(bytes.toString("latin1", start, stop));
    if (!found) return;
    this.#name = fileName(found[2]!);
    this.#base64 = found[1] !== undefined;
    this.#listed = false;
    this.#state = "begun";
    this.wants = "all";
  }

  /** Outside of files again; no more lines when the wanted file is behind. */
  #leave(): void {
    this.#state = "outside";
    const last = this.#wanted < 0 ? MAX_FILES_IN_TEXT - 1 : this.#wanted;
    this.wants = this.files.length > last ? "none" : "prefixed";
  }

  /** Returns false when the line does not belong to the file. */
  #uuLine(bytes: Buffer, start: number, stop: number): boolean {
    if (stop - start === 3 && bytes.toString("latin1", start, stop) === "end") {
      if (this.#state === "begun") return false;
      this.#add(NOTHING);
      this.#leave();
      return true;
    }
    if (this.#state === "last") return stop === start;
    const length = stop > start ? (bytes[start]! - 0x20) & 0x3f : 0;
    const digits = stop - start - 1;
    if (length === 0) {
      if (digits > 0) return false;
      this.#state = "last";
      return true;
    }
    const full = Math.ceil(length / 3) * 4;
    // Mailers strip trailing spaces, which are digits; some encoders append a check character.
    if (digits > full + 1 || (this.#state === "begun" && digits < full - 1)) return false;
    for (let i = start; i < stop; i++) if (bytes[i]! < 0x20 || bytes[i]! > 0x60) return false;
    this.#decodeLine(bytes, start + 1, stop, length);
    this.#state = "inside";
    this.#add(this.#decoded.subarray(0, length));
    return true;
  }

  #decodeLine(bytes: Buffer, start: number, stop: number, length: number): void {
    const digit = (at: number) => (at < stop ? (bytes[at]! - 0x20) & 0x3f : 0);
    for (let at = start, write = 0; write < length; at += 4) {
      const bits = (digit(at) << 18) | (digit(at + 1) << 12) | (digit(at + 2) << 6) | digit(at + 3);
      this.#decoded[write++] = bits >> 16;
      this.#decoded[write++] = bits >> 8;
      this.#decoded[write++] = bits;
    }
  }

  #base64Line(bytes: Buffer, start: number, stop: number): boolean {
    const text = bytes.toString("latin1", start, stop);
    const last = text === "====";
    if (!last && !BASE64_LINE.test(text)) return false;
    this.#state = "inside";
    this.#add(last ? NOTHING : Buffer.from(text, "base64"));
    if (last) this.#leave();
    return true;
  }

  #add(decoded: Uint8Array): void {
    if (!this.#listed) this.files.push({ name: this.#name, size: 0 });
    this.#listed = true;
    this.files.at(-1)!.size += decoded.length;
    if (this.files.length - 1 === this.#wanted) this.bytes.add(decoded);
  }
}
