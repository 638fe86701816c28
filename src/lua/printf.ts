/**
 * C's printf for one item at a time, as far as Lua's string.format uses it:
 * flags, width, precision; %c %d %i %o %u %x %X %e %E %f %g %G %s %q.
 * A format is parsed once; a mistake in it becomes an item that raises when
 * its turn comes, as 5.0 does. Text is byte strings. Nothing here throws.
 */
import { formatNumber } from "./numbers.ts";

export interface Directive {
  /** "" for literal bytes, "!" for a mistake, else the conversion letter. */
  readonly conversion: string;
  /** The literal bytes, or the message of the mistake. */
  readonly text: string;
  readonly left: boolean;
  readonly plus: boolean;
  readonly space: boolean;
  readonly alternate: boolean;
  readonly zero: boolean;
  readonly width: number;
  /** -1 when absent. */
  readonly precision: number;
}

const CONVERSIONS = "cdiouxXeEfgGqs";
/** 5.0's room for one item, "%" and letter included. */
const MAX_ITEM = 20;
const FLAGS = "-+ #0";

const PLAIN = {
  left: false,
  plus: false,
  space: false,
  alternate: false,
  zero: false,
  width: 0,
  precision: -1,
};

/** Splits `format` into literal text and items. */
export function parseFormat(format: string): Directive[] {
  const out: Directive[] = [];
  let literal = "";
  let i = 0;
  while (i < format.length) {
    const at = format.indexOf("%", i);
    if (at < 0) {
      literal += format.slice(i);
      break;
    }
    literal += format.slice(i, at);
    i = at + 1;
    if (format[i] === "%") {
      literal += "%";
      i++;
      continue;
    }
    if (literal !== "") out.push({ ...PLAIN, conversion: "", text: literal });
    literal = "";
    const item = parseItem(format, i);
    out.push(item.directive);
    if (item.directive.conversion === "!") return out;
    i = item.next;
  }
  if (literal !== "") out.push({ ...PLAIN, conversion: "", text: literal });
  return out;
}

function isDigit(c: string | undefined): boolean {
  return c !== undefined && c >= "0" && c <= "9";
}

function parseItem(format: string, start: number): { directive: Directive; next: number } {
  const mistake = (text: string) => ({ directive: { ...PLAIN, conversion: "!", text }, next: 0 });
  if (isDigit(format[start]) && format[start + 1] === "$") return mistake("obsolete option (d$) to `format'");
  let i = start;
  while (i < format.length && FLAGS.includes(format[i]!)) i++;
  const flags = format.slice(start, i);
  const widthAt = i;
  while (i - widthAt < 2 && isDigit(format[i])) i++;
  const width = Number(format.slice(widthAt, i));
  let precision = -1;
  if (format[i] === ".") {
    const precisionAt = ++i;
    while (i - precisionAt < 2 && isDigit(format[i])) i++;
    precision = Number(format.slice(precisionAt, i));
  }
  if (isDigit(format[i])) return mistake("invalid format (width or precision too long)");
  if (i - start + 2 > MAX_ITEM) return mistake("invalid format (too long)");
  const conversion = format[i] ?? "";
  if (conversion === "" || !CONVERSIONS.includes(conversion)) return mistake("invalid option to `format'");
  const directive = {
    conversion,
    text: "",
    left: flags.includes("-"),
    plus: flags.includes("+"),
    space: flags.includes(" "),
    alternate: flags.includes("#"),
    zero: flags.includes("0"),
    width,
    precision,
  };
  return { directive, next: i + 1 };
}

/** Any conversion that takes a number. */
export function formatNumeric(n: number, directive: Directive): string {
  switch (directive.conversion) {
    case "c":
      return formatText(String.fromCharCode(n & 0xff), { ...directive, precision: -1 });
    case "d":
    case "i":
      return formatSigned(n, directive);
    case "o":
    case "u":
    case "x":
    case "X":
      return formatUnsigned(n, directive);
    default:
      return formatFloat(n, directive);
  }
}

/** %s and %c: `text` cut to the precision and padded with spaces. */
export function formatText(text: string, { width, precision, left }: Directive): string {
  const cut = precision >= 0 && precision < text.length ? text.slice(0, precision) : text;
  return pad("", cut, width, left, false);
}

/** %d and %i; the fraction is cut off. Whole numbers of any size keep all their digits. */
function formatSigned(n: number, directive: Directive): string {
  if (!Number.isFinite(n)) return formatFloat(n, { ...directive, conversion: "f" });
  const whole = Math.trunc(n);
  const sign = whole < 0 ? "-" : directive.plus ? "+" : directive.space ? " " : "";
  return integer(sign, integerDigits(Math.abs(whole), 10), directive);
}

/**
 * %o %u %x %X. A negative number gives the 32 bits that 5.0's unsigned int
 * has (64 when it does not fit); larger ones keep all their digits.
 */
function formatUnsigned(n: number, directive: Directive): string {
  if (!Number.isFinite(n)) return formatFloat(n, { ...directive, conversion: "f" });
  const { conversion, alternate, precision } = directive;
  let whole = Math.trunc(n);
  const radix = conversion === "o" ? 8 : conversion === "u" ? 10 : 16;
  let digits: string;
  if (whole < -(2 ** 31)) digits = BigInt.asUintN(64, BigInt(whole)).toString(radix);
  else {
    if (whole < 0) whole += 2 ** 32;
    digits = integerDigits(whole, radix);
  }
  if (conversion === "X") digits = digits.toUpperCase();
  let prefix = "";
  if (alternate && conversion === "o" && digits[0] !== "0" && precision <= digits.length)
    digits = `0${digits}`;
  if (alternate && radix === 16 && whole !== 0) prefix = `0${conversion}`;
  if (alternate && conversion === "o" && whole === 0 && precision === 0)
    return pad("", "0", directive.width, directive.left, false);
  return integer(prefix, digits, directive);
}

function integerDigits(n: number, radix: number): string {
  return n < 1e21 ? n.toString(radix) : BigInt(n).toString(radix);
}

function integer(sign: string, digits: string, { width, precision, left, zero }: Directive): string {
  let body = digits;
  if (precision === 0 && digits === "0") body = "";
  else if (precision > digits.length) body = digits.padStart(precision, "0");
  return pad(sign, body, width, left, zero && precision < 0);
}

/** %e %E %f %g %G. */
function formatFloat(n: number, directive: Directive): string {
  const { conversion, alternate, precision } = directive;
  const style = conversion.toLowerCase() as "e" | "f" | "g";
  let body = formatNumber(n, { style, precision: precision < 0 ? 6 : precision, alternate });
  let sign = directive.plus ? "+" : directive.space ? " " : "";
  if (body[0] === "-") {
    sign = "-";
    body = body.slice(1);
  }
  if (conversion < "a") body = body.toUpperCase();
  return pad(sign, body, directive.width, directive.left, directive.zero && Number.isFinite(n));
}

function pad(sign: string, body: string, width: number, left: boolean, zero: boolean): string {
  const missing = width - sign.length - body.length;
  if (missing <= 0) return sign + body;
  if (left) return sign + body + " ".repeat(missing);
  return zero ? sign + "0".repeat(missing) + body : " ".repeat(missing) + sign + body;
}

/** %q: `text` as a Lua string that reads back as itself. 5.0 leaves a carriage return as it is; "5.2" escapes it. */
export function quote(text: string, escapeReturn: boolean): string {
  const escaped = text.replace(/["\\\n\r\0]/g, (c) => {
    if (c === "\0") return "\\000";
    if (c === "\r") return escapeReturn ? "\\r" : c;
    return `\\${c}`;
  });
  return `"${escaped}"`;
}
