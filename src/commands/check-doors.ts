/** What a script wants of Postfix or the network that the configuration does not give it, for `postlua check`. */
import type { Config } from "../config/load.ts";
import type { LoadedScript } from "../scripts/loader.ts";
import { EHLO_MAP } from "../serve/socketmap-door.ts";

/** @returns texts by the callback that each is about; for SMTPSVR.LUA */
export function missingDoors(
  { rbl, socketmap, facts }: Pick<Config, "rbl" | "socketmap" | "facts">,
  { callbacks, mentions }: Pick<LoadedScript, "callbacks" | "mentions">,
): readonly (readonly [callback: string, text: string])[] {
  const missing: [string, string][] = [];
  if (callbacks.has("RBLResults") && rbl.servers.length === 0 && !mentions("CheckRBL")) {
    missing.push([
      "RBLResults",
      "never called: [rbl] servers has no block list, and the script does not set CheckRBL",
    ]);
  }
  if (!callbacks.has("GetEHLOCapabilities")) return missing;
  const [listen] = socketmap.listen;
  if (listen === undefined) {
    missing.push(["GetEHLOCapabilities", "never called: [socketmap] listen has no address"]);
  } else if (facts.problem === "" && !facts.ehlo.asksSocketmap) {
    const command = `postconf smtpd_discard_ehlo_keyword_address_maps=socketmap:${tableAddress(listen)}:${EHLO_MAP}`;
    missing.push(["GetEHLOCapabilities", `never called: Postfix does not ask; ${command}`]);
  }
  return missing;
}

/** From "inet:PORT@HOST" to what Postfix writes, "inet:HOST:PORT". */
function tableAddress(listen: string): string {
  return listen.replace(/^inet:(\d+)@(.+)$/, "inet:$2:$1").replace(/^inet6:(\d+)@(.+)$/, "inet:[$2]:$1");
}
