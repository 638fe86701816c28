/**
 * The calendar half of C's time.h in the C locale: strftime, and mktime's
 * normalising. Times are seconds since 1970, local time is the process's (TZ).
 * JavaScript's Date knows the rules past 2038 but neither zone names nor
 * whether summer time is on; both are worked out here.
 * Nothing throws; a time no calendar can hold is undefined.
 */

export interface BrokenDownTime {
  readonly year: number;
  /** 1 to 12. */
  readonly month: number;
  readonly day: number;
  readonly hour: number;
  readonly minute: number;
  readonly second: number;
  /** 0 is Sunday. */
  readonly weekday: number;
  /** 0 is the first of January. */
  readonly yearday: number;
  readonly summer: boolean;
  /** East of Greenwich, in minutes. */
  readonly offset: number;
  readonly utc: boolean;
  /** Seconds since 1970. */
  readonly time: number;
}

const DAYS = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const MONTHS = [
  "January",
  "February",
  "March",
  "April",
  "May",
  "June",
  "July",
  "August",
  "September",
  "October",
  "November",
  "December",
];
const DAY_MS = 86_400_000;

export function breakDown(time: number, utc: boolean): BrokenDownTime | undefined {
  const date = new Date(time * 1000);
  if (Number.isNaN(date.getTime())) return undefined;
  const offset = utc ? 0 : -date.getTimezoneOffset();
  const shown = new Date(date.getTime() + offset * 60_000);
  const year = shown.getUTCFullYear();
  const summer = !utc && isSummer(date);
  return {
    year,
    month: shown.getUTCMonth() + 1,
    day: shown.getUTCDate(),
    hour: shown.getUTCHours(),
    minute: shown.getUTCMinutes(),
    second: shown.getUTCSeconds(),
    weekday: shown.getUTCDay(),
    yearday: Math.floor((shown.getTime() - utcOf(year, 0, 1)) / DAY_MS),
    summer,
    offset,
    utc,
    time: Math.floor(time),
  };
}

/** Date.UTC without its rule that the years 0 to 99 are 1900 to 1999. */
function utcOf(year: number, month: number, day: number, hour = 0, minute = 0, second = 0): number {
  const date = new Date(0);
  date.setUTCFullYear(year, month, day);
  return date.setUTCHours(hour, minute, second);
}

/** The standard and the summer offset of a year, in minutes; equal where clocks are not changed. */
function offsetsOf(year: number): { standard: number; summer: number } {
  const january = -new Date(utcOf(year, 0, 1, 12)).getTimezoneOffset();
  const july = -new Date(utcOf(year, 6, 1, 12)).getTimezoneOffset();
  return { standard: Math.min(january, july), summer: Math.max(january, july) };
}

function isSummer(date: Date): boolean {
  return -date.getTimezoneOffset() > offsetsOf(date.getFullYear()).standard;
}

/** Where people call zones by a name of their own, one of these locales knows it. */
const NAMING_LOCALES = ["en-US", "en-GB", "en-AU", "en-IN", "ja-JP"];

/** By time zone and locale; making them takes long. */
const formatters = new Map<string, Intl.DateTimeFormat>();

function formatterFor(locale: string): Intl.DateTimeFormat {
  const key = `${process.env.TZ} ${locale}`;
  let formatter = formatters.get(key);
  if (formatter === undefined) {
    formatter = new Intl.DateTimeFormat(locale, { timeZoneName: "short" });
    formatters.set(key, formatter);
  }
  return formatter;
}

/** "CET", "EST"; a number such as "+03" where there is no name. */
function zoneName({ time: seconds, offset, utc }: BrokenDownTime): string {
  if (utc) return "GMT";
  const time = new Date(seconds * 1000);
  // Names before 1970 are not to be had; the same offset in 2000 mostly has the same name.
  const seasons = [new Date(2000, 0, 1), new Date(2000, 6, 1)];
  const sameOffset = (date: Date) => -date.getTimezoneOffset() === offset;
  const date = time.getTime() >= 0 ? time : (seasons.find(sameOffset) ?? time);
  for (const locale of NAMING_LOCALES) {
    const parts = formatterFor(locale).formatToParts(date);
    const name = parts.find((part) => part.type === "timeZoneName")?.value ?? "";
    if (/^[A-Z]{3,5}$/.test(name)) return name;
  }
  return numericZone(offset).replace(/00$/, "");
}

function numericZone(offset: number): string {
  const size = Math.abs(offset);
  const digits = Math.floor(size / 60) * 100 + (Math.floor(size) % 60);
  return (offset < 0 ? "-" : "+") + String(digits).padStart(4, "0");
}

export interface DateFields {
  year: number;
  /** 1 to 12; like all fields it may lie outside and is carried over. */
  month: number;
  day: number;
  hour: number;
  minute: number;
  second: number;
}

/**
 * mktime: local fields to seconds. `summer` says how the fields are meant:
 * true or false as C's tm_isdst 1 and 0, undefined lets the zone decide.
 */
export function localTime(fields: DateFields, summer: boolean | undefined): number | undefined {
  const { year, month, day, hour, minute, second } = fields;
  const date = new Date(2000, 0, 1);
  date.setFullYear(year, month - 1, day);
  date.setHours(hour, minute, second, 0);
  let ms = date.getTime();
  if (Number.isNaN(ms)) return undefined;
  if (summer !== undefined && isSummer(date) !== summer) {
    const offsets = offsetsOf(date.getFullYear());
    // Where clocks are never changed, glibc takes summer time to be an hour.
    const ahead = offsets.summer === offsets.standard ? offsets.standard + 60 : offsets.summer;
    const meant = summer ? ahead : offsets.standard;
    ms = utcOf(year, month - 1, day, hour, minute, second) - meant * 60_000;
  }
  return Math.floor(ms / 1000);
}

/** A number and how glibc pads it. */
interface Padded {
  readonly value: number;
  readonly width: number;
  readonly pad: "0" | " ";
}

const two = (value: number): Padded => ({ value, width: 2, pad: "0" });
const spaced = (value: number): Padded => ({ value, width: 2, pad: " " });

/** The ISO 8601 week and the year it belongs to. */
function isoWeek(t: BrokenDownTime): { year: number; week: number } {
  const thursday = t.yearday - ((t.weekday + 6) % 7) + 3;
  const yearDays = (year: number) => Math.round((utcOf(year + 1, 0, 1) - utcOf(year, 0, 1)) / DAY_MS);
  let year = t.year;
  let day = thursday;
  if (day < 0) day += yearDays(--year);
  else if (day >= yearDays(year)) day -= yearDays(year++);
  return { year, week: Math.floor(day / 7) + 1 };
}

/** What one letter stands for; undefined for a letter that strftime does not know. */
function field(letter: string, t: BrokenDownTime): string | Padded | undefined {
  const hour12 = t.hour % 12 === 0 ? 12 : t.hour % 12;
  switch (letter) {
    case "a":
      return DAYS[t.weekday]!.slice(0, 3);
    case "A":
      return DAYS[t.weekday]!;
    case "b":
    case "h":
      return MONTHS[t.month - 1]!.slice(0, 3);
    case "B":
      return MONTHS[t.month - 1]!;
    case "c":
      return formatTime("%a %b %e %H:%M:%S %Y", t);
    case "C":
      return two(Math.floor(t.year / 100));
    case "d":
      return two(t.day);
    case "D":
    case "x":
      return formatTime("%m/%d/%y", t);
    case "e":
      return spaced(t.day);
    case "F":
      return formatTime("%Y-%m-%d", t);
    case "g":
      return two(((isoWeek(t).year % 100) + 100) % 100);
    case "G":
      return { value: isoWeek(t).year, width: 0, pad: "0" };
    case "H":
      return two(t.hour);
    case "I":
      return two(hour12);
    case "j":
      return { value: t.yearday + 1, width: 3, pad: "0" };
    case "k":
      return spaced(t.hour);
    case "l":
      return spaced(hour12);
    case "m":
      return two(t.month);
    case "M":
      return two(t.minute);
    case "n":
      return "\n";
    case "p":
      return t.hour < 12 ? "AM" : "PM";
    case "P":
      return t.hour < 12 ? "am" : "pm";
    case "r":
      return formatTime("%I:%M:%S %p", t);
    case "R":
      return formatTime("%H:%M", t);
    case "s":
      return { value: t.time, width: 0, pad: "0" };
    case "S":
      return two(t.second);
    case "t":
      return "\t";
    case "T":
    case "X":
      return formatTime("%H:%M:%S", t);
    case "u":
      return { value: t.weekday === 0 ? 7 : t.weekday, width: 1, pad: "0" };
    case "U":
      return two(Math.floor((t.yearday + 7 - t.weekday) / 7));
    case "V":
      return two(isoWeek(t).week);
    case "w":
      return { value: t.weekday, width: 1, pad: "0" };
    case "W":
      return two(Math.floor((t.yearday + 7 - ((t.weekday + 6) % 7)) / 7));
    case "y":
      return two(((t.year % 100) + 100) % 100);
    case "Y":
      return { value: t.year, width: 0, pad: "0" };
    case "z":
      return numericZone(t.offset);
    case "Z":
      return zoneName(t);
    case "%":
      return "%";
    default:
      return undefined;
  }
}

/** %, glibc's flags, a width, the modifiers E and O (which change nothing in the C locale), a letter. */
const ITEM = /%([-_0^#]*)(\d*)([EO]?)([\s\S]?)/g;
/** No date needs more, and a width must not be a way to make memory. */
const MAX_WIDTH = 255;

/** strftime; what glibc does not know it prints as it stands. */
export function formatTime(format: string, t: BrokenDownTime): string {
  return format.replace(ITEM, (item, flags: string, width: string, _modifier, letter: string) => {
    const value = field(letter, t);
    if (value === undefined) return item;
    const least = Math.min(Number(width), MAX_WIDTH);
    if (typeof value === "string") return formatName(value, letter, flags, least);
    return formatPadded(value, flags, least);
  });
}

function formatName(value: string, letter: string, flags: string, width: number): string {
  let text = value;
  if (flags.includes("^")) text = text.toUpperCase();
  // "#" turns the case of the few names that come in capitals, and raises all others.
  else if (flags.includes("#"))
    text = letter === "p" || letter === "Z" ? text.toLowerCase() : text.toUpperCase();
  return text.padStart(width, flags.includes("0") ? "0" : " ");
}

function formatPadded({ value, width, pad }: Padded, flags: string, least: number): string {
  const digits = String(Math.abs(value));
  const sign = value < 0 ? "-" : "";
  const flag = [...flags].filter((c) => "-_0".includes(c)).pop();
  if (flag === "-") return sign + digits;
  const fill = flag === "_" ? " " : flag === "0" ? "0" : pad;
  const room = Math.max(width, least);
  if (fill === " ") return (sign + digits).padStart(room);
  return sign + digits.padStart(room - sign.length, "0");
}
