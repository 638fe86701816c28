/**
 * Answers kept for as long as their TTLs allow (RFC 1035, RFC 2308), bounded
 * in number and in bytes; the least recently used goes first.
 */
import { DNS_TYPE, type DnsRecord } from "./dns-packet.ts";

export type DnsResult =
  | { readonly ok: true; readonly records: readonly DnsRecord[] }
  /** The server's RCODE (1 FORMERR, 2 SERVFAIL, 3 NXDOMAIN, 4 NOTIMP, 5 REFUSED ...), or -1: no server answered in time. */
  | { readonly ok: false; readonly rcode: number };

export interface DnsCacheLimits {
  readonly entries: number;
  readonly bytes: number;
  readonly ttlSeconds: number;
  readonly negativeTtlSeconds: number;
}

interface Entry {
  readonly result: DnsResult;
  readonly storedAt: number;
  readonly endsAt: number;
  readonly bytes: number;
}

export class DnsCache {
  readonly #limits: DnsCacheLimits;
  readonly #now: () => number;
  readonly #entries = new Map<string, Entry>();
  #bytes = 0;

  /** `now` gives milliseconds. */
  constructor(limits: DnsCacheLimits, now: () => number) {
    this.#limits = limits;
    this.#now = now;
  }

  get(key: string): DnsResult | undefined {
    const entry = this.#entries.get(key);
    if (!entry) return undefined;
    const now = this.#now();
    if (now >= entry.endsAt) {
      this.#drop(key, entry);
      return undefined;
    }
    this.#entries.delete(key);
    this.#entries.set(key, entry);
    const age = Math.floor((now - entry.storedAt) / 1000);
    if (!entry.result.ok || age === 0) return entry.result;
    return { ok: true, records: entry.result.records.map((r) => ({ ...r, ttl: Math.max(0, r.ttl - age) })) };
  }

  /** `records` are all the records of the answer, which a failure's result does not carry. */
  put(key: string, result: DnsResult, records: readonly DnsRecord[]): void {
    const seconds = this.#lifetime(result, records);
    if (seconds <= 0) return;
    const bytes = result.ok
      ? result.records.reduce((sum, r) => sum + 200 + r.name.length + r.value.length, 200)
      : 200;
    if (bytes > this.#limits.bytes) return;
    const old = this.#entries.get(key);
    if (old) this.#drop(key, old);
    const storedAt = this.#now();
    this.#entries.set(key, { result, storedAt, endsAt: storedAt + seconds * 1000, bytes });
    this.#bytes += bytes;
    for (const [oldest, entry] of this.#entries) {
      if (this.#entries.size <= this.#limits.entries && this.#bytes <= this.#limits.bytes) break;
      this.#drop(oldest, entry);
    }
  }

  /** Seconds. An answer lives as long as its shortest record; "no such name" and "no such record" as the SOA says. */
  #lifetime(result: DnsResult, records: readonly DnsRecord[]): number {
    const answered = result.ok && records.some((r) => r.section === "AN");
    if (answered) return records.reduce((least, r) => Math.min(least, r.ttl), this.#limits.ttlSeconds);
    const soa = records.find((r) => r.section === "NS" && r.type === DNS_TYPE.SOA);
    if (!soa?.soa) return 0;
    return Math.min(soa.ttl, soa.soa.minimum, this.#limits.negativeTtlSeconds);
  }

  #drop(key: string, entry: Entry): void {
    this.#entries.delete(key);
    this.#bytes -= entry.bytes;
  }
}
