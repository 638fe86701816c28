/**
 * Golden SMTP conversations: text files that hold a script, what a client
 * says, what it must be told, and what must arrive. test/sessions/README.md
 * describes the format. This file reads them and compares; it sends nothing.
 *
 * A file that breaks the format is an Error naming file and line.
 */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

/** Who plays the file: a real Postfix, or the session core alone. */
export type Door = "postfix" | "direct";

export type Step =
  | { readonly kind: "send"; readonly line: number; readonly bytes: string }
  | {
      readonly kind: "expect";
      readonly line: number;
      readonly door: Door | "both";
      readonly reply: ReplyPattern;
    }
  | { readonly kind: "drop"; readonly line: number };

export type ReplyPattern =
  | { readonly kind: "exact"; readonly text: string }
  /** Of the first line, its "-" taken as a space. */
  | { readonly kind: "prefix"; readonly text: string }
  | { readonly kind: "regex"; readonly regex: RegExp }
  | { readonly kind: "closed" };

export interface ClientPart {
  /** The address the client comes from. */
  readonly from: string;
  readonly steps: readonly Step[];
}

/** A message expected to arrive or to be held. Absent entries are not compared. */
export interface ExpectedMessage {
  readonly line: number;
  readonly from: string | undefined;
  /** In alphabetical order. */
  readonly to: readonly string[];
  /** Whole header lines, "Name: value", or /patterns/ for one. */
  readonly headers: readonly (string | RegExp)[];
  /** The first header lines below the trace fields. */
  readonly top: readonly string[];
  readonly absent: readonly string[];
  /** The whole body, lines joined by CRLF. */
  readonly body: string | undefined;
}

export interface Conversation {
  readonly file: string;
  readonly title: string;
  readonly scripts: Readonly<Record<string, string>>;
  readonly config: string;
  readonly mainCf: Readonly<Record<string, string>>;
  readonly clients: readonly ClientPart[];
  readonly arrived: readonly ExpectedMessage[];
  readonly held: readonly ExpectedMessage[];
  /** Beginnings of "callback result", in order; others may lie between. */
  readonly decisions: readonly string[];
  /** All that print wrote; undefined is not compared. */
  readonly printed: string | undefined;
  /** Texts that LUAERRORS.LOG must have; with none it must be empty. */
  readonly errors: readonly string[];
}

/** What a conversation really led to; "held" messages are those in the hold queue. */
export interface Outcome {
  readonly arrived: readonly ArrivedMessage[];
  readonly held: readonly Pick<ArrivedMessage, "sender" | "recipients">[];
  readonly decisions: readonly string[];
  readonly printed: string;
  readonly errors: string;
}

export interface ArrivedMessage {
  readonly sender: string;
  readonly recipients: readonly string[];
  readonly headers: readonly (readonly [name: string, value: string])[];
  readonly body: string;
}

interface Section {
  readonly name: string;
  readonly argument: string;
  readonly line: number;
  readonly lines: readonly { readonly number: number; readonly text: string }[];
}

/** Every conversation of a directory, by file name. */
export function readConversations(directory: string): Conversation[] {
  return readdirSync(directory)
    .filter((name) => name.endsWith(".txt"))
    .sort()
    .map((name) => parseConversation(name, readFileSync(join(directory, name), "latin1")));
}

export function parseConversation(file: string, text: string): Conversation {
  const { title, sections } = split(text);
  const fail = (line: number, problem: string): never => {
    throw new Error(`${file}:${line}: ${problem}`);
  };
  if (title === "") fail(1, "the first line must say what the conversation shows");
  const of = (name: string) => sections.filter((section) => section.name === name);
  const known = [
    "script",
    "config",
    "postfix",
    "client",
    "arrived",
    "held",
    "decisions",
    "printed",
    "errors",
  ];
  for (const { name, line } of sections)
    if (!known.includes(name)) fail(line, `no section is called ${name}`);
  const lines = (name: string) =>
    of(name).flatMap((section) => section.lines.map((line) => line.text).filter((line) => line !== ""));
  const clients = of("client").map((section) => clientPart(section, fail));
  if (clients.length === 0) fail(1, "there is no client section");
  return {
    file,
    title,
    scripts: Object.fromEntries(
      of("script").map((section) => [section.argument || "SMTPSVR.LUA", lineText(section)]),
    ),
    config: of("config").map(lineText).join(""),
    mainCf: Object.fromEntries(
      lines("postfix").map((line) => {
        const [, name = "", value = ""] = /^(\w+)\s*=\s*(.*)$/.exec(line) ?? fail(1, `no parameter: ${line}`);
        return [name, value];
      }),
    ),
    clients,
    arrived: of("arrived").map((section) => expectedMessage(section, fail)),
    held: of("held").map((section) => expectedMessage(section, fail)),
    decisions: lines("decisions"),
    printed: of("printed").length === 0 ? undefined : of("printed").map(lineText).join(""),
    errors: lines("errors"),
  };
}

function split(text: string): { title: string; sections: Section[] } {
  const sections: Section[] = [];
  let title = "";
  let lines: { number: number; text: string }[] | undefined;
  for (const [index, line] of text.split("\n").entries()) {
    const start = /^== (\w+) ?(.*)$/.exec(line);
    if (start !== null) {
      lines = [];
      sections.push({ name: start[1] as string, argument: start[2] as string, line: index + 1, lines });
    } else if (lines !== undefined) {
      lines.push({ number: index + 1, text: line });
    } else if (!line.startsWith("#")) {
      title = `${title} ${line.trim()}`.trim();
    }
  }
  return { title, sections: sections.map(withoutTail) };
}

/** Empty lines before the next section only separate. */
function withoutTail(section: Section): Section {
  const last = section.lines.findLastIndex(({ text }) => text !== "");
  return { ...section, lines: section.lines.slice(0, last + 1) };
}

function lineText(section: Section): string {
  return section.lines.map(({ text }) => `${text}\n`).join("");
}

function clientPart(section: Section, fail: (line: number, problem: string) => never): ClientPart {
  const [, from = "127.0.0.1"] =
    /^(?:from ([\d.]+))?$/.exec(section.argument) ?? fail(section.line, "from what?");
  const steps: Step[] = [];
  for (const { number: line, text } of section.lines) {
    if (text === "" || text.startsWith("#")) continue;
    const [, word = "", rest = ""] = /^([A-Z]+):? ?(.*)$/.exec(text) ?? fail(line, "no step");
    switch (word) {
      case "C":
        steps.push({ kind: "send", line, bytes: `${rest}\r\n` });
        break;
      case "X":
        steps.push({ kind: "send", line, bytes: bytesOf(rest) });
        break;
      case "R": {
        const [, times = "", repeated = ""] = /^(\d+) (.*)$/.exec(rest) ?? fail(line, "R: COUNT LINE");
        steps.push({ kind: "send", line, bytes: `${repeated}\r\n`.repeat(Number(times)) });
        break;
      }
      case "S":
        addReply(steps, line, "both", rest);
        break;
      case "P":
        addReply(steps, line, "postfix", rest);
        break;
      case "D":
        addReply(steps, line, "direct", rest);
        break;
      case "DROP":
        steps.push({ kind: "drop", line });
        break;
      default:
        fail(line, `no step is called ${word}`);
    }
  }
  return { from, steps };
}

/** A line that continues a reply ("550-") belongs to the one before. */
function addReply(steps: Step[], line: number, door: Door | "both", text: string): void {
  const before = steps.at(-1);
  if (before?.kind === "expect" && before.door === door && before.reply.kind === "exact") {
    const lastLine = before.reply.text.split("\n").at(-1) ?? "";
    if (/^\d{3}-/.test(lastLine)) {
      steps.pop();
      const joined = `${before.reply.text}\n${text}`;
      steps.push({ kind: "expect", line: before.line, door, reply: { kind: "exact", text: joined } });
      return;
    }
  }
  steps.push({ kind: "expect", line, door, reply: replyPattern(text) });
}

function replyPattern(text: string): ReplyPattern {
  if (text === "(closed)") return { kind: "closed" };
  const regex = asRegex(text);
  if (regex !== undefined) return { kind: "regex", regex };
  if (text.endsWith("...")) return { kind: "prefix", text: text.slice(0, -3) };
  return { kind: "exact", text };
}

function asRegex(text: string): RegExp | undefined {
  const match = /^\/(.*)\/([a-z]*)$/.exec(text);
  return match === null ? undefined : new RegExp(match[1] as string, match[2]);
}

function bytesOf(text: string): string {
  const letters: Record<string, string> = { r: "\r", n: "\n", t: "\t", "0": "\0", "\\": "\\" };
  return text.replace(
    /\\(?:x([0-9a-fA-F]{2})|([rnt0\\]))/g,
    (_all, hex: string | undefined, letter: string) =>
      hex === undefined ? (letters[letter] as string) : String.fromCharCode(Number.parseInt(hex, 16)),
  );
}

function expectedMessage(section: Section, fail: (line: number, problem: string) => never): ExpectedMessage {
  const values = (name: string) => entries.filter((entry) => entry.name === name).map(({ value }) => value);
  const entries = section.lines
    .filter(({ text }) => text !== "" && !text.startsWith("#"))
    .map(({ number, text }) => {
      const [, name = "", value = ""] =
        /^(from|to|header|top|absent|body): ?(.*)$/.exec(text) ?? fail(number, "what?");
      return { name, value };
    });
  const body = values("body");
  return {
    line: section.line,
    from: values("from")[0],
    to: values("to").sort(),
    headers: values("header").map((value) => asRegex(value) ?? value),
    top: values("top"),
    absent: values("absent"),
    body: body.length === 0 ? undefined : body.map((line) => `${line}\r\n`).join(""),
  };
}

/** Whether a reply, its lines joined by "\n", is the one expected. */
export function matches(pattern: ReplyPattern, reply: string): boolean {
  switch (pattern.kind) {
    case "exact":
      return reply === pattern.text;
    case "prefix":
      return reply.replace(/^(\d{3})-/, "$1 ").startsWith(pattern.text);
    case "regex":
      return pattern.regex.test(reply);
    case "closed":
      return false;
  }
}

export function patternText(pattern: ReplyPattern): string {
  if (pattern.kind === "closed") return "(closed)";
  if (pattern.kind === "regex") return String(pattern.regex);
  return pattern.kind === "prefix" ? `${pattern.text}...` : pattern.text;
}
