/**
 * Content transfer encodings (RFC 2045 section 6) undone, piece by piece, in
 * linear time and with a few pieces in memory. Broken input gives the bytes
 * that can be had, never an error.
 */
import libqp from "libqp";
import type { Steps } from "./steps.ts";

const LF = 0x0a;
const EQUALS = 0x3d;
const NOT_BASE64 = 0xff;

/** The value of each base64 digit. */
const BASE64 = new Uint8Array(256).fill(NOT_BASE64);
const DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
for (let i = 0; i < 64; i++) BASE64[DIGITS.charCodeAt(i)] = i;
const IS_DIGIT = BASE64.map((value) => (value === NOT_BASE64 ? 0 : 1));

/** The decoded bytes of `pieces`, which are cut anywhere. `encoding` in lower case; unknown ones are passed through. */
export function decoded(encoding: string, pieces: Iterable<Buffer>): Iterable<Buffer> {
  if (encoding === "base64") return decodeBase64(pieces);
  if (encoding === "quoted-printable") return decodeQuotedPrintable(pieces);
  return pieces;
}

/** How many bytes decoded() gives. Base64 is counted, not decoded. */
export function* decodedSize(encoding: string, pieces: Iterable<Buffer>): Steps<number> {
  if (encoding === "base64") return yield* sizeOfBase64(pieces);
  let size = 0;
  for (const piece of decoded(encoding, pieces)) {
    size += piece.length;
    yield;
  }
  return size;
}

/** True when decoding loses nothing: digits in fours, padded if need be, and white space. */
export function isCleanBase64(pieces: Iterable<Buffer>): boolean {
  let digits = 0;
  let padding = 0;
  for (const piece of pieces) {
    for (let i = 0; i < piece.length; i++) {
      const byte = piece[i]!;
      if (IS_DIGIT[byte] === 1) {
        if (padding > 0) return false;
        digits++;
      } else if (byte === EQUALS) padding++;
      else if (byte !== LF && byte !== 0x0d && byte !== 0x20 && byte !== 0x09) return false;
    }
  }
  return digits % 4 !== 1 && (padding === 0 || (padding < 3 && (digits + padding) % 4 === 0));
}

/**
 * Bytes outside the alphabet are skipped. "=" ends a group of four early, and
 * what follows starts a new group, so several padded texts in a row all count.
 * Written out, not Buffer.from(): that stops at the first "=".
 */
function* decodeBase64(pieces: Iterable<Buffer>): Generator<Buffer> {
  let bits = 0;
  let digits = 0;
  for (const piece of pieces) {
    const out = Buffer.allocUnsafe(Math.ceil((piece.length * 3) / 4) + 3);
    let write = 0;
    for (let i = 0; i < piece.length; i++) {
      const value = BASE64[piece[i]!]!;
      if (value !== NOT_BASE64) {
        bits = (bits << 6) | value;
        if (++digits < 4) continue;
        out[write++] = bits >> 16;
        out[write++] = bits >> 8;
        out[write++] = bits;
      } else if (piece[i] === EQUALS) {
        write = writeRest(out, write, bits, digits);
      } else {
        continue;
      }
      bits = 0;
      digits = 0;
    }
    if (write > 0) yield out.subarray(0, write);
  }
  const rest = Buffer.alloc(2);
  const write = writeRest(rest, 0, bits, digits);
  if (write > 0) yield rest.subarray(0, write);
}

/** The whole bytes of a group that ended early; returns the new end. */
function writeRest(out: Buffer, at: number, bits: number, digits: number): number {
  if (digits === 2) {
    out[at++] = bits >> 4;
  } else if (digits === 3) {
    out[at++] = bits >> 10;
    out[at++] = bits >> 2;
  }
  return at;
}

function* sizeOfBase64(pieces: Iterable<Buffer>): Steps<number> {
  let size = 0;
  let digits = 0;
  for (const piece of pieces) {
    const equals = piece.indexOf(EQUALS);
    const unpadded = equals < 0 ? piece.length : equals;
    digits += countDigits(piece, unpadded);
    for (let i = unpadded; i < piece.length; i++) {
      digits += IS_DIGIT[piece[i]!]!;
      if (piece[i] !== EQUALS) continue;
      size += Math.floor((digits * 3) / 4);
      digits = 0;
    }
    yield;
  }
  return size + Math.floor((digits * 3) / 4);
}

/** Base64 digits before `end`. Four at a time: six times as fast, and every attachment of every message is counted. */
function countDigits(piece: Buffer, end: number): number {
  let digits = 0;
  let i = 0;
  for (; i + 3 < end; i += 4) {
    digits +=
      IS_DIGIT[piece[i]!]! + IS_DIGIT[piece[i + 1]!]! + IS_DIGIT[piece[i + 2]!]! + IS_DIGIT[piece[i + 3]!]!;
  }
  for (; i < end; i++) digits += IS_DIGIT[piece[i]!]!;
  return digits;
}

function* decodeQuotedPrintable(pieces: Iterable<Buffer>): Generator<Buffer> {
  let waiting: Buffer[] = [];
  for (const piece of pieces) {
    const cut = quotedPrintableCut(piece);
    if (cut === 0) {
      waiting.push(piece);
      continue;
    }
    waiting.push(piece.subarray(0, cut));
    yield libqp.decode(Buffer.concat(waiting));
    waiting = cut < piece.length ? [piece.subarray(cut)] : [];
  }
  if (waiting.length > 0) yield libqp.decode(Buffer.concat(waiting));
}

/**
 * The last place where decoding the two sides apart changes nothing: after a
 * line end that is no soft one, or after three bytes of plain text. 0 for none.
 */
function quotedPrintableCut(piece: Buffer): number {
  for (let cut = piece.length; cut > 2; cut--) {
    const isCut = piece[cut - 1] === LF ? isHardBreak(piece, cut - 2) : isPlain(piece, cut);
    if (isCut) return cut;
  }
  return 0;
}

/** `at`: the byte before the LF. Looks back over white space, at most to the line before. */
function isHardBreak(piece: Buffer, at: number): boolean {
  while (at >= 0 && piece[at]! <= 0x20 && piece[at] !== LF) at--;
  return at >= 0 && piece[at] !== EQUALS;
}

function isPlain(piece: Buffer, end: number): boolean {
  for (let i = end - 3; i < end; i++) if (piece[i]! <= 0x20 || piece[i] === EQUALS) return false;
  return true;
}

/** The bytes [start, end) of what `pieces` are together. */
export function* range(pieces: Iterable<Buffer>, start: number, end: number): Generator<Buffer> {
  let at = 0;
  for (const piece of pieces) {
    const from = Math.max(start - at, 0);
    const to = Math.min(end - at, piece.length);
    if (from < to) yield piece.subarray(from, to);
    at += piece.length;
    if (at >= end) return;
  }
}
