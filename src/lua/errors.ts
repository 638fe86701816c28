/** The one error a script can cause. Anything else that escapes from src/lua is a bug of ours. */

export type ScriptErrorKind = "missing" | "syntax" | "runtime" | "budget" | "memory" | "stopped";

export interface ScriptErrorDetails {
  readonly kind: ScriptErrorKind;
  /** File name as the admin knows it, e.g. "SMTPSVR.LUA". */
  readonly script: string;
  /** Callback that ran, "" for the top level. */
  readonly callback: string;
  /** Line in the script, 0 when unknown. */
  readonly line: number;
  /** For kind "budget": which one, e.g. "cpu", "wall", "instructions", "string". */
  readonly budget?: string;
  /** Lua's traceback, "" when there is none. */
  readonly traceback: string;
}

export class ScriptError extends Error {
  override name = "ScriptError";
  readonly details: ScriptErrorDetails;

  /** `message` is Lua's own text, file and line included where Lua gives them. */
  constructor(message: string, details: ScriptErrorDetails) {
    super(message);
    this.details = details;
  }
}
