/** Calls a host function as the engine does, for tests of the functions alone. */
import type { HostCall, HostModule } from "../../src/lua/host.ts";
import type { LuaInput, LuaValue } from "../../src/lua/values.ts";

export interface CallOptions {
  readonly signal?: AbortSignal;
  /** Told every charge; may throw, as a spent budget does. */
  readonly charge?: (steps: number) => void;
}

export async function callHost(
  module: HostModule,
  name: string,
  args: readonly LuaValue[],
  options: CallOptions = {},
): Promise<readonly LuaInput[]> {
  const bad = (position: number, type: string) => new Error(`bad argument #${position} (${type} expected)`);
  const string = (position: number) => {
    const value = args[position - 1];
    if (typeof value === "string") return value;
    if (typeof value === "number") return String(value);
    throw bad(position, "string");
  };
  const number = (position: number) => {
    const value = args[position - 1];
    if (value === undefined || Number.isNaN(Number(value))) throw bad(position, "number");
    return Number(value);
  };
  const absent = (position: number) => args[position - 1] === undefined;
  const call: HostCall = {
    args,
    context: {},
    signal: options.signal ?? new AbortController().signal,
    string,
    number,
    optionalString: (position, fallback) => (absent(position) ? fallback : string(position)),
    optionalNumber: (position, fallback) => (absent(position) ? fallback : number(position)),
    charge: options.charge ?? (() => {}),
  };
  return module.functions[name]!(call);
}
