/**
 * A store's database in PostgreSQL, by pg: tables in a schema of their own,
 * named postlua, of the database that the URL names.
 *
 * Every wait has a limit. What fails because the server is away or starting
 * is tried again within it, unless it is not known whether it was done. The
 * password is read from its file at each connect and is in no message.
 */
import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { setTimeout as delay } from "node:timers/promises";
import type { ConnectionOptions } from "node:tls";
import { Client, type ClientBase, type ClientConfig, DatabaseError, Pool } from "pg";
import { type PostgresPlace, postgresPlace } from "../config/database.ts";
import { PostgresNotices } from "./postgres-notices.ts";
import { type Dialect, migrate } from "./schema.ts";
import { DirectoryError, StoreUnavailable } from "./store.ts";
import { type Columns, type Database, NotUnique, type Row, type Step, type Work } from "./work.ts";

export const POSTGRES: Dialect = {
  name: "postgres",
  keyType: 'TEXT COLLATE "C"',
  tableExists: (table) =>
    `SELECT 1 AS there FROM pg_tables WHERE schemaname = 'postlua' AND tablename = '${table}'`,
};

export interface PostgresOptions {
  /** "postgresql://user@host:port/database", without a password. */
  readonly url: string;
  /** File whose first line is the password. */
  readonly passwordFile?: string | undefined;
  /** How long a question may take in all, connecting included. */
  readonly timeoutMs: number;
  /** Connections at most; default 4. */
  readonly connections?: number;
}

/** Any number, the same in every postlua. */
const LOCK_KEY = 1_886_352_500;
const MIGRATION_MS = 600_000;
const CLOSING_MS = 2_000;
const LONGEST_WAIT_MS = 100;

export class PostgresDatabase implements Database {
  readonly name: string;
  readonly #options: PostgresOptions;
  readonly #pool: Pool;
  readonly #identity = randomUUID();
  readonly #notices: PostgresNotices;
  /** Statements are prepared once a connection, under these names. */
  readonly #names = new Map<string, string>();

  private constructor(options: PostgresOptions) {
    this.#options = options;
    this.name = options.url;
    this.#pool = new Pool({
      ...this.#connection(options.timeoutMs),
      max: options.connections ?? 4,
      // Whoever forgets to close the store may still end.
      allowExitOnIdle: true,
    });
    // A connection that breaks while nobody uses it is replaced by the next question.
    this.#pool.on("error", () => {});
    this.#pool.on("connect", (client) => client.on("error", () => {}));
    this.#notices = new PostgresNotices(
      () => new Client(this.#connection(options.timeoutMs)),
      this.#identity,
    );
  }

  /** Connects and brings the tables up to date. @throws StoreUnavailable */
  static async open(options: PostgresOptions): Promise<PostgresDatabase> {
    const database = new PostgresDatabase(options);
    try {
      await database.#migrate();
    } catch (error) {
      await database.close();
      throw error;
    }
    return database;
  }

  read<T>(work: () => Work<T>): Promise<T> {
    return this.#patiently((client) => this.#runThrough(client, work()));
  }

  async write<T>(work: () => Work<T>, options: { readonly on: "users" | "settings" }): Promise<T> {
    const result = await this.#patiently(async (client, state) => {
      await client.query("BEGIN");
      try {
        if (options.on === "users") await client.query(`SELECT pg_advisory_xact_lock(${LOCK_KEY})`);
        const done = await this.#runThrough(client, work());
        await client.query("SELECT pg_notify('postlua', $1)", [this.#identity]);
        state.committing = true;
        await client.query("COMMIT");
        return done;
      } catch (error) {
        if (!state.committing) await client.query("ROLLBACK").catch(() => {});
        throw error;
      }
    });
    this.#notices.tell();
    return result;
  }

  watch(changed: () => void): () => void {
    return this.#notices.watch(changed);
  }

  async close(): Promise<void> {
    this.#notices.close();
    if (this.#pool.ending) return;
    // Also keeps the process alive meanwhile, and gives up on a server that is silent.
    const limit = new AbortController();
    const enough = delay(CLOSING_MS, undefined, { signal: limit.signal }).catch(() => {});
    await Promise.race([this.#pool.end(), enough]);
    limit.abort();
  }

  #connection(limitMs: number): ClientConfig {
    const { url, passwordFile, timeoutMs } = this.#options;
    const { host, port, user, database, sslmode, sslrootcert } = postgresPlace(url);
    return {
      host,
      port,
      user,
      database,
      ssl: sslmode === "disable" ? false : secured(sslmode, sslrootcert),
      application_name: "postlua",
      options: "-c search_path=postlua",
      connectionTimeoutMillis: timeoutMs,
      statement_timeout: limitMs,
      // The server's own limit comes first; this one is for a server that is silent.
      query_timeout: limitMs + 500,
      idle_in_transaction_session_timeout: limitMs,
      keepAlive: true,
      ...(passwordFile === undefined ? {} : { password: () => readPassword(passwordFile) }),
    };
  }

  /** On a connection of its own, whose limit is long enough for changes of large tables. */
  async #migrate(): Promise<void> {
    const client = new Client(this.#connection(MIGRATION_MS));
    client.on("error", () => {});
    try {
      await client.connect();
      await client.query("BEGIN");
      await client.query(`SELECT pg_advisory_xact_lock(${LOCK_KEY})`);
      const { rows } = await client.query("SELECT 1 FROM pg_namespace WHERE nspname = 'postlua'");
      if (rows.length === 0) await client.query("CREATE SCHEMA postlua");
      await this.#runThrough(client, migrate(POSTGRES, this.name));
      await client.query("COMMIT");
    } catch (error) {
      throw this.#failure(error, false);
    } finally {
      await client.end().catch(() => {});
    }
  }

  async #runThrough<T>(client: ClientBase, work: Work<T>): Promise<T> {
    let next = work.next();
    while (next.done !== true) next = work.next(await this.#execute(client, next.value));
    return next.value;
  }

  async #execute(client: ClientBase, step: Step): Promise<readonly Row[]> {
    const { text, values } = "sql" in step ? { text: step.sql, values: [...step.values] } : unnested(step);
    let name = this.#names.get(text);
    if (name === undefined) {
      name = `postlua_${this.#names.size}`;
      this.#names.set(text, name);
    }
    return (await client.query<Row>({ name, text, values })).rows;
  }

  /** Runs an attempt on a connection, and again while the server is away and nothing can have been done. */
  async #patiently<T>(
    attempt: (client: ClientBase, state: { committing: boolean }) => Promise<T>,
  ): Promise<T> {
    const end = performance.now() + this.#options.timeoutMs;
    for (let wait = 5; ; wait = Math.min(wait * 2, LONGEST_WAIT_MS)) {
      const state = { committing: false };
      try {
        return await this.#once((client) => attempt(client, state));
      } catch (error) {
        const again = !state.committing && isPassing(error) && performance.now() + wait < end;
        if (!again) throw this.#failure(error, state.committing);
      }
      await delay(wait);
    }
  }

  async #once<T>(attempt: (client: ClientBase) => Promise<T>): Promise<T> {
    if (this.#pool.ending) throw new StoreUnavailable(`${this.name} is closed`);
    const client = await this.#pool.connect();
    let broken = false;
    try {
      return await attempt(client);
    } catch (error) {
      broken = !(error instanceof DirectoryError) && !isUniqueViolation(error);
      throw error;
    } finally {
      client.release(broken);
    }
  }

  #failure(error: unknown, committing: boolean): unknown {
    if (error instanceof DirectoryError || error instanceof StoreUnavailable) return error;
    if (isUniqueViolation(error)) return new NotUnique((error as Error).message);
    const { code = "", message } = error as { code?: string; message: string };
    if (!(error instanceof DatabaseError) && code === "" && !NETWORK_WORDS.test(message)) return error;
    const doubt = committing ? "; it is not known whether the last change was made" : "";
    const words = FAILURES[code] ?? "cannot be used";
    return new StoreUnavailable(`${this.name} ${words} (${message || code})${doubt}`, { cause: error });
  }
}

/** One statement for any number of rows. */
function unnested(step: { into: string; columns: Columns; rows: readonly (readonly unknown[])[] }) {
  const names = Object.keys(step.columns);
  const arrays = Object.values(step.columns).map((type, n) => `$${n + 1}::${type}[]`);
  return {
    text: `INSERT INTO ${step.into} (${names.join()}) SELECT * FROM unnest(${arrays.join()})`,
    values: names.map((_, n) => step.rows.map((row) => row[n] ?? null)),
  };
}

function secured(mode: PostgresPlace["sslmode"], authority: string | undefined): ConnectionOptions {
  if (mode === "require") return { rejectUnauthorized: false };
  return authority === undefined ? {} : { ca: readFileSync(authority, "utf8") };
}

async function readPassword(file: string): Promise<string> {
  try {
    return (await readFile(file, "utf8")).split(/\r?\n/)[0] ?? "";
  } catch (error) {
    throw new StoreUnavailable(
      `store.password_file: ${file} cannot be read (${(error as NodeJS.ErrnoException).code})`,
    );
  }
}

function isUniqueViolation(error: unknown): boolean {
  return error instanceof DatabaseError && error.code === "23505";
}

/** What pg says without a code when a connection breaks or a limit is reached. */
const NETWORK_WORDS = /connection|timeout|not queryable|Client was closed|socket|SSL/i;

const PASSING_CODES = /^(ECONNREFUSED|ECONNRESET|EPIPE|ENOENT|57P0[123]|53300|40001|40P01|08.*)$/;

/** The server is starting, stopping or busy: it may answer when asked again. */
function isPassing(error: unknown): boolean {
  const { code, message } = error as { code?: string; message: string };
  if (code !== undefined) return PASSING_CODES.test(code);
  return /connection terminated|not queryable|connection error/i.test(message);
}

const FAILURES: Readonly<Record<string, string>> = {
  ECONNREFUSED: "cannot be reached: nothing listens there",
  ENOENT: "cannot be reached: there is no such socket",
  ENOTFOUND: "cannot be reached: there is no such host",
  EAI_AGAIN: "cannot be reached: its host's name cannot be looked up now",
  ETIMEDOUT: "cannot be reached",
  "28P01": "refuses the password; look at store.password_file",
  "28000": "refuses the user; look at store.database and the server's pg_hba.conf",
  "3D000": "has no such database; create it, owned by that user",
  "42501": "does not let that user do this; the user must own the database or its schema postlua",
  "55P03": "was locked for too long",
  "57014": "took too long",
  "53100": "has no room on its disk",
};
