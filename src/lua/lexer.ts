/**
 * Tokens of Lua source, in two dialects.
 *
 * "5.0" reads what Lua 5.0 reads: `[[ [[nested]] ]]`, any letter after a
 * backslash, `goto` as a name. "5.2" takes 5.2's side of those contradictions.
 * Both know what later versions added without contradiction: `[==[ ]==]`,
 * hexadecimal numbers, `#` and `%`. Operators of 5.3 are refused.
 *
 * Works on byte strings, knows nothing of the machine or the parser, and
 * reports mistakes through the `fail` it is given. Line ends are "\n", "\r\n"
 * and "\r" alike, so scripts written on Windows have the line numbers and
 * strings that they have there.
 */
import { stringToNumber } from "./numbers.ts";

export type Dialect = "5.0" | "5.2";

/** Tokens of more than one character; reserved words take the numbers from FIRST_RESERVED in the order of RESERVED. */
export const FIRST_RESERVED = 257;
export const RESERVED = [
  ..."and break do else elseif end false for function goto if".split(" "),
  ..."in local nil not or repeat return then true until while".split(" "),
];
export const TK = {
  BREAK: 258,
  DO: 259,
  FUNCTION: 265,
  GOTO: 266,
  LOCAL: 269,
  UNTIL: 277,
  IDIV: 279,
  CONCAT: 280,
  DOTS: 281,
  EQ: 282,
  GE: 283,
  LE: 284,
  NE: 285,
  SHL: 286,
  SHR: 287,
  DBCOLON: 288,
  EOS: 289,
  FLT: 290,
  INT: 291,
  NAME: 292,
  STRING: 293,
} as const;

const SYMBOLS = ["//", "..", "...", "==", ">=", "<=", "~=", "<<", ">>", "::", "<eof>"];

/** How error messages write a token that always looks the same. */
export function tokenText(token: number): string {
  if (token < FIRST_RESERVED) return String.fromCharCode(token);
  const index = token - FIRST_RESERVED;
  return RESERVED[index] ?? SYMBOLS[index - RESERVED.length] ?? "*name";
}

/** The value of the token read last. */
export interface TokenValue {
  number: number;
  text: string;
}

const NAME = /[A-Za-z_][A-Za-z0-9_]*/y;
const HEX_NUMBER = /0[xX][\dA-Fa-f.]*(?:[pP][+-]?\d*)?/y;
const NUMBER = /(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d*)?/y;
const LONG_OPEN = /\[(=*)\[/y;
const MINUS_ZERO = /-[ \t]*(?:0+\.?0*|\.0+)(?![\w.])(?!\s*\^)/y;
/** What a string runs through without a thought. */
const PLAIN = /[^\\"'\n\r]+/y;

const SEMICOLON = 59;
const BRACE = 123;
const COMMA = 44;
const CLOSE = 41;
const NEWLINE = 10;
const RETURN = 13;
const BACKSLASH = 92;

const words: ReadonlyMap<string, number> = new Map(RESERVED.map((word, i) => [word, FIRST_RESERVED + i]));

const SIMPLE_ESCAPES: Readonly<Record<string, string>> = {
  a: "\x07",
  b: "\b",
  f: "\f",
  n: "\n",
  r: "\r",
  t: "\t",
  v: "\v",
};

/** Tokens after which an operand cannot begin: `%` is then the operator. */
const ENDS_OPERAND = new Set<number>([
  TK.NAME,
  TK.STRING,
  TK.FLT,
  TK.DOTS,
  41, // )
  93, // ]
  125, // }
  FIRST_RESERVED + RESERVED.indexOf("end"),
  FIRST_RESERVED + RESERVED.indexOf("nil"),
  FIRST_RESERVED + RESERVED.indexOf("true"),
  FIRST_RESERVED + RESERVED.indexOf("false"),
]);

export class Lexer {
  line = 1;
  /** The token read last as it is shown in "near" messages, for names, numbers and strings. */
  shown = "";
  readonly dialect: Dialect;
  readonly #source: string;
  /** Throws: `message` is what is wrong, `near` the text to blame. */
  readonly #fail: (message: string, near: string) => never;
  #at = 0;
  #previous = 0;
  /** The token before may end an operand, so that `%` is the operator. */
  #operandEnded = false;
  /** The line on which the token before ended. */
  #lastLine = 1;
  /** Between `function` and the end of its parameters. */
  #inHead = false;

  constructor(source: string, dialect: Dialect, fail: (message: string, near: string) => never) {
    this.#source = source;
    this.dialect = dialect;
    this.#fail = fail;
    if (source.startsWith("\xef\xbb\xbf")) this.#at = 3;
    // A first line for the shell.
    if (source[this.#at] === "#") this.#skipLine();
  }

  /** Reads the next token; names and strings leave their text in `value`, numbers their number. */
  next(value: TokenValue): number {
    this.#lastLine = this.line;
    let token = this.#scan(value);
    // Constructors could begin, and items be followed, by one: `{; x = 1}`, `{1, ;}`.
    while (token === SEMICOLON && (this.#previous === BRACE || this.#previous === COMMA))
      token = this.#scan(value);
    if (token === TK.FUNCTION) this.#inHead = true;
    this.#operandEnded = ENDS_OPERAND.has(token);
    if (this.#inHead && token === CLOSE) {
      this.#inHead = false;
      this.#operandEnded = false;
    }
    this.#previous = token;
    return token;
  }

  #scan(value: TokenValue): number {
    const source = this.#source;
    for (;;) {
      const c = source.charCodeAt(this.#at);
      if (Number.isNaN(c)) return TK.EOS;
      if (c === 32 || (c >= 9 && c <= 13)) {
        if (c === NEWLINE || c === RETURN) this.#newline();
        else this.#at++;
        continue;
      }
      if (c === 45) {
        if (!this.#operandEnded && this.#isMinusZero()) {
          this.#at++;
          continue;
        }
        this.#at++;
        if (source.charCodeAt(this.#at) !== 45) return c;
        this.#at++;
        this.#skipComment();
        continue;
      }
      if (isNameStart(c)) return this.#name(value);
      if (c >= 48 && c <= 57) return this.#number(value);
      switch (c) {
        case 34:
        case 39:
          return this.#string(value, c);
        case 91: {
          const level = this.#longLevel();
          if (level < 0) break;
          value.text = this.#long(level, "string");
          this.shown = `[[${value.text}]]`;
          return TK.STRING;
        }
        case 61:
          return this.#pair(c, "=", TK.EQ);
        case 60:
          return this.#pair(c, "=", TK.LE);
        case 62:
          return this.#pair(c, "=", TK.GE);
        case 126: {
          const token = this.#pair(c, "=", TK.NE);
          return token === TK.NE ? token : this.#fail("unexpected symbol", "~");
        }
        case 38:
        case 124:
          return this.#fail("unexpected symbol", String.fromCharCode(c));
        case 58:
          return this.dialect === "5.2" ? this.#pair(c, ":", TK.DBCOLON) : this.#single(c);
        case 46:
          return this.#dots(value);
        case 37:
          // `%name` was 4.0's way to name an upvalue, and 5.0 can be built to take it.
          if (
            (!this.#operandEnded || this.line > this.#lastLine) &&
            isNameStart(source.charCodeAt(this.#at + 1))
          ) {
            this.#at++;
            continue;
          }
      }
      if (c < 32 || c === 127) return this.#fail("invalid control char", `char(${c})`);
      return this.#single(c);
    }
  }

  #single(c: number): number {
    this.#at++;
    return c;
  }

  #pair(first: number, second: string, token: number): number {
    this.#at++;
    if (this.#source[this.#at] !== second) return first;
    this.#at++;
    return token;
  }

  #dots(value: TokenValue): number {
    const source = this.#source;
    const next = source.charCodeAt(this.#at + 1);
    if (next >= 48 && next <= 57) return this.#number(value);
    if (next !== 46) return this.#single(46);
    this.#at += 2;
    if (source[this.#at] !== ".") return TK.CONCAT;
    this.#at++;
    return TK.DOTS;
  }

  #newline(): void {
    const first = this.#source.charCodeAt(this.#at++);
    const second = this.#source.charCodeAt(this.#at);
    if ((second === NEWLINE || second === RETURN) && second !== first) this.#at++;
    this.line++;
  }

  #skipLine(): void {
    const source = this.#source;
    while (this.#at < source.length) {
      const c = source.charCodeAt(this.#at);
      if (c === NEWLINE || c === RETURN) return;
      this.#at++;
    }
  }

  /** 5.0's compiler keeps one constant for 0 and -0. */
  #isMinusZero(): boolean {
    MINUS_ZERO.lastIndex = this.#at;
    return MINUS_ZERO.test(this.#source);
  }

  #skipComment(): void {
    const level = this.#longLevel();
    if (level < 0 || (level > 0 && this.dialect === "5.0" && !this.#spansLines(level))) this.#skipLine();
    else this.#long(level, "comment");
  }

  /** To 5.0, `--[==[` begins a comment of one line; it is 5.1's when its end stands on a later line. */
  #spansLines(level: number): boolean {
    const end = this.#source.indexOf(`]${"=".repeat(level)}]`, this.#at);
    return end >= 0 && /[\r\n]/.test(this.#source.slice(this.#at, end));
  }

  #name(value: TokenValue): number {
    NAME.lastIndex = this.#at;
    const word = NAME.exec(this.#source)![0];
    this.#at += word.length;
    const token = words.get(word);
    if (token !== undefined && (token !== TK.GOTO || this.dialect === "5.2")) return token;
    value.text = word;
    this.shown = word;
    return TK.NAME;
  }

  #number(value: TokenValue): number {
    const source = this.#source;
    const hex = source[this.#at] === "0" && (source[this.#at + 1] === "x" || source[this.#at + 1] === "X");
    const form = hex ? HEX_NUMBER : NUMBER;
    form.lastIndex = this.#at;
    const digits = form.exec(source)![0];
    this.#at += digits.length;
    this.shown = digits;
    if (digits.endsWith(".") && source[this.#at] === ".")
      this.#fail("ambiguous syntax (decimal point x string concatenation)", `${digits}.`);
    const number = stringToNumber(digits, false);
    if (number === undefined) return this.#fail("malformed number", digits);
    value.number = number;
    return TK.FLT;
  }

  /** The number of `=` in a long bracket that opens here, or -1; stays where it is. */
  #longLevel(): number {
    LONG_OPEN.lastIndex = this.#at;
    const open = LONG_OPEN.exec(this.#source);
    return open === null ? -1 : open[1]!.length;
  }

  #long(level: number, what: "string" | "comment"): string {
    const source = this.#source;
    const close = `]${"=".repeat(level)}]`;
    const nested = level === 0 && this.dialect === "5.0";
    this.#at += level + 2;
    if (isNewline(source.charCodeAt(this.#at))) this.#newline();
    let text = "";
    let depth = 0;
    let from = this.#at;
    for (;;) {
      const c = source.charCodeAt(this.#at);
      if (Number.isNaN(c)) return this.#fail(`unfinished long ${what}`, "<eof>");
      if (isNewline(c)) {
        text += `${source.slice(from, this.#at)}\n`;
        this.#newline();
        from = this.#at;
      } else if (c === 93 && source.startsWith(close, this.#at)) {
        if (depth === 0) {
          text += source.slice(from, this.#at);
          this.#at += close.length;
          return text;
        }
        depth--;
        this.#at += 2;
      } else if (nested && c === 91 && source.charCodeAt(this.#at + 1) === 91) {
        depth++;
        this.#at += 2;
      } else this.#at++;
    }
  }

  #string(value: TokenValue, quote: number): number {
    const source = this.#source;
    const mark = String.fromCharCode(quote);
    let text = "";
    this.#at++;
    for (;;) {
      PLAIN.lastIndex = this.#at;
      const plain = PLAIN.exec(source);
      if (plain !== null) {
        text += plain[0];
        this.#at += plain[0].length;
      }
      const c = source.charCodeAt(this.#at);
      if (c === quote) {
        this.#at++;
        value.text = text;
        this.shown = mark + text + mark;
        return TK.STRING;
      }
      if (Number.isNaN(c)) return this.#fail("unfinished string", "<eof>");
      if (isNewline(c)) return this.#fail("unfinished string", mark + text);
      if (c === BACKSLASH) {
        this.#at++;
        text += this.#escape(mark + text);
      } else {
        text += source[this.#at++];
      }
    }
  }

  /** What the escape stands for whose backslash has just been passed; `sofar` is for messages. */
  #escape(sofar: string): string {
    const source = this.#source;
    const letter = source[this.#at];
    if (letter === undefined) return "";
    if (isNewline(letter.charCodeAt(0))) {
      this.#newline();
      return "\n";
    }
    if (letter >= "0" && letter <= "9") {
      const digits = /\d{1,3}/y;
      digits.lastIndex = this.#at;
      const text = digits.exec(source)![0];
      this.#at += text.length;
      if (Number(text) > 255) this.#fail("escape sequence too large", sofar);
      return String.fromCharCode(Number(text));
    }
    this.#at++;
    const simple = SIMPLE_ESCAPES[letter];
    if (simple !== undefined) return simple;
    if (this.dialect === "5.0" || letter === "\\" || letter === '"' || letter === "'") return letter;
    if (letter === "x") {
      const digits = source.slice(this.#at, this.#at + 2);
      if (!/^[\dA-Fa-f]{2}$/.test(digits)) this.#fail("hexadecimal digit expected", `${sofar}\\x`);
      this.#at += 2;
      return String.fromCharCode(Number.parseInt(digits, 16));
    }
    if (letter === "z") {
      for (;;) {
        const c = source.charCodeAt(this.#at);
        if (isNewline(c)) this.#newline();
        else if (c === 32 || (c >= 9 && c <= 13)) this.#at++;
        else return "";
      }
    }
    return this.#fail("invalid escape sequence", `\\${letter}`);
  }
}

function isNewline(c: number): boolean {
  return c === NEWLINE || c === RETURN;
}

function isNameStart(c: number): boolean {
  return (c >= 97 && c <= 122) || (c >= 65 && c <= 90) || c === 95;
}
