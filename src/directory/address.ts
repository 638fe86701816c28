/**
 * Mail addresses as Postfix reads them (its global/tok822 and quote_822_local,
 * trivial-rewrite's canonical form): quoted and unquoted form, lists of
 * addresses as tables hold them, extensions.
 *
 * "External" is the form with quotes, as in tables and SMTP; "internal" the
 * one without, whose last @ comes before the domain. Nothing here fails:
 * Postfix makes something of any text.
 */

export interface Token {
  /** A single character is an operator; "atom", "quoted" and "literal" are words. */
  readonly type: string;
  readonly text: string;
}

export interface RewriteRules {
  readonly swapBangPath: boolean;
  readonly percentHack: boolean;
  readonly appendAtMyorigin: boolean;
  readonly appendDotMydomain: boolean;
  readonly myorigin: string;
  readonly mydomain: string;
}

const OPERATORS = '|%!()<>@,;:\\".[]';
const SPACE = " \t\r\n";
const WORDS = ["atom", "quoted", "literal"];

/** The tokens of an external address or list; comments and spaces are gone. */
export function scan(text: string): Token[] {
  const tokens: Token[] = [];
  let at = 0;
  const collect = (ends: (character: string) => boolean): string => {
    let out = "";
    for (; at < text.length; at++) {
      let character = text[at]!;
      if (character === "\\") {
        if (++at >= text.length) break;
        character = text[at]!;
      } else if (ends(character)) break;
      out += SPACE.includes(character) ? " " : character;
    }
    return out;
  };
  while (at < text.length) {
    const character = text[at]!;
    if (SPACE.includes(character)) at++;
    else if (character === "(") at = afterComment(text, at);
    else if (character === "[" || character === '"') {
      at++;
      const end = character === "[" ? "]" : '"';
      tokens.push({ type: end === "]" ? "literal" : "quoted", text: collect((next) => next === end) });
      at++;
    } else if (character !== "\\" && OPERATORS.includes(character)) {
      tokens.push({ type: character, text: character });
      at++;
    } else {
      const atom = collect((next) => SPACE.includes(next) || OPERATORS.includes(next));
      const plain = [...atom].every((one) => one !== " " && !isControl(one) && !OPERATORS.includes(one));
      tokens.push({ type: plain ? "atom" : "quoted", text: atom });
    }
  }
  return tokens;
}

function afterComment(text: string, start: number): number {
  let depth = 0;
  for (let at = start; at < text.length; at++) {
    const character = text[at];
    if (character === "\\") at++;
    else if (character === "(") depth++;
    else if (character === ")" && --depth === 0) return at + 1;
  }
  return text.length;
}

function isControl(character: string): boolean {
  const code = character.charCodeAt(0);
  return code < 32 || code === 127;
}

/** The internal form of one address. */
export function internalize(tokens: readonly Token[]): string {
  return tokens.map(({ type, text }) => (type === "literal" ? `[${text}]` : text)).join("");
}

/** The addresses of a list: separated by commas, or by nothing but space; of `Name <address>` the address. */
export function parseList(text: string): Token[][] {
  const addresses: Token[][] = [];
  let words: Token[] = [];
  let inside: Token[] | undefined;
  const flush = () => {
    addresses.push(...splitWords(words));
    words = [];
  };
  for (const token of scan(text)) {
    const { type } = token;
    if (inside !== undefined && type !== ">") inside.push(token);
    else if (inside !== undefined) {
      addresses.push(inside);
      inside = undefined;
    } else if (type === "<") {
      inside = [];
      words = [];
    } else if (type === "," || type === ";") flush();
    else words.push(token);
  }
  flush();
  if (inside !== undefined) addresses.push(inside);
  return addresses.filter((address) => address.length > 0);
}

/** Two words in a row belong to two addresses. */
function splitWords(tokens: readonly Token[]): Token[][] {
  const addresses: Token[][] = [];
  for (const token of tokens) {
    const current = addresses.at(-1);
    if (current === undefined || (isWord(token) && isWord(current.at(-1)))) addresses.push([token]);
    else current.push(token);
  }
  return addresses;
}

function isWord(token: Token | undefined): boolean {
  return token !== undefined && WORDS.includes(token.type);
}

/** The canonical form: source routes gone, bang paths and % turned round, the domain completed. */
export function rewrite(tokens: readonly Token[], rules: RewriteRules): Token[] {
  let tree = [...tokens];
  if (tree.length === 1 && tree[0]!.type === "quoted" && tree[0]!.text === "") return tree;
  if (tree.length === 1 && tree[0]!.type === "@") return [{ type: "quoted", text: "" }];
  const colon = tree[0]?.type === "@" ? find(tree, ":") : -1;
  if (colon >= 0 && colon < tree.length - 1) tree = tree.slice(colon + 1);
  if (findLast(tree, "@") < 0) {
    const bang = rules.swapBangPath ? find(tree, "!") : -1;
    const percent = rules.percentHack ? findLast(tree, "%") : -1;
    if (bang >= 0) tree = [...tree.slice(bang + 1), AT, ...tree.slice(0, bang)];
    else if (percent >= 0) tree[percent] = AT;
    else if (rules.appendAtMyorigin && rules.myorigin !== "") tree.push(AT, ...scan(rules.myorigin));
  }
  const at = findLast(tree, "@");
  if (rules.appendDotMydomain && rules.mydomain !== "" && at >= 0 && at < tree.length - 1) {
    const domain = tree.slice(at);
    if (find(domain, "literal") < 0 && find(domain, ".") < 0) {
      tree.push({ type: ".", text: "." }, ...scan(rules.mydomain));
    }
  }
  const before = tree.at(-2)?.type;
  if (tree.at(-1)?.type === "." && before !== undefined && before !== "." && before !== "@") tree.pop();
  return tree;
}

const AT: Token = { type: "@", text: "@" };

export function find(tokens: readonly Token[], type: string): number {
  return tokens.findIndex((token) => token.type === type);
}

export function findLast(tokens: readonly Token[], type: string): number {
  return tokens.findLastIndex((token) => token.type === type);
}

/** The external form of an internal address, or of a local part alone. */
export function quote(address: string, bareLocalPart = false): string {
  const colon = address.startsWith("@") ? address.indexOf(":") : -1;
  const start = colon + 1;
  const at = bareLocalPart ? -1 : address.lastIndexOf("@");
  const end = at < start ? address.length : at;
  const local = address.slice(start, end);
  if (isDotString(local)) return address;
  const quoted = `"${local.replace(/["\\\r]/g, "\\$&")}"`;
  return address.slice(0, start) + quoted + address.slice(end);
}

function isDotString(local: string): boolean {
  return /^[^.\s\x00-\x1f\x7f()<>@,;:\\"[\]]+(?:\.[^.\s\x00-\x1f\x7f()<>@,;:\\"[\]]+)*$/.test(local);
}

/** Which local parts have an extension, and where it begins. */
export interface ExtensionRules {
  /** Each of its characters is a delimiter. */
  readonly delimiters: string;
  readonly ownerRequestSpecial: boolean;
  readonly doubleBounceSender: string;
}

/** Splits a local part at its first delimiter; the extension has the delimiter with it, "" is none. */
export function splitExtension(local: string, rules: ExtensionRules): [name: string, extension: string] {
  const { delimiters } = rules;
  const lower = local.toLowerCase();
  if (["postmaster", "mailer-daemon", rules.doubleBounceSender.toLowerCase()].includes(lower))
    return [local, ""];
  if (rules.ownerRequestSpecial && delimiters.includes("-")) {
    if (lower.startsWith("owner-") || /.-request$/.test(lower)) return [local, ""];
  }
  let at = 0;
  while (at < local.length && !delimiters.includes(local[at]!)) at++;
  return at === 0 || at === local.length ? [local, ""] : [local.slice(0, at), local.slice(at)];
}

/** Local part and domain of an internal address; the domain is "" without an @. */
export function splitAddress(address: string): [local: string, domain: string] {
  const at = address.lastIndexOf("@");
  return at < 0 ? [address, ""] : [address.slice(0, at), address.slice(at + 1)];
}

/** The canonical internal form of an external address. */
export function canonical(tokens: readonly Token[], rules: RewriteRules): string {
  return internalize(rewrite(tokens, rules));
}
