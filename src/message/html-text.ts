/**
 * What HTML says, tags aside: enough to find a sentence in it again, not to
 * show it. Reads pieces that are cut anywhere, in linear time, and trusts
 * nothing: what is no tag is text, what is never closed ends with the last piece.
 */
import { decodeHTML } from "entities";

/** Longer ones are text that happens to have a "<" in it. */
const MAX_TAG = 64 * 1024;
const MAX_ENTITY = 40;
const COMMENT_END = "-->";
const TAG = /^<(\/?)([a-z][a-z0-9]*)/i;
/** Their content is not shown. */
const HIDDEN = /^(style|script|title|template)$/;
/** Tags of these stand in a line; all others begin a new one. */
const INLINE =
  /^(a|abbr|acronym|b|bdi|bdo|big|cite|code|data|del|dfn|em|font|i|img|ins|kbd|label|mark|o|q|s|samp|small|span|strike|strong|sub|sup|time|tt|u|var|wbr)$/;

export class HtmlText {
  #carry = "";
  /** What ends the part that is not shown. */
  #until: RegExp | undefined;

  /** The text so far, blocks and source lines on lines of their own. */
  push(piece: string): string {
    return this.#read(this.#carry + piece, false);
  }

  finish(): string {
    return this.#read(this.#carry, true);
  }

  #read(html: string, last: boolean): string {
    this.#carry = "";
    let out = "";
    let at = 0;
    let closes = true;
    while (at < html.length) {
      if (this.#until !== undefined) {
        this.#until.lastIndex = at;
        const end = this.#until.exec(html);
        if (end === null) {
          if (!last) this.#carry = html.slice(Math.max(at, html.length - MAX_ENTITY));
          return out;
        }
        at = end.index + (end[0] === COMMENT_END ? COMMENT_END.length : 0);
        this.#until = undefined;
        continue;
      }
      const open = html.indexOf("<", at);
      const stop = open < 0 ? html.length : open;
      const from = at;
      at = stop;
      if (open < 0 && !last) at = Math.max(from, beforeEntity(html, from));
      out += decodeHTML(html.slice(from, at));
      if (open < 0) {
        this.#carry = html.slice(at);
        return out;
      }
      if (html.startsWith("<!--", open)) {
        this.#until = /-->/g;
        at = open + 4;
        continue;
      }
      const close: number = closes ? html.indexOf(">", open) : -1;
      closes = close >= 0;
      if (close < 0 && !last && html.length - open < MAX_TAG) {
        this.#carry = html.slice(open);
        return out;
      }
      const tag = TAG.exec(html.slice(open, open + 30));
      const name = tag?.[2]?.toLowerCase() ?? "";
      if (close < 0 || (name === "" && !/^<[!?/]/.test(html.slice(open, open + 2)))) {
        out += "<";
        at = open + 1;
        continue;
      }
      if (name !== "" && !INLINE.test(name)) out += "\n";
      if (tag?.[1] === "" && HIDDEN.test(name)) this.#until = new RegExp(`</${name}`, "gi");
      at = close + 1;
    }
    return out;
  }
}

/** Where an entity that the next piece may complete begins, or the end of `html`. */
function beforeEntity(html: string, from: number): number {
  const start = html.lastIndexOf("&");
  const whole = start < from || html.length - start > MAX_ENTITY || html.includes(";", start);
  return whole ? html.length : start;
}
