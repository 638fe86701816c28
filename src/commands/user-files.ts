/**
 * Files that users are imported from, read as streams: CSV with a header row,
 * and the format of passwd(5). Every row carries its line; what cannot be
 * understood is a RowError with file and line, and nothing is guessed.
 */
import { basename } from "node:path";
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";
import { CsvError, parse } from "csv-parse";
import type { NewUser } from "../directory/store.ts";

/** A sentence for people that begins with FILE:LINE. */
export class RowError extends Error {
  override name = "RowError";

  constructor(file: string, line: number, what: string) {
    super(`${file}:${line}: ${what}`);
  }
}

/** What is wrong with one row alone is its `problem`, so that the rows after it are heard of, too. */
export type UserRow =
  | { readonly line: number; readonly user: NewUser }
  | { readonly line: number; readonly problem: RowError };

const COLUMNS = ["name", "addresses", "mailbox", "enabled", "password_hash"] as const;
type Column = (typeof COLUMNS)[number];
type CsvRecord = Partial<Record<Column, string>>;

const YES = ["", "yes", "true", "1"];
const NO = ["no", "false", "0"];
const MAX_ROW = 64 * 1024;

/** Rows of a CSV file. `addresses` holds several separated by spaces; empty fields mean the default. */
export async function* csvUsers(input: Readable, file: string, delimiter: string): AsyncGenerator<UserRow> {
  const parser = input.pipe(
    parse({
      bom: true,
      columns: (header: string[]) => checkHeader(header, file),
      delimiter,
      info: true,
      max_record_size: MAX_ROW,
      skip_empty_lines: true,
      trim: true,
    }),
  );
  input.on("error", (error) => parser.destroy(error));
  let line = 1;
  try {
    for await (const { record, info } of parser as AsyncIterable<{
      record: CsvRecord;
      info: { lines: number };
    }>) {
      line = info.lines;
      const row = attempt(line, () => csvUser(record, file, line));
      if (row !== undefined) yield row;
    }
    if (parser.info.records === 0 && parser.info.lines <= 1 && parser.info.bytes === 0) {
      throw new RowError(file, 1, `is empty; the first row names the columns: ${COLUMNS.join(", ")}`);
    }
  } catch (error) {
    if (error instanceof CsvError) throw new RowError(file, Number(error.lines ?? line), csvProblem(error));
    throw error;
  } finally {
    input.destroy();
  }
}

/** @returns undefined for a row that is nobody's */
function attempt(line: number, read: () => NewUser | undefined): UserRow | undefined {
  try {
    const user = read();
    return user === undefined ? undefined : { line, user };
  } catch (error) {
    if (error instanceof RowError) return { line, problem: error };
    throw error;
  }
}

function checkHeader(header: string[], file: string): string[] {
  const names = header.map((name) => name.toLowerCase());
  for (const name of names) {
    if (name === "password") {
      const what = "plain passwords are not taken from files; use password_hash, or postlua passwd --stdin";
      throw new RowError(file, 1, `column "password": ${what}`);
    }
    if (!COLUMNS.includes(name as Column)) {
      // A spreadsheet in many a country writes semicolons.
      const other = /[;\t|]/.exec(name)?.[0];
      const hint =
        other === undefined ? "" : `; fields are separated by --delimiter ${JSON.stringify(other)}, perhaps`;
      throw new RowError(
        file,
        1,
        `unknown column ${JSON.stringify(name)}; there are ${COLUMNS.join(", ")}${hint}`,
      );
    }
    if (names.indexOf(name) !== names.lastIndexOf(name)) {
      throw new RowError(file, 1, `column ${JSON.stringify(name)} is there twice`);
    }
  }
  if (!names.includes("name")) {
    throw new RowError(file, 1, `there is no column "name"; the first row names the columns`);
  }
  return names;
}

function csvUser(record: CsvRecord, file: string, line: number): NewUser {
  for (const [column, text] of Object.entries(record)) checkText(text, `column ${column}`, file, line);
  const { name = "", addresses = "", mailbox = "", enabled = "", password_hash: hash = "" } = record;
  const word = enabled.toLowerCase();
  if (!YES.includes(word) && !NO.includes(word)) {
    throw new RowError(file, line, `enabled is yes or no, not ${JSON.stringify(enabled)}`);
  }
  return {
    name,
    addresses: addresses.split(/\s+/).filter((address) => address !== ""),
    enabled: YES.includes(word),
    ...(mailbox === "" ? {} : { mailbox }),
    ...(hash === "" ? {} : { passwordHash: hash }),
  };
}

function checkText(text: string, what: string, file: string, line: number): void {
  // The decoder puts it where it meets something that is no UTF-8.
  if (text.includes("\ufffd")) throw new RowError(file, line, `${what} is not UTF-8`);
}

function csvProblem(error: CsvError): string {
  switch (error.code) {
    case "CSV_RECORD_INCONSISTENT_COLUMNS":
    case "CSV_RECORD_INCONSISTENT_FIELDS_LENGTH":
      return `this row has ${(error.record as string[] | undefined)?.length ?? "another number of"} fields, the header has another number`;
    case "CSV_QUOTE_NOT_CLOSED":
      return "a quoted field is never closed";
    case "CSV_MAX_RECORD_SIZE":
      return `this row is longer than ${MAX_ROW} bytes; a quote may be missing`;
    case "CSV_INVALID_CLOSING_QUOTE":
    case "INVALID_OPENING_QUOTE":
      return 'a quote stands where none can be; inside a quoted field it is written twice: ""';
    default:
      return error.message;
  }
}

export interface PasswdOptions {
  /** First and last user id taken. */
  readonly uids: readonly [number, number];
  /** Each user gets NAME@DOMAIN for each of them. */
  readonly domains: readonly string[];
}

/** Accounts of people in a file like /etc/passwd: those within the user ids, with a shell to log in with. */
export async function* passwdUsers(
  input: Readable,
  file: string,
  options: PasswdOptions,
): AsyncGenerator<UserRow> {
  let line = 0;
  try {
    for await (const text of createInterface({ input, crlfDelay: Number.POSITIVE_INFINITY })) {
      line++;
      // + and - rows are NIS's.
      if (text.trim() === "" || /^[#+-]/.test(text)) continue;
      const account = attempt(line, () => passwdUser(text, file, line, options));
      if (account !== undefined) yield account;
    }
  } finally {
    input.destroy();
  }
}

function passwdUser(
  text: string,
  file: string,
  line: number,
  { uids: [first, last], domains }: PasswdOptions,
): NewUser | undefined {
  checkText(text, "this row", file, line);
  const fields = text.split(":");
  const [name = "", , uid = "", , , , shell = ""] = fields;
  if (fields.length !== 7) {
    throw new RowError(file, line, `this row has ${fields.length} fields; rows of passwd(5) have 7`);
  }
  if (!/^\d+$/.test(uid)) throw new RowError(file, line, `the user id is ${JSON.stringify(uid)}`);
  if (Number(uid) < first || Number(uid) > last) return undefined;
  if (["nologin", "false"].includes(basename(shell))) return undefined;
  return { name, addresses: domains.map((domain) => `${name}@${domain}`) };
}
