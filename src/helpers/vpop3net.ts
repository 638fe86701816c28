/**
 * VPOP3Net.*: GetDNSRecords, GetHTTP and GetWHOIS in the manual's shapes. The
 * work is done in src/net; here results become tables. Network trouble is a
 * documented failure result, never a Lua error; only wrong argument types raise.
 */
import type { HostCall, HostModule } from "../lua/host.ts";
import type { LuaInput } from "../lua/values.ts";
import { DNS_TYPE, type DnsRecord, type Resolver } from "../net/dns.ts";
import type { HttpClient, HttpPage } from "../net/http.ts";
import type { WhoisClient } from "../net/whois.ts";

export interface NetModuleOptions {
  readonly resolver: Resolver;
  readonly http: HttpClient;
  readonly whois: WhoisClient;
  /** Told why a helper failed, in one line, a byte string; `context` is the call's. */
  readonly debug?: (line: string, context: object) => void;
}

/** Charged for each value that is put into a table. */
const STEPS_A_VALUE = 10;

/** Types that the manual gives by name; all others are numbers (manual, GetDNSRecords). */
const TYPE_NAMES: ReadonlyMap<number, string> = new Map(
  (["A", "NS", "CNAME", "MX", "TXT", "PTR", "SOA", "SRV"] as const).map((name) => [DNS_TYPE[name], name]),
);

export function netModule(options: NetModuleOptions): HostModule {
  const { resolver, http, whois, debug } = options;
  return {
    table: "VPOP3Net",
    functions: {
      /** (name, type number [, "server;server"]) -> table, true | RCODE or -1, false. */
      async GetDNSRecords(call) {
        const name = call.string(1);
        const type = Math.trunc(call.number(2));
        const list = call
          .optionalString(3, "")
          .split(/[;,\s]+/)
          .filter((server) => server !== "");
        const result = await resolver.query(name, type, list.length > 0 ? list : undefined, call.signal);
        if (!result.ok) {
          debug?.(`GetDNSRecords ${name} ${type}: failed with ${result.rcode}`, call.context);
          return [result.rcode, false];
        }
        call.charge(result.records.length * STEPS_A_VALUE * 8);
        return [result.records.map(recordTable), true];
      },

      /** (url) -> true, table | false, nil. */
      async GetHTTP(call) {
        const url = call.string(1);
        const result = await http.get(url, call.signal);
        if (result.ok) return [true, pageTable(result.page, call)];
        debug?.(`GetHTTP ${withoutPassword(url)}: ${result.reason}`, call.context);
        return [false, null];
      },

      /** (server, query) -> true, text | false, detail. */
      async GetWHOIS(call) {
        const server = call.string(1);
        const result = await whois.query(server, call.string(2), call.signal);
        if (result.ok) return [true, result.text];
        debug?.(`GetWHOIS ${server}: ${result.reason}`, call.context);
        return [false, result.reason];
      },
    },
  };
}

/** A URL without user and password, for logs. */
function withoutPassword(url: string): string {
  return url.replace(/^([a-z][a-z0-9+.-]*:\/\/|)[^/?#]*@/i, "$1");
}

function recordTable(record: DnsRecord): LuaInput {
  const { type, soa, srv } = record;
  return {
    Domain: record.name,
    Section: record.section,
    Type: TYPE_NAMES.get(type) ?? type,
    TTL: record.ttl,
    Value: record.value,
    ...(type === DNS_TYPE.MX && { MXPriority: record.priority }),
    // The manual knows SRV as a type but names no fields for it; these are ours.
    ...(srv && { Priority: record.priority, Weight: srv.weight, Port: srv.port, Target: record.value }),
    ...(soa && {
      Serial: soa.serial,
      Refresh: soa.refresh,
      Retry: soa.retry,
      Expiry: soa.expire,
      MinimumTTL: soa.minimum,
      PrimaryNS: soa.primary,
      ResponsibleEmail: soa.mailbox,
    }),
  };
}

function pageTable(page: HttpPage, call: HostCall): LuaInput {
  call.charge((page.headers.length + page.body.length) * STEPS_A_VALUE);
  return {
    Host: page.host,
    File: page.file,
    Headers: page.headers,
    Body: page.body,
    ErrorInfo: page.errorInfo,
    HTTPResult: page.status,
    StatedLength: page.statedLength,
    ActualLength: page.actualLength,
  };
}
