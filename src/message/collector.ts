/** Gathers bytes that come singly or in small pieces into blocks, so that decoders of lines hand on few and large ones. */

const BLOCK_BYTES = 64 * 1024;

export class Collector {
  #block: Buffer | undefined;
  #length = 0;
  #full: Buffer[] = [];

  add(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; ) {
      const block = this.#room();
      const piece = bytes.subarray(at, at + block.length - this.#length);
      block.set(piece, this.#length);
      this.#length += piece.length;
      at += piece.length;
    }
  }

  /** The same byte `count` times. */
  repeat(byte: number, count: number): void {
    for (let left = count; left > 0; ) {
      const block = this.#room();
      const length = Math.min(left, block.length - this.#length);
      block.fill(byte, this.#length, this.#length + length);
      this.#length += length;
      left -= length;
    }
  }

  /** The blocks since the last call; with `all`, also the one that is not full. */
  take(all: boolean): Buffer[] {
    const blocks = this.#full;
    this.#full = [];
    if (all && this.#block && this.#length > 0) {
      blocks.push(this.#block.subarray(0, this.#length));
      this.#block = undefined;
    }
    return blocks;
  }

  #room(): Buffer {
    if (this.#block && this.#length === this.#block.length) {
      this.#full.push(this.#block);
      this.#block = undefined;
    }
    if (!this.#block) {
      this.#block = Buffer.allocUnsafe(BLOCK_BYTES);
      this.#length = 0;
    }
    return this.#block;
  }
}
