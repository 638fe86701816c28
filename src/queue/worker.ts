/**
 * The queue worker's core: looks at the queue, asks CheckFile, and has
 * messages go in the order that comes of it. Everything it needs is given to
 * it; it runs no script and has no right to the queue itself.
 *
 * Postfix keeps the mail: when this stops at any point, everything is still
 * in its queue, and `postqueue -f` delivers it. Mail on hold is left alone.
 * When Postfix cannot be asked, nothing goes until it can.
 */
import type { Log } from "../log.ts";
import { type CheckActions, type Checker, UNCHANGED } from "./actions.ts";
import { askOne, each } from "./ask.ts";
import type { QueueClient, QueuedMessage } from "./client.ts";
import { decide, destinations, foreign } from "./decide.ts";
import { Dispatcher, type Item, type Rest } from "./dispatch.ts";
import { FollowUp } from "./follow-up.ts";
import type { Journal } from "./journal.ts";
import { compareRanks, rankOf } from "./order.ts";
import { type Planned, plan } from "./plan.ts";
import type { QueueSettings } from "./postfix.ts";
import { lastChance, type RetryRules, retryRules } from "./retry.ts";
import { type WorkerSettings, windowOf } from "./settings.ts";
import { UnreadableFiles } from "./unreadable.ts";
import type { Changes } from "./watch.ts";

export interface WorkerParts {
  readonly queue: QueueClient;
  readonly checker: Checker;
  readonly journal: Journal;
  readonly settings: WorkerSettings;
  readonly log: Log;
  readonly now?: () => number;
}

/** What one look at the queue came to. */
export interface Pass {
  /** Messages of the queue. */
  readonly total: number;
  /** Messages CheckFile was asked about. */
  readonly asked: number;
  /** Messages that may go now, those under way included. */
  readonly going: number;
  readonly skipped: number;
  readonly waiting: number;
  readonly bounced: number;
  /** Messages that Postfix is just handling, of itself or for others. */
  readonly moving: number;
}

export interface PassOptions {
  /** "all": CheckFile is asked about every message. "news": about what is new and what is due. "ends": nothing but what is at the end of its life. */
  readonly what: "all" | "news" | "ends";
  /** With "news": looks at these messages alone. */
  readonly only?: readonly string[];
  readonly signal?: AbortSignal;
}

/** What was decided about a message that does not go. */
interface Verdict {
  /** From when on it is looked at again without a full session. */
  readonly againMs: number;
}

const LONGEST_WAIT_MS = 60_000;
const UNTRIED_AGAIN_MS = 1_000;
const UNTRIED_LIMIT = 3;
const UNTRIED_PAUSE_MS = 60_000;
const NEVER = Number.POSITIVE_INFINITY;

export class QueueWorker {
  readonly #parts: WorkerParts;
  readonly #now: () => number;
  readonly #postfix: QueueSettings;
  readonly #rules: RetryRules;
  readonly #followUp: FollowUp;
  readonly dispatcher: Dispatcher;
  readonly #verdicts = new Map<string, Verdict>();
  /** Destinations that are down, until when. */
  readonly #down = new Map<string, number>();
  /** Releases in a row that came back untried. */
  readonly #untried = new Map<string, number>();
  /** Messages whose next hop is not known, since when. */
  readonly #unknown = new Map<string, number>();
  readonly #bounces = new Set<Promise<void>>();
  #trouble: Error | undefined;
  #caughtUp = false;
  #cut = false;
  #readable = true;
  readonly #unreadable: UnreadableFiles;
  #changes: Promise<void> | undefined;
  readonly #moved = new Set<string>();
  #allMoved = false;

  private constructor(parts: WorkerParts, postfix: QueueSettings) {
    this.#parts = parts;
    this.#now = parts.now ?? Date.now;
    this.#postfix = postfix;
    const { queue, journal, log, settings } = parts;
    this.#rules = retryRules(postfix, settings.marginMs);
    this.#unreadable = new UnreadableFiles({ queue, log, waitMs: settings.unreadableMs, now: this.#now });
    this.#followUp = new FollowUp({ queue, journal, log, rules: this.#rules, now: this.#now });
    this.dispatcher = new Dispatcher({
      release: (id) => queue.release(id),
      left: (id) => queue.left(id),
      windowOf: (destination) => windowOf(destination, settings, postfix),
      onRelease: (item) => this.#released(item),
      onRest: (item, rest) => this.#rested(item, rest),
      onTrouble: (error) => this.#troubled(error),
      onDown: (destination, items) => this.#isDown(destination, items),
    });
    void queue.closed.then(() => {
      this.#cut = true;
    });
  }

  /** Asks Postfix for its settings. @throws AgentError */
  static async create(parts: WorkerParts): Promise<QueueWorker> {
    return new QueueWorker(parts, await parts.queue.settings());
  }

  get rules(): RetryRules {
    return this.#rules;
  }

  get postfix(): QueueSettings {
    return this.#postfix;
  }

  /** Why nothing goes; undefined when all is well. */
  get trouble(): Error | undefined {
    return this.#trouble;
  }

  /** The last look at the queue is over and saw it. */
  get isReadable(): boolean {
    return this.#readable;
  }

  /** Resolves when all that is known to be bounced was seen to. */
  async settled(): Promise<void> {
    await Promise.allSettled(this.#bounces);
  }

  /** The line to the other half is broken: there is nothing more to do. */
  get isCut(): boolean {
    return this.#cut;
  }

  /** The order and the reasons, CheckFile asked anew unless `remembered`; nothing is changed. @throws AgentError */
  async plan(options: { readonly remembered?: boolean } = {}): Promise<Planned[]> {
    const { queue, checker, journal, settings } = this.#parts;
    await queue.refresh();
    return plan({
      messages: queue.messages.values(),
      checker: options.remembered === true ? undefined : checker,
      entry: (message) => journal.get(message),
      settings,
      rules: this.#rules,
      now: this.#now(),
    });
  }

  /**
   * Looks at the queue once and gives to the dispatcher what may go. Resolves when CheckFile was asked about
   * everything; what goes then is under way, see `dispatcher`.
   *
   * @throws AgentError when the queue cannot be read
   */
  async pass({ what, only, signal }: PassOptions): Promise<Pass> {
    const { queue, journal, settings } = this.#parts;
    const partly = what === "news" && this.#caughtUp ? only : undefined;
    this.#readable = false;
    const refresh = await queue.refresh(partly === undefined ? {} : { only: partly });
    await this.#unreadable.see(refresh.unreadable, partly !== undefined);
    this.#readable = true;
    for (const id of refresh.gone) this.#forget(id);
    journal.forget(refresh.gone);
    await this.#settle(refresh.changed);
    const count = { asked: 0, skipped: 0, waiting: 0, bounced: 0, moving: 0 };
    const seen =
      partly === undefined
        ? [...queue.messages.values()]
        : partly.map((id) => queue.messages.get(id)).filter((message) => message !== undefined);
    for (const message of seen) {
      if (foreign(message) === "moving" && !this.dispatcher.has(message.id)) count.moving++;
    }
    const list = this.#candidates(what, seen);
    const late = setTimeout(() => this.#resume(), settings.checkAheadMs);
    if (what === "all") this.dispatcher.stand();
    try {
      await each(
        list,
        settings.checks,
        async (message) => {
          count.asked++;
          const actions = await this.#ask(message);
          const kind = this.#act(message, actions, what);
          if (kind === "skip") count.skipped++;
          else if (kind === "wait") count.waiting++;
          else if (kind !== "send") count.bounced++;
        },
        signal,
      );
    } finally {
      clearTimeout(late);
      journal.save();
      if (signal?.aborted !== true) this.#resume();
    }
    return { total: queue.messages.size, going: this.dispatcher.size, ...count };
  }

  /** Resolves when mail moved that is not just being sent by this worker, or after `waitMs`; see moved(). */
  async movement(waitMs: number): Promise<void> {
    this.#changes ??= this.#parts.queue
      .changes(Math.min(Math.ceil(waitMs), LONGEST_WAIT_MS))
      .then(({ ids, all }) => {
        for (const id of ids) if (!this.dispatcher.has(id)) this.#moved.add(id);
        this.#allMoved ||= all;
      })
      .finally(() => {
        this.#changes = undefined;
      });
    // Nobody may be waiting when the line breaks.
    this.#changes.catch(() => {});
    if (this.#moved.size === 0 && !this.#allMoved) await this.#changes;
  }

  /** What moved since the last call. */
  moved(): Changes {
    const moved = { ids: [...this.#moved], all: this.#allMoved };
    this.#moved.clear();
    this.#allMoved = false;
    return moved;
  }

  /** The time at which something is due without anybody's doing: a retry or the end of a lifetime. */
  nextDue(): number {
    let first = NEVER;
    for (const { againMs } of this.#verdicts.values()) if (againMs < first) first = againMs;
    return first;
  }

  /** Something that waits for its time will be due by then. */
  isDueWithin(ms: number): boolean {
    return this.nextDue() <= this.#now() + ms;
  }

  /** Releases nothing more; what is under way goes on by itself. */
  stop(): void {
    this.dispatcher.stand();
  }

  #resume(): void {
    this.#trouble = undefined;
    this.dispatcher.go();
  }

  /** Mail that came back to deferred/, by whomever it was sent; after a start also what was under way. */
  async #settle(changed: readonly string[]): Promise<void> {
    const { queue, journal } = this.#parts;
    const ids = new Set(changed);
    if (!this.#caughtUp) {
      this.#caughtUp = true;
      journal.keep(queue.messages);
      for (const id of journal.unfinished()) ids.add(id);
      this.#adopt();
    }
    const back = [...ids]
      .filter((id) => !this.dispatcher.has(id))
      .map((id) => queue.messages.get(id))
      .filter((message) => message?.queue === "deferred") as QueuedMessage[];
    for (const message of await this.#followUp.catchUp(back)) this.#waits(message);
  }

  /** It was tried: not again before its time, whoever tried it. */
  #waits(message: QueuedMessage): void {
    const entry = this.#parts.journal.get(message);
    if (entry === undefined) return;
    const againMs = Math.min(entry.nextTryMs, lastChance(message, this.#rules));
    this.#verdicts.set(message.id, { againMs: entry.stage === "" ? againMs : 0 });
  }

  /** What the worker before this one released and is still being delivered. */
  #adopt(): void {
    const { queue, journal, settings } = this.#parts;
    for (const id of journal.unfinished()) {
      const message = queue.messages.get(id);
      const entry = message && journal.get(message);
      if (message === undefined || entry === undefined || foreign(message) !== "moving") continue;
      const rank = rankOf(message, entry.priority, settings.order);
      this.dispatcher.adopt({ id, rank, destinations: destinations(message), last: entry.stage === "last" });
    }
  }

  #candidates(what: PassOptions["what"], messages: readonly QueuedMessage[]): QueuedMessage[] {
    const { settings } = this.#parts;
    const now = this.#now();
    const list: QueuedMessage[] = [];
    for (const message of messages) {
      const { id } = message;
      if (this.dispatcher.isBusy(id)) continue;
      const alien = foreign(message);
      if (alien === "held") this.#verdicts.delete(id);
      if (alien === "unknown" ? !this.#waitedLong(id, now) : alien !== undefined) continue;
      if (alien === undefined) this.#unknown.delete(id);
      if (what === "ends" && now < lastChance(message, this.#rules)) continue;
      if (what === "news") {
        if (this.dispatcher.has(id)) continue;
        const verdict = this.#verdicts.get(id);
        if (verdict !== undefined && verdict.againMs > now) continue;
      }
      list.push(message);
    }
    return list
      .map((message) => ({ message, rank: rankOf(message, 0, settings.order) }))
      .sort((a, b) => compareRanks(a.rank, b.rank))
      .map(({ message }) => message);
  }

  #waitedLong(id: string, now: number): boolean {
    const { log, settings } = this.#parts;
    const since = this.#unknown.get(id);
    if (since === undefined) {
      this.#unknown.set(id, now);
      log.warn("queue: Postfix does not say where this message goes; it waits", { queue: id });
    }
    return since !== undefined && now - since >= settings.unknownMs;
  }

  async #ask(message: QueuedMessage): Promise<CheckActions> {
    const { checker, journal } = this.#parts;
    if (foreign(message) === "unknown") return UNCHANGED;
    return askOne(checker, message, journal.get(message));
  }

  #act(message: QueuedMessage, actions: CheckActions, what: PassOptions["what"]): string {
    const { settings } = this.#parts;
    const { id } = message;
    const now = this.#now();
    const entry = this.#remember(message, actions, now);
    let decision = decide(message, entry, actions, this.#rules, now);
    const to = foreign(message) === "unknown" ? [UNKNOWN_DESTINATION] : destinations(message);
    if (decision.kind === "send" && !decision.last && !actions.forceRetry) {
      const until = Math.min(...to.map((name) => this.#down.get(name) ?? 0));
      if (until > now) decision = { kind: "wait", untilMs: until };
    }
    if (what === "ends" && (decision.kind === "skip" || decision.kind === "wait")) return decision.kind;
    this.#verdicts.delete(id);
    if (decision.kind === "send") {
      const rank = rankOf(message, actions.priority, settings.order);
      this.dispatcher.add({ id, rank, destinations: to, last: decision.last });
      return decision.kind;
    }
    this.dispatcher.remove(id);
    const end = lastChance(message, this.#rules);
    if (decision.kind === "skip") this.#verdicts.set(id, { againMs: end });
    else if (decision.kind === "wait") this.#verdicts.set(id, { againMs: Math.min(decision.untilMs, end) });
    else {
      this.#verdicts.set(id, { againMs: now + UNTRIED_PAUSE_MS });
      const { words } = decision.kind === "refuse" ? decision : { words: undefined };
      const bounce =
        words === undefined ? this.#followUp.bounce(message) : this.#followUp.refuse(message, words);
      const done = bounce.catch((error: Error) => this.#notBounced(message, error));
      this.#bounces.add(done);
      void done.finally(() => this.#bounces.delete(done));
    }
    return decision.kind;
  }

  #remember(message: QueuedMessage, actions: CheckActions, now: number) {
    const { journal, log } = this.#parts;
    const { skipSend: skipped, priority, reason } = actions;
    const entry = journal.get(message);
    const same =
      (entry?.skipped ?? false) === skipped &&
      (entry?.priority ?? UNCHANGED.priority) === priority &&
      (entry?.reason ?? "") === reason;
    if (same) return entry;
    const fields = { queue: message.id, priority, reason };
    log.info(skipped ? "queue: skipped" : "queue: to be sent", fields);
    const skippedSinceMs = !skipped ? 0 : entry?.skippedSinceMs || now;
    return journal.remember(message, { skipped, priority, reason, skippedSinceMs });
  }

  #released(item: Item): void {
    const { queue, journal, log } = this.#parts;
    const message = queue.messages.get(item.id);
    if (message === undefined) return;
    const { retries } = journal.change(message, {
      stage: item.last ? "last" : "try",
      stageMs: this.#now(),
    });
    log.info("queue: released", {
      queue: item.id,
      priority: item.rank.priority,
      retries,
      destination: item.destinations.join(" "),
      ...(item.last ? { last: true } : {}),
    });
  }

  async #rested(item: Item, rest: Rest): Promise<"down" | "up" | undefined> {
    const { id } = item;
    const verdict = await this.#followUp.rest(item, rest);
    if (rest.place.queue === "gone") this.#forget(id);
    if (verdict !== "untried") {
      this.#untried.delete(id);
      const message = this.#parts.queue.messages.get(id);
      if (message !== undefined) this.#waits(message);
      return verdict;
    }
    const times = (this.#untried.get(id) ?? 0) + 1;
    this.#untried.set(id, times);
    const pause = times < UNTRIED_LIMIT ? UNTRIED_AGAIN_MS : UNTRIED_PAUSE_MS;
    this.#verdicts.set(id, { againMs: this.#now() + pause });
    return undefined;
  }

  #isDown(destination: string, items: readonly Item[]): void {
    const until = this.#now() + this.#rules.minimalMs;
    this.#down.set(destination, until);
    for (const { id } of items) this.#verdicts.set(id, { againMs: until });
    this.#parts.log.warn("queue: destination is down", {
      destination,
      until: new Date(until).toISOString(),
      waiting: items.length,
    });
  }

  #troubled(error: Error): void {
    if (this.#trouble === undefined)
      this.#parts.log.error("queue: Postfix cannot be asked; nothing is sent until it can", {
        reason: error.message,
      });
    this.#trouble = error;
  }

  /** Without root, for one: then it is tried on like any other. */
  #notBounced(message: QueuedMessage, error: Error): void {
    if (this.#cut) return;
    const { journal, log } = this.#parts;
    log.error("queue: cannot be bounced", { queue: message.id, reason: error.message });
    journal.change(message, { stage: "" });
    this.#waits(message);
  }

  #forget(id: string): void {
    this.dispatcher.remove(id);
    this.#verdicts.delete(id);
    this.#untried.delete(id);
    this.#unknown.delete(id);
  }
}

const UNKNOWN_DESTINATION = "unknown:";
