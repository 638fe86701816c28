/** What the primary says about scripts and workers: the log line and the LUAERRORS.LOG entry of each event. */
import type { Log } from "../log.ts";
import { ScriptError } from "../lua/errors.ts";
import { SMTPSVR_FILE } from "../scripts/callbacks.ts";
import { errorEntry, type OutputFiles } from "../scripts/output.ts";
import type { ScriptProblem } from "./messages.ts";
import type { LoadOutcome, ScriptSlot } from "./script-library.ts";
import type { Death } from "./worker-process.ts";

export interface Channels {
  readonly log: Log;
  readonly output: OutputFiles;
}

/** Why a script is not loaded, or is, in words that suit its state. */
export function reportLoad(
  { log, output }: Channels,
  slot: ScriptSlot,
  outcome: LoadOutcome,
  place: { readonly directory: string; readonly verdict: string },
): void {
  const script = slot.name;
  switch (outcome.kind) {
    case "loaded": {
      const { path, hash, callbacks } = outcome.version;
      log.info("script loaded", { script, path, version: hash, callbacks: callbacks.join(" ") });
      break;
    }
    case "unchanged":
      if (slot.switchedOff) log.error("script unchanged, it stays switched off", { script });
      else log.info("script unchanged", { script, version: slot.version?.hash });
      break;
    case "removed":
      log.warn("script removed", { script, directory: place.directory });
      break;
    case "missing":
      // Of the other scripts most sites have none.
      if (slot.version === undefined) {
        if (script === SMTPSVR_FILE) log.warn("no script", { script, directory: place.directory });
      } else
        log.warn("script file is gone, its last version stays until a reload is asked for", {
          script,
          directory: place.directory,
          version: slot.version.hash,
        });
      break;
    case "refused": {
      const { message, details } = outcome.problem;
      output.error(errorEntry(errorOf(outcome.problem), { session: "", queue: "" }));
      log.error(outcome.kept ? "script refused, its last good version stays" : "script not loaded", {
        script,
        line: details.line,
        kind: details.kind,
        message,
        ...(outcome.kept ? { version: slot.version?.hash } : { verdict: place.verdict }),
      });
      break;
    }
  }
}

export function reportDeath({ log, output }: Channels, death: Death, restartMs: number | undefined): void {
  const { pid, cause, detail, place, livedMs } = death;
  if (cause === "stopped") return;
  log.error("worker died", {
    worker: pid,
    cause,
    detail,
    session: place?.session,
    queue: place?.queue,
    script: place?.script,
    callback: place === undefined ? undefined : place.callback || "(top level)",
    line: place?.line || undefined,
    lived_ms: livedMs,
    restart_in_ms: restartMs,
  });
  if (place === undefined || !countsAgainstScript(death)) return;
  const { session, queue, script, callback, line } = place;
  const message = `${script}: the worker was killed: ${detail}`;
  const error = new ScriptError(message, { kind: "stopped", script, callback, line, traceback: "" });
  output.error(errorEntry(error, { session, queue }));
}

/** Whether what ran in the worker is to blame for its death. */
export function countsAgainstScript({ cause }: Death): boolean {
  return cause === "stuck" || cause === "memory";
}

export function reportSwitchOff({ log, output }: Channels, problem: ScriptProblem, verdict: string): void {
  const { script } = problem.details;
  log.error("script switched off", { script, message: problem.message, verdict });
  output.error(errorEntry(errorOf(problem), { session: "", queue: "" }));
}

function errorOf({ message, details }: ScriptProblem): ScriptError {
  return new ScriptError(message, details);
}
