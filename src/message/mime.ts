/**
 * The MIME structure of a message, read in one pass over its bytes in time
 * linear in their number: which parts there are and exactly where they lie.
 *
 * No content is decoded here. Trusts nothing: missing, repeated, nested or
 * unclosed boundaries give the parts that can be seen, never an error, and
 * every offset lies inside the message. Delimiter lines are looked up by
 * their text, so that deep nesting costs nothing per line. Limits on depth
 * and number of parts keep a hostile message from filling memory.
 *
 * Not mailparser's splitter (mailsplit), whose headers and texts are read with
 * the same libmime and libqp as here: it tells no offsets, the lengths of what
 * it hands out do not add up where a part's header lacks its blank line, and
 * it takes five to fifty times as long.
 */
import { fieldColon, isBlank, trimLineEnd } from "./headers.ts";
import { type Line, type LineReader, LineScanner } from "./lines.ts";
import { describe, draft, holdsMessage, type MimePart, type PartDraft, type PartHeader } from "./part.ts";
import { atOnce, type Steps } from "./steps.ts";
import type { MessageStore } from "./store.ts";

export type { MimePart } from "./part.ts";

export interface MimeStructure {
  /** In document order. A multipart message comes first with path "", a message without parts is path "1". */
  readonly parts: readonly MimePart[];
  /** False when a limit was hit: what lies deeper or later is not listed. */
  readonly complete: boolean;
}

export interface MimeLimits {
  readonly maxParts: number;
  readonly maxDepth: number;
}

export const MIME_LIMITS: MimeLimits = { maxParts: 20_000, maxDepth: 200 };

/** What is asked of a store here. */
export type MessageSource = Pick<MessageStore, "headers" | "bodyStart" | "size" | "chunks">;

/** The structure of the message in `store`; header and body are divided as the store has it. */
export function structure(store: MessageSource, limits: MimeLimits = MIME_LIMITS): MimeStructure {
  return atOnce(structureSteps(store, limits));
}

/** The same, step by step; the store stays as it is meanwhile. */
export function* structureSteps(
  store: MessageSource,
  limits: MimeLimits = MIME_LIMITS,
): Steps<MimeStructure> {
  const value = (name: string) => store.headers.first(name)?.value ?? "";
  const tree = new PartTree(limits, store.bodyStart, {
    type: value("content-type"),
    disposition: value("content-disposition"),
    encoding: value("content-transfer-encoding"),
  });
  const scanner = new LineScanner(tree, "--", store.bodyStart);
  for (const chunk of store.chunks(store.bodyStart)) {
    if (tree.wants === "none") break;
    scanner.push(chunk);
    yield;
  }
  if (tree.wants !== "none") scanner.finish();
  return tree.finish(store.size);
}

/** A part that later lines may still belong to. */
interface Open {
  readonly part: PartDraft;
  /** Index in the list of the part that children name as their parent. */
  index: number;
  /** What stands in front of a child's number in its path. */
  readonly prefix: string;
  children: number;
  /** True while its boundary is looked for. */
  waiting: boolean;
  /** True for the content of a message/rfc822 as long as it is not listed. As a multipart it has no path of its own. */
  unlisted: boolean;
}

const DASH = 0x2d;
const MAX_HEADER_VALUE = 64 * 1024;
/** White space that may follow a boundary on its line (RFC 2046 section 5.1.1), and the line end. */
const DELIMITER_SLACK = 1000;
const HEADER_KEYS = new Map<string, keyof PartHeader>([
  ["content-type", "type"],
  ["content-disposition", "disposition"],
  ["content-transfer-encoding", "encoding"],
]);

class PartTree implements LineReader {
  wants: "all" | "prefixed" | "none" = "all";
  readonly #limits: MimeLimits;
  readonly #parts: PartDraft[] = [];
  readonly #stack: Open[] = [];
  /** Boundary to the stack levels that wait for it, deepest last. */
  readonly #levels = new Map<string, number[]>();
  #longestBoundary = 0;
  #complete = true;
  /** The header of the part on top while it is being read, and the field that a continuation line belongs to. */
  #header: PartHeader = { type: "", disposition: "", encoding: "" };
  #field: keyof PartHeader | undefined;

  constructor(limits: MimeLimits, bodyStart: number, header: PartHeader) {
    this.#limits = limits;
    this.#open(draft("1", 0, 0, -1), "", false);
    this.#header = header;
    this.#endHeader(bodyStart);
  }

  line(line: Line): void {
    const { bytes, start, end } = line;
    const level = this.#delimiter(bytes, start, end);
    if (level >= 0) {
      if (this.wants === "all") this.#endHeader(line.offset);
      this.#atDelimiter(level, line);
    } else if (this.wants === "all") {
      this.#headerLine(line);
    }
  }

  finish(size: number): MimeStructure {
    if (this.wants === "all") this.#endHeader(size);
    this.#close(0, size);
    return { parts: this.#parts, complete: this.#complete };
  }

  #headerLine(line: Line): void {
    const { bytes, start, end } = line;
    if (isBlank(bytes, start)) {
      this.#endHeader(line.next);
      return;
    }
    const stop = trimLineEnd(bytes, start, end);
    let from = start;
    if (bytes[start] !== 0x20 && bytes[start] !== 0x09) {
      const colon = fieldColon(bytes, start, end);
      if (colon < 0) {
        this.#endHeader(line.offset);
        return;
      }
      const first = bytes[start]! | 0x20;
      const key =
        first === 0x63
          ? HEADER_KEYS.get(bytes.toString("latin1", start, colon).trimEnd().toLowerCase())
          : undefined;
      // Of a repeated field the first counts.
      this.#field = key && this.#header[key] === "" ? key : undefined;
      from = colon + 1;
    }
    if (this.#field && this.#header[this.#field].length < MAX_HEADER_VALUE) {
      this.#header[this.#field] += bytes.toString("latin1", from, stop);
    }
  }

  /** The header of the part on top is over; what it says decides how its body is read. */
  #endHeader(bodyStart: number): void {
    this.wants = "prefixed";
    const open = this.#stack.at(-1)!;
    const part = open.part;
    part.bodyStart = bodyStart;
    const around = this.#stack.at(-2)?.part;
    describe(part, this.#header, around?.contentType === "multipart" && around.contentSubtype === "digest");
    if (part.boundary !== "" && this.#mayDescend(part)) this.#waitFor(part.boundary);
    else if (open.unlisted) this.#list(open);
    if (holdsMessage(part) && this.#mayDescend(part)) {
      part.container = true;
      this.#open(draft(`${part.path}.1`, bodyStart, part.depth + 1, open.index), part.path, true);
    } else if (this.#levels.size === 0) {
      this.wants = "none";
    }
  }

  /** Puts a part whose header comes next on the stack. */
  #open(part: PartDraft, prefix: string, unlisted: boolean): void {
    const open: Open = { part, index: part.parent, prefix, children: 0, waiting: false, unlisted };
    this.#stack.push(open);
    if (!unlisted) this.#list(open);
    this.#header = { type: "", disposition: "", encoding: "" };
    this.#field = undefined;
    this.wants = "all";
  }

  #list(open: Open): void {
    open.unlisted = false;
    open.index = this.#parts.push(open.part) - 1;
  }

  #mayDescend(part: PartDraft): boolean {
    if (part.depth < this.#limits.maxDepth) return true;
    this.#complete = false;
    return false;
  }

  #waitFor(boundary: string): void {
    const level = this.#stack.length - 1;
    this.#stack[level]!.waiting = true;
    const levels = this.#levels.get(boundary);
    if (levels) levels.push(level);
    else this.#levels.set(boundary, [level]);
    this.#longestBoundary = Math.max(this.#longestBoundary, boundary.length);
  }

  #stopWaiting(open: Open): void {
    if (!open.waiting) return;
    open.waiting = false;
    const levels = this.#levels.get(open.part.boundary)!;
    levels.pop();
    if (levels.length === 0) this.#levels.delete(open.part.boundary);
  }

  #atDelimiter(found: number, line: Line): void {
    const closing = found % 2 === 1;
    const level = found >> 1;
    const open = this.#stack[level]!;
    // A closing delimiter in front of all parts closes nothing.
    if (closing && open.children === 0) return;
    this.#close(level + 1, line.offset - line.endBefore);
    if (closing) {
      this.#stopWaiting(open);
      if (this.#levels.size === 0) this.wants = "none";
      return;
    }
    if (this.#parts.length >= this.#limits.maxParts) {
      this.#complete = false;
      this.wants = "none";
      return;
    }
    const number = ++open.children;
    open.part.container = true;
    if (level === 0) open.part.path = "";
    const path = open.prefix === "" ? `${number}` : `${open.prefix}.${number}`;
    this.#open(draft(path, line.next, open.part.depth + 1, open.index), path, false);
  }

  /** Twice the deepest level that waits for the delimiter on this line, plus 1 for a closing one; -1 for any other line. */
  #delimiter(bytes: Buffer, start: number, end: number): number {
    if (bytes[start] !== DASH || bytes[start + 1] !== DASH || this.#levels.size === 0) return -1;
    if (end - start > this.#longestBoundary + DELIMITER_SLACK) return -1;
    let stop = end;
    while (stop > start + 2 && isWhite(bytes[stop - 1]!)) stop--;
    const length = stop - start - 2;
    if (length === 0 || length > this.#longestBoundary + 2) return -1;
    const text = bytes.toString("latin1", start + 2, stop);
    const next = this.#levels.get(text)?.at(-1) ?? -1;
    const closing = text.endsWith("--") ? (this.#levels.get(text.slice(0, -2))?.at(-1) ?? -1) : -1;
    if (next < 0 && closing < 0) return -1;
    return next >= closing ? next * 2 : closing * 2 + 1;
  }

  /** Ends every part from `level` of the stack on at `end`, outermost first, each within the one around it. */
  #close(level: number, end: number): void {
    let limit = end;
    for (let i = level; i < this.#stack.length; i++) {
      const part = this.#stack[i]!.part;
      // The line end before a delimiter may be the blank line after a header, or the end of the delimiter line before.
      if (i > level) part.start = Math.min(part.start, limit);
      part.end = Math.max(part.start, end);
      part.bodyStart = Math.min(part.bodyStart, part.end);
      limit = part.end;
    }
    while (this.#stack.length > level) {
      const open = this.#stack.pop()!;
      this.#stopWaiting(open);
      if (open.unlisted && open.children === 0) this.#list(open);
    }
  }
}

function isWhite(byte: number): boolean {
  return byte === 0x20 || byte === 0x09 || byte === 0x0d || byte === 0x0a;
}
