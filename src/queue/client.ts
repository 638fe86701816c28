/**
 * The script half's end of the line to the privileged half: the queue as
 * functions. Has no rights of its own, and asks for nothing but by queue ID.
 *
 * Rejects with AgentError what the other half refused or could not do; when
 * the line breaks, everything under way rejects, and `closed` resolves.
 */
import { Socket } from "node:net";
import type { Duplex } from "node:stream";
import type { DeferLog } from "./defer-log.ts";
import type { RecipientState } from "./envelope.ts";
import type { NextHop } from "./next-hop.ts";
import type { QueueSettings } from "./postfix.ts";
import {
  type Answer,
  MAX_ANSWER_BYTES,
  MAX_IDS,
  MAX_WORDS,
  type Place,
  type ReleaseResult,
  type Results,
  readLines,
  type WireFound,
  type WireHops,
  type WireMoved,
} from "./protocol.ts";
import type { QueueFile } from "./queue-file.ts";
import type { QueueName, ScanResult, Unreadable } from "./scan.ts";
import type { Changes } from "./watch.ts";

/** A message in the queue. */
export interface QueuedMessage extends QueueFile {
  readonly queue: QueueName;
  /** Of its file, absolute. */
  readonly path: string;
  /** Where each recipient goes, in their order; undefined for those that are done or cancelled. */
  readonly hops: readonly (NextHop | undefined)[];
}

/** What one scan brought. */
export interface Refresh {
  /** IDs of messages not seen before. */
  readonly added: readonly string[];
  /** IDs of those that moved, were tried or were touched. */
  readonly changed: readonly string[];
  /** IDs of those that left the queue, delivered, bounced or deleted. */
  readonly gone: readonly string[];
  readonly unreadable: readonly Unreadable[];
}

/** The other half refused, failed, or is not there any more. */
export class AgentError extends Error {
  override name = "AgentError";
}

interface Pending {
  readonly resolve: (result: Results[keyof Results]) => void;
  readonly reject: (error: Error) => void;
  readonly batch: ((found: readonly WireFound[], moved: readonly WireMoved[]) => void) | undefined;
}

/** Without `n`, which the line adds. */
type Fields = Readonly<Record<string, unknown>>;

/** The descriptor that the privileged half leaves open for this. */
export const AGENT_FD = 3;

export class QueueClient {
  readonly #stream: Duplex;
  readonly #pending = new Map<number, Pending>();
  readonly #messages = new Map<string, QueuedMessage>();
  readonly #hops = new Map<string, NextHop>();
  #count = 0;
  #failure: AgentError | undefined;
  /** Resolves when the line is closed, by whichever side: without it there is nothing to do but end. */
  readonly closed: Promise<void>;

  constructor(stream: Duplex) {
    this.#stream = stream;
    this.closed = readLines(stream, MAX_ANSWER_BYTES, (value) => this.#take(value as Answer)).then(
      () => this.#fail("the privileged half is gone"),
      (error: Error) => this.#fail(error.message),
    );
  }

  /** The line of a process that was started by startHalves. */
  static inherited(): QueueClient {
    return new QueueClient(new Socket({ fd: AGENT_FD }));
  }

  /** The queue as of the last refresh, in no particular order. */
  get messages(): ReadonlyMap<string, QueuedMessage> {
    return this.#messages;
  }

  settings(): Promise<QueueSettings> {
    return this.#ask("settings", {});
  }

  /**
   * Scans the queue and brings `messages` up to date. With `fresh` all files are read, and all next hops asked for,
   * again; with `only` it looks for these messages (at most 2,000) alone.
   */
  async refresh(
    options: { readonly fresh?: boolean; readonly only?: readonly string[] } = {},
  ): Promise<Refresh> {
    const { fresh = false, only } = options;
    const added = new Set<string>();
    const changed = new Set<string>();
    const before = fresh ? new Set(this.#messages.keys()) : undefined;
    const take = (found: readonly WireFound[], moved: readonly WireMoved[]) => {
      for (const one of found) {
        const { id } = one.file;
        (this.#messages.has(id) && !added.has(id) ? changed : added).add(id);
        this.#messages.set(id, this.#message(one));
        before?.delete(id);
      }
      for (const one of moved) {
        if (this.#move(one) && !added.has(one.entry.id)) changed.add(one.entry.id);
      }
    };
    const result = (await this.#ask("scan", { fresh, only }, take)) as ScanResult;
    const gone = new Set([...result.gone, ...(before ?? [])]);
    for (const { id } of result.unreadable) if (this.#messages.has(id)) gone.add(id);
    for (const id of gone) {
      this.#messages.delete(id);
      changed.delete(id);
    }
    return { added: [...added], changed: [...changed], gone: [...gone], unreadable: result.unreadable };
  }

  /** Reads one message anew, and brings it up to date in `messages`; undefined when it is in none of the queues. */
  async read(id: string): Promise<QueuedMessage | undefined> {
    const found = await this.#ask("read", { id });
    if (found === null) return undefined;
    const message = this.#message(found);
    if (this.#messages.has(id)) this.#messages.set(id, message);
    return message;
  }

  /** Defer logs by queue ID; messages without one are missing. */
  async deferLogs(ids: readonly string[]): Promise<Map<string, DeferLog>> {
    const logs = new Map<string, DeferLog>();
    for (const part of parts(ids)) {
      for (const [id, log] of await this.#ask("deferLogs", { ids: part })) logs.set(id, log);
    }
    return logs;
  }

  /** Has Postfix try one message now; resolves when it was taken up, or after `waitMs` (default 10 s). */
  release(id: string, options: { readonly waitMs?: number } = {}): Promise<ReleaseResult> {
    return this.#ask("release", { id, waitMs: options.waitMs ?? 10_000 });
  }

  /**
   * Has Postfix bounce messages, untried, when it takes them up next: release them for that. Resolves with the IDs
   * that were marked; the others are on hold or gone. Needs root on the other side.
   */
  async expire(ids: readonly string[]): Promise<string[]> {
    const marked: string[] = [];
    for (const part of parts(ids)) marked.push(...(await this.#ask("expire", { ids: part })));
    return marked;
  }

  /** As `postqueue -f`. */
  async flush(): Promise<void> {
    await this.#ask("flush", {});
  }

  /** Where these messages are now. */
  async where(ids: readonly string[]): Promise<Place[]> {
    const places: Place[] = [];
    for (const part of parts(ids)) places.push(...(await this.#ask("where", { ids: part })));
    return places;
  }

  /**
   * Waits until the first of these messages (at most 2,000) is neither coming in nor being delivered, or for `waitMs`
   * (at most 10 minutes); resolves with where all of them are.
   */
  async settled(ids: readonly string[], waitMs: number): Promise<readonly Place[]> {
    return this.#ask("settled", { ids, waitMs });
  }

  /**
   * Writes words into a deferred message's defer log, for `postqueue -p` and bounces, in place of those that are there;
   * false when it is not deferred. Whatever is no printable ASCII becomes "?".
   */
  note(id: string, words: string): Promise<boolean> {
    return this.#ask("note", { id, words: words.replace(/[^ -~]/g, "?").slice(0, MAX_WORDS) });
  }

  /** Waits for mail to move, at most `waitMs` (10 minutes): which messages came or went since the last call. */
  changes(waitMs: number): Promise<Changes> {
    return this.#ask("changes", { waitMs });
  }

  /** Waits, however long, until a message is neither coming in nor being delivered; resolves with where it is. */
  left(id: string): Promise<Place> {
    return this.#ask("left", { id });
  }

  close(): void {
    this.#stream.destroy();
  }

  #ask<Op extends keyof Results>(op: Op, fields: Fields, batch?: Pending["batch"]): Promise<Results[Op]> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    const n = ++this.#count;
    return new Promise((resolve, reject) => {
      this.#pending.set(n, { resolve: resolve as Pending["resolve"], reject, batch });
      this.#stream.write(`${JSON.stringify({ n, op, ...fields })}\n`);
    });
  }

  #take(answer: Answer): void {
    const pending = this.#pending.get(answer.n);
    if (pending === undefined) return;
    if ("batch" in answer) {
      pending.batch?.(answer.batch.found, answer.batch.moved);
      return;
    }
    this.#pending.delete(answer.n);
    if ("error" in answer) pending.reject(new AgentError(answer.error));
    else pending.resolve(answer.result);
  }

  #fail(reason: string): void {
    this.#failure = new AgentError(reason);
    for (const { reject } of this.#pending.values()) reject(this.#failure);
    this.#pending.clear();
  }

  #message({ queue, path, file, hops }: WireFound): QueuedMessage {
    return { ...file, queue, path, hops: this.#unpack(hops) };
  }

  #move({ entry, queue, path, again }: WireMoved): boolean {
    const message = this.#messages.get(entry.id);
    if (message === undefined) return false;
    let { recipients, warnTime, hops } = message;
    if (again !== undefined) {
      recipients = recipients.map((recipient, i) => {
        const state = STATES[again.states[i] ?? ""];
        return state === undefined || state === recipient.state ? recipient : { ...recipient, state };
      });
      warnTime = again.warnTime;
      hops = this.#unpack(again.hops);
    }
    this.#messages.set(entry.id, { ...message, ...entry, queue, path, recipients, warnTime, hops });
    return true;
  }

  /** Hops are few; each is kept once. */
  #unpack({ hops, of }: WireHops): (NextHop | undefined)[] {
    const own = hops.map((hop) => {
      const key = `${hop.kind} ${hop.transport}:${hop.nexthop}`;
      const known = this.#hops.get(key) ?? hop;
      if (this.#hops.size < MAX_HOPS) this.#hops.set(key, known);
      return known;
    });
    return of.map((at) => own[at]);
  }
}

const MAX_HOPS = 100_000;

const STATES: Readonly<Record<string, RecipientState>> = { R: "todo", D: "done", "/": "cancelled" };

function* parts(ids: readonly string[]): Generator<readonly string[]> {
  for (let at = 0; at < ids.length; at += MAX_IDS) yield ids.slice(at, at + MAX_IDS);
}
