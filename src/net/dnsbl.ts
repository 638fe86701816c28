/**
 * DNS block lists (RFC 5782): one client's address looked up in many lists at
 * once, and what is known of the lists themselves.
 *
 * A list counts only for what it says clearly: addresses in 127.0.0.0/8. A
 * list that also lists 127.0.0.1 lists everybody (its domain was sold, or its
 * operator shut it down that way) and is left out; so is, for a minute, one
 * that keeps everybody waiting. What goes wrong means "not listed" and is
 * reported; nothing here throws.
 */
import { isIP } from "node:net";
import { DNS_NO_ANSWER, DNS_TYPE, type DnsResult } from "./dns.ts";
import { Deadline } from "./gate.ts";

export interface BlockListOptions {
  /** As Resolver.query. */
  readonly query: (name: string, type: number, servers: undefined, signal: AbortSignal) => Promise<DnsResult>;
  /** For one list. */
  readonly timeoutMs: number;
  /** For all lists together. */
  readonly totalMs: number;
  /** Told what is wrong with a list, the same at most once a minute. */
  readonly report: (list: string, problem: string) => void;
  /** Milliseconds; default performance.now(). */
  readonly now?: () => number;
}

export interface Listed {
  /** As the caller wrote it. */
  readonly list: string;
  /** In 127.0.0.0/8, lowest first; at least one. */
  readonly answers: readonly string[];
}

export interface BlockListResult {
  /** In the caller's order. */
  readonly listed: readonly Listed[];
  /** Lists that gave no usable answer, or were not asked. */
  readonly failed: readonly string[];
}

/** What a list is believed to be worth. */
interface ListState {
  /** Resolves with the answer for 127.0.0.1, which nobody may list; undefined when there is none. */
  sound: Promise<string | undefined> | undefined;
  testedAt: number;
  /** Look-ups one after another that ended with its time limit; those that ran beside each other are one. */
  silences: number;
  silentAt: number;
  restsUntil: number;
}

/** How long a test of a list holds. */
const TEST_MS = 30 * 60_000;
/** A list that was silent this often in a row is not asked for a while. */
const SILENCES = 3;
const REST_MS = 60_000;
const REPORT_MS = 60_000;
/** Lists and problems remembered; scripts may name any number of lists. */
const MOST = 1_000;

export class BlockLists {
  readonly #options: BlockListOptions;
  readonly #now: () => number;
  readonly #states = new Map<string, ListState>();
  readonly #reported = new Map<string, number>();

  constructor(options: BlockListOptions) {
    this.#options = options;
    this.#now = options.now ?? (() => performance.now());
  }

  /**
   * Looks `address` up in `lists` (which must have passed isListName), all at once. With `all` false it ends at the
   * first answer that lists it, whichever list gives it. An address that is none is not listed.
   */
  async check(address: string, lists: readonly string[], all: boolean): Promise<BlockListResult> {
    const client = reversed(address);
    if (client === undefined || lists.length === 0) return { listed: [], failed: [] };
    const enough = new AbortController();
    using deadline = new Deadline(this.#options.totalMs, enough.signal);
    const found = await Promise.all(
      lists.map(async (list) => {
        const answers = await this.#ask(client, list, deadline.signal, enough.signal);
        if (Array.isArray(answers) && answers.length > 0 && !all) enough.abort();
        return answers;
      }),
    );
    const listed: Listed[] = [];
    const failed: string[] = [];
    found.forEach((answers, i) => {
      const list = lists[i] as string;
      if (answers === "failed") failed.push(list);
      else if (answers.length > 0) listed.push({ list, answers });
    });
    return { listed, failed };
  }

  async #ask(
    client: Reversed,
    list: string,
    signal: AbortSignal,
    enough: AbortSignal,
  ): Promise<readonly string[] | "failed"> {
    const zone = bareZone(list);
    const state = this.#state(`${client.version} ${zone}`);
    const began = this.#now();
    if (began < state.restsUntil) return "failed";
    const sound = this.#test(state, client, zone);
    using limit = new Deadline(this.#options.timeoutMs, signal);
    const result = await this.#options.query(`${client.text}.${zone}`, DNS_TYPE.A, undefined, limit.signal);
    if (!result.ok && result.rcode === DNS_NO_ANSWER && enough.aborted && !limit.timedOut) return [];
    if (!result.ok && result.rcode !== NXDOMAIN) return this.#failed(state, list, result.rcode, began);
    state.silences = 0;
    const answers = this.#usable(list, result);
    if (answers.length === 0) return answers;
    const everybody = await sound;
    if (everybody === undefined) return answers;
    this.#report(list, `it lists 127.0.0.1 (${everybody}), and so everybody; it is left out`);
    return "failed";
  }

  /** Asked beside the look-up, so that nobody waits for it, and believed for a while. */
  #test(state: ListState, client: Reversed, zone: string): Promise<string | undefined> {
    const now = this.#now();
    if (state.sound === undefined || now - state.testedAt > TEST_MS) {
      state.testedAt = now;
      const limit = new Deadline(this.#options.timeoutMs);
      state.sound = this.#options
        .query(`${NOBODY[client.version]}.${zone}`, DNS_TYPE.A, undefined, limit.signal)
        .then((result) => {
          // A test without an answer says nothing; the next look-up tries again.
          if (!result.ok && result.rcode !== NXDOMAIN) state.sound = undefined;
          return addresses(result)[0];
        })
        .finally(() => limit[Symbol.dispose]());
    }
    return state.sound;
  }

  #failed(state: ListState, list: string, rcode: number, began: number): "failed" {
    if (rcode !== DNS_NO_ANSWER) {
      this.#report(list, `it cannot be asked: ${RCODES[rcode] ?? `DNS error ${rcode}`}`);
      return "failed";
    }
    if (began > state.silentAt) {
      state.silences++;
      state.silentAt = this.#now();
    }
    if (state.silences < SILENCES) {
      this.#report(list, "no answer in time");
    } else {
      state.restsUntil = this.#now() + REST_MS;
      this.#report(list, `no answer in time, ${state.silences} times in a row; not asked for a minute`);
    }
    return "failed";
  }

  /** What lists a client: 127.0.0.0/8 without the range in which lists say why they do not answer. */
  #usable(list: string, result: DnsResult): string[] {
    const usable: string[] = [];
    for (const address of addresses(result)) {
      if (address.startsWith("127.255.255."))
        this.#report(list, `it refuses to answer this DNS server (${address})`);
      else if (address.startsWith("127.")) usable.push(address);
      else this.#report(list, `its answer ${address} is outside of 127.0.0.0/8 and ignored`);
    }
    return usable;
  }

  #report(list: string, problem: string): void {
    const key = `${list} ${problem}`;
    const now = this.#now();
    const last = this.#reported.get(key);
    if (last !== undefined && now - last < REPORT_MS) return;
    this.#reported.delete(key);
    this.#reported.set(key, now);
    forgetOldest(this.#reported);
    this.#options.report(list, problem);
  }

  #state(key: string): ListState {
    let state = this.#states.get(key);
    if (state === undefined) {
      state = { sound: undefined, testedAt: 0, silences: 0, silentAt: 0, restsUntil: 0 };
      this.#states.set(key, state);
      forgetOldest(this.#states);
    }
    return state;
  }
}

const NXDOMAIN = 3;
const RCODES: Readonly<Record<number, string>> = {
  1: "FORMERR",
  2: "SERVFAIL",
  4: "NOTIMP",
  5: "REFUSED",
};
/** Test entries that must not be listed (RFC 5782 section 5). */
const NOBODY = { 4: "1.0.0.127", 6: nibbles([0, 0, 0, 0, 0, 0xffff, 0x7f00, 1]) } as const;

function addresses(result: DnsResult): string[] {
  if (!result.ok) return [];
  const found = result.records.filter(({ section, type }) => section === "AN" && type === DNS_TYPE.A);
  return found.map(({ value }) => value).sort((a, b) => addressNumber(a) - addressNumber(b));
}

/** Big-endian, for the order. */
function addressNumber(address: string): number {
  return address.split(".").reduce((sum, octet) => sum * 256 + Number(octet), 0);
}

/** The first octet lowest, as VPOP3 gives it to scripts: 127.0.0.1 is 16777343 (manual, "RBLResults()"). */
export function littleEndian(address: string): number {
  return address.split(".").reduceRight((sum, octet) => sum * 256 + Number(octet), 0);
}

/** Whether `text` can be the name of a list: a domain, with room for an IPv6 address in front. */
export function isListName(text: string): boolean {
  const zone = bareZone(text);
  return zone.length <= 253 - 64 && isIP(zone) === 0 && /^[\w-]{1,63}(?:\.[\w-]{1,63})*$/.test(zone);
}

function bareZone(text: string): string {
  return text.toLowerCase().replace(/\.$/, "");
}

interface Reversed {
  readonly version: 4 | 6;
  readonly text: string;
}

/** The address as it stands in front of a list's name; IPv4 in IPv6 counts as IPv4. undefined for what is no address. */
export function reversed(address: string): Reversed | undefined {
  const bare = address.replace(/%.*$/s, "");
  const version = isIP(bare);
  if (version === 0) return undefined;
  if (version === 4) return { version, text: bare.split(".").reverse().join(".") };
  const groups = expand(bare);
  if (groups.slice(0, 5).every((group) => group === 0) && groups[5] === 0xffff) {
    const [high = 0, low = 0] = groups.slice(6);
    return { version: 4, text: [low & 255, low >> 8, high & 255, high >> 8].join(".") };
  }
  return { version: 6, text: nibbles(groups) };
}

/** The eight groups of an IPv6 address. */
function expand(address: string): number[] {
  // The URL parser writes a dotted end as two groups.
  const plain = new URL(`http://[${address}]/`).hostname.slice(1, -1);
  const [front = "", back] = plain.split("::");
  const numbers = (text = "") =>
    text === "" ? [] : text.split(":").map((group) => Number.parseInt(group, 16));
  const [before, after] = [numbers(front), numbers(back)];
  return [...before, ...new Array<number>(8 - before.length - after.length).fill(0), ...after];
}

function nibbles(groups: readonly number[]): string {
  const digits = groups.map((group) => group.toString(16).padStart(4, "0")).join("");
  return [...digits].reverse().join(".");
}

function forgetOldest(map: Map<string, unknown>): void {
  if (map.size <= MOST) return;
  for (const key of map.keys()) {
    map.delete(key);
    return;
  }
}
