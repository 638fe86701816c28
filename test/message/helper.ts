/** Messages made up by a seeded generator that knows where every part lies, and ways to bring them into a store. */
import type { MessageSource } from "../../src/message/mime.ts";
import { MessageStore, type StoreOptions } from "../../src/message/store.ts";

export type Random = (below: number) => number;

/** Whole numbers from 0 to below - 1, the same for the same seed (mulberry32). */
export function seeded(seed: number): Random {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)) ^ mixed;
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296) * below);
  };
}

export interface ExpectedPart {
  path: string;
  type: string;
  start: number;
  bodyStart: number;
  end: number;
  depth: number;
  parent: number;
}

export interface Generated {
  readonly raw: Buffer;
  readonly parts: readonly ExpectedPart[];
}

const LINES = [
  "",
  "text",
  "--",
  "-- ",
  "--no boundary",
  "-",
  "--=_",
  "\t--b1",
  "Content-Type: text/html",
  "ä".repeat(40),
  " x",
];

/** A message nested at random, with preambles, epilogues, unclosed multiparts and lines that look like delimiters. */
export function generate(random: Random, lineEnd = "\r\n"): Generated {
  const parts: ExpectedPart[] = [];
  const pieces: string[] = [];
  let length = 0;
  let boundaries = 0;
  const write = (text: string) => {
    pieces.push(text);
    length += text.length;
  };
  const text = () => {
    const lines = Array.from({ length: random(5) }, () => LINES[random(LINES.length)]!);
    return lines.join(lineEnd);
  };

  const part = (path: string, type: string, depth: number, parent: number): ExpectedPart => {
    return { path, type, start: length, bodyStart: 0, end: 0, depth, parent };
  };

  /** `embedded`: the content of the message/rfc822 part `path`, listed as PATH.1 unless it is a multipart. */
  const entity = (path: string, depth: number, parent: number, embedded: boolean): void => {
    const kind = depth > 5 ? 0 : random(5);
    if (kind < 2) leaf(embedded ? `${path}.1` : path, depth, parent);
    else if (kind === 2) message(embedded ? `${path}.1` : path, depth, parent);
    else multipart(path, depth, parent, embedded);
  };

  const leaf = (path: string, depth: number, parent: number): void => {
    const typed = random(3) > 0;
    const own = part(path, typed ? "image/png" : "text/plain", depth, parent);
    parts.push(own);
    if (random(2) === 0) write(`X-Some: a${lineEnd}\tContent-Type: fold/ed${lineEnd}`);
    if (typed) write(`content-TYPE: Image/PNG;${lineEnd} name=x${lineEnd}`);
    write(lineEnd);
    own.bodyStart = length;
    write(text());
    own.end = length;
  };

  const message = (path: string, depth: number, parent: number): void => {
    const own = part(path, "message/rfc822", depth, parent);
    const index = parts.push(own) - 1;
    write(`Content-Type: message/rfc822${lineEnd}${lineEnd}`);
    own.bodyStart = length;
    entity(path, depth + 1, index, true);
    own.end = length;
  };

  const multipart = (path: string, depth: number, parent: number, embedded: boolean): void => {
    const own = part(depth === 0 ? "" : path, "multipart/mixed", depth, parent);
    const index = embedded ? parent : parts.push(own) - 1;
    const boundary = `b${++boundaries}${"=".repeat(random(3))}`;
    write(`Content-Type: multipart/mixed; boundary="${boundary}"${lineEnd}${lineEnd}`);
    own.bodyStart = length;
    if (random(2) === 0) write(text() + lineEnd);
    const count = 1 + random(3);
    for (let i = 1; i <= count; i++) {
      write(`--${boundary}${random(3) === 0 ? " \t" : ""}${lineEnd}`);
      entity(depth === 0 ? `${i}` : `${path}.${i}`, depth + 1, index, false);
      if (i < count) write(lineEnd);
    }
    if (random(4) > 0) {
      write(`${lineEnd}--${boundary}--`);
      if (random(2) === 0) write(lineEnd + text());
    }
    own.end = length;
  };

  entity("1", 0, -1, false);
  return { raw: Buffer.from(pieces.join(""), "latin1"), parts };
}

/** Cuts `bytes` into chunks of random sizes from 1 to `most` bytes. */
export function cut(bytes: Buffer, random: Random, most: number): Buffer[] {
  const chunks: Buffer[] = [];
  for (let at = 0; at < bytes.length; ) {
    const size = 1 + random(most);
    chunks.push(bytes.subarray(at, at + size));
    at += size;
  }
  return chunks;
}

/** The same message with its body cut into `chunks` when it is read. */
export function readInChunks(store: MessageStore, chunks: (body: Buffer) => Buffer[]): MessageSource {
  const { headers, bodyStart, size } = store;
  return { headers, bodyStart, size, chunks: (start) => chunks(store.slice(start ?? 0)).values() as never };
}

/** The message in a store as a milter fills it: fields one by one, then the body in the given chunks. */
export function storeInChunks(
  raw: Buffer,
  chunks: (body: Buffer) => Buffer[],
  options: StoreOptions = {},
): MessageStore {
  const whole = MessageStore.fromBytes(raw, { verbatim: true });
  const store = new MessageStore(options);
  for (const { line } of whole.headers) {
    const colon = line.indexOf(":");
    store.addHeader(line.slice(0, colon), line.slice(colon + 1).replaceAll("\r\n", "\n"));
  }
  store.endOfHeaders();
  for (const chunk of chunks(whole.slice(whole.bodyStart))) store.addBody(chunk);
  return store;
}
