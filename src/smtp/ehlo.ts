/**
 * GetEHLOCapabilities, without a session (manual, "GetEHLOCapabilities"):
 * Postfix asks what not to offer before it tells anybody of the connection,
 * and names the client's address alone. So the script runs in an environment
 * of its own, which is gone afterwards, with that address as its hostname.
 *
 * Only taking keywords away can be served. Whatever fails leaves the answer
 * to EHLO as it is: Postfix would turn the client away otherwise.
 */
import type { EhloFacts } from "../config/ehlo.ts";
import { SMTPSVR_FILE } from "../scripts/callbacks.ts";
import { Decisions } from "./decide.ts";
import type { SessionServices } from "./services.ts";
import { smtpScript } from "./session-script.ts";

const CALLBACK = "GetEHLOCapabilities";

/**
 * Keywords, upper case, that Postfix is not to offer the client at `address`; none when the script does not say.
 * @param warned what has been warned of before, so that it is said once
 */
export async function removedKeywords(
  services: SessionServices,
  { capabilities }: EhloFacts,
  address: string,
  id: string,
  warned: Set<string>,
): Promise<readonly string[]> {
  const state = services.script(SMTPSVR_FILE);
  // A script that cannot be used has been reported, and the client will hear of it.
  if (state.kind !== "loaded" || !state.loaded.callbacks.has(CALLBACK)) return [];
  const globals = services.rules.globals({ address, port: 0, hostname: "" }, id);
  const decisions = new Decisions(services, id);
  const context = { message: undefined, globals };
  const script = smtpScript(services, state.loaded, context, globals);
  const since = performance.now();
  const record = (result: string) => decisions.record(script.name, CALLBACK, result, since);
  try {
    await script.load();
    const wanted = await script.ehloCapabilities(address, capabilities.join("\n"));
    if (wanted === "") {
      record("unchanged");
      return [];
    }
    const { removed, unserved } = compare(capabilities, wanted);
    for (const line of unserved) {
      if (warned.has(line) || warned.size > 50) continue;
      warned.add(line);
      decisions.warn(script.name, CALLBACK, `"${line}" cannot be added or changed; only removing is served`);
    }
    record(removed.length === 0 ? "unchanged" : `removed ${removed.join(" ")}`);
    return removed;
  } catch (error) {
    decisions.failed(error);
    record("failed, unchanged");
    return [];
  } finally {
    script.close();
  }
}

/** What a script took away from `lines`, and what it wants that is not there like that. */
export function compare(
  lines: readonly string[],
  wanted: string,
): { readonly removed: readonly string[]; readonly unserved: readonly string[] } {
  const offered = new Map(lines.map((line) => [keyword(line), line.toUpperCase()] as const));
  const kept = new Set<string>();
  const unserved: string[] = [];
  for (const text of wanted.split(/[\r\n]+/)) {
    // As it stands on the wire, the code may be in front.
    const line = text.trim().replace(/^250[ -]/, "");
    if (line === "") continue;
    const name = keyword(line);
    kept.add(name);
    // Which mechanisms AUTH has is Postfix's and SASL's business; the word alone is given.
    if (name !== "AUTH" && offered.get(name) !== line.toUpperCase()) unserved.push(line);
    else if (!offered.has(name)) unserved.push(line);
  }
  return { removed: [...offered.keys()].filter((name) => !kept.has(name)), unserved };
}

function keyword(line: string): string {
  return (/^[^\s=]*/.exec(line)?.[0] ?? "").toUpperCase();
}
