/**
 * What can be told from a script's text without running it: functions that
 * look like misspelt callbacks, assignments that have no effect, results that
 * no client will see, and places where Lua 5.0 and 5.2 read differently.
 *
 * Works on tokens, not on a syntax tree: it may miss something that is
 * computed, and it never changes what a script does. The text must compile.
 */
import { fromBytes } from "../bytes.ts";
import { type Dialect, FIRST_RESERVED, Lexer, RESERVED, TK } from "../lua/lexer.ts";

export interface Token {
  readonly type: number;
  readonly line: number;
  /** Text of names and strings, "" for others. */
  readonly text: string;
}

export interface LintFinding {
  readonly line: number;
  readonly text: string;
}

export interface DefinedFunction {
  readonly name: string;
  readonly line: number;
}

const OPEN_BRACE = 123;
const CLOSE_BRACE = 125;
const OPEN = 40;
const CLOSE = 41;
const COMMA = 44;
const ASSIGN = 61;
const DOT = 46;
const COLON = 58;
const RETURN = FIRST_RESERVED + RESERVED.indexOf("return");

class Stop extends Error {}

/** The tokens of `source` up to the end or to the first thing the dialect cannot read, and that mistake. */
export function tokens(
  source: Uint8Array,
  dialect: Dialect,
): { list: Token[]; mistake: LintFinding | undefined } {
  const list: Token[] = [];
  const value = { number: 0, text: "" };
  const lexer = new Lexer(fromBytes(source), dialect, (message, near) => {
    throw new Stop(near === "" ? message : `${message} near ${near}`);
  });
  try {
    for (;;) {
      const type = lexer.next(value);
      if (type === TK.EOS) return { list, mistake: undefined };
      const named = type === TK.NAME || type === TK.STRING;
      list.push({
        type,
        line: lexer.line,
        text: named ? value.text : type === TK.FLT ? String(value.number) : "",
      });
    }
  } catch (error) {
    if (!(error instanceof Stop)) throw error;
    return { list, mistake: { line: lexer.line, text: error.message } };
  }
}

/** Global functions that the text defines: `function NAME(` and `NAME = function`. */
export function definedFunctions(list: readonly Token[]): DefinedFunction[] {
  const found: DefinedFunction[] = [];
  for (const [i, token] of list.entries()) {
    if (token.type !== TK.NAME) continue;
    const before = list[i - 1]?.type;
    const after = list[i + 1]?.type;
    const declared = before === TK.FUNCTION && after === OPEN && list[i - 2]?.type !== TK.LOCAL;
    const assigned =
      after === ASSIGN &&
      list[i + 2]?.type === TK.FUNCTION &&
      before !== DOT &&
      before !== COLON &&
      before !== TK.LOCAL;
    if (declared || assigned) found.push({ name: token.text, line: token.line });
  }
  return found;
}

/** Functions whose names are nearly, but not quite, one of `callbacks`. */
export function misspelt(functions: readonly DefinedFunction[], callbacks: Iterable<string>): LintFinding[] {
  const known = [...callbacks];
  return functions.flatMap(({ name, line }) => {
    if (known.includes(name)) return [];
    const near = nearest(name, known);
    return near === undefined ? [] : [{ line, text: `function ${name} is never called; is ${near} meant?` }];
  });
}

/** The first of `known` that `name` looks like a misspelling of. */
export function nearest(name: string, known: readonly string[]): string | undefined {
  return known.find((candidate) => looksLike(name, candidate));
}

function looksLike(name: string, callback: string): boolean {
  const a = name.toLowerCase();
  const b = callback.toLowerCase();
  if (a === b) return true;
  const allowed = Math.min(a.length, b.length) < 6 ? 1 : 2;
  return Math.abs(a.length - b.length) <= allowed && distance(a, b) <= allowed;
}

/** Levenshtein's distance with swapped neighbours as one step. */
function distance(a: string, b: string): number {
  const rows: number[][] = [Array.from({ length: b.length + 1 }, (_, j) => j)];
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1] ? 0 : 1;
      let best = Math.min(rows[i - 1]![j]! + 1, row[j - 1]! + 1, rows[i - 1]![j - 1]! + same);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) {
        best = Math.min(best, rows[i - 2]![j - 2]! + 1);
      }
      row.push(best);
    }
    rows.push(row);
  }
  return rows[a.length]![b.length]!;
}

/** Assignments to globals that the script should only read. */
export function readOnlyAssignments(list: readonly Token[], readOnly: ReadonlySet<string>): LintFinding[] {
  return globalAssignments(list)
    .filter(({ text }) => readOnly.has(text))
    .map(({ line, text }) => ({ line, text: `${text} is read-only; what is assigned to it has no effect` }));
}

/** Assignments to globals whose names are nearly, but not quite, one of `globals`. */
export function misspeltGlobals(list: readonly Token[], globals: ReadonlySet<string>): LintFinding[] {
  const known = [...globals];
  return globalAssignments(list).flatMap(({ line, text }) => {
    const near = globals.has(text) ? undefined : nearest(text, known);
    return near === undefined ? [] : [{ line, text: `${text} means nothing here; is ${near} meant?` }];
  });
}

/** The names that are assigned to and look like globals. */
function globalAssignments(list: readonly Token[]): Token[] {
  const found: Token[] = [];
  let braces = 0;
  for (const [i, token] of list.entries()) {
    const { type } = token;
    if (type === OPEN_BRACE) braces++;
    else if (type === CLOSE_BRACE) braces--;
    if (braces > 0 || type !== TK.NAME || list[i + 1]?.type !== ASSIGN) continue;
    const before = list[i - 1]?.type;
    if (before === DOT || before === COLON || before === TK.LOCAL || isLoopVariable(list, i)) continue;
    found.push(token);
  }
  return found;
}

function isLoopVariable(list: readonly Token[], i: number): boolean {
  return list[i - 1]?.type === FIRST_RESERVED + RESERVED.indexOf("for");
}

/** `return "250 ..."`: positive texts that a milter cannot show. */
export function positiveReturns(list: readonly Token[]): LintFinding[] {
  return list.flatMap(({ type, line, text }, i) => {
    if (type !== TK.STRING || list[i - 1]?.type !== RETURN || !/^[23]\d\d(?:\s|$)/.test(text)) return [];
    return [
      {
        line,
        text: `the text "${text}" cannot be shown to the client by a milter; Postfix answers with its own`,
      },
    ];
  });
}

/** Where the two dialects read the text differently, or a library function differs between them. */
export function contradictions(source: Uint8Array): LintFinding[] {
  const old = tokens(source, "5.0");
  const later = tokens(source, "5.2");
  const found: LintFinding[] = [];
  const length = Math.max(old.list.length, later.list.length);
  for (let i = 0; i < length; i++) {
    const a = old.list[i];
    const b = later.list[i];
    if (a !== undefined && b !== undefined && a.type === b.type && a.text === b.text) continue;
    if (a !== undefined && b !== undefined && isEscapeDifference(a, b, old.list[i + 1], later.list[i + 1])) {
      found.push({ line: a.line, text: "this string differs between Lua 5.0 and 5.2 (escape sequences)" });
      continue;
    }
    found.push(firstDifference(a ?? old.mistake, b ?? later.mistake, old.mistake, later.mistake));
    break;
  }
  return [...found, ...gsubWithFunction(old.list)];
}

/** Two readings of one string after which the text goes on alike. */
function isEscapeDifference(a: Token, b: Token, nextA: Token | undefined, nextB: Token | undefined): boolean {
  return a.type === TK.STRING && b.type === TK.STRING && a.line === b.line && nextA?.type === nextB?.type;
}

function firstDifference(
  a: { line: number } | undefined,
  b: { line: number } | undefined,
  old: LintFinding | undefined,
  later: LintFinding | undefined,
): LintFinding {
  const line = Math.min(a?.line ?? Number.POSITIVE_INFINITY, b?.line ?? Number.POSITIVE_INFINITY);
  const failure = later ?? old;
  const which = later === undefined ? "5.0" : "5.2";
  const why = failure === undefined ? "" : `: Lua ${which} says ${failure.text}`;
  return { line: Number.isFinite(line) ? line : 0, text: `from here Lua 5.0 and 5.2 read differently${why}` };
}

/** gsub(s, p, function ...): a nil result deletes the match in 5.0 and keeps it in 5.2. */
function gsubWithFunction(list: readonly Token[]): LintFinding[] {
  const found: LintFinding[] = [];
  for (const [i, { type, text, line }] of list.entries()) {
    if (type !== TK.NAME || text !== "gsub" || list[i + 1]?.type !== OPEN) continue;
    let depth = 0;
    let argument = 0;
    for (let j = i + 1; j < list.length; j++) {
      const at = list[j]!.type;
      if (at === OPEN || at === OPEN_BRACE) depth++;
      else if (at === CLOSE || at === CLOSE_BRACE) depth--;
      if (depth === 0) break;
      if (depth === 1 && at === COMMA) {
        argument++;
        if (argument === 2 && list[j + 1]?.type === TK.FUNCTION) {
          found.push({
            line,
            text: "gsub with a function: where it returns nil, 5.0 deletes the match, 5.2 keeps it",
          });
        }
      }
    }
  }
  return found;
}
