/**
 * Numbers to text and back, as C's printf and strtod do it: exact values,
 * ties to even, "inf" and "nan". JavaScript's own conversions are exact too,
 * but round exact ties up and write exponents in another form.
 * Text is byte strings. Nothing here throws.
 */

export interface NumberFormat {
  /** "e", "f" or "g". */
  readonly style: "e" | "f" | "g";
  /** Digits after the point, or significant digits for "g" (0 counts as 1). 0 to 99. */
  readonly precision: number;
  /** C's "#": keep the point, and for "g" trailing zeros. */
  readonly alternate: boolean;
}

const LUA_NUMBER: NumberFormat = { style: "g", precision: 14, alternate: false };

/** `n` as Lua prints it: `%.14g`. */
export function numberToString(n: number): string {
  // Integers below 1e14 are printed whole by %.14g, and most numbers in scripts are.
  if (Number.isInteger(n) && n < 1e14 && n > -1e14) return n === 0 && 1 / n < 0 ? "-0" : String(n);
  return formatNumber(n, LUA_NUMBER);
}

/** `n` without padding; a leading "-" where C prints one. */
export function formatNumber(n: number, format: NumberFormat): string {
  const negative = n < 0 || (n === 0 && 1 / n < 0);
  const digits = magnitude(Math.abs(n), format);
  return negative ? `-${digits}` : digits;
}

function magnitude(x: number, { style, precision, alternate }: NumberFormat): string {
  // The sign of a NaN is lost in JavaScript; on x86 every NaN that arithmetic makes prints so.
  if (Number.isNaN(x)) return "-nan";
  if (x === Number.POSITIVE_INFINITY) return "inf";
  if (style === "f") return fixed(x, precision, alternate);
  if (style === "e") return exponential(x, precision, alternate);
  const significant = precision === 0 ? 1 : precision;
  // The exponent after rounding decides between the two forms.
  const scientific = roundedExponential(x, significant - 1);
  const at = scientific.indexOf("e");
  const exponent = Number(scientific.slice(at + 1));
  let text: string;
  if (exponent < -4 || exponent >= significant) text = scientific.slice(0, at);
  else text = fixed(x, significant - 1 - exponent, false);
  if (alternate) {
    if (!text.includes(".")) text += ".";
  } else if (text.includes(".")) text = stripZeros(text);
  return exponent < -4 || exponent >= significant ? text + exponentSuffix(exponent) : text;
}

function fixed(x: number, precision: number, alternate: boolean): string {
  let text: string;
  if (x >= 1e21) {
    text = BigInt(x).toString();
    if (precision > 0) text += `.${"0".repeat(precision)}`;
  } else {
    text = x.toFixed(precision);
    if (tieAtFraction(x, precision)) text = toEven(text);
  }
  return alternate && precision === 0 ? `${text}.` : text;
}

function exponential(x: number, precision: number, alternate: boolean): string {
  const text = roundedExponential(x, precision);
  const at = text.indexOf("e");
  const point = alternate && precision === 0 ? "." : "";
  return text.slice(0, at) + point + exponentSuffix(Number(text.slice(at + 1)));
}

/** JavaScript's toExponential with ties to even. */
function roundedExponential(x: number, precision: number): string {
  const text = x.toExponential(precision);
  const at = text.indexOf("e");
  const exponent = Number(text.slice(at + 1));
  const mantissa = text.slice(0, at);
  // An odd last digit after a tie was rounded up; no carry can have produced it.
  if ((mantissa.charCodeAt(mantissa.length - 1) & 1) === 1 && tieAtDecimal(x, precision - exponent))
    return toEven(mantissa) + text.slice(at);
  return text;
}

/** Whether `x` lies exactly between two numbers of `decimals` decimals (negative: tens, hundreds ...). */
function tieAtDecimal(x: number, decimals: number): boolean {
  if (decimals >= 0) return tieAtFraction(x, decimals);
  if (!Number.isInteger(x)) return false;
  const unit = 10n ** BigInt(-decimals);
  return BigInt(x) % unit === unit / 2n;
}

/** x * 10^decimals ends in exactly one half if and only if x * 2^(decimals + 1) is an odd integer. */
function tieAtFraction(x: number, decimals: number): boolean {
  return (x * 2 ** (decimals + 1)) % 2 === 1;
}

/** Rounds a digit string that was rounded up from a tie back to an even last digit. */
function toEven(digits: string): string {
  const last = digits.charCodeAt(digits.length - 1);
  return (last & 1) === 0 ? digits : digits.slice(0, -1) + String.fromCharCode(last - 1);
}

function stripZeros(text: string): string {
  let end = text.length;
  while (text.charCodeAt(end - 1) === 0x30) end--;
  if (text.charCodeAt(end - 1) === 0x2e) end--;
  return text.slice(0, end);
}

function exponentSuffix(exponent: number): string {
  const size = Math.abs(exponent);
  return `e${exponent < 0 ? "-" : "+"}${size < 10 ? "0" : ""}${size}`;
}

const DECIMAL = /^[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?$/;
const HEXADECIMAL = /^([+-]?)0[xX](?:([\da-fA-F]+)\.?([\da-fA-F]*)|\.([\da-fA-F]+))(?:[pP]([+-]?\d+))?$/;
const NAMED = /^([+-]?)(?:(inf|infinity)|nan(?:\([\w]*\))?)$/i;

/**
 * The number that `text` is as a whole, or undefined: what C's strtod takes,
 * white space around it allowed. `named` admits "inf" and "nan", as Lua 5.0
 * on a C99 library does.
 */
export function stringToNumber(text: string, named = true): number | undefined {
  const word = trim(text);
  if (DECIMAL.test(word)) return Number(word);
  const hex = HEXADECIMAL.exec(word);
  if (hex !== null) {
    const [, sign, whole = "", fraction = hex[4] ?? "", , power = "0"] = hex;
    const size = hexMantissa(whole + fraction, Number(power) - 4 * fraction.length);
    return sign === "-" ? -size : size;
  }
  const name = named ? NAMED.exec(word) : null;
  if (name === null) return undefined;
  const value = name[2] === undefined ? Number.NaN : Number.POSITIVE_INFINITY;
  return name[1] === "-" ? -value : value;
}

/** C's white space, ended by a NUL as C strings are. */
function trim(text: string): string {
  const nul = text.indexOf("\0");
  let start = 0;
  let end = nul < 0 ? text.length : nul;
  while (start < end && isSpace(text.charCodeAt(start))) start++;
  while (end > start && isSpace(text.charCodeAt(end - 1))) end--;
  return text.slice(start, end);
}

export function isSpace(c: number): boolean {
  return c === 0x20 || (c >= 9 && c <= 13);
}

/** digits * 2^power, rounded once. */
function hexMantissa(digits: string, power: number): number {
  const significant = digits.replace(/^0+/, "");
  // 14 digits hold 53 bits; one more for rounding, and a last one for whatever follows.
  if (significant.length <= 13) return scale(Number.parseInt(significant || "0", 16), power);
  const sticky = /[^0]/.test(significant.slice(15)) ? "1" : "0";
  const kept = significant.slice(0, 15) + sticky;
  return scale(Number(BigInt(`0x${kept}`)), power + 4 * (significant.length - kept.length));
}

/** x * 2^power without overflowing or vanishing on the way. */
function scale(x: number, power: number): number {
  let value = x;
  let left = Math.max(-2200, Math.min(2200, power));
  while (left > 1000) {
    value *= 2 ** 1000;
    left -= 1000;
  }
  while (left < -1000) {
    value *= 2 ** -1000;
    left += 1000;
  }
  return value * 2 ** left;
}
