/**
 * The privileged half of the queue worker: reads queue files and has Postfix
 * release, expire and flush, on request of the half that runs scripts. It runs
 * no script, reads no file that the other half names, and takes no word from
 * it but queue IDs, and the words of a note (see note.ts).
 *
 * Whatever the other half sends, this one answers, refuses, or closes the
 * connection. Mail on hold is never touched, whoever asks.
 */
import type { Duplex } from "node:stream";
import { setTimeout as delay } from "node:timers/promises";
import type { Log } from "../log.ts";
import { readDeferLog } from "./defer-log.ts";
import { NextHopResolver } from "./next-hop.ts";
import { writeNote } from "./note.ts";
import type { PostfixQueue } from "./postfix.ts";
import {
  type Answer,
  MAX_PENDING,
  MAX_REQUEST_BYTES,
  MAX_WATCHED,
  type Place,
  packHops,
  REQUEST,
  type ReleaseResult,
  type Request,
  type Results,
  readLines,
  statesOf,
  type WireFound,
  type WireMoved,
} from "./protocol.ts";
import { CLOCK_TICK_MS, type Found, type Moved, QueueScanner } from "./scan.ts";
import { QueueWatch } from "./watch.ts";

const POLL_MS = 1;
const SERVICE_TIMEOUT_MS = 30_000;
/** Answers not yet taken by the other half, above which a scan waits for it. */
const HIGH_WATER_BYTES = 8 * 1024 * 1024;

export class QueueAgent {
  readonly #queue: PostfixQueue;
  readonly #scanner: QueueScanner;
  readonly #resolver: NextHopResolver;
  readonly #stream: Duplex;
  readonly #log: Log;
  #pending = 0;
  /** Messages that "left" was asked for, by the request's number. */
  readonly #watched = new Map<number, string>();
  #watching: Promise<void> | undefined;
  #watch: QueueWatch | undefined;
  #closed = false;
  /** Resolves when the connection has ended: undefined when the other half ended it, else why this one did. */
  readonly ended: Promise<string | undefined>;

  /** Serves `stream` until it ends. */
  constructor(queue: PostfixQueue, stream: Duplex, log: Log) {
    this.#queue = queue;
    this.#stream = stream;
    this.#log = log;
    this.#scanner = new QueueScanner(queue.queueDirectory, queue.settings.hashQueueNames);
    this.#resolver = new NextHopResolver(queue.settings);
    this.ended = readLines(stream, MAX_REQUEST_BYTES, (value) => this.#take(value)).then(
      () => this.#close(),
      (error: Error) => this.#close(isGone(error) ? undefined : error.message),
    );
  }

  #close(reason?: string): string | undefined {
    this.#closed = true;
    this.#resolver.close();
    this.#watch?.close();
    this.#stream.destroy();
    if (reason !== undefined) this.#log.error("queue agent: connection closed", { reason });
    return reason;
  }

  #take(value: unknown): void {
    const parsed = REQUEST.safeParse(value);
    if (!parsed.success) {
      const problem = parsed.error.issues
        .map(({ path, message }) => `${path.join(".")}: ${message}`)
        .join("; ");
      this.#log.warn("queue agent: request refused", { problem: problem.slice(0, 200) });
      void this.#send({ n: numberOf(value), error: `bad request: ${problem.slice(0, 1000)}` });
      return;
    }
    const request = parsed.data;
    if (request.op === "left") {
      this.#await(request.n, request.id);
      return;
    }
    if (this.#pending >= MAX_PENDING) {
      void this.#send({ n: request.n, error: `more than ${MAX_PENDING} requests under way` });
      return;
    }
    this.#pending++;
    void this.#perform(request)
      .then((result) => this.#send({ n: request.n, result }))
      .catch((error: Error) => this.#send({ n: request.n, error: error.message }))
      .finally(() => {
        this.#pending--;
      });
  }

  #perform(request: Exclude<Request, { op: "left" }>): Promise<Results[keyof Results]> {
    switch (request.op) {
      case "settings":
        return Promise.resolve(this.#queue.settings);
      case "scan":
        return this.#scan(request.n, request.fresh, request.only);
      case "read":
        return this.#read(request.id);
      case "deferLogs":
        return this.#deferLogs(request.ids);
      case "release":
        return this.#release(request.id, request.waitMs);
      case "expire":
        return this.#expire(request.ids);
      case "flush":
        this.#log.info("queue agent: flush");
        return this.#queue.flush().then(() => null);
      case "where":
        return Promise.resolve(request.ids.map((id) => this.#place(id)));
      case "changes":
        this.#watch ??= new QueueWatch(this.#queue.queueDirectory);
        return this.#watch.next(request.waitMs);
      case "note":
        return this.#note(request.id, request.words);
      case "settled":
        return this.#settled(request.ids, request.waitMs);
    }
  }

  #scan(n: number, fresh: boolean, only: readonly string[] | undefined): Promise<Results["scan"]> {
    if (fresh) this.#resolver.forget();
    return this.#scanner.scan({
      fresh,
      ...(only === undefined ? {} : { only }),
      onBatch: async ({ found, moved }) => {
        const batch = {
          found: await Promise.all(found.map((one) => this.#wireFound(one))),
          moved: await Promise.all(moved.map((one) => this.#wireMoved(one))),
        };
        await this.#send({ n, batch });
      },
    });
  }

  async #read(id: string): Promise<Results["read"]> {
    const found = this.#scanner.read(id);
    return found === undefined ? null : this.#wireFound(found);
  }

  async #wireFound({ queue, path, file }: Found): Promise<WireFound> {
    return { queue, path, file, hops: packHops(await this.#resolver.hops(file)) };
  }

  async #wireMoved({ entry, queue, path, file }: Moved): Promise<WireMoved> {
    if (file === undefined) return { entry, queue, path };
    const hops = packHops(await this.#resolver.hops(file));
    return { entry, queue, path, again: { states: statesOf(file), warnTime: file.warnTime, hops } };
  }

  async #deferLogs(ids: readonly string[]): Promise<Results["deferLogs"]> {
    return ids.flatMap((id) => {
      const log = readDeferLog(this.#queue.queueDirectory, id);
      return log === undefined ? [] : [[id, log] as const];
    });
  }

  async #release(id: string, waitMs: number): Promise<ReleaseResult> {
    const before = this.#scanner.locate(id);
    if (before === undefined) return "gone";
    if (before.queue === "hold") return "held";
    if (before.queue === "active") return "active";
    const { ctimeMs, mtimeMs } = before.stat;
    // Else a try that is over at once could not be told from none by the file's times.
    if (Math.abs(Date.now() - ctimeMs) < CLOCK_TICK_MS) await delay(CLOCK_TICK_MS);
    await this.#queue.release(id);
    for (const end = performance.now() + waitMs; ; await delay(POLL_MS)) {
      const now = this.#scanner.locate(id);
      if (now === undefined || now.queue === "active") return "taken";
      // Held while it was on its way; it will not be tried now.
      if (now.queue === "hold") return "held";
      // Postfix's answer came after the move, so what lies in deferred/ was tried and came back.
      const back = now.queue === "deferred" && (now.stat.ctimeMs !== ctimeMs || now.stat.mtimeMs !== mtimeMs);
      if (back) return "taken";
      if (performance.now() >= end || this.#closed) return "waiting";
    }
  }

  async #expire(ids: readonly string[]): Promise<readonly string[]> {
    const theirs = ids.filter((id) => {
      const at = this.#scanner.locate(id);
      return at !== undefined && at.queue !== "hold";
    });
    this.#log.info("queue agent: expire", { count: theirs.length, first: theirs[0] ?? "" });
    await this.#queue.expire(theirs);
    return theirs;
  }

  async #note(id: string, words: string): Promise<boolean> {
    const found = this.#scanner.read(id);
    if (found?.queue !== "deferred") return false;
    this.#log.info("queue agent: note", { queue: id, words });
    await writeNote(this.#queue.queueDirectory, found.file, words, SERVICE_TIMEOUT_MS);
    return true;
  }

  #place(id: string): Place {
    const at = this.#scanner.locate(id);
    return { id, queue: at?.queue ?? "gone", mtimeMs: at?.stat.mtimeMs ?? 0 };
  }

  /** Answers once the first of the messages is neither coming in nor being delivered, or the time is over. */
  async #settled(ids: readonly string[], waitMs: number): Promise<readonly Place[]> {
    const pollMs = Math.max(POLL_MS, ids.length / 100);
    for (const end = performance.now() + waitMs; ; await delay(pollMs)) {
      const moving = ids.every((id) => this.#scanner.isActive(id) || isBusy(this.#place(id)));
      if (!moving || ids.length === 0 || performance.now() >= end || this.#closed) {
        return ids.map((id) => this.#place(id));
      }
    }
  }

  /** Answers when the message has come to rest. All that are watched are looked at in one round. */
  #await(n: number, id: string): void {
    if (this.#watched.size >= MAX_WATCHED) {
      void this.#send({ n, error: `more than ${MAX_WATCHED} messages are watched` });
      return;
    }
    this.#watched.set(n, id);
    this.#watching ??= this.#watchAll().finally(() => {
      this.#watching = undefined;
    });
  }

  async #watchAll(): Promise<void> {
    while (this.#watched.size > 0 && !this.#closed) {
      for (const [n, id] of this.#watched) {
        if (this.#scanner.isActive(id)) continue;
        const place = this.#place(id);
        if (isBusy(place)) continue;
        this.#watched.delete(n);
        void this.#send({ n, result: place });
      }
      await delay(Math.max(POLL_MS, this.#watched.size / 100));
    }
  }

  /** Resolves when there is room for more. */
  async #send(answer: Answer): Promise<void> {
    if (this.#closed || !this.#stream.writable) return;
    this.#stream.write(`${JSON.stringify(answer)}\n`);
    if (this.#stream.writableLength <= HIGH_WATER_BYTES) return;
    await new Promise<void>((resolve) => {
      const done = () => {
        this.#stream.off("drain", done);
        this.#stream.off("close", done);
        resolve();
      };
      this.#stream.once("drain", done);
      this.#stream.once("close", done);
    });
  }
}

function isBusy(place: Place): boolean {
  return place.queue === "active" || place.queue === "incoming";
}

/** An answer was on its way when the other half ended. */
function isGone(error: Error): boolean {
  const { code } = error as NodeJS.ErrnoException;
  return code === "EPIPE" || code === "ECONNRESET";
}

function numberOf(value: unknown): number {
  const n = (value as { n?: unknown } | null)?.n;
  return typeof n === "number" && Number.isSafeInteger(n) ? n : 0;
}
