/**
 * LUA.OUT and LUAERRORS.LOG (manual, "VPOP3LUA"): what scripts print, and
 * what went wrong in them. One writer owns the files; both rotate by size.
 *
 * A full disk costs output, never mail: what cannot be written is dropped and
 * the problem is reported once a minute.
 */
import { open, rename } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { toBytes } from "../bytes.ts";
import type { ScriptError } from "../lua/errors.ts";

/** Where scripts' words go. Texts are byte strings. */
export interface ScriptOutput {
  /** `text` as print made it, line end included. */
  print(text: string): void;
  /** A script's failure. */
  error(error: ScriptError, place: ErrorPlace): void;
}

const ROTATE_BYTES = 16 * 1024 * 1024;
const KEPT = 4;
const FLUSH_MS = 200;
const MAX_WAITING = 4 * 1024 * 1024;
const REPORT_MS = 60_000;
const CLOSE_MS = 2_000;

/** Whose error it was. */
export interface ErrorPlace {
  readonly session: string;
  readonly queue: string;
}

/** The LUAERRORS.LOG entry of an error: one line of facts, then Lua's message and traceback, indented. */
export function errorEntry(error: ScriptError, place: ErrorPlace, now = new Date()): string {
  const { script, callback, line, kind, budget, traceback } = error.details;
  const facts = [
    now.toISOString(),
    `session=${place.session || "-"}`,
    `queue=${place.queue || "-"}`,
    `script=${script}`,
    `callback=${callback || "(top level)"}`,
    `line=${line}`,
    `error=${budget === undefined ? kind : `${kind}:${budget}`}`,
  ];
  const text = traceback === "" ? error.message : `${error.message}\n${traceback}`;
  return `${facts.join(" ")}\n${text.replace(/^/gm, "    ")}\n`;
}

/**
 * The files in `directory`, for their one writer. `report` is told of problems, at most once a minute. Nothing
 * waits for the disk: what it does not take in time is dropped.
 */
export class OutputFiles {
  readonly #out: RotatingFile;
  readonly #errors: RotatingFile;

  constructor(directory: string, report: (problem: string) => void) {
    this.#out = new RotatingFile(join(directory, "LUA.OUT"), report);
    this.#errors = new RotatingFile(join(directory, "LUAERRORS.LOG"), report);
  }

  /** For LUA.OUT; a byte string, as print made it. */
  print(text: string): void {
    this.#out.append(text);
  }

  /** For LUAERRORS.LOG: what errorEntry() made. */
  error(entry: string): void {
    this.#errors.append(entry);
  }

  /** Resolves when what waits is written, or could not be, or the disk takes too long. */
  async close(): Promise<void> {
    const tooLong = setTimeout(CLOSE_MS, undefined, { ref: false });
    await Promise.race([Promise.all([this.#out.finish(), this.#errors.finish()]), tooLong]);
  }
}

class RotatingFile {
  readonly #path: string;
  readonly #report: (problem: string) => void;
  #waiting: string[] = [];
  #waitingBytes = 0;
  #dropped = 0;
  /** The flush that is planned or under way. */
  #flush: Promise<void> | undefined;
  #reportedAt = Number.NEGATIVE_INFINITY;

  constructor(path: string, report: (problem: string) => void) {
    this.#path = path;
    this.#report = report;
  }

  append(text: string): void {
    if (this.#waitingBytes + text.length > MAX_WAITING) {
      this.#dropped += text.length;
      return;
    }
    this.#waiting.push(text);
    this.#waitingBytes += text.length;
    this.#flush ??= setTimeout(FLUSH_MS).then(() => this.#write());
  }

  async finish(): Promise<void> {
    // What is being written may leave more to write behind it.
    while (this.#flush !== undefined) await this.#flush;
  }

  async #write(): Promise<void> {
    const bytes = toBytes(this.#waiting.join(""));
    this.#waiting = [];
    this.#waitingBytes = 0;
    try {
      await this.#append(bytes);
      if (this.#dropped > 0) this.#problem(`takes output too slowly; ${this.#dropped} bytes are lost`);
      this.#dropped = 0;
    } catch (error) {
      this.#problem(`cannot be written (${(error as Error).message}); script output is lost meanwhile`);
    }
    this.#flush = this.#waiting.length === 0 ? undefined : this.#write();
  }

  /** Opened anew each time: somebody may have moved or removed the file. */
  async #append(bytes: Buffer): Promise<void> {
    const file = await open(this.#path, "a", 0o640);
    try {
      const { size } = await file.stat();
      if (size > 0 && size + bytes.length > ROTATE_BYTES) await this.#rotate();
      else return await file.appendFile(bytes);
    } finally {
      await file.close();
    }
    await this.#append(bytes);
  }

  async #rotate(): Promise<void> {
    for (let n = KEPT - 1; n > 0; n--) {
      const from = n === 1 ? this.#path : `${this.#path}.${n - 1}`;
      try {
        await rename(from, `${this.#path}.${n}`);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
      }
    }
  }

  #problem(text: string): void {
    const now = performance.now();
    if (now - this.#reportedAt < REPORT_MS) return;
    this.#reportedAt = now;
    this.#report(`${this.#path} ${text}`);
  }
}
