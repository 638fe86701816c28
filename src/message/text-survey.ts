/** What has to be known of a text before something is put into it, in one pass over its decoded bytes. */
import { isAscii } from "node:buffer";
import { type Place, placeFinder, type SignaturePosition } from "./signature-place.ts";
import type { Steps } from "./steps.ts";
import type { TextPart } from "./text-part.ts";

export interface TextSurvey {
  readonly place: Place;
  /** It has bytes beyond ASCII. */
  readonly eightBit: boolean;
  /** As its first line ends. */
  readonly lineEnd: "\r\n" | "\n";
  /** It is signed or encrypted in the text itself (RFC 4880 section 6.2). */
  readonly armoured: boolean;
}

const ARMOUR = ["-----BEGIN PGP MESSAGE-----", "-----BEGIN PGP SIGNED MESSAGE-----"];
const LONGEST = 40;

export function* survey(text: TextPart, position: SignaturePosition): Steps<TextSurvey> {
  const finder = placeFinder(text.html, position);
  // Quoted armour, behind a quote mark, is nobody's signature. In HTML marks are tags.
  const armour = text.html ? ARMOUR : ARMOUR.map((line) => `\n${line}`);
  let eightBit = false;
  let armoured = false;
  let lineEnd: TextSurvey["lineEnd"] | undefined;
  let tail = "\n";
  for (const piece of text.bytes()) {
    finder.push(piece);
    eightBit ||= !isAscii(piece);
    const seam = tail + piece.toString("latin1", 0, LONGEST);
    armoured ||= armour.some((line) => piece.includes(line, 0, "latin1") || seam.includes(line));
    if (lineEnd === undefined) {
      const end = piece.indexOf(0x0a);
      const before = end > 0 ? piece[end - 1] : tail.charCodeAt(tail.length - 1);
      if (end >= 0) lineEnd = before === 0x0d ? "\r\n" : "\n";
    }
    tail = (tail + piece.toString("latin1", Math.max(0, piece.length - LONGEST))).slice(-LONGEST);
    yield;
  }
  return { place: finder.place(), eightBit, lineEnd: lineEnd ?? "\r\n", armoured };
}
