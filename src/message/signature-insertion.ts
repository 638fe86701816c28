/**
 * A signature as it goes into a text: with the line ends of the text, on lines
 * of its own, by the rules of flowed text where they hold, in the charset of
 * the text where that has its characters. No delimiter is put in front of it:
 * a script that wants "-- " returns it.
 */
import { isAscii } from "node:buffer";
import { toBytes } from "../bytes.ts";
import type { Charset } from "./charset.ts";
import type { TextPart } from "./text-part.ts";
import type { TextSurvey } from "./text-survey.ts";

export interface Insertion {
  readonly text: string;
  /** In the charset of the text it goes into; undefined when it does not have all characters. */
  readonly bytes: Buffer | undefined;
}

/** `signature` has LF line ends. */
export function plainInsertion(text: TextPart, seen: TextSurvey, signature: string): Insertion {
  const { lineEnd, place } = seen;
  const { before } = place;
  let lines = signature.replace(/\n$/, "").split("\n");
  let lead = before === "" || before.endsWith("\n") ? "" : lineEnd;
  if (text.flowed) {
    lines = lines.map(fixedLine);
    // A line that goes on would take the first line of the signature with it.
    if (goesOn(before)) lead += lineEnd;
  }
  const inserted = lead + lines.join(lineEnd) + tail(text, seen, lineEnd);
  return { text: inserted, bytes: text.charset.encode(inserted) };
}

/** `signature` is a piece of HTML with LF line ends. Characters that the text cannot hold become references. */
export function htmlInsertion(text: TextPart, seen: TextSurvey, signature: string): Insertion {
  const { lineEnd, place, eightBit } = seen;
  const lead = place.before === "" || place.before.endsWith("\n") ? "" : lineEnd;
  const lines = signature.replace(/\n$/, "").replaceAll("\n", lineEnd);
  const inserted = lead + lines + tail(text, seen, "");
  // Text of ASCII alone stays that: it need not be encoded then.
  const asciiOnly = text.encoding === "" && !text.eightBit && !eightBit;
  const bytes = asciiOnly ? toBytes(referenced(inserted, () => false)) : encodeHtml(inserted, text.charset);
  return { text: inserted, bytes };
}

/** What follows: the text ends in a line end if it did so before. `between` parts it from text that follows. */
function tail(text: TextPart, { place, lineEnd }: TextSurvey, between: string): string {
  if (!place.atEnd) return lineEnd + between;
  const endsLine = place.before === "" ? text.part.parent < 0 : place.before.endsWith("\n");
  return endsLine ? lineEnd : "";
}

/** RFC 3676 sections 4.2 to 4.4: no space at the end, and one in front of what would mean something else. */
function fixedLine(line: string): string {
  const fixed = line === "-- " ? line : line.replace(/ +$/, "");
  return /^(?: |>|From )/.test(fixed) ? ` ${fixed}` : fixed;
}

function goesOn(before: string): boolean {
  const line = before.replace(/\r?\n$/, "");
  return line.endsWith(" ") && !/(?:^|\n)-- $/.test(line);
}

function encodeHtml(html: string, charset: Charset): Buffer | undefined {
  const known = new Map<string, boolean>();
  const has = (character: string): boolean => {
    let fits = known.get(character);
    if (fits === undefined) {
      fits = charset.encode(character) !== undefined;
      known.set(character, fits);
    }
    return fits;
  };
  return charset.encode(html) ?? charset.encode(referenced(html, has));
}

function referenced(html: string, has: (character: string) => boolean): string {
  if (isAscii(Buffer.from(html))) return html;
  return html.replace(/[^\x00-\x7f]/gu, (character) =>
    has(character) ? character : `&#${character.codePointAt(0)};`,
  );
}
