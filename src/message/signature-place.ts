/**
 * Where a signature goes in a decoded body text: at its end (in HTML before
 * the tag that closes it), or above the text it quotes. Works on bytes of any
 * charset that has ASCII in it, in one pass. How mail programs mark what they
 * quote is custom, not standard: without a mark that is known, it is the end.
 */
import { HtmlQuote } from "./html-quote.ts";
import { type Line, type LineReader, LineScanner } from "./lines.ts";

export type SignaturePosition = "end" | "above_quote";

export interface Place {
  /** In the decoded text. */
  readonly offset: number;
  /** The last bytes before it, a byte string. */
  readonly before: string;
  readonly atEnd: boolean;
}

export interface PlaceFinder {
  push(piece: Buffer): void;
  /** When all of the text has been seen. */
  place(): Place;
}

export function placeFinder(html: boolean, position: SignaturePosition): PlaceFinder {
  if (html) return new HtmlPlace(position);
  return position === "end" ? new EndPlace() : new AboveQuote();
}

/** What is kept of the text before a place: "\n-- \r\n" has to fit. */
const BEFORE = 8;

class EndPlace implements PlaceFinder {
  #length = 0;
  #before = "";

  push(piece: Buffer): void {
    this.#length += piece.length;
    this.#before = (this.#before + piece.toString("latin1", Math.max(0, piece.length - BEFORE))).slice(
      -BEFORE,
    );
  }

  place(): Place {
    return { offset: this.#length, before: this.#before, atEnd: true };
  }
}

const CLOSING = /<\/(body|html)(?=[\s/>])/gi;
/** What a piece may end in of a closing tag. */
const CUT = 7;

class HtmlPlace implements PlaceFinder {
  readonly #end = new EndPlace();
  readonly #quote: HtmlQuote | undefined;
  /** Bytes before what is looked at; its beginning is the end of the piece before, and one byte more. */
  #offset = 0;
  #tail = "";
  #body: Place | undefined;
  #html: Place | undefined;

  constructor(position: SignaturePosition) {
    this.#quote = position === "end" ? undefined : new HtmlQuote();
  }

  push(piece: Buffer): void {
    this.#end.push(piece);
    this.#quote?.push(piece);
    const text = this.#tail + piece.toString("latin1");
    for (const { index, 1: name } of text.matchAll(CLOSING)) {
      if (index === 0 && this.#offset > 0) continue; // Seen with the piece before.
      const before = text.slice(Math.max(0, index - 1), index);
      const place = { offset: this.#offset + index, before, atEnd: false };
      if (name?.toLowerCase() === "body") this.#body = place;
      else this.#html = place;
    }
    this.#tail = text.slice(-CUT - 1);
    this.#offset += text.length - this.#tail.length;
  }

  place(): Place {
    const quote = this.#quote?.finish();
    if (quote !== undefined) return { ...quote, atEnd: false };
    return this.#body ?? this.#html ?? this.#end.place();
  }
}

const MARK = 0x3e;
/** "-----Original Message-----", whatever the language, or the rule that some programs draw instead. */
const SEPARATOR = /^\s*(-{4,}(?! ?BEGIN)[^-].*[^-]-{4,}|_{20,})\s*$/;
const HEADER_LINE = /^\s*\**[^\s:*][^:]{0,30}:\**\s/;
/** Lines that introduce a quotation tell when or by whom it was written. */
const INTRODUCES = /[\d@]/;
const MAX_INTRODUCTION = 3;
const LOOKED_AT = 300;

/** A quotation counts when nothing but quoted text follows it: in an answer between the lines there is no "above". */
class AboveQuote implements PlaceFinder, LineReader {
  wants: "all" | "none" = "all";
  readonly #scanner = new LineScanner(this, ">");
  readonly #end = new EndPlace();
  #quote: Place | undefined;
  /** A separator line whose next line has to tell whether it is one. */
  #separator: Place | undefined;
  /** The lines of the paragraph before, no more than may introduce a quotation. */
  #paragraph: { readonly place: Place; readonly text: string }[] = [];
  #blanks = 0;
  #before = "";

  push(piece: Buffer): void {
    this.#end.push(piece);
    this.#scanner.push(piece);
  }

  place(): Place {
    this.#scanner.finish();
    return this.#quote ?? this.#end.place();
  }

  line({ bytes, start, end, offset }: Line): void {
    const place = { offset, before: this.#before, atEnd: false };
    this.#before = bytes.toString("latin1", Math.max(start, end - BEFORE), end);
    const text = bytes.toString("latin1", start, Math.min(end, start + LOOKED_AT)).trimEnd();
    if (bytes[start] === MARK) {
      this.#quote ??= this.#introduction() ?? place;
      this.#separator = undefined;
    } else if (text === "") {
      this.#blanks++;
    } else {
      this.#other(text, place);
    }
  }

  #other(text: string, place: Place): void {
    if (this.#separator !== undefined && HEADER_LINE.test(`${text} `)) {
      this.#quote = this.#separator;
      this.wants = "none";
      return;
    }
    this.#separator = SEPARATOR.test(text) ? place : undefined;
    this.#quote = undefined;
    if (this.#blanks > 0) this.#paragraph = [];
    this.#blanks = 0;
    this.#paragraph.push({ place, text });
    if (this.#paragraph.length > MAX_INTRODUCTION) this.#paragraph.shift();
  }

  /** Where the lines begin that introduce the quotation that begins now. */
  #introduction(): Place | undefined {
    if (this.#blanks > 1 || this.#paragraph.at(-1)?.text.endsWith(":") !== true) return undefined;
    return this.#paragraph.find(({ text }) => INTRODUCES.test(text))?.place;
  }
}
