/**
 * Who has changed something in the database: a connection of its own that
 * listens, and comes back when it breaks. Changes that may have been missed
 * while it was away count as one.
 */
import type { Client } from "pg";

const AGAIN_MS = 1_000;

export class PostgresNotices {
  readonly #connect: () => Client;
  readonly #identity: string;
  readonly #watchers = new Set<() => void>();
  #client: Client | undefined;
  #timer: NodeJS.Timeout | undefined;

  /** @param identity what our own notices carry; they are told at once, by `tell` */
  constructor(connect: () => Client, identity: string) {
    this.#connect = connect;
    this.#identity = identity;
  }

  watch(changed: () => void): () => void {
    const watcher = () => changed();
    this.#watchers.add(watcher);
    if (this.#client === undefined && this.#timer === undefined) this.#listen();
    return () => {
      this.#watchers.delete(watcher);
      if (this.#watchers.size === 0) this.close();
    };
  }

  tell(): void {
    for (const watcher of [...this.#watchers]) watcher();
  }

  close(): void {
    this.#watchers.clear();
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const client = this.#client;
    this.#client = undefined;
    client?.end().catch(() => {});
  }

  async #listen(): Promise<void> {
    this.#timer = undefined;
    const client = this.#connect();
    this.#client = client;
    client.on("error", () => {});
    client.once("end", () => this.#lost(client));
    client.on("notification", ({ payload }) => {
      if (payload !== this.#identity) this.tell();
    });
    try {
      await client.connect();
      // It waits for others' changes; it keeps nobody alive.
      (client as unknown as { connection: { stream: { unref(): void } } }).connection.stream.unref();
      await client.query("LISTEN postlua");
      if (this.#client === client) this.tell();
    } catch {
      this.#lost(client);
      client.end().catch(() => {});
    }
  }

  #lost(client: Client): void {
    if (this.#client !== client) return;
    this.#client = undefined;
    this.#timer = setTimeout(() => this.#listen(), AGAIN_MS);
    this.#timer.unref();
  }
}
