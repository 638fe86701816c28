/**
 * Lua strings, in place of fengari's: the byte string, the bytes, or both. Each
 * form is made of the other when it is first asked for, so that a string that
 * comes from the host as text and goes back to it is never converted.
 */
import { toBytes } from "../bytes.ts";
import type { TString } from "./vm-types.ts";

export class LuaString implements TString {
  /** The byte string: exact as a Map key, and it sorts as bytes do. */
  hash: string | null;
  realstring: Uint8Array | null;

  constructor(hash: string | null, realstring: Uint8Array | null) {
    this.hash = hash;
    this.realstring = realstring;
  }

  getstr(): Uint8Array {
    this.realstring ??= bytesOf(this.hash!);
    return this.realstring;
  }

  tsslen(): number {
    return this.realstring === null ? this.hash!.length : this.realstring.length;
  }
}

/** The bytes of a byte string. Small ones get an array of their own: a slice of Buffer's pool would keep 8 KB alive. */
export function bytesOf(text: string): Uint8Array {
  const { length } = text;
  if (length > 4096) return toBytes(text);
  const bytes = new Uint8Array(length);
  for (let i = 0; i < length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

type Slice = (this: Uint8Array, from: number, to: number) => string;
const { latin1Slice } = Buffer.prototype as unknown as { latin1Slice: Slice };

/** The byte string of bytes; short ones without leaving JavaScript. */
export function textOf(bytes: Uint8Array): string {
  const { length } = bytes;
  if (length > 24) return latin1Slice.call(bytes, 0, length);
  let text = "";
  for (let i = 0; i < length; i++) text += String.fromCharCode(bytes[i]!);
  return text;
}
