/**
 * The header block of a message: its bytes once, and where each field lies.
 *
 * Fields keep order, duplicates, folds and 8-bit bytes exactly as they came;
 * values are cut out when somebody asks. Nothing is decoded here (see
 * header-text.ts). Trusts nothing about the bytes; never throws on content.
 */

const COLON = 0x3a;
const CR = 0x0d;
const LF = 0x0a;
const SPACE = 0x20;
const TAB = 0x09;

/** One field. All strings are byte strings. */
export class HeaderField {
  readonly #owner: HeaderFields;
  readonly #start: number;
  readonly #colon: number;
  readonly #end: number;

  /** Offsets into the owner's bytes; `end` excludes the line end. */
  constructor(owner: HeaderFields, start: number, colon: number, end: number) {
    this.#owner = owner;
    this.#start = start;
    this.#colon = colon;
    this.#end = end;
  }

  /** The name as it was spelled, without the white space some mailers put before the colon. */
  get name(): string {
    return this.#owner.text(this.#start, this.#colon).trimEnd();
  }

  /** What stands after the colon, without the white space before the first word; folds are kept as received. */
  get value(): string {
    const bytes = this.#owner.bytes;
    let start = this.#colon + 1;
    while (start < this.#end && (bytes[start] === SPACE || bytes[start] === TAB)) start++;
    return this.#owner.text(start, this.#end);
  }

  /** Where the field lies in the block: its first byte, the byte after its colon, the byte after its last without the line end. */
  get span(): { readonly start: number; readonly value: number; readonly end: number } {
    return { start: this.#start, value: this.#colon + 1, end: this.#end };
  }

  /** The whole field, "Name: value", folds kept, without the final line end. */
  get line(): string {
    return this.#owner.text(this.#start, this.#end);
  }
}

export class HeaderFields implements Iterable<HeaderField> {
  #bytes: Buffer;
  #length: number;
  readonly #fields: HeaderField[] = [];
  #index: Map<string, HeaderField[]> | undefined;

  /** `bytes` are the first `length` bytes of a block that the caller no longer touches. */
  constructor(bytes: Buffer = Buffer.allocUnsafeSlow(2048), length = 0) {
    this.#bytes = bytes;
    this.#length = length;
  }

  /**
   * Reads the header block at the start of `raw`: up to the blank line, or to
   * the first line that is no header field (as Postfix does). `raw` is not copied.
   */
  static parse(raw: Buffer): { headers: HeaderFields; bodyStart: number; separated: boolean } {
    const spans: number[] = [];
    let pos = 0;
    let separated = false;
    while (pos < raw.length) {
      const next = lineEnd(raw, pos);
      if (isBlank(raw, pos)) {
        separated = true;
        break;
      }
      if (raw[pos] === SPACE || raw[pos] === TAB) {
        if (spans.length === 0) break;
        spans[spans.length - 1] = next;
      } else {
        const colon = fieldColon(raw, pos, next);
        if (colon < 0) break;
        spans.push(pos, colon, next);
      }
      pos = next;
    }
    const headers = new HeaderFields(raw, pos);
    for (let i = 0; i < spans.length; i += 3) {
      headers.#add(spans[i]!, spans[i + 1]!, trimLineEnd(raw, spans[i]!, spans[i + 2]!));
    }
    return { headers, bodyStart: separated ? lineEnd(raw, pos) : pos, separated };
  }

  /** The block: every field with its line end, without the blank line that follows it. */
  get bytes(): Buffer {
    return this.#bytes.subarray(0, this.#length);
  }

  get length(): number {
    return this.#fields.length;
  }

  [Symbol.iterator](): Iterator<HeaderField> {
    return this.#fields.values();
  }

  /** The first field of that name, whatever its case. */
  first(name: string): HeaderField | undefined {
    return this.#lookup().get(name.toLowerCase())?.[0];
  }

  /** Every field of that name, whatever its case, in order. */
  all(name: string): readonly HeaderField[] {
    return this.#lookup().get(name.toLowerCase()) ?? [];
  }

  /** Bytes of the block as a byte string. */
  text(start: number, end: number): string {
    return this.#bytes.toString("latin1", start, end);
  }

  /**
   * Appends one field as a milter gives it: folds in `value` are "\n" (or
   * CRLF) and become CRLF. `separator` goes between colon and value.
   */
  append(name: Uint8Array | string, value: Uint8Array | string, separator = ""): void {
    const start = this.#length;
    this.#write(name, false);
    const colon = this.#length;
    this.#write(`:${separator}`, false);
    this.#write(value, true);
    const end = this.#length;
    this.#write("\r\n", false);
    this.#add(start, colon, end);
  }

  /** Puts the blank line behind the block and returns both; no field is appended after that. */
  end(): Buffer {
    const length = this.#length;
    this.#write("\r\n", false);
    const block = this.bytes;
    this.#length = length;
    return block;
  }

  #add(start: number, colon: number, end: number): void {
    this.#fields.push(new HeaderField(this, start, colon, end));
    this.#index = undefined;
  }

  #write(data: Uint8Array | string, folds: boolean): void {
    // A fold may grow by one byte.
    const need = this.#length + data.length * (folds ? 2 : 1);
    if (need > this.#bytes.length) {
      const grown = Buffer.allocUnsafeSlow(Math.max(need, this.#bytes.length * 2));
      this.#bytes.copy(grown, 0, 0, this.#length);
      this.#bytes = grown;
    }
    const from = this.#length;
    if (typeof data === "string") this.#bytes.write(data, from, "latin1");
    else this.#bytes.set(data, from);
    this.#length += data.length;
    if (folds) this.#length = foldsToCrlf(this.#bytes, from, this.#length);
  }

  #lookup(): Map<string, HeaderField[]> {
    if (this.#index) return this.#index;
    const index = new Map<string, HeaderField[]>();
    for (const field of this.#fields) {
      const key = field.name.toLowerCase();
      const list = index.get(key);
      if (list) list.push(field);
      else index.set(key, [field]);
    }
    this.#index = index;
    return index;
  }
}

/**
 * Where the colon of a field name stands in the line [start, end), -1 when the
 * line is no header field. Names are printable ASCII; white space before the
 * colon is obsolete but seen.
 */
export function fieldColon(bytes: Uint8Array, start: number, end: number): number {
  let pos = start;
  while (pos < end) {
    const byte = bytes[pos]!;
    if (byte === COLON || byte <= SPACE || byte > 0x7e) break;
    pos++;
  }
  if (pos === start) return -1;
  while (pos < end && (bytes[pos] === SPACE || bytes[pos] === TAB)) pos++;
  return bytes[pos] === COLON && pos < end ? pos : -1;
}

/** Offset after the line end of the line at `pos`, or the end of the bytes. */
export function lineEnd(bytes: Buffer, pos: number): number {
  const newline = bytes.indexOf(LF, pos);
  return newline < 0 ? bytes.length : newline + 1;
}

/** True when the line at `pos` holds nothing but its line end. */
export function isBlank(bytes: Uint8Array, pos: number): boolean {
  return bytes[pos] === LF || (bytes[pos] === CR && bytes[pos + 1] === LF);
}

/** The end of a line without its CRLF or LF. */
export function trimLineEnd(bytes: Uint8Array, start: number, end: number): number {
  if (end > start && bytes[end - 1] === LF) end--;
  if (end > start && bytes[end - 1] === CR) end--;
  return end;
}

/** Turns each LF without a CR in [from, to) into CRLF in place, with room behind `to`; returns the new end. */
function foldsToCrlf(bytes: Buffer, from: number, to: number): number {
  const value = bytes.subarray(from, to);
  let bare = 0;
  for (let at = value.indexOf(LF); at >= 0; at = value.indexOf(LF, at + 1)) {
    if (at === 0 || value[at - 1] !== CR) bare++;
  }
  if (bare === 0) return to;
  let write = to + bare;
  const end = write;
  for (let read = to - 1; read >= from && write > read; read--) {
    const byte = bytes[read]!;
    bytes[--write] = byte;
    if (byte === LF && (read === from || bytes[read - 1] !== CR)) bytes[--write] = CR;
  }
  return end;
}
