/**
 * Network addresses as settings and scripts write them: "host", "host:port",
 * "[v6]:port", and lists of ranges. Text only; nothing is looked up here.
 */
import { BlockList, isIP } from "node:net";

export interface HostPort {
  readonly host: string;
  readonly port: number;
}

/** Reads `host`, `host:port` or `[v6]:port`; a bare IPv6 address has no port. undefined when it is none of them. */
export function parseHostPort(text: string, defaultPort: number): HostPort | undefined {
  if (isIP(text) !== 0) return { host: text, port: defaultPort };
  const match = /^(?:\[([^[\]]+)\]|([^:[\]\s]+))(?::(\d{1,5}))?$/.exec(text);
  if (!match) return undefined;
  const port = match[3] === undefined ? defaultPort : Number(match[3]);
  if (port < 1 || port > 65535) return undefined;
  if (match[1] !== undefined) return isIP(match[1]) === 6 ? { host: match[1], port } : undefined;
  return { host: match[2]!, port };
}

/**
 * Where scripts' own connections may not go unless the admin says so: this
 * machine, private and shared networks, link-local (cloud metadata lives
 * there), multicast, and blocks that never hold a public server (IANA's
 * special-purpose registries, RFC 6890).
 */
export const UNREACHABLE_BY_DEFAULT: readonly string[] = [
  "0.0.0.0/8",
  "10.0.0.0/8",
  "100.64.0.0/10",
  "127.0.0.0/8",
  "169.254.0.0/16",
  "172.16.0.0/12",
  "192.0.0.0/24",
  "192.0.2.0/24",
  "192.88.99.0/24",
  "192.168.0.0/16",
  "198.18.0.0/15",
  "198.51.100.0/24",
  "203.0.113.0/24",
  "224.0.0.0/4",
  "240.0.0.0/4",
  "::/96",
  "64:ff9b:1::/48",
  "100::/64",
  "2001::/23",
  "2001:db8::/32",
  "2002::/16",
  "3fff::/20",
  "5f00::/16",
  "fc00::/7",
  "fe80::/10",
  "fec0::/10",
  "ff00::/8",
];

export interface AddressRanges {
  /** True for an address inside a range, in whatever notation, and for text that is no address. */
  has(address: string): boolean;
}

/**
 * Ranges from "address" and "address/bits" entries; throws a RangeError that
 * names a bad one. An IPv4 range also covers its addresses in IPv4-mapped
 * (::ffff:0:0/96) and NAT64 (64:ff9b::/96, RFC 6052) form.
 */
export function parseRanges(entries: readonly string[]): AddressRanges {
  const list = new BlockList();
  for (const entry of entries) {
    const [address = "", bits, extra] = entry.split("/");
    const version = isIP(address);
    const most = version === 4 ? 32 : 128;
    const length = bits === undefined ? most : /^\d{1,3}$/.test(bits) ? Number(bits) : -1;
    if (version === 0 || address.includes("%") || extra !== undefined || length < 0 || length > most) {
      throw new RangeError(`bad address range "${entry}": expected ADDRESS or ADDRESS/BITS`);
    }
    list.addSubnet(address, length, version === 4 ? "ipv4" : "ipv6");
    if (version === 4) {
      list.addSubnet(`::ffff:${address}`, 96 + length, "ipv6");
      list.addSubnet(`64:ff9b::${address}`, 96 + length, "ipv6");
    }
  }
  return {
    has(address) {
      const bare = address.replace(/%.*$/s, "");
      const version = isIP(bare);
      return version === 0 || list.check(bare, version === 4 ? "ipv4" : "ipv6");
    },
  };
}
