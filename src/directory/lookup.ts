/**
 * Look-ups without waiting: the expansion is worked out from answers that are
 * there, and notes which are missing. Those are asked for all at once, and the
 * expansion is worked out again, until nothing is missing. So each level of
 * nesting costs one process for each list of tables, however many addresses
 * are on it, and an expansion whose answers are all there costs none.
 */
import { statSync } from "node:fs";
import { ExpansionError } from "./expander.ts";
import type { TableFiles } from "./map-spec.ts";

/** Something that answers keys. Undefined as a value means that it has no such key. */
export interface Source<T> {
  /** What is known already. */
  known(key: string): Answer<T> | undefined;
  /** Asks for what is not known. @throws ExpansionError, StoreUnavailable */
  fetch(keys: readonly string[]): Promise<ReadonlyMap<string, T>>;
}

export interface Answer<T> {
  readonly value: T | undefined;
}

/** Thrown while an expansion is worked out: an answer is missing. */
export const MISSING = new Error("an answer is missing");

export function isMissing(error: unknown): boolean {
  return error === MISSING;
}

const MAX_ROUNDS = 2_000;

/** One expansion's view: each answer stays the same from its beginning to its end. */
export class Lookup {
  readonly #answers = new Map<Source<unknown>, Map<string, Answer<unknown>>>();
  readonly #wanted = new Map<Source<unknown>, Set<string>>();

  /** @throws MISSING */
  get<T>(source: Source<T>, key: string): T | undefined {
    if (!this.has(source, key)) throw MISSING;
    return this.#answers.get(source)?.get(key)?.value as T | undefined;
  }

  /** Whether the answer is there; notes that it is wanted otherwise. */
  has(source: Source<unknown>, key: string): boolean {
    let answers = this.#answers.get(source);
    if (answers === undefined) {
      answers = new Map();
      this.#answers.set(source, answers);
    }
    if (answers.has(key)) return true;
    const known = source.known(key);
    if (known !== undefined) {
      answers.set(key, known);
      return true;
    }
    const wanted = this.#wanted.get(source);
    if (wanted === undefined) this.#wanted.set(source, new Set([key]));
    else wanted.add(key);
    return false;
  }

  /** Works `work` out; it may be called many times and must not keep anything. */
  async settle<T>(work: () => T, signal?: AbortSignal): Promise<T> {
    for (let round = 0; round < MAX_ROUNDS; round++) {
      try {
        return work();
      } catch (error) {
        if (error !== MISSING) throw error;
      }
      await orAborted(this.#fetch(), signal);
    }
    throw new ExpansionError("too many tables refer to each other");
  }

  async #fetch(): Promise<void> {
    const wanted = [...this.#wanted];
    this.#wanted.clear();
    await Promise.all(
      wanted.map(async ([source, keys]) => {
        const found = await source.fetch([...keys]);
        const answers = this.#answers.get(source);
        for (const key of keys) answers?.set(key, { value: found.get(key) });
      }),
    );
  }
}

function orAborted(work: Promise<void>, signal: AbortSignal | undefined): Promise<void> {
  if (signal === undefined) return work;
  return new Promise((resolve, reject) => {
    const giveUp = () => reject(new ExpansionError("given up"));
    if (signal.aborted) giveUp();
    signal.addEventListener("abort", giveUp, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener("abort", giveUp));
  });
}

/** Goes through all of `items`, so that what each of them misses is asked for together. @throws MISSING */
export function forAll<T>(items: readonly T[], work: (item: T) => void): void {
  let missing = false;
  for (const item of items) {
    try {
      work(item);
    } catch (error) {
      if (error !== MISSING) throw error;
      missing = true;
    }
  }
  if (missing) throw MISSING;
}

export interface TableOptions {
  readonly ask: (keys: readonly string[]) => Promise<ReadonlyMap<string, string>>;
  /** Called again after each change. */
  readonly files: () => TableFiles;
  /** Answers kept. Default 50,000. */
  readonly maxAnswers?: number;
}

/** What a file that may be changed again with the same time has answered is kept for so long only. */
const UNSETTLED_KEEP_MS = 50;
/** A table that cannot be read is left alone for so long, unless its files change. */
const FAILURE_MS = 1_000;

/** Keys that are asked for together. */
interface Batch {
  readonly keys: Set<string>;
  readonly answer: Promise<ReadonlyMap<string, string>>;
}

/**
 * A list of Postfix's tables with what they have answered, also that a key is
 * not there. One question is under way at a time; what is wanted meanwhile
 * waits, and is asked in one go.
 */
export class TableSource implements Source<string> {
  readonly #options: TableOptions;
  readonly #answers = new Map<string, { readonly value: string | undefined; readonly until: number }>();
  #files: TableFiles | undefined;
  #stamp = "";
  #now = 0;
  #asking: Promise<unknown> | undefined;
  #next: Batch | undefined;
  #failure: { readonly error: unknown; readonly until: number } | undefined;

  constructor(options: TableOptions) {
    this.#options = options;
  }

  /** Looks whether the files have changed. Called at the beginning of an expansion. */
  look(now: number): void {
    this.#now = now;
    if (this.#files === undefined || this.#files.files.length === 0) return;
    if (stampOf(this.#files.files).text !== this.#stamp) this.forget();
  }

  /** Keeps nothing. */
  forget(): void {
    this.#answers.clear();
    this.#files = undefined;
    this.#failure = undefined;
  }

  /** Forgets what is kept for a time only, because its tables have changed. */
  forgetUnwatched(): void {
    if (this.#files !== undefined && Number.isFinite(this.#files.keepMs)) this.forget();
  }

  known(key: string): Answer<string> | undefined {
    const answer = this.#answers.get(key);
    return answer !== undefined && answer.until > this.#now ? answer : undefined;
  }

  async fetch(keys: readonly string[]): Promise<ReadonlyMap<string, string>> {
    this.#next ??= this.#queue();
    const { keys: all, answer } = this.#next;
    for (const key of keys) all.add(key);
    return answer;
  }

  #queue(): Batch {
    const keys = new Set<string>();
    const answer = (this.#asking ?? Promise.resolve()).then(() => {
      this.#next = undefined;
      const asking = this.#ask([...keys]);
      this.#asking = asking.catch(() => {});
      return asking;
    });
    return { keys, answer };
  }

  async #ask(keys: readonly string[]): Promise<ReadonlyMap<string, string>> {
    if (this.#files === undefined) {
      this.#files = this.#options.files();
      this.#stamp = stampOf(this.#files.files).text;
    }
    if (this.#failure !== undefined && this.#failure.until > performance.now()) throw this.#failure.error;
    // Taken before the tables are read, so that a change meanwhile is noticed later.
    const files = this.#files;
    const { text, newest } = stampOf(files.files);
    try {
      const found = await this.#options.ask(keys);
      if (files === this.#files && text === this.#stamp) this.#keep(keys, found, newest, files.keepMs);
      return found;
    } catch (error) {
      this.#failure = { error, until: performance.now() + FAILURE_MS };
      throw error;
    }
  }

  #keep(keys: readonly string[], found: ReadonlyMap<string, string>, newest: number, keepMs: number): void {
    const until = performance.now() + (isSettled(newest) ? keepMs : Math.min(keepMs, UNSETTLED_KEEP_MS));
    const max = this.#options.maxAnswers ?? 50_000;
    for (const key of keys) {
      if (this.#answers.size >= max) this.#answers.delete(this.#answers.keys().next().value as string);
      this.#answers.delete(key);
      this.#answers.set(key, { value: found.get(key), until });
    }
  }
}

/** Tells versions of files apart; `newest` is when the last of them was changed, milliseconds. */
export function stampOf(files: readonly string[]): { readonly text: string; readonly newest: number } {
  let text = "";
  let newest = 0;
  for (const file of files) {
    const found = statSync(file, { throwIfNoEntry: false });
    if (found === undefined) text += "-;";
    else {
      text += `${found.mtimeMs} ${found.ctimeMs} ${found.size} ${found.ino};`;
      newest = Math.max(newest, found.mtimeMs, found.ctimeMs);
    }
  }
  return { text, newest };
}

/** Whether a file that was changed at `time` would show another change by its time. */
export function isSettled(time: number): boolean {
  // The kernel's clock goes on in steps of up to 10 ms; some file systems keep whole seconds.
  return Date.now() - time > (time % 1_000 === 0 ? 2_000 : 50);
}
