/**
 * Look-ups of addresses and domains in lists of Postfix's tables, with the
 * keys and the order that Postfix has (global/mail_addr_find, util/match_list).
 */
import { readFileSync } from "node:fs";
import { quote, splitAddress, splitExtension } from "./address.ts";
import { ExpansionError } from "./expander.ts";
import { type Lookup, type Source, TableSource } from "./lookup.ts";
import { filesOf, isPattern, listItems, tablesOf } from "./map-spec.ts";
import { foldName, type Parameter, type PostfixSettings } from "./postfix-settings.ts";
import type { Postmap } from "./postmap.ts";

/** All tables of an instance, each list of them once. */
export class Tables {
  readonly #postmap: Postmap;
  readonly #settings: PostfixSettings;
  readonly #sources = new Map<string, TableSource>();
  readonly #lists = new Map<Parameter, MapList>();

  constructor(postmap: Postmap, settings: PostfixSettings) {
    this.#postmap = postmap;
    this.#settings = settings;
  }

  /** The tables of a *_maps parameter. */
  maps(name: Parameter): MapList {
    let list = this.#lists.get(name);
    if (list === undefined) {
      const tables = tablesOf(this.#settings.text(name));
      list = {
        whole: this.source(tables),
        parts: this.source(tables.filter((table) => !isPattern(table))),
      };
      this.#lists.set(name, list);
    }
    return list;
  }

  /** undefined when there are none. */
  source(tables: readonly string[]): TableSource | undefined {
    if (tables.length === 0) return undefined;
    const key = tables.join("\n");
    let source = this.#sources.get(key);
    if (source === undefined) {
      const fallback = this.#settings.text("default_database_type");
      source = new TableSource({
        ask: (keys) => this.#postmap.ask(tables, keys),
        files: () => {
          const all = tables.map((table) => filesOf(table, fallback));
          return {
            files: all.flatMap(({ files }) => files),
            keepMs: Math.min(...all.map(({ keepMs }) => keepMs)),
          };
        },
      });
      this.#sources.set(key, source);
    }
    return source;
  }

  look(now: number): void {
    for (const source of this.#sources.values()) source.look(now);
  }

  forgetUnwatched(): void {
    for (const source of this.#sources.values()) source.forgetUnwatched();
  }
}

export interface MapList {
  /** All of them, for whole addresses. */
  readonly whole: TableSource | undefined;
  /** Those without patterns, for everything else. */
  readonly parts: TableSource | undefined;
}

/** One key of one list. */
interface Question {
  readonly source: Source<string> | undefined;
  readonly key: string;
  /** The extension that the key leaves out. */
  readonly unmatched: string;
}

export interface Found {
  readonly value: string;
  /** The extension that was not part of the key, with its delimiter; "" for none. */
  readonly unmatched: string;
}

/** An address in a list: with and without its extension, its local part when the domain is local, its domain. */
export function findAddress(
  lookup: Lookup,
  list: MapList,
  address: string,
  rules: PostfixSettings,
  isLocal: (domain: string) => boolean,
): Found | undefined {
  if (list.whole === undefined) return undefined;
  const questions = addressQuestions(list, address, rules);
  const [local, domain] = splitAddress(address.toLowerCase());
  const at = { source: list.parts, key: `@${domain}`, unmatched: "" };
  if (domain === rules.rewrite.myorigin.toLowerCase() || isLocal(domain)) {
    const [bare, extension] = splitExtension(local, rules.extension);
    const unmatched = splitAddress(address)[0].slice(bare.length);
    questions.push({ source: list.parts, key: quote(local, true), unmatched: "" });
    if (extension !== "") questions.push({ source: list.parts, key: quote(bare, true), unmatched });
  }
  return first(lookup, [...questions, at]);
}

/** A recipient in transport_maps: the address, then its domain and the domains above it, then "*". */
export function findTransport(
  lookup: Lookup,
  list: MapList,
  address: string,
  rules: PostfixSettings,
): string | undefined {
  if (list.whole === undefined) return undefined;
  const questions = addressQuestions(list, address, rules);
  const plainParents = rules.words("parent_domain_matches_subdomains").includes("transport_maps");
  for (const key of domainKeys(splitAddress(address.toLowerCase())[1], plainParents)) {
    questions.push({ source: list.parts, key, unmatched: "" });
  }
  questions.push({ source: list.whole, key: "*", unmatched: "" });
  return first(lookup, questions)?.value;
}

function addressQuestions(list: MapList, address: string, rules: PostfixSettings): Question[] {
  // Tables fold the case of keys; patterns may put them into the result as they are.
  const key = list.whole === list.parts ? quote(address).toLowerCase() : quote(address);
  const questions: Question[] = [{ source: list.whole, key, unmatched: "" }];
  const [local, domain] = splitAddress(address);
  const [bare, unmatched] = splitExtension(local, rules.extension);
  const without = quote(`${bare}@${domain}`).toLowerCase();
  if (unmatched !== "") questions.push({ source: list.parts, key: without, unmatched });
  return questions;
}

/** A domain and those above it: "a.b.c", then "b.c" and "c", or ".b.c" and ".c". */
function domainKeys(domain: string, plainParents: boolean): string[] {
  const keys: string[] = [];
  for (let name = domain; name !== ""; ) {
    keys.push(name);
    const dot = name.indexOf(".", 1);
    if (dot < 0) break;
    name = name.slice(plainParents ? dot + 1 : dot);
  }
  return keys;
}

/** The first question that has an answer; all of them are asked together. */
function first(lookup: Lookup, questions: readonly Question[]): Found | undefined {
  for (const [n, { source, key, unmatched }] of questions.entries()) {
    if (source === undefined || key === "") continue;
    if (!lookup.has(source, key)) for (const more of questions.slice(n + 1)) ask(lookup, more);
    const value = lookup.get(source, key);
    if (value !== undefined) return { value, unmatched };
  }
  return undefined;
}

function ask(lookup: Lookup, { source, key }: Question): void {
  if (source !== undefined && key !== "") lookup.has(source, key);
}

/**
 * A list of names, tables and files such as mydestination; `parents` also
 * matches what is below the names it has (parent_domain_matches_subdomains).
 */
export function matchesList(
  lookup: Lookup,
  tables: Tables,
  items: readonly string[],
  domain: string,
  options: { readonly below: boolean; readonly plainParents: boolean } = {
    below: false,
    plainParents: false,
  },
): boolean {
  for (const item of items) {
    const pattern = item.replace(/^!+/, "");
    const negated = (item.length - pattern.length) % 2 === 1;
    if (matchesItem(lookup, tables, pattern, domain, options)) return !negated;
  }
  return false;
}

function matchesItem(
  lookup: Lookup,
  tables: Tables,
  pattern: string,
  domain: string,
  options: { readonly below: boolean; readonly plainParents: boolean },
): boolean {
  if (pattern.startsWith("/")) return matchesList(lookup, tables, fileItems(pattern), domain, options);
  if (pattern.includes(":") && !pattern.startsWith("[")) {
    const [table = ""] = tablesOf(pattern);
    const source = tables.source([table]);
    if (source === undefined) return false;
    const keys = options.below && !isPattern(table) ? domainKeys(domain, options.plainParents) : [domain];
    return (
      first(
        lookup,
        keys.map((key) => ({ source, key, unmatched: "" })),
      ) !== undefined
    );
  }
  if (pattern === domain) return true;
  if (!options.below) return false;
  if (options.plainParents) return domain.endsWith(`.${pattern}`);
  return pattern.startsWith(".") && domain.endsWith(pattern);
}

/** What a file in a list holds; Postfix reads it when its programs start. */
function fileItems(path: string): string[] {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    throw new ExpansionError(`${path} cannot be read (${(error as NodeJS.ErrnoException).code})`);
  }
  return listItems(text.replace(/^\s*#.*$/gm, "")).map(foldName);
}
