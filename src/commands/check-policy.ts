/** What the doors that are configured cannot do for a script, for `postlua check`. */
import type { Config } from "../config/load.ts";
import { ERRORS_FILE, SIGNATURE_FILE, USER_REDIRECT_FILE } from "../scripts/callbacks.ts";
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

/** For the scripts that are about messages. @returns what is wrong with the whole of such a script, or undefined */
export function unservedScript(file: string, { milter }: Doors): string | undefined {
  if (milter.listen.length > 0) return undefined;
  if (file === ERRORS_FILE || file === SIGNATURE_FILE) return `never called: ${NO_MILTER}`;
  if (file !== USER_REDIRECT_FILE) return undefined;
  return `called for messages with one recipient alone, and sees nothing of their content: ${NO_MILTER}`;
}
