/** What the doors that are configured cannot do for a script, for `postlua check`. */
import type { Config } from "../config/load.ts";
import type { LoadedScript } from "../scripts/loader.ts";

const NO_MILTER = "[milter] listen has no address";
const UNTOLD = `never called: ${NO_MILTER}, and the policy service is not told`;
const PARAMETERS = `it is given no parameters but SIZE, and those it returns have no effect: ${NO_MILTER}`;

const WITHOUT_MILTER: Readonly<Record<string, string>> = {
  ProcessMessage: `never called: ${NO_MILTER}, and the policy service sees no content`,
  DoUnrecognised: UNTOLD,
  DoHELP: UNTOLD,
  DoRSET: UNTOLD,
  DoQUIT: UNTOLD,
  DoMAILFROM: PARAMETERS,
  DoRCPTTO: PARAMETERS,
  DoDATAStart: `its header lines go nowhere: ${NO_MILTER}`,
};

type Doors = Pick<Config, "milter" | "policy">;

/** For SMTPSVR.LUA. @returns texts by the callback that each is about */
export function unservedByDoors(
  { milter, policy }: Doors,
  { callbacks }: Pick<LoadedScript, "callbacks">,
): readonly (readonly [callback: string, text: string])[] {
  const found: [string, string][] = [];
  if (callbacks.has("DoRoute") && policy.listen.length === 0) {
    found.push(["DoRoute", "never called: [policy] listen has no address"]);
  }
  if (milter.listen.length > 0) return found;
  for (const [callback, text] of Object.entries(WITHOUT_MILTER)) {
    if (callbacks.has(callback)) found.push([callback, text]);
  }
  return found;
}

/** For the scripts that are about messages. @returns why such a script is never called, or undefined */
export function neverCalled({ milter }: Doors): string | undefined {
  return milter.listen.length === 0 ? `never called: ${NO_MILTER}` : undefined;
}
