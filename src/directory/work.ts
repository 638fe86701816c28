/**
 * How the store's operations are written once for both databases: as
 * generators that yield statements and get rows back. SQLite runs one through
 * in a single turn of the event loop, PostgreSQL waits for each statement.
 *
 * SQL is what SQLite and PostgreSQL have in common; parameters are $1, $2 ...
 */

export type Value = string | number | null;
export type Row = Readonly<Record<string, Value>>;

export type Step =
  | { readonly sql: string; readonly values: readonly Value[] }
  /** Many rows into one table. */
  | { readonly into: string; readonly columns: Columns; readonly rows: readonly (readonly Value[])[] };

/** Names of columns with their types. */
export type Columns = Readonly<Record<string, "integer" | "text">>;

/** May be run again from its start, when a transaction has to be: it keeps nothing outside itself. */
export type Work<T> = Generator<Step, T, readonly Row[]>;

export function* rows<R>(sql: string, ...values: readonly Value[]): Work<readonly R[]> {
  return (yield { sql, values }) as unknown as readonly R[];
}

export function* first<R>(sql: string, ...values: readonly Value[]): Work<R | undefined> {
  return (yield* rows<R>(sql, ...values))[0];
}

/** For statements whose rows do not matter. */
export function* run(sql: string, ...values: readonly Value[]): Work<void> {
  yield { sql, values };
}

export function* insertMany(into: string, columns: Columns, all: readonly (readonly Value[])[]): Work<void> {
  if (all.length > 0) yield { into, columns, rows: all };
}

/** A uniqueness rule of the schema was broken; the transaction is undone. */
export class NotUnique extends Error {
  override name = "NotUnique";
}

/** A database: how to run work on it. */
export interface Database {
  readonly name: string;
  /** Work that only reads; outside a transaction. @throws StoreUnavailable */
  read<T>(work: () => Work<T>): Promise<T>;
  /**
   * Work in a transaction. Work on users and lists has no other such work beside it, and may change settings, too;
   * work on settings changes nothing else. @throws StoreUnavailable, NotUnique, and what the work throws
   */
  write<T>(work: () => Work<T>, options: { readonly on: "users" | "settings" }): Promise<T>;
  watch(changed: () => void): () => void;
  close(): Promise<void>;
}
