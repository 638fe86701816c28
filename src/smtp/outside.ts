/**
 * Which recipients are outside: what main.cf lists of the MTA's own domains
 * decides, then the transport that it names for the recipient.
 *
 * A transport alone does not tell: transport_maps may send an own domain to
 * another host, and a foreign one through a transport of the admin's own.
 * Domains that stand in tables are not known here; they count by their
 * transport, or as nobody knows.
 */

export interface OwnDomains {
  /** Lower case. */
  has(domain: string): boolean;
  /** All are known: none stands in a table. */
  readonly complete: boolean;
}

/** `listed`: names, and ".example.com" for all below example.com (as in Postfix's domain lists). */
export function ownDomains(listed: Iterable<string>, complete: boolean): OwnDomains {
  const names = new Set(listed);
  return {
    complete,
    has: (domain) => {
      if (domain === "" || names.has(domain)) return true;
      for (let dot = domain.indexOf("."); dot >= 0; dot = domain.indexOf(".", dot + 1)) {
        if (names.has(domain.slice(dot))) return true;
      }
      return false;
    },
  };
}

export interface Transports {
  /** What foreign domains take where nothing else is said. */
  readonly outgoing: string;
  /** What own domains of some class take, and what nothing takes to another host. */
  readonly own: readonly string[];
}

/** Whether mail for `domain` would be passed on to a host that is not ours; undefined when that cannot be told. */
export function isOutside(
  domain: string,
  transport: string,
  transports: Transports,
  domains: OwnDomains,
): boolean | undefined {
  if (domains.has(domain)) return false;
  const isOwn = transports.own.includes(transport);
  const isOutgoing = transport === transports.outgoing;
  if (isOwn !== isOutgoing) return isOutgoing;
  return domains.complete ? true : undefined;
}

/** The domain of an address without <>, lower case; "" for none. */
export function domainOf(address: string): string {
  return address.slice(address.lastIndexOf("@") + 1 || address.length).toLowerCase();
}
