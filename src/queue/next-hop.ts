/**
 * Where Postfix would send each recipient: asked of its own address resolver
 * (trivial-rewrite, socket private/rewrite), so that relayhost,
 * transport_maps, sender-dependent tables and everything that admins invent
 * count as they do in a delivery. A content filter or a redirect of the
 * message comes first, as in the queue manager (qmgr_message.c).
 *
 * Needs root or Postfix's own user. When the resolver does not answer, the
 * recipients' hop is "unknown": never a guess.
 */
import { join } from "node:path";
import { type Attributes, ServiceConnection, ServiceError } from "./attributes.ts";
import type { QueueSettings } from "./postfix.ts";
import type { QueueFile } from "./queue-file.ts";

/**
 * relay: by an SMTP transport to a host that relayhost or a table names: RELAYOUT.LUA.
 * mx: by an SMTP transport to the recipient's own domain: MXOUT.LUA.
 * local: by another transport (local, virtual, lmtp, pipe, error ...), nothing of ours.
 * unknown: the resolver could not be asked, or says that a table cannot be read.
 */
export type HopKind = "relay" | "mx" | "local" | "unknown";

export interface NextHop {
  readonly kind: HopKind;
  readonly transport: string;
  /** As Postfix writes it: "example.com", "[relay.example]:587". */
  readonly nexthop: string;
  /** "transport:nexthop" in lower case: what Postfix limits the concurrency of. "" when unknown. */
  readonly destination: string;
}

const UNKNOWN: NextHop = { kind: "unknown", transport: "", nexthop: "", destination: "" };

const FLAG_ERROR = 1 << 2;
const FLAG_FAIL = 1 << 3;

/** Addresses whose local part nothing in Postfix gives a meaning, but for tables. */
const PLAIN_ADDRESS = /^[A-Za-z0-9._=+-]+@([A-Za-z0-9._-]+|\[[0-9A-Fa-f.:IPv]+\])$/;

export type ResolverSettings = Pick<
  QueueSettings,
  | "queueDirectory"
  | "myHostname"
  | "defaultFilterNexthop"
  | "deferTransports"
  | "smtpTransports"
  | "nextHopByDomain"
>;

export interface ResolverOptions {
  /** Limit of one question, milliseconds; default 10 s. */
  readonly timeoutMs?: number;
  /** How long an answer is good, milliseconds; default 10 s. */
  readonly maxAgeMs?: number;
  readonly now?: () => number;
}

const MAX_ANSWERS = 20_000;
const TRIES = 2;

interface Answer {
  readonly hop: NextHop;
  readonly until: number;
}

export class NextHopResolver {
  readonly #settings: ResolverSettings;
  readonly #outgoing: ReadonlySet<string>;
  readonly #socket: string;
  readonly #timeoutMs: number;
  readonly #maxAgeMs: number;
  readonly #now: () => number;
  readonly #answers = new Map<string, Answer>();
  #connection: ServiceConnection | undefined;
  #queue: Promise<unknown> = Promise.resolve();

  /** Outgoing transports are those of defer_transports, or all SMTP clients of master.cf where it is empty. */
  constructor(settings: ResolverSettings, options: ResolverOptions = {}) {
    this.#settings = settings;
    const { deferTransports, smtpTransports } = settings;
    this.#outgoing = new Set(deferTransports.length > 0 ? deferTransports : smtpTransports);
    this.#socket = join(settings.queueDirectory, "private", "rewrite");
    this.#timeoutMs = options.timeoutMs ?? 10_000;
    this.#maxAgeMs = options.maxAgeMs ?? 10_000;
    this.#now = options.now ?? Date.now;
  }

  /** The hop of each recipient, in their order; undefined for those that are done or cancelled. */
  async hops(
    file: Pick<QueueFile, "sender" | "filter" | "redirect" | "recipients">,
  ): Promise<(NextHop | undefined)[]> {
    const hops: (NextHop | undefined)[] = [];
    for (const { address, state } of file.recipients) {
      if (state !== "todo") hops.push(undefined);
      else if (file.redirect !== "") hops.push(await this.resolve(file.sender, file.redirect));
      else if (file.filter !== "") hops.push(this.#filtered(file.filter, address));
      else hops.push(await this.resolve(file.sender, address));
    }
    return hops;
  }

  /** The hop of mail from `sender` to `address`. Never rejects for what Postfix does. */
  async resolve(sender: string, address: string): Promise<NextHop> {
    const key = this.#key(sender, address);
    const known = this.#answers.get(key);
    if (known !== undefined && known.until > this.#now()) return known.hop;
    const next = this.#queue.then(() => this.#ask(sender, address));
    this.#queue = next.catch(() => {});
    const hop = await next;
    if (hop.kind === "unknown") return hop;
    if (this.#answers.size >= MAX_ANSWERS) this.#answers.clear();
    this.#answers.set(key, { hop, until: this.#now() + this.#maxAgeMs });
    return hop;
  }

  /** Asks anew from now on: tables may have changed. */
  forget(): void {
    this.#answers.clear();
  }

  close(): void {
    this.#connection?.close();
    this.#connection = undefined;
  }

  #key(sender: string, address: string): string {
    if (!this.#settings.nextHopByDomain) return `${sender}\0${address}`;
    const [, domain] = PLAIN_ADDRESS.exec(address) ?? [];
    return domain === undefined ? address : `@${domain.toLowerCase()}`;
  }

  async #ask(sender: string, address: string): Promise<NextHop> {
    if (address.includes("\0") || sender.includes("\0")) return UNKNOWN;
    // A server ends idle connections, at a reload all of them: one new try.
    for (let left = TRIES; left > 0; left--) {
      try {
        const connection = await this.#connected();
        connection.send({ request: "resolve", sender, address });
        const answer = await connection.receive();
        connection.idle();
        return this.#read(answer, address);
      } catch (error) {
        if (!(error instanceof ServiceError)) throw error;
        this.close();
      }
    }
    return UNKNOWN;
  }

  async #connected(): Promise<ServiceConnection> {
    if (this.#connection !== undefined && !this.#connection.failed) return this.#connection;
    const connection = new ServiceConnection(this.#socket, this.#timeoutMs);
    this.#connection = connection;
    const greeting = await connection.receive();
    if (greeting.get("protocol") !== "trivial_rewrite_protocol") {
      throw new ServiceError(`${this.#socket}: it speaks ${greeting.get("protocol") ?? "another protocol"}`);
    }
    return connection;
  }

  #read(answer: Attributes, address: string): NextHop {
    const flags = Number(answer.get("flags"));
    const transport = answer.get("transport") ?? "";
    const nexthop = answer.get("nexthop") ?? "";
    if (!Number.isInteger(flags) || (flags & FLAG_FAIL) !== 0) return UNKNOWN;
    if ((flags & FLAG_ERROR) !== 0) return this.#hop("error", "5.1.3 bad address syntax", "");
    if (transport === "") return UNKNOWN;
    return this.#hop(transport, nexthop, domainOf(answer.get("recipient") ?? address));
  }

  #filtered(filter: string, address: string): NextHop {
    const at = filter.indexOf(":");
    const transport = at < 0 ? filter : filter.slice(0, at);
    const named = at < 0 ? "" : filter.slice(at + 1);
    const { defaultFilterNexthop, myHostname } = this.#settings;
    const domain = domainOf(address);
    return this.#hop(transport, named || defaultFilterNexthop || domain || myHostname, domain);
  }

  #hop(transport: string, nexthop: string, domain: string): NextHop {
    const own = domain !== "" && nexthop.toLowerCase() === domain.toLowerCase();
    const kind = !this.#outgoing.has(transport) ? "local" : own ? "mx" : "relay";
    return { kind, transport, nexthop, destination: `${transport}:${nexthop}`.toLowerCase() };
  }
}

function domainOf(address: string): string {
  return address.slice(address.lastIndexOf("@") + 1 || address.length);
}
