/**
 * What CheckFile is asked about a message, and what it answers: the border
 * between the queue worker, which knows no Lua, and the scripts RELAYOUT.LUA
 * and MXOUT.LUA, which know no queue.
 */
import type { QueueFile } from "./queue-file.ts";

/** "relay": RELAYOUT.LUA, for recipients whose next hop is a relay; "mx": MXOUT.LUA, for direct delivery. */
export type Route = "relay" | "mx";

export interface CheckQuestion {
  readonly route: Route;
  readonly file: QueueFile;
  /** Path of the queue file, which the scripts cannot open. */
  readonly path: string;
  /** Those still undelivered on this route, byte strings without <>. */
  readonly recipients: readonly string[];
  /** Earlier tries that failed. */
  readonly retries: number;
  /** undefined before the first try. */
  readonly lastTry: Date | undefined;
}

/** The manual's Actions table, checked. */
export interface CheckActions {
  readonly skipSend: boolean;
  readonly forceRetry: boolean;
  /** Never true together with skipSend. */
  readonly forceLastTry: boolean;
  readonly reason: string;
  /** Finite; larger goes first. */
  readonly priority: number;
}

/** As the table enters CheckFile; also what holds when the script is absent or fails. */
export const UNCHANGED: CheckActions = {
  skipSend: false,
  forceRetry: false,
  forceLastTry: false,
  reason: "",
  priority: 50,
};

export interface Checker {
  /** Never throws for what a script does: a failure is logged and UNCHANGED. */
  check(question: CheckQuestion): Promise<CheckActions>;
  close(): Promise<void>;
}
