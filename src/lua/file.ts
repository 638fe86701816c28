/**
 * A buffered file as C's stdio gives it to Lua: lines, counts, numbers, the
 * rest, writing, seeking. No engine here; bytes in, bytes out.
 *
 * Opening never blocks and never touches a device: only regular files and
 * /dev/null are files to a script. Failures of the system are returned as
 * values; anything thrown is a bug, or what `reserve` threw to stop a script.
 */
import {
  closeSync,
  constants,
  fstatSync,
  ftruncateSync,
  openSync,
  readSync,
  type Stats,
  statSync,
  unlinkSync,
  writeSync,
} from "node:fs";
import { ClosedFiles } from "../config/closed-files.ts";
import { CLOSED, failure, failureOf, type SystemFailure } from "./system-error.ts";

/** Told how large a string will get before its memory is taken; throws to forbid it. */
export type Reserve = (bytes: number) => void;

const BUFFER_BYTES = 16_384;
/** Linux's device number of /dev/null: major 1, minor 3. */
const NULL_DEVICE = (1 << 8) | 3;
const LF = 0x0a;

const NONE = new ClosedFiles([]);
const NOT_REGULAR: SystemFailure = { message: "Not a regular file", errno: 22 };

interface Mode {
  readonly flags: number;
  readonly reads: boolean;
  readonly writes: boolean;
  readonly appends: boolean;
}

/** fopen's modes: r w a, then "+" and other letters ("b", "t") in any order. */
function parseMode(mode: string): Mode | undefined {
  const plus = mode.includes("+");
  const exclusive = mode.includes("x") ? constants.O_EXCL : 0;
  const access = plus ? constants.O_RDWR : constants.O_WRONLY;
  const base = { reads: plus, writes: true, appends: false };
  switch (mode[0]) {
    case "r":
      return { reads: true, writes: plus, appends: false, flags: plus ? access : constants.O_RDONLY };
    case "w":
      return { ...base, flags: access | constants.O_CREAT | constants.O_TRUNC | exclusive };
    case "a":
      return { ...base, appends: true, flags: access | constants.O_CREAT | constants.O_APPEND | exclusive };
    default:
      return undefined;
  }
}

function refusal(stats: Stats): SystemFailure | undefined {
  if (stats.isFile() || (stats.isCharacterDevice() && stats.rdev === NULL_DEVICE)) return undefined;
  return stats.isDirectory() ? failure("EISDIR") : NOT_REGULAR;
}

/** Opens `path`, bytes of a file name, in C's `mode`. */
export function openFile(path: Buffer, mode: string, closed: ClosedFiles = NONE): LuaFile | SystemFailure {
  const parsed = parseMode(mode);
  if (parsed === undefined || path.includes(0)) return failure("EINVAL");
  if (closed.holds(path)) return CLOSED;
  try {
    // Before opening, since opening alone can act on a device.
    const existing = statSync(path, { throwIfNoEntry: false });
    const refused = existing === undefined ? undefined : refusal(existing);
    if (refused !== undefined) return refused;
    // Truncated below, once it is known what was opened.
    const flags = parsed.flags & ~constants.O_TRUNC;
    const fd = openSync(path, flags | constants.O_NONBLOCK | constants.O_NOCTTY, 0o666);
    const stats = fstatSync(fd);
    const changed = refusal(stats);
    if (changed !== undefined) {
      closeSync(fd);
      return changed;
    }
    if (parsed.flags & constants.O_TRUNC && stats.isFile() && stats.size > 0) ftruncateSync(fd);
    return new LuaFile(fd, parsed, parsed.appends && !parsed.reads ? stats.size : 0);
  } catch (error) {
    return failureOf(error);
  }
}

/** A new file that no other process can name, open for update; gone when it is closed. `path` must not exist. */
export function openScratchFile(path: string): LuaFile | SystemFailure {
  try {
    const fd = openSync(path, constants.O_RDWR | constants.O_CREAT | constants.O_EXCL, 0o600);
    unlinkSync(path);
    return new LuaFile(fd, { flags: 0, reads: true, writes: true, appends: false }, 0);
  } catch (error) {
    return failureOf(error);
  }
}

export class LuaFile {
  readonly #fd: number;
  readonly #mode: Mode;
  #open = true;
  /** Where in the file the first byte of #input, or of #output, belongs. */
  #position: number;
  #buffer: Uint8Array | undefined;
  /** Bytes read ahead: #buffer from #next to #filled. */
  #next = 0;
  #filled = 0;
  /** Bytes in #buffer not yet written; never together with bytes read ahead. */
  #pending = 0;

  constructor(fd: number, mode: Mode, position: number) {
    this.#fd = fd;
    this.#mode = mode;
    this.#position = position;
  }

  get isOpen(): boolean {
    return this.#open;
  }

  /** Closes it whatever happens; the failure is that of writing what was still buffered. */
  close(): SystemFailure | undefined {
    if (!this.#open) return undefined;
    const failed = this.flush();
    this.#open = false;
    this.#buffer = undefined;
    try {
      closeSync(this.#fd);
    } catch (error) {
      return failed ?? failureOf(error);
    }
    return failed;
  }

  flush(): SystemFailure | undefined {
    if (this.#pending === 0) return undefined;
    const pending = this.#pending;
    this.#pending = 0;
    return this.#writeOut(this.#buffer!.subarray(0, pending));
  }

  write(bytes: Uint8Array): SystemFailure | undefined {
    if (!this.#mode.writes) return failure("EBADF");
    this.#dropInput();
    if (this.#pending + bytes.length > BUFFER_BYTES) {
      const failed = this.flush();
      if (failed !== undefined) return failed;
    }
    if (bytes.length > BUFFER_BYTES) return this.#writeOut(bytes);
    this.#buffer ??= new Uint8Array(BUFFER_BYTES);
    this.#buffer.set(bytes, this.#pending);
    this.#pending += bytes.length;
    return undefined;
  }

  /** C's fseek and ftell: the new position from the start, in bytes. */
  seek(whence: "set" | "cur" | "end", offset: number): number | SystemFailure {
    const failed = this.flush();
    if (failed !== undefined) return failed;
    const here = this.#position + this.#next;
    try {
      const base = whence === "set" ? 0 : whence === "cur" ? here : fstatSync(this.#fd).size;
      const target = base + offset;
      if (target < 0 || !Number.isSafeInteger(target)) return failure("EINVAL");
      this.#dropInput();
      this.#position = target;
      return target;
    } catch (error) {
      return failureOf(error);
    }
  }

  /** Whether there is nothing more to read. */
  atEnd(): boolean {
    return !this.#fill();
  }

  /** The next line without its "\n", undefined at the end. `keepEnd` leaves the "\n" on. */
  readLine(reserve: Reserve, keepEnd = false): Uint8Array | undefined {
    if (!this.#fill()) return undefined;
    const parts = new Parts(reserve);
    do {
      const at = this.#buffer!.indexOf(LF, this.#next);
      if (at >= 0 && at < this.#filled) {
        parts.add(this.#buffer!, this.#next, keepEnd ? at + 1 : at);
        this.#next = at + 1;
        return parts.join();
      }
      parts.add(this.#buffer!, this.#next, this.#filled);
      this.#next = this.#filled;
    } while (this.#fill());
    return parts.join();
  }

  /** Up to `count` bytes, undefined at the end. */
  readBytes(count: number, reserve: Reserve): Uint8Array | undefined {
    const parts = new Parts(reserve);
    while (parts.length < count && this.#fill()) {
      const end = Math.min(this.#filled, this.#next + count - parts.length);
      parts.add(this.#buffer!, this.#next, end);
      this.#next = end;
    }
    return parts.length === 0 && count > 0 ? undefined : parts.join();
  }

  /** The byte to be read next, -1 at the end. */
  peek(): number {
    return this.#fill() ? this.#buffer![this.#next]! : -1;
  }

  /** Takes the byte that peek() showed. */
  skip(): void {
    this.#next++;
  }

  /** Makes sure that a byte is read ahead; false at the end, and for files that cannot be read. */
  #fill(): boolean {
    if (this.#next < this.#filled) return true;
    if (!this.#mode.reads || this.flush() !== undefined) return false;
    this.#position += this.#filled;
    this.#next = 0;
    this.#filled = 0;
    this.#buffer ??= new Uint8Array(BUFFER_BYTES);
    try {
      this.#filled = readSync(this.#fd, this.#buffer, 0, BUFFER_BYTES, this.#position);
    } catch (error) {
      // As in C, reading past a failure looks like the end of the file.
      failureOf(error);
    }
    return this.#filled > 0;
  }

  #dropInput(): void {
    this.#position += this.#next;
    this.#next = 0;
    this.#filled = 0;
  }

  #writeOut(bytes: Uint8Array): SystemFailure | undefined {
    let done = 0;
    try {
      while (done < bytes.length) {
        const at = this.#mode.appends ? null : this.#position;
        const count = writeSync(this.#fd, bytes, done, bytes.length - done, at);
        done += count;
        this.#position += count;
      }
      if (this.#mode.appends) this.#position = fstatSync(this.#fd).size;
    } catch (error) {
      return failureOf(error);
    }
    return undefined;
  }
}

/** Collects one result from several buffers, in one copy when it lies in one. */
class Parts {
  readonly #reserve: Reserve;
  readonly #parts: Uint8Array[] = [];
  length = 0;

  constructor(reserve: Reserve) {
    this.#reserve = reserve;
  }

  add(from: Uint8Array, start: number, end: number): void {
    this.#reserve(this.length + end - start);
    this.length += end - start;
    this.#parts.push(from.slice(start, end));
  }

  join(): Uint8Array {
    if (this.#parts.length === 1) return this.#parts[0]!;
    const whole = new Uint8Array(this.length);
    let at = 0;
    for (const part of this.#parts) {
      whole.set(part, at);
      at += part.length;
    }
    return whole;
  }
}
