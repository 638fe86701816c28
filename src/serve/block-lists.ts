/** Block lists with the configuration's settings, and with a DNS cache of their own that no script's look-ups fill. */
import type { Config } from "../config/load.ts";
import type { Log } from "../log.ts";
import { clientPatterns } from "../net/client-patterns.ts";
import { Resolver } from "../net/dns.ts";
import { BlockLists } from "../net/dnsbl.ts";
import type { BlockListServices } from "../smtp/rbl.ts";

export function blockLists({ rbl, dns }: Pick<Config, "rbl" | "dns">, log: Log): BlockListServices {
  const resolver = new Resolver({
    servers: dns.servers,
    // A dead first server leaves the second and the third their time.
    timeoutMs: Math.min(dns.timeout_ms, Math.ceil(rbl.timeout_ms / 3)),
    totalMs: rbl.total_ms,
  });
  return {
    settings: rbl,
    whitelist: clientPatterns(rbl.whitelist).patterns,
    lists: new BlockLists({
      query: (name, type, servers, signal) => resolver.query(name, type, servers, signal),
      timeoutMs: rbl.timeout_ms,
      totalMs: rbl.total_ms,
      report: (list, problem) => log.warn("block list", { list, problem }),
    }),
  };
}
