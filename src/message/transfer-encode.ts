/**
 * Content transfer encodings (RFC 2045 section 6) applied, piece by piece, in
 * linear time. Lines end in CRLF and are at most 76 bytes long.
 */

const CR = 0x0d;
const LF = 0x0a;
const SPACE = 0x20;
const TAB = 0x09;
const DASH = 0x2d;
const EQUALS = 0x3d;
const HEX = Buffer.from("0123456789ABCDEF");
/** 75 and the "=" of a soft line break. */
const QP_LINE = 75;
const BASE64_LINE_BYTES = 57;
const OUT = 64 * 1024;

/** 1 for bytes that stand for themselves wherever they are. */
const LITERAL = new Uint8Array(256).map((_, byte) =>
  byte > SPACE && byte < 0x7f && byte !== EQUALS ? 1 : 0,
);

/**
 * CRLF in `pieces` is a line end, every other CR and LF is data. No line
 * starts with "-", so that none can be taken for a delimiter. With
 * `endLine` the last line gets an end, which decoding takes away again.
 */
export function* encodeQuotedPrintable(pieces: Iterable<Buffer>, endLine: boolean): Generator<Buffer> {
  const writer = new QpWriter();
  for (const piece of pieces) {
    for (let i = 0; i < piece.length; i++) {
      writer.byte(piece[i]!);
      if (writer.full) yield writer.take();
    }
  }
  writer.end(endLine);
  yield writer.take();
}

class QpWriter {
  #out = Buffer.allocUnsafe(OUT);
  #length = 0;
  #column = 0;
  /** White space or CR that depends on what follows it; 0 for none. */
  #held = 0;

  /** Time to take() before the next byte. */
  get full(): boolean {
    return this.#length > OUT - 32;
  }

  byte(byte: number): void {
    const held = this.#held;
    if (held !== 0) {
      this.#held = 0;
      if (held === CR && byte === LF) {
        this.#lineEnd();
        return;
      }
      // A CR may yet be a line end: what stands before it is treated as if it were.
      if (held === CR || byte === CR) this.#escaped(held);
      else this.#literal(held);
    }
    if (LITERAL[byte] === 1) {
      if (byte === DASH && this.#column === 0) this.#escaped(byte);
      else this.#literal(byte);
    } else if (byte === SPACE || byte === TAB || byte === CR) {
      this.#held = byte;
    } else {
      this.#escaped(byte);
    }
  }

  end(endLine: boolean): void {
    if (this.#held !== 0) this.#escaped(this.#held);
    this.#held = 0;
    if (endLine && this.#column > 0) this.#softBreak();
  }

  /** What was written since the last call. */
  take(): Buffer {
    const taken = this.#out.subarray(0, this.#length);
    this.#out = Buffer.allocUnsafe(OUT);
    this.#length = 0;
    return taken;
  }

  #literal(byte: number): void {
    if (this.#column + 1 > QP_LINE) {
      this.#softBreak();
      if (byte === DASH) {
        this.#escaped(byte);
        return;
      }
    }
    this.#out[this.#length++] = byte;
    this.#column++;
  }

  #escaped(byte: number): void {
    if (this.#column + 3 > QP_LINE) this.#softBreak();
    this.#out[this.#length++] = EQUALS;
    this.#out[this.#length++] = HEX[byte >> 4]!;
    this.#out[this.#length++] = HEX[byte & 15]!;
    this.#column += 3;
  }

  #softBreak(): void {
    this.#out[this.#length++] = EQUALS;
    this.#lineEnd();
  }

  #lineEnd(): void {
    this.#out[this.#length++] = CR;
    this.#out[this.#length++] = LF;
    this.#column = 0;
  }
}

/** With `endLine` the last line gets an end, too. */
export function* encodeBase64(pieces: Iterable<Buffer>, endLine: boolean): Generator<Buffer> {
  let rest: Buffer = Buffer.alloc(0);
  let first = true;
  const lines = (bytes: Buffer): Buffer => {
    const text = bytes.toString("base64").replace(/.{76}(?=.)/g, "$&\r\n");
    const lead = first ? "" : "\r\n";
    first = false;
    return Buffer.from(lead + text, "latin1");
  };
  for (const piece of pieces) {
    const bytes = rest.length === 0 ? piece : Buffer.concat([rest, piece]);
    const whole = bytes.length - (bytes.length % BASE64_LINE_BYTES);
    if (whole > 0) yield lines(bytes.subarray(0, whole));
    rest = bytes.subarray(whole);
  }
  if (rest.length > 0) yield lines(rest);
  if (endLine && !first) yield Buffer.from("\r\n");
}
