/** The queue as text: a table for people, rows for JSON. Pure. Everything from mail is cleaned of control characters. */
import { decodeText } from "../bytes.ts";
import type { Planned } from "../queue/plan.ts";

/** One message, as `--json` has it. Times are ISO 8601, "" where there is none. */
export interface QueueRow {
  readonly id: string;
  /** From 1 among those that go now; 0 for the others. */
  readonly position: number;
  readonly state: string;
  readonly priority: number;
  readonly reason: string;
  readonly retries: number;
  readonly last_try: string;
  readonly last_error: string;
  readonly next_try: string;
  readonly destinations: readonly string[];
  readonly size: number;
  readonly arrived: string;
  readonly sender: string;
  readonly recipients: readonly string[];
}

const FOREIGN = {
  held: "on hold",
  moving: "under way",
  local: "not ours",
  unknown: "next hop unknown",
  expired: "expired",
} as const;

export function rowOf({
  message,
  position,
  foreign,
  decision,
  actions,
  entry,
  destinations,
}: Planned): QueueRow {
  const kind = decision?.kind;
  const waits = kind === "wait" ? decision?.untilMs : entry?.nextTryMs;
  return {
    id: message.id,
    position: position ?? 0,
    state:
      foreign !== undefined
        ? FOREIGN[foreign]
        : kind === "send" && decision?.last
          ? "last try"
          : WORDS[kind ?? "wait"],
    priority: actions.priority,
    reason: clean(decision?.kind === "refuse" ? decision.words : actions.reason),
    retries: entry?.retries ?? 0,
    last_try: iso(entry?.lastTryMs),
    last_error: clean(entry?.lastReason ?? ""),
    next_try: kind === "send" ? "" : iso(waits),
    destinations: destinations.map(clean),
    size: message.size,
    arrived: iso(message.arrivalTime * 1000),
    sender: clean(message.sender),
    recipients: message.recipients
      .filter(({ state }) => state === "todo")
      .map(({ address }) => clean(address)),
  };
}

const WORDS = { send: "send", skip: "skip", wait: "wait", expire: "bounce", refuse: "bounce" } as const;

function iso(ms: number | undefined): string {
  return ms === undefined || ms === 0 || !Number.isFinite(ms) ? "" : new Date(ms).toISOString();
}

function clean(text: string): string {
  return decodeText(text).replace(/\p{Cc}+/gu, " ");
}

export interface ListingOptions {
  readonly colour: boolean;
  /** Of the terminal; longer lines and further rows are cut off. */
  readonly width?: number;
  readonly height?: number;
}

const HEADINGS = ["pos", "queue id", "state", "prio", "tries", "next try", "size", "destination", "reason"];
const NUMBERS = new Set([0, 3, 4, 6]);
const SHADES: Readonly<Record<string, string>> = {
  send: "\x1b[32m",
  "last try": "\x1b[35m",
  skip: "\x1b[33m",
  bounce: "\x1b[31m",
  wait: "",
};
const DIM = "\x1b[2m";
const PLAIN = "\x1b[0m";

/** Heading, one line a message, and a line of sums. */
export function listing(rows: readonly QueueRow[], options: ListingOptions): string {
  if (rows.length === 0) return "the queue is empty\n";
  const room = Math.max(1, (options.height ?? Number.POSITIVE_INFINITY) - 3);
  const shown = rows.slice(0, room);
  const cells = shown.map(cellsOf);
  const widths = HEADINGS.map((heading, i) =>
    i === HEADINGS.length - 1 ? 0 : Math.max(heading.length, ...cells.map((row) => (row[i] ?? "").length)),
  );
  const lineOf = (row: readonly string[]) => {
    const padded = row.map((cell, i) =>
      NUMBERS.has(i) ? cell.padStart(widths[i] ?? 0) : cell.padEnd(widths[i] ?? 0),
    );
    return padded.join("  ").trimEnd().slice(0, options.width);
  };
  const shade = (text: string, code: string) =>
    options.colour && code !== "" ? `${code}${text}${PLAIN}` : text;
  const lines = [shade(lineOf(HEADINGS), DIM)];
  for (const [i, row] of shown.entries()) lines.push(shade(lineOf(cells[i] ?? []), SHADES[row.state] ?? DIM));
  const counts = new Map<string, number>();
  for (const { state } of rows) counts.set(state, (counts.get(state) ?? 0) + 1);
  const sums = [...counts].map(([state, count]) => `${count} ${state}`).join(", ");
  const more = rows.length > shown.length ? `; ${rows.length - shown.length} not shown` : "";
  lines.push(`${rows.length} message${rows.length === 1 ? "" : "s"}: ${sums}${more}`);
  return `${lines.join("\n")}\n`;
}

function cellsOf(row: QueueRow): string[] {
  const { id, position, state, priority, retries, next_try, size, destinations, reason, last_error } = row;
  return [
    position === 0 ? "-" : String(position),
    id,
    state,
    String(priority),
    String(retries),
    next_try === "" ? "" : local(next_try),
    String(size),
    destinations.join(" "),
    [reason, last_error].filter((text) => text !== "").join("; "),
  ];
}

/** "2026-11-23 01:02:03", local. */
function local(time: string): string {
  return new Date(time).toLocaleString("sv");
}
