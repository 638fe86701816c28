/** Counts every message in and out, and prints what each fault did. */
import assert from "node:assert/strict";
import type { SinkMessage } from "../../postfix/sink.ts";
import type { Sent } from "./load.ts";

export interface Account {
  readonly sent: number;
  readonly accepted: number;
  readonly refused: number;
  /** Attempts that were answered with 4xx or broken off. */
  readonly retried: number;
  /** No reply came to the end of the message: in the sink or not, both are right. */
  readonly unknown: number;
  readonly lost: number;
  readonly twice: number;
  /** In the sink, and refused, meant to be refused, or without the script's stamp. */
  readonly wronglyAccepted: number;
  readonly wronglyRefused: number;
  /** Milliseconds from connect to outcome, of messages accepted or refused at the first attempt. */
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
}

export const STAMP = "X-Checked";

/** Compares what was sent with what arrived. */
export function account(sent: readonly Sent[], arrived: readonly SinkMessage[]): Account {
  const copies = new Map<string, SinkMessage[]>();
  for (const message of arrived) {
    const id = headerOf(message, "message-id")?.trim().slice(1, -1) ?? "";
    copies.set(id, [...(copies.get(id) ?? []), message]);
  }
  const known = new Set(sent.map(({ id }) => id));
  for (const id of copies.keys()) assert.ok(known.has(id), `nobody sent ${id}`);
  const inSink = ({ id }: Sent) => copies.get(id) ?? [];
  const stamped = (message: SinkMessage) => headerOf(message, STAMP) !== undefined;
  const count = (wanted: (message: Sent) => boolean) => sent.filter(wanted).length;
  const times = sent
    .filter(({ attempts, outcome }) => attempts === 1 && outcome !== "unknown")
    .map(({ ms }) => ms)
    .sort((a, b) => a - b);
  const quantile = (q: number) => Math.round(times[Math.floor(q * (times.length - 1))] ?? 0);
  return {
    sent: sent.length,
    accepted: count(({ outcome }) => outcome === "accepted"),
    refused: count(({ outcome }) => outcome === "refused"),
    retried: sent.reduce((sum, { attempts }) => sum + attempts - 1, 0),
    unknown: count(({ outcome }) => outcome === "unknown"),
    lost: count((message) => message.outcome === "accepted" && inSink(message).length === 0),
    twice: count((message) => inSink(message).length > 1),
    wronglyAccepted: count(
      (message) =>
        (message.kind !== "good" && message.outcome === "accepted") ||
        inSink(message).some(
          (copy) => message.kind !== "good" || message.outcome === "refused" || !stamped(copy),
        ),
    ),
    wronglyRefused: count(({ kind, outcome }) => kind === "good" && outcome === "refused"),
    p50: quantile(0.5),
    p99: quantile(0.99),
    max: quantile(1),
  };
}

/** Times of the delivered messages that went through other workers than the hurt ones, milliseconds, rising. */
export function timesOfOthers(
  sent: readonly Sent[],
  arrived: readonly SinkMessage[],
  hurt: readonly number[],
): number[] {
  const ends = hurt.map((pid) => `${pid.toString(36)}-`);
  const elsewhere = new Set<string>();
  for (const message of arrived) {
    const session = headerOf(message, STAMP)?.trim() ?? "";
    const place = session.slice(0, session.lastIndexOf("-") + 1);
    const id = headerOf(message, "message-id")?.trim().slice(1, -1) ?? "";
    if (!ends.some((end) => place.endsWith(end))) elsewhere.add(id);
  }
  return sent
    .filter(({ id }) => elsewhere.has(id))
    .map(({ ms }) => ms)
    .sort((a, b) => a - b);
}

function headerOf(message: SinkMessage, name: string): string | undefined {
  return message.headers.find(([found]) => found.toLowerCase() === name.toLowerCase())?.[1];
}

/** What must hold whatever was done to the service. */
export function assertNothingLost(found: Account): void {
  const { lost, twice, wronglyAccepted, wronglyRefused } = found;
  assert.deepEqual({ lost, twice, wronglyAccepted, wronglyRefused }, NOTHING, JSON.stringify(found));
  assert.ok(found.accepted > 0 && found.refused > 0, JSON.stringify(found));
  assert.equal(found.accepted + found.refused + found.unknown, found.sent);
}

const NOTHING = { lost: 0, twice: 0, wronglyAccepted: 0, wronglyRefused: 0 };

const rows: Record<string, string | number>[] = [];

/** One line of the table. */
export function enter(fault: string, found: Account, note: string): void {
  const { sent, accepted, refused, retried, lost, twice, wronglyAccepted, p50, p99, max } = found;
  rows.push({ fault, sent, accepted, refused, retried, lost, twice, "wrongly accepted": wronglyAccepted });
  Object.assign(rows.at(-1) as object, { "p50 ms": p50, "p99 ms": p99, "max ms": max, note });
}

/** The table of everything entered so far. */
export function table(): string {
  const [first] = rows;
  if (first === undefined) return "";
  const names = Object.keys(first);
  const cells = [names, ...rows.map((row) => names.map((name) => String(row[name])))];
  const widths = names.map((_, n) => Math.max(...cells.map((row) => row[n]?.length ?? 0)));
  const line = (row: readonly string[]) =>
    `| ${row.map((cell, n) => (n === 0 || n === row.length - 1 ? cell.padEnd(widths[n] ?? 0) : cell.padStart(widths[n] ?? 0))).join(" | ")} |`;
  const rule = `|${widths.map((width) => "-".repeat(width + 2)).join("|")}|`;
  return [line(names), rule, ...cells.slice(1).map(line)].join("\n");
}
