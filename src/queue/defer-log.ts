/**
 * Why messages wait: Postfix's defer logs (defer/H/ID), one entry for each
 * recipient that the last try left behind. Postfix removes the log when it
 * takes the message up again, so its time is that of the last try.
 *
 * Read-only. A line that does not fit is passed over, as bounce(8) does it:
 * the log is words for people, nothing is decided by it alone.
 */
import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { join } from "node:path";
import { placesInQueue } from "./queue-id.ts";

export interface DeferEntry {
  readonly recipient: string;
  /** Of the recipient's record in the queue file; 0 when the log does not say. */
  readonly offset: number;
  /** Enhanced status code, such as "4.4.1". */
  readonly status: string;
  /** Postfix's words, which bounces and `postqueue -p` show. */
  readonly reason: string;
  /** What the other server said, such as "450 4.2.0 Mailbox busy"; "" when none did. */
  readonly diagnostic: string;
  /** The server that said it. */
  readonly server: string;
}

export interface DeferLog {
  /** When the last try ended, milliseconds since 1970. */
  readonly lastTryMs: number;
  readonly entries: readonly DeferEntry[];
}

/** Of a message with very many recipients the first ones' entries will do. */
const MAX_BYTES = 1024 * 1024;

/** The reason that stands in the log of a message that nobody tried to send: its transport is in defer_transports. */
export const PARKED_REASON = "deferred transport";

/** The defer log of message `id`; undefined when there is none. @throws a system error when it cannot be read */
export function readDeferLog(queueDirectory: string, id: string): DeferLog | undefined {
  for (const place of placesInQueue(id)) {
    const log = readLog(join(queueDirectory, "defer", place));
    if (log !== undefined) return log;
  }
  return undefined;
}

function readLog(path: string): DeferLog | undefined {
  let fd: number;
  try {
    fd = openSync(path, "r");
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ENOTDIR") return undefined;
    throw error;
  }
  try {
    const { size, mtimeMs } = fstatSync(fd);
    const buffer = Buffer.allocUnsafe(Math.min(size, MAX_BYTES));
    let filled = 0;
    while (filled < buffer.length) {
      const got = readSync(fd, buffer, filled, buffer.length - filled, filled);
      if (got === 0) break;
      filled += got;
    }
    return { lastTryMs: mtimeMs, entries: parseDeferLog(buffer.toString("latin1", 0, filled)) };
  } finally {
    closeSync(fd);
  }
}

/** The entries of a defer log given as byte string. */
export function parseDeferLog(text: string): DeferEntry[] {
  const entries: DeferEntry[] = [];
  for (const block of text.split(/\n{2,}/)) {
    const fields = new Map<string, string>();
    for (const line of block.split("\n")) {
      const old = /^<(.*?)>: +(.*)$/.exec(line);
      if (old !== null) {
        fields.set("recipient", old[1] ?? "");
        fields.set("reason", old[2] ?? "");
        continue;
      }
      const at = line.indexOf("=");
      if (at > 0) fields.set(line.slice(0, at).trimEnd(), line.slice(at + 1).trimStart());
    }
    const recipient = fields.get("recipient");
    if (recipient === undefined) continue;
    entries.push({
      recipient,
      offset: Number(fields.get("offset") ?? 0) || 0,
      status: fields.get("status") ?? "4.0.0",
      reason: fields.get("reason") ?? "",
      diagnostic: fields.get("diag_text") ?? "",
      server: fields.get("mta_mname") ?? "",
    });
  }
  return entries;
}
