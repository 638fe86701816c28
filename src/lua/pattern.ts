/**
 * Lua patterns, compiled: byte string in, a flat program for ./matcher.ts out.
 *
 * The grammar is Lua 5.0's, read in the order in which 5.0's own matcher
 * would meet it, so a mistake in a pattern becomes an instruction that raises
 * when it is reached and not before ("x[" finds nothing in "abc" and raises
 * nothing). Classes are those of the C locale: ASCII letters only.
 * Knows no engine and trusts nothing; never throws.
 */

export const OP = {
  END: 0,
  CHAR: 1,
  ANY: 2,
  SET: 3,
  /** Repetitions of one CHAR, ANY or SET; `kinds` says which. */
  STAR: 4,
  PLUS: 5,
  MINUS: 6,
  OPTIONAL: 7,
  OPEN: 8,
  POSITION: 9,
  CLOSE: 10,
  BALANCE: 11,
  FRONTIER: 12,
  BACKREF: 13,
  AT_END: 14,
  ERROR: 15,
} as const;

export interface Pattern {
  readonly anchored: boolean;
  readonly ops: Uint8Array;
  /** CHAR, ANY or SET for each instruction that tests one byte. */
  readonly kinds: Uint8Array;
  /** CHAR: the byte; BALANCE: open << 8 | close; BACKREF: capture from 0 (-1 is %0); ERROR: index in `errors`. */
  readonly args: Int32Array;
  /** SET and FRONTIER: 256 flags. */
  readonly sets: readonly (Uint8Array | undefined)[];
  readonly errors: readonly string[];
  /** No magic characters at all: a plain search does. */
  readonly literal: boolean;
}

export type PatternDialect = "5.0" | "5.2";

const PERCENT = 0x25;
const CARET = 0x5e;
const DOLLAR = 0x24;
const OPEN_PAREN = 0x28;
const CLOSE_PAREN = 0x29;
const STAR = 0x2a;
const PLUS = 0x2b;
const MINUS = 0x2d;
const DOT = 0x2e;
const QUESTION = 0x3f;
const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;

const ENDS_WITH_PERCENT = "malformed pattern (ends with `%')";
const MISSING_BRACKET = "malformed pattern (missing `]')";
const UNBALANCED = "unbalanced pattern";
const FRONTIER_BRACKET = "missing `[' after `%f' in pattern";

const upper = (c: number) => c >= 0x41 && c <= 0x5a;
const lower = (c: number) => c >= 0x61 && c <= 0x7a;
const digit = (c: number) => c >= 0x30 && c <= 0x39;
const graphic = (c: number) => c > 0x20 && c < 0x7f;

const CLASSES: Readonly<Record<string, (c: number) => boolean>> = {
  a: (c) => upper(c) || lower(c),
  c: (c) => c < 0x20 || c === 0x7f,
  d: digit,
  g: graphic,
  l: lower,
  p: (c) => graphic(c) && !upper(c) && !lower(c) && !digit(c),
  s: (c) => c === 0x20 || (c >= 9 && c <= 13),
  u: upper,
  w: (c) => upper(c) || lower(c) || digit(c),
  x: (c) => digit(c) || (c >= 0x41 && c <= 0x46) || (c >= 0x61 && c <= 0x66),
  z: (c) => c === 0,
};

/** By class letter; capital letters hold the complement. */
const CLASS_TABLES: readonly (Uint8Array | undefined)[] = (() => {
  const tables: (Uint8Array | undefined)[] = new Array(256);
  for (const [letter, test] of Object.entries(CLASSES)) {
    const table = Uint8Array.from({ length: 256 }, (_, c) => (test(c) ? 1 : 0));
    tables[letter.charCodeAt(0)] = table;
    tables[letter.toUpperCase().charCodeAt(0)] = table.map((flag) => 1 - flag);
  }
  return tables;
})();

/** The 256 flags of %`letter`, or undefined when it stands for itself. %g came with 5.2. */
function classTable(letter: number, dialect: PatternDialect): Uint8Array | undefined {
  if (dialect === "5.0" && (letter | 0x20) === 0x67) return undefined;
  return CLASS_TABLES[letter];
}

export function isDigit(c: number | undefined): boolean {
  return c !== undefined && digit(c);
}

/** Bytes whose presence makes a pattern more than a plain string: ^$*+?.([%- */
const MAGIC = Uint8Array.from({ length: 256 }, (_, c) =>
  "^$*+?.([%-".includes(String.fromCharCode(c)) ? 1 : 0,
);

/** Flags of the set that starts at `p` ("[") and whose "]" is at `close`. */
function compileSet(source: Uint8Array, p: number, close: number, dialect: PatternDialect): Uint8Array {
  const table = new Uint8Array(256);
  let flag = 1;
  let i = p + 1;
  if (source[i] === CARET) {
    flag = 0;
    table.fill(1);
    i++;
  }
  for (; i < close; i++) {
    const c = source[i]!;
    if (c === PERCENT) {
      // An escape at the very end takes the "]" itself, as 5.0's loop does.
      const letter = source[++i]!;
      const members = classTable(letter, dialect);
      if (members === undefined) table[letter] = flag;
      else for (let k = 0; k < 256; k++) if (members[k] === 1) table[k] = flag;
    } else if (source[i + 1] === MINUS && i + 2 < close) {
      const last = source[i + 2]!;
      i += 2;
      for (let k = c; k <= last; k++) table[k] = flag;
    } else table[c] = flag;
  }
  return table;
}

/** Index of the "]" that ends the set at `p`, or -1. The first byte of a set is never its end. */
function endOfSet(source: Uint8Array, p: number, end: number): number {
  let i = p + 1;
  if (i < end && source[i] === CARET) i++;
  do {
    if (i >= end) return -1;
    if (source[i++] === PERCENT && i < end) i++;
  } while (i >= end || source[i] !== CLOSE_BRACKET);
  return i;
}

/** A program being written; no pattern has more instructions than bytes, and the end. */
class Program implements Pattern {
  readonly anchored: boolean;
  readonly literal: boolean;
  readonly ops: Uint8Array;
  readonly kinds: Uint8Array;
  readonly args: Int32Array;
  readonly sets: (Uint8Array | undefined)[] = [];
  readonly errors: string[] = [];
  #length = 0;

  constructor(bytes: number, anchored: boolean, literal: boolean) {
    this.anchored = anchored;
    this.literal = literal;
    this.ops = new Uint8Array(bytes + 1);
    this.kinds = new Uint8Array(bytes + 1);
    this.args = new Int32Array(bytes + 1);
  }

  emit(op: number, kind = 0, arg = 0, set?: Uint8Array): void {
    const at = this.#length++;
    this.ops[at] = op;
    this.kinds[at] = kind;
    this.args[at] = arg;
    this.sets.push(set);
  }

  fail(message: string): void {
    this.emit(OP.ERROR, 0, this.errors.length);
    this.errors.push(message);
  }
}

/** Compiles one single-byte item at `p` with its suffix; returns the position after it, or -1 after an error. */
function compileItem(
  source: Uint8Array,
  p: number,
  end: number,
  dialect: PatternDialect,
  out: Program,
): number {
  let kind: number = OP.CHAR;
  let arg = source[p]!;
  let set: Uint8Array | undefined;
  let next = p + 1;
  if (arg === DOT) kind = OP.ANY;
  else if (arg === PERCENT) {
    if (next >= end) {
      out.fail(ENDS_WITH_PERCENT);
      return -1;
    }
    arg = source[next++]!;
    set = classTable(arg, dialect);
    if (set !== undefined) kind = OP.SET;
  } else if (arg === OPEN_BRACKET) {
    const close = endOfSet(source, p, end);
    if (close < 0) {
      out.fail(MISSING_BRACKET);
      return -1;
    }
    kind = OP.SET;
    set = compileSet(source, p, close, dialect);
    next = close + 1;
  }
  const suffix = next < end ? source[next] : 0;
  const op =
    suffix === STAR
      ? OP.STAR
      : suffix === PLUS
        ? OP.PLUS
        : suffix === MINUS
          ? OP.MINUS
          : suffix === QUESTION
            ? OP.OPTIONAL
            : kind;
  out.emit(op, kind, arg, set);
  return op === kind ? next : next + 1;
}

/** Compiles %b, %f and %1; returns the position after it, -1 after an error, or `p` when it is none of these. */
function compileEscape(
  source: Uint8Array,
  p: number,
  end: number,
  dialect: PatternDialect,
  out: Program,
): number {
  const letter = p + 1 < end ? source[p + 1]! : 0;
  if (letter === 0x62 /* b */) {
    if (p + 3 >= end) {
      out.fail(UNBALANCED);
      return -1;
    }
    out.emit(OP.BALANCE, 0, (source[p + 2]! << 8) | source[p + 3]!);
    return p + 4;
  }
  if (letter === 0x66 /* f */) {
    if (p + 2 >= end || source[p + 2] !== OPEN_BRACKET) {
      out.fail(FRONTIER_BRACKET);
      return -1;
    }
    const close = endOfSet(source, p + 2, end);
    if (close < 0) {
      out.fail(MISSING_BRACKET);
      return -1;
    }
    out.emit(OP.FRONTIER, 0, 0, compileSet(source, p + 2, close, dialect));
    return close + 1;
  }
  if (isDigit(letter)) {
    out.emit(OP.BACKREF, 0, letter - 0x31);
    return p + 2;
  }
  return p;
}

/**
 * Compiles `source`. In "5.0" a pattern ends at its first NUL byte, as C
 * strings do. `anchors` false makes a leading "^" an ordinary character (gfind).
 */
export function compilePattern(source: Uint8Array, dialect: PatternDialect, anchors = true): Pattern {
  const nul = dialect === "5.0" ? source.indexOf(0) : -1;
  const end = nul < 0 ? source.length : nul;
  const anchored = anchors && end > 0 && source[0] === CARET;
  let literal = true;
  for (let i = 0; i < end && literal; i++) literal = MAGIC[source[i]!] === 0;
  const out = new Program(end, anchored, literal);
  let p = anchored ? 1 : 0;
  while (p < end) {
    const c = source[p]!;
    if (c === OPEN_PAREN) {
      const position = p + 1 < end && source[p + 1] === CLOSE_PAREN;
      out.emit(position ? OP.POSITION : OP.OPEN);
      p += position ? 2 : 1;
      continue;
    }
    if (c === CLOSE_PAREN) {
      out.emit(OP.CLOSE);
      p++;
      continue;
    }
    if (c === DOLLAR && p + 1 === end) {
      out.emit(OP.AT_END);
      p++;
      continue;
    }
    let next = c === PERCENT ? compileEscape(source, p, end, dialect, out) : p;
    if (next === p) next = compileItem(source, p, end, dialect, out);
    if (next < 0) break;
    p = next;
  }
  out.emit(OP.END);
  return out;
}
