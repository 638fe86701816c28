/**
 * What cleanup(8) makes of an envelope recipient: canonical_maps, then
 * virtual_alias_maps applied to every result again until nothing matches
 * (cleanup_map11, cleanup_map1n). An address that expands into itself stops
 * there; any other circle ends at Postfix's own limits, as an error.
 */
import { canonical, parseList, splitAddress } from "./address.ts";
import { ExpansionError } from "./expander.ts";
import { isMissing, type Lookup, MISSING } from "./lookup.ts";
import type { Parameter } from "./postfix-settings.ts";
import { isLocalDomain, type Postfix } from "./resolve.ts";
import { findAddress } from "./tables.ts";

export interface Cleaned {
  /** Internal form, none twice. */
  readonly recipients: readonly string[];
  /** The addresses that virtual_alias_maps expanded, in the order met. */
  readonly aliases: readonly string[];
}

const MAX_CANONICAL = 10;

/** @throws ExpansionError, MISSING */
export function cleanup(postfix: Postfix, lookup: Lookup, address: string): Cleaned {
  const { settings } = postfix;
  let current = address;
  for (const kind of ["recipient_canonical", "canonical"] as const) {
    if (settings.words(`${kind}_classes`).includes("envelope_recipient")) {
      current = canonicalOf(postfix, lookup, `${kind}_maps`, current);
    }
  }
  return aliasesOf(postfix, lookup, current);
}

function canonicalOf(postfix: Postfix, lookup: Lookup, maps: Parameter, address: string): string {
  let current = address;
  for (let n = 0; n < MAX_CANONICAL; n++) {
    const [next] = mapAddress(postfix, lookup, maps, current, "canonical") ?? [];
    if (next === undefined) break;
    const same = next.toLowerCase() === current.toLowerCase();
    current = next;
    if (same) break;
  }
  return current;
}

function aliasesOf(postfix: Postfix, lookup: Lookup, address: string): Cleaned {
  const { settings } = postfix;
  const maxResults = settings.number("virtual_alias_expansion_limit");
  const out = [address];
  const aliases: string[] = [];
  const selves = new Set<string>();
  let missing = false;
  for (let n = 0; n < out.length; n++) {
    if (out.length > maxResults) {
      throw new ExpansionError(
        `virtual_alias_maps: ${address} expands into more than ${maxResults} addresses (virtual_alias_expansion_limit)`,
      );
    }
    try {
      expandOne(postfix, lookup, out, n, selves, aliases);
    } catch (error) {
      if (!isMissing(error)) throw error;
      missing = true;
    }
  }
  if (missing) throw MISSING;
  const seen = new Set<string>();
  const recipients = out.filter((one) => !seen.has(one.toLowerCase()) && seen.add(one.toLowerCase()));
  return { recipients, aliases };
}

/** Replaces `out[n]` until nothing matches it; further results go to the end of `out`. */
function expandOne(
  postfix: Postfix,
  lookup: Lookup,
  out: string[],
  n: number,
  selves: Set<string>,
  aliases: string[],
): void {
  const { settings } = postfix;
  const maxDepth = settings.number("virtual_alias_recursion_limit");
  const maxLength = settings.number("virtual_alias_address_length_limit");
  for (let depth = 0; ; depth++) {
    const current = out[n]!;
    if (selves.has(current.toLowerCase())) return;
    if (depth >= maxDepth) {
      throw new ExpansionError(
        `virtual_alias_maps: ${current} leads in a circle, or through more than ${maxDepth} aliases (virtual_alias_recursion_limit)`,
      );
    }
    const results = mapAddress(postfix, lookup, "virtual_alias_maps", current, "virtual");
    if (results === undefined) return;
    if (aliases.length < maxDepth) aliases.push(current);
    for (const [i, result] of results.entries()) {
      if (Buffer.byteLength(result) > maxLength) {
        throw new ExpansionError(
          `virtual_alias_maps: ${current} has a result of more than ${maxLength} bytes (virtual_alias_address_length_limit)`,
        );
      }
      if (i === 0) out[n] = result;
      else out.push(result);
      if (result.toLowerCase() === current.toLowerCase()) selves.add(current.toLowerCase());
    }
  }
}

/** What a table of addresses makes of one; undefined when it is not there. */
function mapAddress(
  postfix: Postfix,
  lookup: Lookup,
  maps: Parameter,
  address: string,
  propagate: "canonical" | "virtual",
): readonly string[] | undefined {
  const { settings, tables } = postfix;
  const isLocal = (domain: string) => isLocalDomain(postfix, lookup, domain);
  const found = findAddress(lookup, tables.maps(maps), address, settings, isLocal);
  if (found === undefined) return undefined;
  const { value, unmatched } = found;
  const extension = settings.words("propagate_unmatched_extensions").includes(propagate) ? unmatched : "";
  const results = value.startsWith("@")
    ? [sameUserAt(address, unmatched, value)]
    : parseList(value).map((tokens) => canonical(tokens, settings.rewrite));
  if (results.length === 0) {
    throw new ExpansionError(`${maps}: ${address} has a result that is no address: ${JSON.stringify(value)}`);
  }
  return extension === "" ? results : results.map((result) => withExtension(result, extension));
}

/** "@other" stands for the same user in another domain. */
function sameUserAt(address: string, unmatched: string, value: string): string {
  const [local] = splitAddress(address);
  return local.slice(0, local.length - unmatched.length) + value.trim();
}

export function withExtension(address: string, extension: string): string {
  const at = address.lastIndexOf("@");
  return at < 0 ? address + extension : address.slice(0, at) + extension + address.slice(at);
}
