/**
 * `postlua user import`: many users from a CSV file or one like /etc/passwd,
 * read as a stream.
 *
 * A file is read twice: once to check every row, so that nothing is added
 * when something is wrong, and once to add them. Standard input, a pipe, is
 * read once: rows before a wrong one may be in by then, and are counted.
 */
import { createReadStream, statSync } from "node:fs";
import type { Readable } from "node:stream";
import { nameKey } from "../directory/names.ts";
import { DirectoryError, type NewUser, type Store } from "../directory/store.ts";
import { checkUser } from "../directory/users.ts";
import { type Common, EX_FAILED, EX_NOINPUT, fail, show, withStore } from "./directory.ts";
import { csvUsers, type PasswdOptions, passwdUsers, RowError, type UserRow } from "./user-files.ts";

export interface ImportOptions extends Common {
  readonly delimiter: string;
  /** The file is like /etc/passwd. */
  readonly passwd?: PasswdOptions;
  readonly skipExisting: boolean;
  readonly dryRun: boolean;
}

const MOST_PROBLEMS = 20;
const PROGRESS_MS = 200;

/** @param file "-" is standard input */
export async function userImport(file: string, options: ImportOptions): Promise<number> {
  const problem = file === "-" ? undefined : unreadable(file);
  if (problem !== undefined) return fail(problem, EX_NOINPUT);
  const rows = (): AsyncGenerator<UserRow> => {
    const input: Readable = file === "-" ? process.stdin : createReadStream(file);
    const name = file === "-" ? "(standard input)" : file;
    if (options.passwd !== undefined) return passwdUsers(input, name, options.passwd);
    return csvUsers(input, name, options.delimiter);
  };
  const twice = file !== "-" && statSync(file).isFile();
  try {
    return await withStore(options, async (store) => {
      const taken = await Taken.of(store);
      return new Import(store, file === "-" ? "(standard input)" : file, rows, taken, options).run(twice);
    });
  } catch (error) {
    const { code, syscall } = error as NodeJS.ErrnoException;
    if (syscall !== "open" && syscall !== "read") throw error;
    return fail(`${file}: cannot be read (${code})`, EX_NOINPUT);
  }
}

function unreadable(file: string): string | undefined {
  try {
    return statSync(file).isDirectory() ? `${file}: is a directory` : undefined;
  } catch (error) {
    return `${file}: cannot be read (${(error as NodeJS.ErrnoException).code})`;
  }
}

class Import {
  readonly #store: Store;
  readonly #file: string;
  readonly #rows: () => AsyncGenerator<UserRow>;
  readonly #taken: Taken;
  readonly #options: ImportOptions;
  readonly #progress = new Progress();
  #skipped = 0;
  #checked = 0;
  #added = 0;

  constructor(
    store: Store,
    file: string,
    rows: () => AsyncGenerator<UserRow>,
    taken: Taken,
    options: ImportOptions,
  ) {
    this.#store = store;
    this.#file = file;
    this.#rows = rows;
    this.#taken = taken;
    this.#options = options;
  }

  async run(twice: boolean): Promise<number> {
    const { dryRun } = this.#options;
    try {
      if (dryRun || twice) {
        const problems = await this.#check();
        if (problems.length > 0) return this.#refused(problems);
        if (dryRun) return this.#done();
      }
      this.#added = await this.#store.importUsers(twice ? this.#again() : this.#users(), (done) => {
        this.#added = done;
        this.#progress.show("added", done);
      });
      return this.#done();
    } catch (error) {
      this.#progress.end();
      if (error instanceof RowError) return this.#refused([error.message]);
      if (error instanceof DirectoryError) return this.#refused([`${this.#file}: ${error.message}`]);
      throw error;
    } finally {
      this.#progress.end();
    }
  }

  /** @returns what is wrong with the rows, up to a readable number of sentences */
  async #check(): Promise<string[]> {
    const problems: string[] = [];
    const rows = this.#rows();
    try {
      for await (const row of rows) {
        if (this.#skips(row)) continue;
        const problem = this.#problem(row);
        if (problem !== undefined) problems.push(problem.message);
        if (problems.length === MOST_PROBLEMS) {
          problems.push(`${this.#file}: there may be more; the rest was not looked at`);
          break;
        }
      }
    } catch (error) {
      if (!(error instanceof RowError)) throw error;
      problems.push(error.message);
    }
    this.#progress.end();
    return problems;
  }

  #problem(row: UserRow): RowError | undefined {
    if ("problem" in row) return row.problem;
    const { line, user } = row;
    try {
      this.#taken.take(user, line);
    } catch (error) {
      if (!(error instanceof DirectoryError)) throw error;
      return new RowError(this.#file, line, error.message);
    }
    this.#progress.show("checked", ++this.#checked);
    return undefined;
  }

  #isThere(row: UserRow): boolean {
    return this.#options.skipExisting && "user" in row && this.#taken.users.has(nameKey(row.user.name));
  }

  #skips(row: UserRow): boolean {
    const there = this.#isThere(row);
    if (there) this.#skipped++;
    return there;
  }

  /** The rows of a file that was found good. */
  async *#again(): AsyncGenerator<NewUser> {
    for await (const row of this.#rows()) {
      if ("problem" in row) throw row.problem;
      if (!this.#isThere(row)) yield row.user;
    }
  }

  /** The rows, each checked as it comes. */
  async *#users(): AsyncGenerator<NewUser> {
    for await (const row of this.#rows()) {
      if (this.#skips(row)) continue;
      const problem = this.#problem(row);
      if (problem !== undefined) throw problem;
      if ("user" in row) yield row.user;
    }
  }

  #refused(problems: readonly string[]): number {
    this.#progress.end();
    const { json } = this.#options;
    for (const problem of problems) process.stderr.write(`${problem}\n`);
    const added =
      this.#added === 0
        ? "nothing is added"
        : `${users(this.#added)} ${this.#added === 1 ? "was" : "were"} added before`;
    process.stderr.write(`postlua: ${added}\n`);
    if (json) show(true, { ...this.#figures(), problems }, "");
    return EX_FAILED;
  }

  #done(): number {
    this.#progress.end();
    const { json, dryRun } = this.#options;
    const skipped = this.#skipped === 0 ? "" : `, ${users(this.#skipped)} there already`;
    const text = dryRun ? `${users(this.#checked)} would be added` : `${users(this.#added)} added`;
    return show(json, { ...this.#figures(), problems: [] }, `${text}${skipped}`);
  }

  #figures(): object {
    return {
      added: this.#added,
      ...(this.#options.dryRun ? { would_add: this.#checked } : {}),
      skipped: this.#skipped,
      dry_run: this.#options.dryRun,
    };
  }
}

function users(count: number): string {
  return count === 1 ? "1 user" : `${count} users`;
}

/** Names, addresses and mailboxes that somebody has, and since which line of the file. */
class Taken {
  /** Keys of the users' names that were in the store before. */
  readonly users = new Set<string>();
  /** Line in the file; 0 for what was in the store. */
  readonly #names = new Map<string, number>();
  readonly #addresses = new Map<string, number>();
  readonly #mailboxes = new Map<string, number>();

  static async of(store: Store): Promise<Taken> {
    const taken = new Taken();
    for await (const { name, addresses, mailbox } of store.users()) {
      taken.users.add(nameKey(name));
      taken.#names.set(nameKey(name), 0);
      for (const address of addresses) taken.#addresses.set(address, 0);
      taken.#mailboxes.set(mailbox, 0);
    }
    for (const { name, address } of await store.lists()) {
      taken.#names.set(nameKey(name), 0);
      taken.#addresses.set(address, 0);
    }
    return taken;
  }

  /** @throws DirectoryError when the user cannot be added */
  take(user: NewUser, line: number): void {
    const { name, key, addresses, mailbox } = checkUser(user);
    refuse(this.#names, key, `the name ${name}`);
    for (const address of addresses) refuse(this.#addresses, address, `the address ${address}`);
    refuse(this.#mailboxes, mailbox, `the mailbox ${mailbox}`);
    this.#names.set(key, line);
    for (const address of addresses) this.#addresses.set(address, line);
    this.#mailboxes.set(mailbox, line);
  }
}

function refuse(taken: ReadonlyMap<string, number>, key: string, what: string): void {
  const line = taken.get(key);
  if (line === undefined) return;
  throw new DirectoryError(`${what} is ${line === 0 ? "in use already" : `that of line ${line}, too`}`);
}

/** A running count on a terminal, and nothing elsewhere. */
class Progress {
  readonly #terminal = process.stderr.isTTY === true;
  #shownAt = 0;
  #open = false;

  show(what: string, count: number): void {
    const now = performance.now();
    if (!this.#terminal || now - this.#shownAt < PROGRESS_MS) return;
    this.#shownAt = now;
    this.#open = true;
    process.stderr.write(`\r\x1b[K${users(count)} ${what}`);
  }

  end(): void {
    if (this.#open) process.stderr.write("\r\x1b[K");
    this.#open = false;
  }
}
