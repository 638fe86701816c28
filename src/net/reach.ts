/**
 * Where scripts' connections may go: names are looked up by our own resolver
 * (and /etc/hosts), and every address is checked right before the socket
 * connects to it, so neither redirects nor changing DNS answers lead around
 * the list of forbidden ranges.
 */
import type { LookupAddress } from "node:dns";
import { isIP, type LookupFunction } from "node:net";
import { type AddressRanges, parseRanges, UNREACHABLE_BY_DEFAULT } from "./address.ts";
import { DNS_TYPE, type Resolver } from "./dns.ts";
import { WatchedFile } from "./watched-file.ts";

export interface ReachOptions {
  readonly resolver: Resolver;
  /** Ranges that must not be reached; absent: UNREACHABLE_BY_DEFAULT. Throws RangeError on a bad entry. */
  readonly forbidden?: readonly string[] | undefined;
  readonly hostsFile?: string;
}

/** How long the second address family may take once the first is known. */
const OTHER_FAMILY_MS = 250;

/** The address may not be reached, or the name has none; the message says which. */
export class ReachError extends Error {
  override name = "ReachError";
}

export class Reach {
  readonly #resolver: Resolver;
  readonly #forbidden: AddressRanges;
  readonly #hosts: WatchedFile<ReadonlyMap<string, readonly string[]>>;

  constructor(options: ReachOptions) {
    this.#resolver = options.resolver;
    this.#forbidden = parseRanges(options.forbidden ?? UNREACHABLE_BY_DEFAULT);
    this.#hosts = new WatchedFile(options.hostsFile ?? "/etc/hosts", parseHosts);
  }

  /** Throws ReachError for an address that is forbidden; a name passes, its addresses are checked by lookup. */
  checkLiteral(host: string): void {
    if (isIP(host) !== 0 && this.#forbidden.has(host)) throw new ReachError(`address ${host} is not allowed`);
  }

  /**
   * The `lookup` option of net.connect, tls.connect and http.request. Node does not call it for literal
   * addresses: call checkLiteral first.
   */
  lookup(signal: AbortSignal): LookupFunction {
    return (hostname, options, callback) => {
      this.addresses(hostname, signal).then(
        (found) => {
          if (options.all) callback(null, found);
          else callback(null, found[0]!.address, found[0]!.family);
        },
        (error) => callback(error, ""),
      );
    };
  }

  /** The allowed addresses of a name, at least one; throws ReachError. */
  async addresses(name: string, signal: AbortSignal): Promise<LookupAddress[]> {
    const found = await this.#find(name, signal);
    if (found.length === 0) throw new ReachError(`no address for ${name}`);
    const allowed = found.filter((address) => !this.#forbidden.has(address));
    if (allowed.length === 0) throw new ReachError(`address ${found[0]} of ${name} is not allowed`);
    return allowed.map((address) => ({ address, family: isIP(address) }));
  }

  async #find(name: string, signal: AbortSignal): Promise<readonly string[]> {
    if (isIP(name) !== 0) return [name];
    const listed = (await this.#hosts.get()).get(name.toLowerCase().replace(/\.$/, ""));
    if (listed) return listed;
    // A server that never answers for one family must not hold up what is known of the other.
    const enough = new AbortController();
    let patience: NodeJS.Timeout | undefined;
    const either = AbortSignal.any([signal, enough.signal]);
    const results = await Promise.all(
      [DNS_TYPE.A, DNS_TYPE.AAAA].map(async (type) => {
        const result = await this.#resolver.query(name, type, undefined, either);
        const found = result.ok ? result.records.filter((r) => r.section === "AN" && r.type === type) : [];
        if (found.length > 0) patience ??= setTimeout(() => enough.abort(), OTHER_FAMILY_MS);
        return found;
      }),
    );
    clearTimeout(patience);
    return results.flat().map((record) => record.value);
  }
}

/** hosts(5): an address and its names a line. */
function parseHosts(text: string): ReadonlyMap<string, readonly string[]> {
  const hosts = new Map<string, string[]>();
  for (const line of text.split("\n")) {
    const [address = "", ...names] = line.replace(/#.*/, "").trim().split(/\s+/);
    if (isIP(address) === 0) continue;
    for (const name of names) {
      const key = name.toLowerCase();
      const known = hosts.get(key);
      if (known) known.push(address);
      else hosts.set(key, [address]);
    }
  }
  return hosts;
}
