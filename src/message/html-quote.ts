/**
 * Where the text begins that an HTML reply quotes. Mail programs mark it with
 * elements of their own; it counts when nothing but such elements follows, so
 * not in an answer below or between what is quoted. Reads the bytes of any
 * charset that has ASCII in it, in pieces cut anywhere, in linear time.
 */

export interface Quote {
  /** Of its first tag. */
  readonly offset: number;
  /** The byte before that, "" at the very beginning. */
  readonly before: string;
}

/** The attributes of elements that hold quoted text, or the line that introduces it. */
const HOLDS =
  /\btype\s*=\s*["']?cite\b|\bcite\s*=|gmail_quote|moz-cite-prefix|yahoo_quoted|protonmail_quote/i;
/** Outlook marks only where it begins: all that follows is quoted. */
const BEGINS = /divRplyFwdMsg|appendonsend|OutlookMessageHeader|border:\s*none;\s*border-top:\s*solid/i;
const TAG = /^<(\/?)([a-z][a-z0-9]*)([^<>]*)/i;
/** White space of every kind: entities, and U+00A0 and U+200B in Latin-1 and UTF-8. */
const SPACE = /(?:\s|&(?:nbsp|zwnj|#160|#xa0|#8203);|\xc2?\xa0|\xe2\x80\x8b)+/gi;
/** Of a tag no more is looked at; an entity or the end of a comment may be cut apart by pieces. */
const MAX_TAG = 1000;
const MAX_CUT = 10;

export class HtmlQuote {
  #quote: Quote | undefined;
  /** Everything from the quote on is quoted. */
  #toTheEnd = false;
  /** The element with quoted text, and how many of its name are open. */
  #inside = "";
  #depth = 0;
  #hidden = "";
  #inTag = false;
  #inComment = false;
  #offset = 0;
  #carry = "";
  #previous = "";

  push(piece: Buffer): void {
    if (!this.#toTheEnd) this.#read(this.#carry + piece.toString("latin1"), false);
  }

  /** When all of the text has been seen; undefined when nothing is quoted. */
  finish(): Quote | undefined {
    if (!this.#toTheEnd) this.#read(this.#carry, true);
    return this.#quote;
  }

  #read(html: string, last: boolean): void {
    let at = 0;
    while (at < html.length && !this.#toTheEnd) {
      const next = this.#step(html, at, last);
      if (next < 0) break;
      at = next;
    }
    this.#carry = html.slice(at);
    this.#offset += at;
    if (at > 0) this.#previous = html[at - 1]!;
  }

  /** Reads one thing. @returns where the next begins, -1 when more has to be known */
  #step(html: string, at: number, last: boolean): number {
    if (this.#inComment || this.#inTag) {
      const end = this.#inComment ? "-->" : ">";
      const found = html.indexOf(end, at);
      if (found < 0) {
        const seen = last ? html.length : html.length - end.length + 1;
        return seen > at ? seen : -1;
      }
      this.#inComment = false;
      this.#inTag = false;
      return found + end.length;
    }
    if (html[at] !== "<") {
      const open = html.indexOf("<", at);
      let end = open < 0 ? html.length : open;
      if (open < 0 && !last) end = beforeEntity(html, at);
      if (end === at) return -1;
      this.#text(html, at, end);
      return end;
    }
    if (!last && html.length - at < MAX_TAG && !html.includes(">", at)) return -1;
    if (html.startsWith("<!--", at)) {
      this.#inComment = true;
      return at + 4;
    }
    const tag = TAG.exec(html.slice(at, at + MAX_TAG));
    if (tag === null) return at + 1;
    this.#tag(tag, { offset: this.#offset + at, before: at > 0 ? html[at - 1]! : this.#previous });
    this.#inTag = true;
    return at + tag[0].length;
  }

  #text(html: string, from: number, to: number): void {
    if (this.#quote === undefined || this.#inside !== "" || this.#hidden !== "") return;
    if (html.slice(from, to).replace(SPACE, "") !== "") this.#quote = undefined;
  }

  #tag([, slash, rawName = "", attributes = ""]: RegExpExecArray, place: Quote): void {
    const name = rawName.toLowerCase();
    const closes = slash === "/";
    if (name === "style" || name === "script" || name === "title") this.#hidden = closes ? "" : name;
    if (name === this.#inside) {
      this.#depth += closes ? -1 : 1;
      if (this.#depth === 0) this.#inside = "";
      return;
    }
    if (closes || this.#inside !== "" || (name !== "div" && name !== "blockquote")) return;
    if (BEGINS.test(attributes)) this.#toTheEnd = true;
    else if (!HOLDS.test(attributes)) return;
    this.#quote ??= place;
    this.#inside = name;
    this.#depth = 1;
  }
}

function beforeEntity(html: string, from: number): number {
  const start = html.lastIndexOf("&");
  const whole = start < from || html.length - start > MAX_CUT || html.includes(";", start);
  return whole ? html.length : start;
}
