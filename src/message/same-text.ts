/**
 * Whether a text carries another one already: line breaks, spacing, quote
 * marks and, in HTML, tags aside, since mail programs change all of these when
 * they quote. It counts only where it begins a line and ends one.
 */
import { HtmlText } from "./html-text.ts";
import type { Steps } from "./steps.ts";

/** Shorter words are in too many texts to tell anything. */
const MIN_WORD = 3;

export class SameText {
  readonly #html: boolean;
  /** One line, words one space apart; "" when there is nothing to compare. */
  readonly #wanted: string;
  /** Stands in every text that carries it, as it is; "" for none. */
  readonly #word: string;

  constructor(wanted: string, html: boolean) {
    this.#html = html;
    this.#wanted = collapse([...plain([wanted], html)].join(""))
      .replaceAll("\n", " ")
      .trim();
    this.#word = telltale(wanted, html);
  }

  /** There is something to compare. */
  get comparable(): boolean {
    return this.#wanted !== "";
  }

  /** Reads all of `pieces`, a text cut anywhere. False means that it is not there, true that carried() has to look. */
  *maybeCarried(pieces: Iterable<string>): Steps<boolean> {
    let found = this.#word === "";
    let tail = "";
    for (const piece of pieces) {
      yield;
      if (found) continue;
      const text = tail + piece;
      found = text.includes(this.#word);
      tail = text.slice(1 - this.#word.length);
    }
    return found;
  }

  *carried(pieces: Iterable<string>): Steps<boolean> {
    // Line ends on both sides stand for the beginning and the end of the text.
    let text = "\n";
    for (const piece of plain(pieces, this.#html)) {
      yield;
      text = collapse(text + piece);
      if (this.#in(text)) return true;
      text = text.slice(-this.#wanted.length - 2);
    }
    return this.#in(collapse(`${text}\n`));
  }

  #in(text: string): boolean {
    const line = text.replaceAll("\n", " ");
    const { length } = this.#wanted;
    for (let at = line.indexOf(this.#wanted); at >= 0; at = line.indexOf(this.#wanted, at + 1)) {
      if (text[at - 1] === "\n" && text[at + length] === "\n") return true;
    }
    return false;
  }
}

/** A space or a line end for every run of white space. */
function collapse(text: string): string {
  return text.replace(/\s+/g, (space) => (space.includes("\n") ? "\n" : " "));
}

function* plain(pieces: Iterable<string>, html: boolean): Generator<string> {
  if (html) {
    const reader = new HtmlText();
    for (const piece of pieces) yield reader.push(piece);
    yield reader.finish();
    return;
  }
  // A quote mark is one only at the start of a line.
  let carry: string[] = [];
  for (const piece of pieces) {
    const lines = piece.lastIndexOf("\n") + 1;
    if (lines === 0) {
      carry.push(piece);
      continue;
    }
    yield withoutMarks(carry.join("") + piece.slice(0, lines));
    carry = [piece.slice(lines)];
  }
  yield withoutMarks(carry.join(""));
}

function withoutMarks(lines: string): string {
  return lines.replace(/(^|\n)[>\s]+/g, "$1");
}

/** The longest word that no quoting takes apart. */
function telltale(wanted: string, html: boolean): string {
  // In HTML a letter beyond ASCII has more than one form, and tags part words.
  const words = html
    ? wanted.replace(/<[^>]*>|&[^;\s]*;?/g, " ").match(/[A-Za-z0-9]+/g)
    : wanted.match(/[\p{L}\p{N}]+/gu);
  const longest = (words ?? []).reduce((best, word) => (word.length > best.length ? word : best), "");
  return longest.length < MIN_WORD ? "" : longest;
}
