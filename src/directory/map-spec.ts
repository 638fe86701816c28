/**
 * The values of Postfix's *_maps parameters: which tables they name, which
 * files a table is made of, and whether it matches patterns, which Postfix
 * asks for whole addresses only.
 */
import { readFileSync } from "node:fs";

/** How long answers of a table are kept that no file tells changes of. */
const UNWATCHED_MS = 1_000;
const FOR_EVER = Number.POSITIVE_INFINITY;

export interface TableFiles {
  /** Changes of any of them make all answers void. */
  readonly files: readonly string[];
  /** How long an answer may be kept besides, milliseconds. */
  readonly keepMs: number;
}

/** The items of a list: separated by commas and spaces, `{ ... }` kept together. */
export function listItems(value: string): string[] {
  const items: string[] = [];
  let item = "";
  let depth = 0;
  for (const character of value) {
    if (depth === 0 && (character === "," || /\s/.test(character))) {
      if (item !== "") items.push(item);
      item = "";
      continue;
    }
    if (character === "{") depth++;
    if (character === "}") depth--;
    item += character;
  }
  if (item !== "") items.push(item);
  return items;
}

/** The tables of a *_maps value. proxymap(8) is a matter of Postfix's own jail: the table behind it is asked. */
export function tablesOf(value: string): string[] {
  return listItems(value).map((item) => {
    const table = item.replace(/^(?:proxy:)+/, "");
    return COMBINED.includes(typeAndName(table)[0]) ? table.replace(/(?<=[{,\s])(?:proxy:)+/g, "") : table;
  });
}

/** A table whose keys are patterns, alone or in a combination. */
export function isPattern(table: string): boolean {
  const [type, rest] = typeAndName(table);
  if (COMBINED.includes(type)) return combined(rest).some(isPattern);
  return PATTERNS.includes(type);
}

const PATTERNS = ["regexp", "pcre", "cidr", "fail", "randmap"];
const COMBINED = ["unionmap", "pipemap"];
const TEXT_FILES = ["texthash", "regexp", "pcre", "cidr"];
const SUFFIXES: Readonly<Record<string, readonly string[]>> = {
  hash: [".db"],
  btree: [".db"],
  lmdb: [".lmdb"],
  cdb: [".cdb"],
  dbm: [".pag", ".dir"],
  sdbm: [".pag", ".dir"],
};
const FIXED = ["inline", "static", "fail", "randmap", "internal"];

/** `table` as "type:name"; `fallback` is the type of a name alone (default_database_type). */
export function filesOf(table: string, fallback: string): TableFiles {
  const [given, name] = typeAndName(table);
  const type = given === "" ? fallback : given;
  if (COMBINED.includes(type)) {
    const parts = combined(name).map((part) => filesOf(part, fallback));
    return {
      files: parts.flatMap(({ files }) => files),
      keepMs: Math.min(FOR_EVER, ...parts.map(({ keepMs }) => keepMs)),
    };
  }
  if (FIXED.includes(type) || name.startsWith("{")) return { files: [], keepMs: FOR_EVER };
  if (TEXT_FILES.includes(type)) return { files: [name], keepMs: FOR_EVER };
  const suffixes = SUFFIXES[type];
  if (suffixes !== undefined) return { files: suffixes.map((suffix) => name + suffix), keepMs: FOR_EVER };
  if (type === "sqlite") return sqliteFiles(name);
  if (type === "unix") return { files: [`/etc/${name.replace(/\..*/, "")}`], keepMs: UNWATCHED_MS };
  return { files: name.startsWith("/") ? [name] : [], keepMs: UNWATCHED_MS };
}

/** The table's description and the database, whose journal is there while somebody writes. */
function sqliteFiles(description: string): TableFiles {
  let text: string;
  try {
    text = readFileSync(description, "utf8");
  } catch {
    return { files: [description], keepMs: UNWATCHED_MS };
  }
  const database = /^dbpath\s*=\s*(\S+)/m.exec(text)?.[1];
  if (database === undefined) return { files: [description], keepMs: UNWATCHED_MS };
  return { files: [description, database, `${database}-wal`], keepMs: FOR_EVER };
}

function typeAndName(table: string): [type: string, name: string] {
  const colon = table.indexOf(":");
  return colon < 0 ? ["", table] : [table.slice(0, colon), table.slice(colon + 1)];
}

/** "{a:b, c:d}" */
function combined(name: string): string[] {
  return tablesOf(name.replace(/^\{|\}$/g, ""));
}
