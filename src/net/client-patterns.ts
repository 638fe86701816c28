/**
 * Lists of clients as people write them: addresses, ranges, wildcards over
 * addresses or names, and names. Text only; nothing is looked up, and a name
 * is worth what whoever passes it has verified.
 */
import { inNetworks, networkProblem, networkSet, patternProblem } from "../config/networks.ts";

export interface ClientPatterns {
  /** `name` is "" or "unknown" for a client without a verified name. */
  matches(address: string, name: string): boolean;
}

const MOST_ENTRIES = 10_000;

/** Makes entries ready; those that patternProblem objects to are left out and returned. */
export function clientPatterns(entries: readonly string[]): { patterns: ClientPatterns; bad: string[] } {
  const bad: string[] = [];
  const ranges: string[] = [];
  const globs: string[] = [];
  for (const [i, entry] of entries.entries()) {
    const text = entry.trim().toLowerCase();
    if (i >= MOST_ENTRIES || patternProblem(entry) !== undefined) bad.push(entry);
    else if (networkProblem(text) === undefined) ranges.push(text);
    else globs.push(text.startsWith(".") ? `*${text}` : text.replace(/\*+/g, "*"));
  }
  const set = networkSet(ranges);
  return {
    bad,
    patterns: {
      matches(address, name) {
        if (ranges.length > 0 && inNetworks(set, address)) return true;
        if (globs.length === 0) return false;
        const named = name === "" || name === "unknown" || name.startsWith("[") ? "" : name.toLowerCase();
        const lower = address.toLowerCase();
        return globs.some((glob) => globMatches(glob, lower) || (named !== "" && globMatches(glob, named)));
      },
    },
  };
}

/** Whether all of `text` fits; each star keeps only its latest try, so that the cost is bounded. */
function globMatches(glob: string, text: string): boolean {
  let at = 0;
  let star = -1;
  let mark = 0;
  for (let i = 0; i < text.length; ) {
    if (at < glob.length && (glob[at] === "?" || glob[at] === text[i]) && glob[at] !== "*") {
      at++;
      i++;
    } else if (glob[at] === "*") {
      star = at++;
      mark = i;
    } else if (star >= 0) {
      at = star + 1;
      i = ++mark;
    } else return false;
  }
  while (glob[at] === "*") at++;
  return at === glob.length;
}
