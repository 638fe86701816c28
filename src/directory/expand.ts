/**
 * Expands addresses as the served Postfix would deliver them: smtpd's look at
 * the recipient, cleanup's canonical and virtual alias maps, the address
 * classes and transports, local(8)'s aliases. Users and lists of the store
 * are found again among the results.
 *
 * It trusts main.cf, master.cf and the tables, which it reads with the rights
 * of this process. ~/.forward files, masquerading and automatic copies
 * (recipient_bcc_maps) are not looked at.
 */
import { canonical, quote, scan, splitAddress, splitExtension } from "./address.ts";
import { cleanup } from "./cleanup.ts";
import { type ExpandedAddress, type Expander, ExpansionError } from "./expander.ts";
import { deliverLocally, IncludeFiles } from "./local-delivery.ts";
import { forAll, Lookup, type Source } from "./lookup.ts";
import { type PostfixSettings, SettingsReader } from "./postfix-settings.ts";
import { Postmap, type PostmapOptions } from "./postmap.ts";
import { type Destination, isLocalDomain, type Postfix, resolve } from "./resolve.ts";
import type { AddressMeaning, Store } from "./store.ts";
import { expandFromStore } from "./store-expansion.ts";
import { findAddress, Tables } from "./tables.ts";

export interface ExpanderOptions extends PostmapOptions {
  readonly store: Store;
}

/** SMTP allows 256 bytes for a path; Postfix takes more, and tables have longer results. */
const MAX_ADDRESS = 1_000;

export class PostfixExpander implements Expander {
  readonly #options: ExpanderOptions;
  readonly #postmap: Postmap;
  readonly #reader: SettingsReader;
  readonly #includes = new IncludeFiles();
  readonly #meanings: Source<AddressMeaning>;
  readonly #unwatch: () => void;
  #postfix: Postfix | undefined;

  constructor(options: ExpanderOptions) {
    this.#options = options;
    this.#postmap = new Postmap(options);
    this.#reader = new SettingsReader(options.configDir);
    this.#meanings = meaningsOf(options.store);
    // Tables in a database that has just changed may be the store's own.
    this.#unwatch = options.store.watch(() => this.#postfix?.tables.forgetUnwatched());
  }

  /** Processes of postmap(1) started so far. */
  get processes(): number {
    return this.#postmap.started;
  }

  async expand(address: string, signal?: AbortSignal): Promise<readonly ExpandedAddress[]> {
    if (address === "" || address.length > MAX_ADDRESS || /[\p{Cc}\u2028\u2029]/u.test(address)) return [];
    const settings = await this.#reader.read();
    if (settings === undefined) return expandFromStore(this.#options.store, address);
    if (this.#postfix?.settings !== settings) {
      this.#postfix = { settings, tables: new Tables(this.#postmap, settings) };
    }
    const postfix = this.#postfix;
    postfix.tables.look(performance.now());
    const lookup = new Lookup();
    return lookup.settle(
      () => new Expansion(postfix, lookup, this.#includes, this.#meanings).run(address),
      signal,
    );
  }

  async close(): Promise<void> {
    this.#unwatch();
  }
}

function meaningsOf(store: Store): Source<AddressMeaning> {
  return {
    // Cheaper to ask than to keep true.
    known: () => undefined,
    async fetch(keys) {
      const found = new Map<string, AddressMeaning>();
      await Promise.all(
        keys.map(async (key) => {
          const meaning = await store.lookup(key);
          if (meaning !== undefined) found.set(key, meaning);
        }),
      );
      return found;
    },
  };
}

/** One attempt at an expansion, from whatever answers are there. */
class Expansion {
  readonly #postfix: Postfix;
  readonly #settings: PostfixSettings;
  readonly #lookup: Lookup;
  readonly #includes: IncludeFiles;
  readonly #meanings: Source<AddressMeaning>;
  readonly #rows = new Map<string, ExpandedAddress>();
  readonly #problems: string[] = [];

  constructor(postfix: Postfix, lookup: Lookup, includes: IncludeFiles, meanings: Source<AddressMeaning>) {
    this.#postfix = postfix;
    this.#settings = postfix.settings;
    this.#lookup = lookup;
    this.#includes = includes;
    this.#meanings = meanings;
  }

  run(typed: string): readonly ExpandedAddress[] {
    const address = canonical(scan(typed), this.#settings.rewrite);
    if (!this.#accepted(address)) return [];
    this.#deliver(address, []);
    const rows = [...this.#rows.values()];
    // What Postfix would send back is no recipient; when nothing else is left, the reason is the answer.
    if (this.#problems.length > 0 && rows.every(({ list }) => list)) {
      throw new ExpansionError(this.#problems.join("; "));
    }
    return rows;
  }

  /** smtpd(8) refuses recipients that it knows to be undeliverable, but not what aliases make of others. */
  #accepted(address: string): boolean {
    const destination = resolve(this.#postfix, this.#lookup, address);
    if (destination === undefined) return false;
    const { recipient, transport } = destination;
    const { tables } = this.#postfix;
    for (const maps of ["recipient_canonical_maps", "canonical_maps", "virtual_alias_maps"] as const) {
      if (this.#has(maps, recipient)) return true;
    }
    if (transport === "error") return false;
    if (!this.#settings.is("smtpd_reject_unlisted_recipient")) return true;
    const known = RECIPIENT_MAPS[destination.class];
    if (known === undefined || tables.maps(known).whole === undefined) return true;
    const [local] = splitAddress(recipient.toLowerCase());
    const always = ["postmaster", "mailer-daemon", this.#settings.extension.doubleBounceSender];
    return (destination.class === "local" && always.includes(local)) || this.#has(known, recipient);
  }

  #has(maps: keyof typeof LISTS, address: string): boolean {
    const isLocal = (domain: string) => isLocalDomain(this.#postfix, this.#lookup, domain);
    const list = this.#postfix.tables.maps(maps);
    return findAddress(this.#lookup, list, address, this.#settings, isLocal) !== undefined;
  }

  /** Mail for `address` enters the queue; `trail` are the local addresses that have forwarded it. */
  #deliver(address: string, trail: readonly string[]): void {
    const { recipients, aliases } = cleanup(this.#postfix, this.#lookup, address);
    forAll(aliases, (alias) => {
      const meaning = this.#meaning(alias);
      if (meaning?.kind === "list") this.#list(meaning.list.name, meaning.list.address);
    });
    forAll(recipients, (recipient) => this.#hand(recipient, trail));
  }

  /** The queue manager hands one recipient to its delivery agent. */
  #hand(address: string, trail: readonly string[]): void {
    const destination = resolve(this.#postfix, this.#lookup, address);
    if (destination === undefined || UNDELIVERED.includes(destination.transport)) return;
    const { recipient, transport } = destination;
    const program = this.#settings.program(transport);
    switch (destination.class) {
      case "alias":
        break;
      case "relay":
      case "default":
        this.#away(recipient, destination.class === "relay");
        break;
      case "virtual":
        if (program !== "virtual" || this.#has("virtual_mailbox_maps", recipient)) this.#mailbox(recipient);
        break;
      case "local":
        if (program === "local") this.#local(destination, trail);
        else this.#mailbox(recipient);
    }
  }

  #local(destination: Destination, trail: readonly string[]): void {
    deliverLocally(this.#postfix, this.#lookup, this.#includes, destination, trail, {
      mailbox: (recipient) => this.#mailbox(recipient),
      target: (name, recipient, target) => this.#row({ name, address: quote(recipient), target }),
      list: (name, recipient) => this.#list(name, quote(recipient)),
      forward: (recipient, delivered) => this.#deliver(recipient, delivered),
      problem: (sentence) => this.#problems.push(sentence),
    });
  }

  #mailbox(recipient: string): void {
    const meaning = this.#meaning(recipient);
    const user = meaning?.kind === "user" ? meaning.user.name : undefined;
    this.#row({ name: user ?? quote(recipient), address: quote(recipient), user });
  }

  #away(recipient: string, forwarded: boolean): void {
    this.#row({ name: quote(recipient), address: quote(recipient), remote: true, forwarded });
  }

  #list(name: string, address: string): void {
    this.#row({ name, address, list: true });
  }

  #row(row: Partial<ExpandedAddress> & { name: string; address: string }): void {
    const address = row.address.toLowerCase();
    const key = `${row.list === true} ${row.target ?? ""} ${row.target === undefined ? address : row.name}`;
    if (this.#rows.has(key)) return;
    const { name, user, target, list = false, remote = false, forwarded = false } = row;
    this.#rows.set(key, {
      name,
      address,
      user,
      list,
      deferredExpansion: false,
      remote,
      forwarded,
      ...(target === undefined ? {} : { target }),
    });
  }

  /** What the store says of an address, with its extension and without. */
  #meaning(address: string): AddressMeaning | undefined {
    const [local, domain] = splitAddress(address.toLowerCase());
    const [bare, extension] = splitExtension(local, this.#settings.extension);
    const keys = [`${local}@${domain}`, ...(extension === "" ? [] : [`${bare}@${domain}`])];
    for (const key of keys) this.#lookup.has(this.#meanings, key);
    for (const key of keys) {
      const meaning = this.#lookup.get(this.#meanings, key);
      if (meaning !== undefined) return meaning;
    }
    return undefined;
  }
}

const LISTS = {
  recipient_canonical_maps: true,
  canonical_maps: true,
  virtual_alias_maps: true,
  local_recipient_maps: true,
  virtual_mailbox_maps: true,
  relay_recipient_maps: true,
} as const;

/** Who there is in each class, where the map is not empty. */
const RECIPIENT_MAPS: Readonly<Record<Destination["class"], keyof typeof LISTS | undefined>> = {
  local: "local_recipient_maps",
  virtual: "virtual_mailbox_maps",
  relay: "relay_recipient_maps",
  alias: undefined,
  default: undefined,
};

/** Transports that deliver to nobody. */
const UNDELIVERED: readonly string[] = ["error", "discard"];
