/** The answers of the control socket, as `postlua status --json` and `postlua reload --json` print them. */
import type { ScriptProblem } from "./messages.ts";
import type { LoadOutcome, ScriptSlot } from "./script-library.ts";
import type { Totals } from "./statistics.ts";

export interface Status extends Totals {
  readonly pid: number;
  readonly started: string;
  readonly stopping: boolean;
  readonly workers: readonly {
    readonly pid: number;
    readonly state: "serving" | "starting";
    readonly sessions: number;
    readonly memory_mb: number;
    readonly age_s: number;
  }[];
  readonly pending_connections: number;
  readonly scripts: readonly ScriptStatus[];
  readonly config: {
    readonly file: string;
    readonly loaded: string;
    readonly restart_needed: readonly string[];
  };
}

export interface ScriptStatus {
  readonly name: string;
  /** "absent": there is no file, so Postfix's own behaviour holds; "broken" and "switched off": script_error. */
  readonly state: "in service" | "absent" | "broken" | "switched off";
  readonly version: string;
  readonly path: string;
  /** Of the file, when it was read. */
  readonly modified: string;
  readonly loaded: string;
  readonly callbacks: readonly string[];
  /** Why the file on disk is not in service; "" when it is. */
  readonly problem: string;
  readonly last_error: ScriptFailure | undefined;
}

export interface ScriptFailure {
  readonly time: string;
  readonly session: string;
  readonly queue: string;
  readonly callback: string;
  readonly line: number;
  readonly kind: string;
  readonly budget: string;
  readonly message: string;
}

export interface ConfigReport {
  readonly outcome: "unchanged" | "applied" | "refused";
  readonly applied: readonly string[];
  /** Changed in the file, and in effect after a restart. */
  readonly restart: readonly string[];
  readonly problems: readonly string[];
}

export interface ReloadReport {
  readonly config: ConfigReport;
  readonly scripts: readonly {
    readonly name: string;
    readonly outcome: LoadOutcome["kind"];
    /** In service now, "" for none. */
    readonly version: string;
    readonly switched_off: boolean;
    readonly line: number;
    /** Why it was refused, "" when it was not. */
    readonly problem: string;
  }[];
}

export function scriptStatus(
  slot: ScriptSlot,
  loaded: Date | undefined,
  lastError: ScriptFailure | undefined,
): ScriptStatus {
  const { version, problem } = slot;
  return {
    name: slot.name,
    state: state(slot),
    version: version?.hash ?? "",
    path: version?.path ?? "",
    modified: version?.modified ?? "",
    loaded: version === undefined ? "" : (loaded?.toISOString() ?? ""),
    callbacks: version?.callbacks ?? [],
    problem: problem?.message ?? "",
    last_error: lastError,
  };
}

function state(slot: ScriptSlot): ScriptStatus["state"] {
  if (slot.switchedOff) return "switched off";
  if (slot.version !== undefined) return "in service";
  return slot.problem === undefined ? "absent" : "broken";
}

export function scriptReport(slot: ScriptSlot, outcome: LoadOutcome): ReloadReport["scripts"][number] {
  const problem: ScriptProblem | undefined = outcome.kind === "refused" ? outcome.problem : undefined;
  return {
    name: slot.name,
    outcome: outcome.kind,
    version: slot.version?.hash ?? "",
    switched_off: slot.switchedOff,
    line: problem?.details.line ?? 0,
    problem: problem?.message ?? "",
  };
}
