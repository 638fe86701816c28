/**
 * What became of a try, told by the queue alone: a message that is gone was
 * delivered, bounced or deleted; one that is deferred has a defer log, and
 * its words say whether anybody tried.
 */
import { type DeferEntry, type DeferLog, PARKED_REASON } from "./defer-log.ts";

export interface Failure {
  /** Time of the defer log, which tells this try from the one before. */
  readonly logMs: number;
  /** What a bounce would say. */
  readonly reason: string;
  /** No server spoke: the destination, not the message, is what failed. */
  readonly destinationDown: boolean;
}

const NOTE_MARK = "not sent: ";

/** The text of a note for bounces and `postqueue -p`. */
export function noteText(reason: string): string {
  return `${NOTE_MARK}${reason}`;
}

const isParked = (entry: DeferEntry) =>
  entry.reason === PARKED_REASON || entry.reason.startsWith(NOTE_MARK) || entry.reason === "";

/**
 * The failed try that a defer log tells of; undefined when nobody tried: the message was only parked, or the log is
 * that of the try seen before.
 *
 * @param seenMs logMs of the last failure known, 0 when there was none
 */
export function failureIn(log: DeferLog | undefined, seenMs: number): Failure | undefined {
  if (log === undefined || log.lastTryMs === seenMs) return undefined;
  const tried = log.entries.filter((entry) => !isParked(entry));
  const [first] = tried;
  if (first === undefined) return undefined;
  const destinationDown = tried.every(({ server, diagnostic }) => server === "" && diagnostic === "");
  return { logMs: log.lastTryMs, reason: first.reason, destinationDown };
}
