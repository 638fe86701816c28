/**
 * Which parts of a message are its body texts: what a reader takes for the
 * letter itself, neither attachments nor messages inside nor reports. Says so,
 * too, when the message must not be written into at all.
 */
import { isAttachment } from "./attachment.ts";
import type { HeaderFields } from "./headers.ts";
import type { MimeStructure } from "./mime.ts";
import type { MimePart } from "./part.ts";

export interface BodyTexts {
  readonly parts: readonly MimePart[];
  /** Why there are none; "" when there are. */
  readonly why: string;
}

/** A change of the body makes these wrong. */
const SIGNED_BY_HEADER = ["DKIM-Signature", "DomainKey-Signature", "ARC-Message-Signature"];
/** S/MIME (RFC 8551), CMS, OpenPGP (RFC 3156), and MOSS (RFC 1848). */
const SECURED =
  /^(multipart\/(x-)?(signed|encrypted)|application\/((x-)?pkcs7-(mime|signature)|(x-)?cms|pgp|pgp-(encrypted|signature)|x-pgp-(encrypted|signature|message)|moss-(keys|signature)))$/;
/** File names by which S/MIME goes as application/octet-stream (RFC 8551 section 3.2.1). */
const SECURED_NAME = /\.p7[msz]$/i;
/** Multiparts without a letter in them; unknown kinds are read as mixed (RFC 2046 section 5.1.7). */
const NO_TEXTS = /^(digest|report|form-data|byteranges|appledouble|header-set)$/;

export function bodyTexts(headers: HeaderFields, { parts, complete }: MimeStructure): BodyTexts {
  const none = (why: string): BodyTexts => ({ parts: [], why });
  if (!complete) return none("the message has too many parts");
  const signature = SIGNED_BY_HEADER.find((name) => headers.first(name) !== undefined);
  if (signature !== undefined) return none(`the message has a ${signature}`);
  const secured = parts.find((part, index) => !insideMessage(parts, index) && isSecured(part));
  if (secured !== undefined) {
    return none(`the message is signed or encrypted (${secured.contentType}/${secured.contentSubtype})`);
  }
  if (parts[0]?.contentType === "multipart" && parts[0].contentSubtype === "report") {
    return none("the message is a report");
  }
  const found = new Tree(parts).texts(0);
  return found.length === 0 ? none("the message has no body text") : { parts: found, why: "" };
}

function isSecured(part: MimePart): boolean {
  if (SECURED.test(`${part.contentType}/${part.contentSubtype}`)) return true;
  return SECURED_NAME.test(part.contentDispositionFilename) || SECURED_NAME.test(part.contentTypeFilename);
}

function insideMessage(parts: readonly MimePart[], index: number): boolean {
  for (let at = parts[index]!.parent; at >= 0; at = parts[at]!.parent) {
    if (parts[at]!.contentType === "message") return true;
  }
  return false;
}

class Tree {
  readonly #parts: readonly MimePart[];
  readonly #children = new Map<number, number[]>();

  constructor(parts: readonly MimePart[]) {
    this.#parts = parts;
    for (const [index, { parent }] of parts.entries()) {
      const siblings = this.#children.get(parent);
      if (siblings) siblings.push(index);
      else this.#children.set(parent, [index]);
    }
  }

  texts(index: number): MimePart[] {
    const part = this.#parts[index]!;
    const { contentType, contentSubtype } = part;
    if (contentType === "text") {
      return (contentSubtype === "plain" || contentSubtype === "html") && !isAttachment(part) ? [part] : [];
    }
    if (contentType !== "multipart" || NO_TEXTS.test(contentSubtype)) return [];
    if (part.contentDisposition !== "" && part.contentDisposition !== "inline") return [];
    const children = this.#children.get(index) ?? [];
    // Forms of the same text get all of it. Of parts shown one after another the first text is the letter;
    // a later one without a name may be data.
    if (contentSubtype === "alternative") return children.flatMap((child) => this.texts(child));
    for (const child of children) {
      const texts = this.texts(child);
      if (texts.length > 0) return texts;
    }
    return [];
  }
}
