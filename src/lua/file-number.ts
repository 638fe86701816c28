/**
 * Reads a number as C's scanf does for "%lf": white space, then the longest
 * text that may begin a number. What turned out not to fit is consumed, but
 * for the byte after it.
 */
import type { LuaFile } from "./file.ts";
import { isSpace, stringToNumber } from "./numbers.ts";

const isDigit = (c: number) => c >= 0x30 && c <= 0x39;
const isHexDigit = (c: number) => isDigit(c) || ((c | 0x20) >= 0x61 && (c | 0x20) <= 0x66);

/** The number, or undefined when there is none here. `charge` is told of the bytes read. */
export function readNumber(file: LuaFile, charge: (steps: number) => void): number | undefined {
  while (isSpace(file.peek())) {
    charge(1);
    file.skip();
  }
  const text = take(file, charge);
  // "1e" and "1e+" stand for the digits before them.
  return stringToNumber(text) ?? stringToNumber(text.replace(/[ep][-+]?$/i, ""));
}

function take(file: LuaFile, charge: (steps: number) => void): string {
  let text = "";
  const next = () => {
    charge(1);
    text += String.fromCharCode(file.peek());
    file.skip();
  };
  const letter = () => String.fromCharCode(file.peek() | 0x20);
  if (file.peek() === 0x2b || file.peek() === 0x2d) next();
  if (letter() === "n" || letter() === "i") return takeWord(file, text);
  let digits = isDigit;
  let exponent = "e";
  if (file.peek() === 0x30) {
    next();
    if (letter() === "x") {
      next();
      digits = isHexDigit;
      exponent = "p";
    }
  }
  let point = false;
  let power = false;
  for (;;) {
    const c = file.peek();
    if (power ? isDigit(c) : digits(c)) next();
    else if (c === 0x2e && !point && !power) {
      point = true;
      next();
    } else if (letter() === exponent && !power && /[\da-f]\.?$/i.test(text)) {
      power = true;
      next();
      if (file.peek() === 0x2b || file.peek() === 0x2d) next();
    } else return text;
  }
}

/** "nan", "inf" or "infinity", in any case; anything else is no number. */
function takeWord(file: LuaFile, sign: string): string {
  let word = "";
  const words = ["nan", "inf", "infinity"];
  for (;;) {
    const longer = word + String.fromCharCode(file.peek() | 0x20);
    if (file.peek() < 0 || !words.some((known) => known.startsWith(longer))) break;
    word = longer;
    file.skip();
  }
  return sign + word;
}
