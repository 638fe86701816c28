/**
 * Header lines that scripts ask for, made into edits: HeaderModifiers of
 * ProcessMessage and the header lines of DoDATAStart.
 *
 * Modifiers are first played through on the list of fields, in order, each
 * seeing what those before it did; what has changed in the end becomes edits.
 * Changes of received fields come first, from the last field of a name to its
 * first, so that they mean the same to an MTA that counts deleted fields and
 * to one that does not; additions come after them. A line that could break
 * the header (CR, LF, NUL, bad name) is left out and reported, never an error.
 */
import { RE2JS } from "re2js";
import { decodeText, toBytes } from "../bytes.ts";
import type { Edit } from "./edit.ts";
import { unfold } from "./header-text.ts";
import { fieldColon, type HeaderField, type HeaderFields } from "./headers.ts";

export interface Modified {
  readonly edits: readonly Edit[];
  readonly ignored: readonly { readonly modifier: string; readonly why: string }[];
}

export interface TopLines {
  readonly edits: readonly Edit[];
  readonly ignored: readonly { readonly line: string; readonly why: string }[];
}

/** A field while modifiers are played through. */
interface Field {
  name: string;
  /** What stands after the colon; undefined while `received` says it. */
  value: string | undefined;
  readonly received: HeaderField | undefined;
  /** Counts from 1 among the received fields of its name; 0 for an added one. */
  readonly index: number;
  removed: boolean;
}

/**
 * "Name: value" replaces the first field of that name, removes further ones,
 * and appends when there is none; "Name:" removes; "-Name: value" adds at the
 * top, "+Name: value" at the end; "#Name: pattern" removes the fields in
 * whose unfolded value the pattern (RE2 syntax, any case, anywhere) is found.
 */
export function applyModifiers(headers: HeaderFields, modifiers: readonly string[]): Modified {
  if (modifiers.length === 0) return { edits: [], ignored: [] };
  const play = new Play(headers);
  const ignored: { modifier: string; why: string }[] = [];
  for (const modifier of modifiers) {
    const why = play.modify(modifier);
    if (why !== "") ignored.push({ modifier, why });
  }
  return { edits: play.edits(), ignored };
}

/** Lines to put above all fields, in order. Each may hold several lines; one that begins with white space continues the one before. */
export function topLines(lines: string | readonly string[]): TopLines {
  const edits: Edit[] = [];
  const ignored: { line: string; why: string }[] = [];
  const text = typeof lines === "string" ? lines : lines.join("\n");
  for (const line of text.split(/\r?\n(?![ \t])/)) {
    if (line.trim() === "") continue;
    const parsed = parseLine(line.replace(/\r\n/g, "\n"), "\n");
    if (typeof parsed === "string") ignored.push({ line, why: parsed });
    else
      edits.push({ kind: "insertHeader", index: edits.length + 1, name: parsed.name, value: parsed.value });
  }
  return { edits, ignored };
}

class Play {
  /** Lower-case name to its fields, in order. */
  readonly #fields = new Map<string, Field[]>();
  readonly #top: Field[] = [];
  readonly #bottom: Field[] = [];

  constructor(headers: HeaderFields) {
    for (const received of headers) {
      const same = this.#same(received.name);
      same.push({ name: received.name, value: undefined, received, index: same.length + 1, removed: false });
    }
  }

  /** Returns why it was left out, "" when it was carried out. */
  modify(modifier: string): string {
    const sign = /^[-+#]/.exec(modifier)?.[0] ?? "";
    const parsed = parseLine(modifier.slice(sign.length), "");
    if (typeof parsed === "string") return parsed;
    if (sign === "#") return this.#removeMatching(parsed.name, parsed.value.trim());
    const empty = parsed.value.trim() === "";
    if (sign === "") this.#replace(parsed.name, empty ? "" : parsed.value);
    else if (empty) return "there is nothing to add";
    else this.#add(parsed.name, parsed.value, sign === "-");
    return "";
  }

  edits(): Edit[] {
    const edits: Edit[] = [];
    for (const same of this.#fields.values()) {
      for (const { name, value, received, index, removed } of same.toReversed()) {
        if (index === 0 || (value === undefined && !removed)) continue;
        if (!removed && `${name}:${value}` === received?.line) continue;
        edits.push({ kind: "changeHeader", name, index, value: removed ? "" : value! });
      }
    }
    for (const { name, value, removed } of this.#bottom) {
      if (!removed) edits.push({ kind: "addHeader", name, value: value! });
    }
    // The last of #top stands highest.
    for (const { name, value, removed } of this.#top) {
      if (!removed) edits.push({ kind: "insertHeader", index: 1, name, value: value! });
    }
    return edits;
  }

  #same(name: string): Field[] {
    const key = name.toLowerCase();
    const known = this.#fields.get(key);
    if (known) return known;
    const same: Field[] = [];
    this.#fields.set(key, same);
    return same;
  }

  #replace(name: string, value: string): void {
    const [first, ...others] = this.#same(name).filter((field) => !field.removed);
    for (const field of others) field.removed = true;
    if (!first) {
      if (value !== "") this.#add(name, value, false);
    } else if (value === "") {
      first.removed = true;
    } else {
      first.name = name;
      first.value = value;
    }
  }

  #add(name: string, value: string, onTop: boolean): void {
    const field = { name, value, received: undefined, index: 0, removed: false };
    (onTop ? this.#top : this.#bottom).push(field);
    const same = this.#same(name);
    if (onTop) same.unshift(field);
    else same.push(field);
  }

  #removeMatching(name: string, pattern: string): string {
    if (pattern === "") return "there is no pattern";
    let expression: RE2JS;
    try {
      expression = RE2JS.compile(decodeText(pattern), RE2JS.CASE_INSENSITIVE);
    } catch (error) {
      return `the pattern is not valid: ${error instanceof Error ? error.message : String(error)}`;
    }
    for (const field of this.#same(name)) {
      const value = unfold(field.value ?? field.received!.value).trim();
      if (!field.removed && expression.matcher(decodeText(value)).find()) field.removed = true;
    }
    return "";
  }
}

/** Splits "Name: value"; the value keeps its leading white space. Returns what is wrong otherwise. `fold`: the line break a value may hold. */
function parseLine(line: string, fold: "" | "\n"): { name: string; value: string } | string {
  const bad = fold === "" ? /[\r\n\0]/ : /[\r\0]/;
  if (bad.test(line)) return "it holds a line break or NUL";
  const colon = fieldColon(toBytes(line), 0, line.length);
  if (colon < 0) return "it is no header line";
  const name = line.slice(0, colon).trimEnd();
  if (name.startsWith("{")) return "a header for one user's mailbox only cannot be served";
  return { name, value: line.slice(colon + 1) };
}
