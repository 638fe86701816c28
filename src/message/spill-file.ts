/**
 * A file without a name, so that nothing is left of it when the process ends,
 * however it ends. Only appended to; nobody but this process can read it.
 *
 * Writing and reading are synchronous: they go through the page cache, 64 KB
 * in some 20 microseconds. Errors are those of the file system.
 */
import { randomBytes } from "node:crypto";
import { closeSync, constants, openSync, readSync, unlinkSync, writeSync } from "node:fs";
import { join } from "node:path";

/** Linux's O_TMPFILE, which Node has no name for. */
const O_TMPFILE = 0o20000000 | constants.O_DIRECTORY;

export class SpillFile {
  readonly #fd: number;
  #size = 0;

  /** @throws when `directory` is not there or may not be written to */
  constructor(directory: string) {
    this.#fd = openNameless(directory);
  }

  /** Bytes written. */
  get size(): number {
    return this.#size;
  }

  /** Appends all of `chunk` or, when it throws, nothing. */
  append(chunk: Uint8Array): void {
    for (let done = 0; done < chunk.length; ) {
      done += writeSync(this.#fd, chunk, done, chunk.length - done, this.#size + done);
    }
    this.#size += chunk.length;
  }

  /** The bytes at [start, end), fewer only behind the end. */
  read(start: number, end: number): Buffer {
    const bytes = Buffer.allocUnsafeSlow(Math.max(0, Math.min(end, this.#size) - start));
    for (let done = 0; done < bytes.length; ) {
      const read = readSync(this.#fd, bytes, done, bytes.length - done, start + done);
      if (read === 0) throw new Error("the file of a large message ends early");
      done += read;
    }
    return bytes;
  }

  close(): void {
    closeSync(this.#fd);
  }
}

function openNameless(directory: string): number {
  try {
    return openSync(directory, O_TMPFILE | constants.O_RDWR, 0o600);
  } catch (error) {
    const { code = "" } = error as NodeJS.ErrnoException;
    // File systems and kernels without it.
    if (!["EOPNOTSUPP", "EISDIR", "EINVAL"].includes(code)) throw error;
  }
  const path = join(directory, `postlua-${process.pid}-${randomBytes(8).toString("hex")}`);
  const fd = openSync(path, "wx+", 0o600);
  unlinkSync(path);
  return fd;
}
