/** A private Postfix that knows users from postlua's store, and postlua that routes their mail. */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import type { SinkMessage } from "../../postfix/sink.ts";
import { SmtpClient } from "../../postfix/smtp-client.ts";
import { openStore } from "../../src/directory/open.ts";
import type { Store } from "../../src/directory/store.ts";
import { storeConfig } from "../directory/backends.ts";
import { Served, type ServedOptions } from "./harness.ts";

const MAPS = join(import.meta.dirname, "../../postfix/maps");

export interface Person {
  readonly addresses?: readonly string[];
  readonly settings?: Readonly<Record<string, string>>;
  /** The text of the user's own USER_REDIRECT.LUA. */
  readonly script?: string;
}

export interface RoutedOptions extends Partial<ServedOptions> {
  /** By name; addresses: NAME@users.test. */
  readonly people: Readonly<Record<string, Person>>;
  readonly lists?: Readonly<Record<string, readonly string[]>>;
  /** Further virtual aliases, as lines of a table. */
  readonly aliases?: string;
  /** What else the store is to have. */
  readonly prepare?: (store: Store) => Promise<void>;
}

export interface Mail {
  readonly from?: string;
  readonly to: readonly (string | readonly [address: string, parameters: string])[];
  readonly header?: string;
  /** Of the body, bytes. */
  readonly size?: number;
  /** Default: one of its own, which tells the message from others. */
  readonly subject?: string;
}

export class Routed implements AsyncDisposable {
  readonly served: Served;
  readonly store: Store;
  #count = 0;

  private constructor(served: Served, store: Store) {
    this.served = served;
    this.store = store;
  }

  static async start({
    people,
    lists = {},
    aliases = "",
    prepare: more = async () => {},
    ...options
  }: RoutedOptions): Promise<Routed> {
    const served = await Served.start({
      scripts: {},
      ...options,
      before: (parts) => prepare(parts, { people, lists, aliases, prepare: more }),
    });
    const store = await openStore(storeConfig({ database: `sqlite:${served.postlua.store}` }));
    return new Routed(served, store);
  }

  /** Sends one message. @returns the reply to its end, and who got it, sorted; those of refused mail: none */
  async send({
    from = "friend@elsewhere.test",
    to,
    header = "",
    size = 10,
    subject = `m${++this.#count}`,
  }: Mail): Promise<Sent> {
    const { client } = await SmtpClient.connect({ port: this.served.postfix.port });
    await client.command("EHLO client.test");
    await client.command(`MAIL FROM:<${from}>`);
    for (const recipient of to) {
      const [address, parameters] = typeof recipient === "string" ? [recipient, ""] : recipient;
      const { code, text } = await client.command(`RCPT TO:<${address}> ${parameters}`.trimEnd());
      if (code !== 250) throw new Error(`RCPT ${address}: ${text}`);
    }
    await client.command("DATA");
    const body = `${"x".repeat(70)}\r\n`.repeat(Math.ceil(size / 72)).slice(0, Math.max(size - 2, 0));
    const { text } = await client.message(
      `${subject === "" ? "" : `Subject: ${subject}\r\n`}${header}\r\n${body}\r\n`,
    );
    await client.command("QUIT");
    if (!text.startsWith("250")) return { reply: text, to: [], messages: [] };
    await this.served.postfix.settled();
    const messages = this.served.sink.messages.filter(({ headers }) =>
      headers.some(([name, value]) => name === "Subject" && value.trim() === subject),
    );
    return { reply: text, to: messages.flatMap(({ recipients }) => recipients).sort(), messages };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.store.close();
    await this.served[Symbol.asyncDispose]();
  }
}

export interface Sent {
  readonly reply: string;
  readonly to: readonly string[];
  readonly messages: readonly SinkMessage[];
}

type Prepare = NonNullable<ServedOptions["before"]>;

async function prepare(
  { postfix, postlua }: Parameters<Prepare>[0],
  {
    people,
    lists,
    aliases,
    prepare: more,
  }: Required<Pick<RoutedOptions, "people" | "lists" | "aliases" | "prepare">>,
): Promise<void> {
  const store = await openStore(storeConfig({ database: `sqlite:${postlua.store}`, group: "postfix" }));
  for (const [name, { addresses = [`${name}@users.test`], settings = {}, script }] of Object.entries(
    people,
  )) {
    await store.addUser({ name, addresses });
    for (const [key, value] of Object.entries(settings)) {
      await store.setUserSetting(name, key, value, { create: true });
    }
    if (script === undefined) continue;
    const path = postlua.scriptPath(`users/${name}/USER_REDIRECT.LUA`);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, script);
  }
  for (const [name, members] of Object.entries(lists)) {
    await store.addList({ name, address: `${name}@users.test`, members });
  }
  await more(store);
  await store.close();
  const map = (name: string) => {
    const text = readFileSync(join(MAPS, `${name}.sqlite.cf`), "utf8");
    return `sqlite:${postfix.writeTable(`${name}.cf`, text.replace("/var/lib/postlua/postlua.db", postlua.store))}`;
  };
  await postfix.postconf({
    virtual_mailbox_domains: map("domains"),
    virtual_mailbox_maps: map("mailboxes"),
    virtual_alias_maps: `texthash:${postfix.writeTable("virtual", aliases)} ${map("aliases")}`,
  });
}
