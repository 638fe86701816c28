/** Looking for files that stand in a text, whatever way they are encoded (see uuencode.ts, binhex.ts). */
import type { Collector } from "./collector.ts";
import { type LineReader, LineScanner } from "./lines.ts";
import type { Steps } from "./steps.ts";

export interface EmbeddedFile {
  /** UTF-8 byte string, as the sender wrote it. */
  readonly name: string;
  /** Bytes, decoded. */
  readonly size: number;
}

/** A text with more files than this was made to do harm; those after it are not listed. */
export const MAX_FILES_IN_TEXT = 1000;

/** Reads the lines of a text for files of one encoding, and takes the bytes of one of them. */
export interface FileReader extends LineReader {
  /** What a line begins with that may begin a file. */
  readonly prefix: string;
  readonly files: readonly EmbeddedFile[];
  /** The bytes of the file that the reader was made for. */
  readonly bytes: Collector;
}

/** Shows a text, which comes in pieces, to every reader. */
export function* readText(text: Iterable<Buffer>, readers: readonly FileReader[]): Steps<void> {
  const scanners = readers.map((reader) => new LineScanner(reader, reader.prefix));
  for (const piece of text) {
    for (const scanner of scanners) scanner.push(piece);
    yield;
  }
  for (const scanner of scanners) scanner.finish();
}

/** The bytes of the file that `reader` was made for. */
export function* bytesFrom(text: Iterable<Buffer>, reader: FileReader): Generator<Buffer> {
  const scanner = new LineScanner(reader, reader.prefix);
  for (const piece of text) {
    scanner.push(piece);
    yield* reader.bytes.take(false);
    if (reader.wants === "none") break;
  }
  scanner.finish();
  yield* reader.bytes.take(true);
}
