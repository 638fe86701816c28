/**
 * What the two halves of the queue worker say to each other: one JSON value a
 * line, requests from the half that runs scripts, answers from the half that
 * may touch the queue.
 *
 * The only names that go towards the privileged half are queue IDs, the only
 * numbers are limits, the only text is a note: some printable ASCII. Lines towards it are short; a line that is too long or
 * no JSON ends the connection, a request that does not fit is refused.
 */
import type { Duplex } from "node:stream";
import { z } from "zod";
import type { DeferLog } from "./defer-log.ts";
import type { NextHop } from "./next-hop.ts";
import type { QueueSettings } from "./postfix.ts";
import type { QueueEntry, QueueFile } from "./queue-file.ts";
import { isQueueId } from "./queue-id.ts";
import type { QueueName, ScanResult } from "./scan.ts";
import type { Changes } from "./watch.ts";

export const MAX_IDS = 2_000;
/** Of a request; MAX_IDS long IDs fit. */
export const MAX_REQUEST_BYTES = 128 * 1024;
/** Of an answer: a batch with the longest headers that are read. */
export const MAX_ANSWER_BYTES = 256 * 1024 * 1024;
/** Of a note. */
export const MAX_WORDS = 500;
/** Requests that may be under way, and messages that may be watched besides. */
export const MAX_PENDING = 512;
export const MAX_WATCHED = 20_000;
const MAX_WAIT_MS = 600_000;

const number = z.int().min(1);
const id = z.string().refine(isQueueId, "not a queue ID");
const ids = z.array(id).max(MAX_IDS);
const words = z
  .string()
  .min(1)
  .max(MAX_WORDS)
  .regex(/^[ -~]+$/);
const wait = z.int().min(0).max(MAX_WAIT_MS);

export const REQUEST = z.discriminatedUnion("op", [
  z.strictObject({ n: number, op: z.literal("settings") }),
  z.strictObject({ n: number, op: z.literal("scan"), fresh: z.boolean(), only: ids.optional() }),
  z.strictObject({ n: number, op: z.literal("read"), id }),
  z.strictObject({ n: number, op: z.literal("deferLogs"), ids }),
  z.strictObject({ n: number, op: z.literal("release"), id, waitMs: wait }),
  z.strictObject({ n: number, op: z.literal("expire"), ids }),
  z.strictObject({ n: number, op: z.literal("flush") }),
  z.strictObject({ n: number, op: z.literal("where"), ids }),
  z.strictObject({ n: number, op: z.literal("settled"), ids, waitMs: wait }),
  z.strictObject({ n: number, op: z.literal("left"), id }),
  z.strictObject({ n: number, op: z.literal("note"), id, words }),
  z.strictObject({ n: number, op: z.literal("changes"), waitMs: wait }),
]);

export type Request = z.infer<typeof REQUEST>;

/**
 * What became of a release.
 * taken: Postfix took it up; it is in active/, or its try is over already.
 * waiting: asked for, but Postfix did not take it up in time.
 * active: it was being delivered already, and nothing was done.
 * held: it is on hold, and nothing was done.
 * gone: it is in none of the queues.
 */
export type ReleaseResult = "taken" | "waiting" | "active" | "held" | "gone";

/** Where a message is; "gone" when in none of the queues. */
export interface Place {
  readonly id: string;
  readonly queue: QueueName | "gone";
  /** As QueueEntry's; 0 when gone. */
  readonly mtimeMs: number;
}

/** The hops of a message's recipients: distinct ones, and for each recipient an index into them or -1. */
export interface WireHops {
  readonly hops: readonly NextHop[];
  readonly of: readonly number[];
}

export interface WireFound {
  readonly queue: QueueName;
  readonly path: string;
  readonly file: QueueFile;
  readonly hops: WireHops;
}

/** One letter a recipient, in their order: R to do, D done, / cancelled. */
export interface WireMoved {
  readonly entry: QueueEntry;
  readonly queue: QueueName;
  readonly path: string;
  readonly again?: { readonly states: string; readonly warnTime: number; readonly hops: WireHops };
}

export interface Results {
  readonly settings: QueueSettings;
  readonly scan: ScanResult;
  readonly read: WireFound | null;
  readonly deferLogs: readonly (readonly [id: string, log: DeferLog])[];
  readonly release: ReleaseResult;
  /** The IDs that were marked; the others are on hold or gone. */
  readonly expire: readonly string[];
  readonly flush: null;
  readonly where: readonly Place[];
  readonly settled: readonly Place[];
  readonly left: Place;
  readonly note: boolean;
  readonly changes: Changes;
}

/** `n` is the request's; 0 for a line that could not be read as one. */
export type Answer =
  | { readonly n: number; readonly result: Results[keyof Results] }
  | { readonly n: number; readonly batch: { readonly found: WireFound[]; readonly moved: WireMoved[] } }
  | { readonly n: number; readonly error: string };

const LETTERS = { todo: "R", done: "D", cancelled: "/" } as const;

export function statesOf(file: QueueFile): string {
  return file.recipients.map(({ state }) => LETTERS[state]).join("");
}

export function packHops(hops: readonly (NextHop | undefined)[]): WireHops {
  const distinct: NextHop[] = [];
  const places = new Map<NextHop, number>();
  const of = hops.map((hop) => {
    if (hop === undefined) return -1;
    const at = places.get(hop) ?? distinct.push(hop) - 1;
    places.set(hop, at);
    return at;
  });
  return { hops: distinct, of };
}

/**
 * Calls `take` with each line's JSON value. Resolves when the other side ended; rejects when the stream fails, a
 * line is longer than `maxBytes` or is no JSON.
 */
export function readLines(stream: Duplex, maxBytes: number, take: (value: unknown) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    let parts: Buffer[] = [];
    let length = 0;
    const fail = (error: Error) => {
      stream.destroy();
      reject(error);
    };
    stream.on("data", (chunk: Buffer) => {
      let start = 0;
      for (let end = chunk.indexOf(10); end >= 0; end = chunk.indexOf(10, start)) {
        const line = Buffer.concat([...parts, chunk.subarray(start, end)]);
        parts = [];
        length = 0;
        start = end + 1;
        if (line.length > maxBytes) return fail(new Error(`a line of ${line.length} bytes`));
        let value: unknown;
        try {
          value = JSON.parse(line.toString("utf8"));
        } catch {
          return fail(new Error(`a line that is no JSON: ${JSON.stringify(line.toString("latin1", 0, 80))}`));
        }
        take(value);
      }
      const rest = chunk.subarray(start);
      if (rest.length > 0) parts.push(rest);
      length += rest.length;
      if (length > maxBytes) fail(new Error(`a line of more than ${maxBytes} bytes`));
    });
    stream.once("error", fail);
    stream.once("end", () => resolve());
    stream.once("close", () => resolve());
  });
}
