/**
 * Host functions: what JavaScript offers to scripts, in terms that know no
 * engine. A module is a set of functions under one global table name; the
 * engine wraps each one, so that a promise makes the script wait without
 * blocking the process.
 */
import type { LuaInput, LuaValue } from "./values.ts";

/** One call of a host function from Lua. Positions count from 1, as Lua's own messages do. */
export interface HostCall {
  readonly args: readonly LuaValue[];
  /** What the owner of the environment put there (session, message, user); helpers cast it to their own type. */
  readonly context: object;
  /** Aborted when the callback is over, its budget is spent or its session has gone. */
  readonly signal: AbortSignal;
  /** A string argument; numbers are converted as Lua does. Raises Lua's "bad argument" error otherwise. */
  string(position: number): string;
  /** A string argument or `fallback` when absent or nil. */
  optionalString(position: number, fallback: string): string;
  /** A number argument; numeric strings are converted. Raises Lua's "bad argument" error otherwise. */
  number(position: number): number;
  optionalNumber(position: number, fallback: number): number;
  /** Charges `steps` VM instructions to the callback's budget, for work that grows with the arguments. */
  charge(steps: number): void;
}

/** Returns the results, or a promise of them. Throw LuaRaise for an error that the script can catch with pcall. */
export type HostFunction = (call: HostCall) => readonly LuaInput[] | Promise<readonly LuaInput[]>;

export interface HostModule {
  /** Global table that holds the functions: "VPOP3", "VPOP3Net", "os"; "" puts them among the globals. */
  readonly table: string;
  readonly functions: Readonly<Record<string, HostFunction>>;
}

/** An error raised into the script, catchable by pcall; its message gets the script's file and line in front. */
export class LuaRaise extends Error {
  override name = "LuaRaise";
}
