/** Builds a Lua string piece by piece. Growth is announced to the machine, which may forbid it by throwing. */
import { type LuaState, machine } from "./vm.ts";

const SMALL = 24;

export class ByteBuilder {
  readonly #L: LuaState;
  #bytes: Uint8Array;
  #length = 0;

  constructor(L: LuaState, capacity: number) {
    this.#L = L;
    this.#bytes = new Uint8Array(capacity);
  }

  #grow(needed: number): void {
    const capacity = Math.max(needed, this.#bytes.length * 2, 64);
    machine.onString(this.#L, capacity);
    const bytes = new Uint8Array(capacity);
    bytes.set(this.#bytes.subarray(0, this.#length));
    this.#bytes = bytes;
  }

  /** Appends from[start..end). */
  add(from: Uint8Array, start: number, end: number): void {
    const length = end - start;
    if (this.#length + length > this.#bytes.length) this.#grow(this.#length + length);
    if (length < SMALL) {
      const bytes = this.#bytes;
      for (let i = start, at = this.#length; i < end; i++, at++) bytes[at] = from[i]!;
    } else this.#bytes.set(from.subarray(start, end), this.#length);
    this.#length += length;
  }

  addByte(byte: number): void {
    if (this.#length === this.#bytes.length) this.#grow(this.#length + 1);
    this.#bytes[this.#length++] = byte;
  }

  /** The bytes built; the builder is not to be used again. */
  finish(): Uint8Array {
    return this.#length === this.#bytes.length ? this.#bytes : this.#bytes.slice(0, this.#length);
  }
}

/** A copy that owns its memory, whatever kind of array `from` is. */
export function copyBytes(from: Uint8Array, start: number, end: number): Uint8Array {
  const length = end - start;
  const bytes = new Uint8Array(length);
  if (length < SMALL) for (let i = 0; i < length; i++) bytes[i] = from[start + i]!;
  else bytes.set(from.subarray(start, end));
  return bytes;
}
