/**
 * Reads a message for the script's message helpers: whole parts by path, and
 * lines from a position that moves (manual, "VPOP3.GetMessagePart()" to
 * "VPOP3.GetMessageLine()"). Nothing is decoded; nothing is out of range.
 */
import { fromBytes } from "../bytes.ts";
import type { MimePart } from "./part.ts";
import type { MessageStore } from "./store.ts";

const LF = 0x0a;

export class MessageReader {
  readonly #store: MessageStore;
  readonly #parts: ReadonlyMap<string, MimePart>;
  #position = 0;

  constructor(store: MessageStore, parts: readonly MimePart[]) {
    this.#store = store;
    this.#parts = new Map(parts.map((part) => [part.path, part]));
  }

  /** Back to the first byte. */
  reset(): void {
    this.#position = 0;
  }

  /** To `offset` bytes from the start; clamped to the message, fractions cut, NaN is 0. */
  seek(offset: number): void {
    this.#position = Math.min(Math.max(Math.trunc(offset) || 0, 0), this.#store.size);
  }

  get position(): number {
    return this.#position;
  }

  /**
   * The next `wanted` lines with their line ends as received, fewer at the end
   * of the message; a last line without line end counts. Moves behind them.
   */
  lines(wanted: number): { count: number; text: string } {
    const start = this.#position;
    const limit = Math.trunc(wanted);
    let end = start;
    let count = 0;
    for (const chunk of limit >= 1 ? this.#store.chunks(start) : []) {
      let pos = 0;
      while (count < limit) {
        const newline = chunk.indexOf(LF, pos);
        if (newline < 0) break;
        count++;
        pos = newline + 1;
      }
      if (count >= limit) {
        end += pos;
        break;
      }
      end += chunk.length;
    }
    const text = fromBytes(this.#store.slice(start, end));
    if (text !== "" && !text.endsWith("\n")) count++;
    this.#position = end;
    return { count, text };
  }

  /** The bytes of the part, header included; "" is the whole message. Undefined when there is no such part. */
  part(path: string): Buffer | undefined {
    if (path === "") return this.#store.slice(0);
    const part = this.#parts.get(path);
    return part && this.#store.slice(part.start, part.end);
  }

  /** The part's header with the blank line. */
  partHeader(path: string): Buffer | undefined {
    const part = this.#parts.get(path);
    return part && this.#store.slice(part.start, part.bodyStart);
  }

  /** What follows the part's header. */
  partBody(path: string): Buffer | undefined {
    const part = this.#parts.get(path);
    return part && this.#store.slice(part.bodyStart, part.end);
  }
}
