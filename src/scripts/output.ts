/**
 * LUA.OUT and LUAERRORS.LOG (manual, "VPOP3LUA"): what scripts print, and
 * what went wrong in them. One writer owns the files; both rotate by size.
 *
 * A full disk costs output, never mail: what cannot be written is dropped and
 * the problem is reported once a minute.
 */
import { closeSync, fstatSync, openSync, renameSync, writeSync } from "node:fs";
import { join } from "node:path";
import { decodeText, toBytes } from "../bytes.ts";
import type { ScriptError } from "../lua/errors.ts";

/** Where scripts' words go. Texts are byte strings. */
export interface ScriptOutput {
  /** `text` as print made it, line end included. */
  print(text: string): void;
  /** One entry for LUAERRORS.LOG, line ends included. */
  error(entry: string): void;
}

const ROTATE_BYTES = 16 * 1024 * 1024;
const KEPT = 4;
const FLUSH_MS = 200;
const MAX_WAITING = 4 * 1024 * 1024;

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

/** The files in `directory`; they are opened at the first word. `report` is told of problems, at most once a minute. */
export class FileOutput implements ScriptOutput {
  readonly #out: RotatingFile;
  readonly #errors: RotatingFile;

  constructor(directory: string, report: (problem: string) => void) {
    this.#out = new RotatingFile(join(directory, "LUA.OUT"), report);
    this.#errors = new RotatingFile(join(directory, "LUAERRORS.LOG"), report);
  }

  print(text: string): void {
    this.#out.append(text);
  }

  error(entry: string): void {
    this.#errors.append(entry);
  }

  /** Writes what waits and closes the files. */
  close(): void {
    this.#out.close();
    this.#errors.close();
  }
}

/** Output on a terminal, for the commands that play scripts by hand. */
export class StreamOutput implements ScriptOutput {
  readonly #write: (text: string) => void;

  constructor(write: (text: string) => void) {
    this.#write = write;
  }

  print(text: string): void {
    this.#write(decodeText(text));
  }

  error(entry: string): void {
    this.#write(decodeText(entry));
  }
}

class RotatingFile {
  readonly #path: string;
  readonly #report: (problem: string) => void;
  #fd: number | undefined;
  #size = 0;
  #waiting: string[] = [];
  #waitingBytes = 0;
  #timer: NodeJS.Timeout | undefined;
  #reportedAt = Number.NEGATIVE_INFINITY;

  constructor(path: string, report: (problem: string) => void) {
    this.#path = path;
    this.#report = report;
  }

  append(text: string): void {
    if (this.#waitingBytes + text.length > MAX_WAITING) this.#flush();
    this.#waiting.push(text);
    this.#waitingBytes += text.length;
    this.#timer ??= setTimeout(() => this.#flush(), FLUSH_MS);
  }

  close(): void {
    this.#flush();
    if (this.#fd !== undefined) closeSync(this.#fd);
    this.#fd = undefined;
  }

  #flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#waiting.length === 0) return;
    const bytes = toBytes(this.#waiting.join(""));
    this.#waiting = [];
    this.#waitingBytes = 0;
    try {
      this.#fd ??= this.#open();
      if (this.#size + bytes.length > ROTATE_BYTES && this.#size > 0) this.#rotate();
      for (let at = 0; at < bytes.length; ) at += writeSync(this.#fd as number, bytes, at);
      this.#size += bytes.length;
    } catch (error) {
      const now = performance.now();
      if (now - this.#reportedAt < 60_000) return;
      this.#reportedAt = now;
      this.#report(
        `${this.#path} cannot be written (${(error as Error).message}); script output is lost meanwhile`,
      );
    }
  }

  #open(): number {
    const fd = openSync(this.#path, "a", 0o640);
    this.#size = fstatSync(fd).size;
    return fd;
  }

  #rotate(): void {
    closeSync(this.#fd as number);
    this.#fd = undefined;
    for (let n = KEPT - 1; n > 0; n--) {
      const from = n === 1 ? this.#path : `${this.#path}.${n - 1}`;
      try {
        renameSync(from, `${this.#path}.${n}`);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
      }
    }
    this.#fd = this.#open();
  }
}
