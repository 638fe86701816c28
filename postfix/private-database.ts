/**
 * A private PostgreSQL server: its own data in a scratch directory, a unix
 * socket there and a free port of 127.0.0.1, password asked for. Runs as user
 * postgres, since the server refuses root; needs root therefore, and the
 * package postgresql, whose own service is neither needed nor touched.
 */
import { type ChildProcess, execFileSync } from "node:child_process";
import { chownSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { Client } from "pg";
import { Scratch } from "./scratch.ts";

const VERSIONS = "/usr/lib/postgresql";
const DEADLINE_MS = 60_000;
const ADMIN = "postgres";

export class PrivateDatabase {
  readonly scratch: Scratch;
  readonly port: number;
  /** Of the user `postlua`, who owns the databases that `create` makes. */
  readonly password = "it is 'secret' \\ ";
  readonly passwordFile: string;
  readonly #programs: string;
  readonly #user: { readonly uid: number; readonly gid: number };
  #server: ChildProcess | undefined;
  #exited: Promise<void> = Promise.resolve();

  private constructor(port: number) {
    const [newest] = existsSync(VERSIONS) ? readdirSync(VERSIONS).sort((a, b) => Number(b) - Number(a)) : [];
    if (newest === undefined || process.getuid?.() !== 0) {
      throw new Error(
        "a private PostgreSQL needs root, and the package postgresql: run `sh postfix/setup.sh`",
      );
    }
    this.#programs = join(VERSIONS, newest, "bin");
    this.port = port;
    const [, , uid, gid] = execFileSync("getent", ["passwd", ADMIN], { encoding: "utf8" }).split(":");
    this.#user = { uid: Number(uid), gid: Number(gid) };
    this.scratch = Scratch.create();
    this.passwordFile = join(this.scratch.path, "password");
    writeFileSync(this.passwordFile, `${this.password}\n`, { mode: 0o640 });
  }

  static async start(): Promise<PrivateDatabase> {
    const database = new PrivateDatabase(await freePort());
    try {
      database.#layOut();
      await database.start();
      await database.query(`CREATE ROLE postlua LOGIN PASSWORD '${database.password.replaceAll("'", "''")}'`);
    } catch (error) {
      await database.remove();
      throw error;
    }
    return database;
  }

  /** A new, empty database that the user postlua owns. @returns its URL, without a password */
  async create(name: string): Promise<string> {
    await this.query(`CREATE DATABASE ${name} OWNER postlua`);
    return this.url(name);
  }

  url(name: string): string {
    return `postgresql://postlua@127.0.0.1:${this.port}/${name}`;
  }

  /** Runs SQL as the administrator. */
  async query(sql: string, database = ADMIN): Promise<Record<string, unknown>[]> {
    const client = new Client({ host: this.#socket, port: this.port, user: ADMIN, database });
    client.on("error", () => {});
    await client.connect();
    try {
      return (await client.query(sql)).rows as Record<string, unknown>[];
    } finally {
      await client.end();
    }
  }

  /** Starts the server again; resolves when it answers. */
  async start(): Promise<void> {
    const server = this.scratch.spawn(
      join(this.#programs, "postgres"),
      ["-D", this.#data, "-p", String(this.port), "-k", this.#socket],
      { ...this.#user, stdio: "ignore", cwd: "/" },
    );
    this.#server = server;
    this.#exited = new Promise((resolve) => server.once("exit", () => resolve()));
    for (const end = Date.now() + DEADLINE_MS; ; ) {
      try {
        await this.query("SELECT 1");
        return;
      } catch (error) {
        if (server.exitCode !== null || Date.now() > end) {
          throw new Error(`PostgreSQL did not start: ${(error as Error).message}\n${this.log()}`);
        }
      }
      await delay(20);
    }
  }

  /** As `pg_ctl stop -m fast`: open connections are broken, what is committed stays. */
  async stop(): Promise<void> {
    this.#server?.ref();
    this.#server?.kill("SIGINT");
    await this.#exited;
    this.#server = undefined;
  }

  /** Stops the server's every process where it stands, so that it is reached but never answers; or wakes them. */
  freeze(frozen: boolean): void {
    const pid = this.#server?.pid;
    if (pid === undefined) return;
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim().split(/\s+/);
    for (const each of [pid, ...children.filter((child) => child !== "").map(Number)]) {
      try {
        process.kill(each, frozen ? "SIGSTOP" : "SIGCONT");
      } catch {
        // A connection that has ended meanwhile.
      }
    }
  }

  log(): string {
    const file = join(this.#data, "log");
    return existsSync(file) ? readFileSync(file, "utf8") : "";
  }

  async remove(): Promise<void> {
    this.#server?.ref();
    this.#server?.kill("SIGQUIT");
    await this.#exited;
    this.scratch.remove();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.remove();
  }

  get #data(): string {
    return join(this.scratch.path, "data");
  }

  get #socket(): string {
    return join(this.scratch.path, "socket");
  }

  #layOut(): void {
    for (const directory of [this.#data, this.#socket]) {
      mkdirSync(directory);
      chownSync(directory, this.#user.uid, this.#user.gid);
    }
    // A locale that compares otherwise than byte by byte would show where the store relies on that.
    const args = ["-D", this.#data, "-U", ADMIN, "-E", "UTF8", "--locale=C.UTF-8", "-N", "-A", "trust"];
    execFileSync(join(this.#programs, "initdb"), args, { ...this.#user, stdio: "pipe", cwd: "/" });
    const write = (name: string, text: string) => writeFileSync(join(this.#data, name), text, { flag: "a" });
    write("postgresql.conf", "listen_addresses = '127.0.0.1'\nfsync = off\nmax_connections = 40\n");
    const rules = "local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n";
    writeFileSync(join(this.#data, "pg_hba.conf"), rules);
  }
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const probe = createServer();
    probe.once("error", reject);
    probe.listen(0, "127.0.0.1", () => {
      const address = probe.address();
      probe.close(() => resolve(typeof address === "object" && address !== null ? address.port : 0));
    });
  });
}
