/** Addresses and ranges, as the configuration writes them. Kept from the schema, so that workers need no validator. */
import { BlockList, isIP } from "node:net";

/** What is wrong with an address or CIDR range, or undefined when it is fine. */
export function networkProblem(text: string): string | undefined {
  const [address = "", prefix, ...rest] = text.split("/");
  const family = isIP(address);
  const bits = family === 4 ? 32 : 128;
  const hint = `"${text}" is not an address or a range such as 192.0.2.0/24 or 2001:db8::/32`;
  if (family === 0 || rest.length > 0) return hint;
  if (prefix !== undefined && !(/^\d{1,3}$/.test(prefix) && Number(prefix) <= bits)) return hint;
  return undefined;
}

/** Matching costs a pattern's length times that of what it is compared with. */
const LONGEST_PATTERN = 255;

/**
 * What is wrong with an entry, undefined when it is fine. "192.0.2.1", "192.0.2.0/24" and "2001:db8::/32"; "*" for
 * any characters and "?" for one, compared with the address and the name; "mail.example.com"; ".example.com" for
 * every name below it.
 */
export function patternProblem(entry: string): string | undefined {
  const text = entry.trim();
  if (text.includes("/")) return networkProblem(text);
  if (text.length > 0 && text.length <= LONGEST_PATTERN && /^[\w.:*?-]+$/.test(text)) return undefined;
  return `"${entry}" is not an address, a range, a name or a pattern such as 192.0.2.* or *.example.com`;
}

/** A set of ranges to test addresses against; each entry must have passed networkProblem. */
export function networkSet(ranges: readonly string[]): BlockList {
  const set = new BlockList();
  for (const range of ranges) {
    const [address = "", prefix] = range.split("/");
    const family = isIP(address) === 6 ? "ipv6" : "ipv4";
    if (prefix === undefined) set.addAddress(address, family);
    else set.addSubnet(address, Number(prefix), family);
  }
  return set;
}

/** Whether `address` (IPv4, IPv6 or IPv4 in IPv6) lies in `set`; anything that is no address does not. */
export function inNetworks(set: BlockList, address: string): boolean {
  const family = isIP(address);
  return family !== 0 && set.check(address, family === 6 ? "ipv6" : "ipv4");
}
