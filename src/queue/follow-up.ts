/**
 * What follows from a try: the journal's entry, the next try, and the bounce
 * of what had its last one. Also finds out, after a restart or when others
 * released mail, what became of it meanwhile.
 *
 * A message is marked as expired only after a try that failed in fact, or when
 * its lifetime ran out while the scripts skipped it: never mail untried.
 */
import type { Log } from "../log.ts";
import type { QueueClient, QueuedMessage } from "./client.ts";
import type { Item, Rest } from "./dispatch.ts";
import { type Journal, NEW_ENTRY } from "./journal.ts";
import { type Failure, failureIn, noteText } from "./outcome.ts";
import { nextTry, type RetryRules } from "./retry.ts";

export interface FollowUpParts {
  readonly queue: Pick<
    QueueClient,
    "messages" | "read" | "deferLogs" | "release" | "left" | "expire" | "note"
  >;
  readonly journal: Journal;
  readonly log: Log;
  readonly rules: RetryRules;
  readonly now: () => number;
}

export class FollowUp {
  readonly #parts: FollowUpParts;
  /** Bounces one after another: they are few, and need no speed. */
  #bouncing: Promise<unknown> = Promise.resolve();

  constructor(parts: FollowUpParts) {
    this.#parts = parts;
  }

  /** Writes down what a release came to; see DispatchOptions.onRest. */
  async rest(item: Item, { result, place }: Rest): Promise<"down" | "up" | "untried" | undefined> {
    const { queue, journal, log } = this.#parts;
    const { id } = item;
    if (place.queue === "gone") {
      journal.forget([id]);
      log.info("queue: left", { queue: id });
      return "up";
    }
    const message = (await queue.read(id)) ?? queue.messages.get(id);
    if (message === undefined) return undefined;
    if (place.queue === "hold") {
      journal.change(message, { stage: "" });
      log.info("queue: held by hand", { queue: id });
      return undefined;
    }
    const deferLog = (await queue.deferLogs([id])).get(id);
    const failure = failureIn(deferLog, journal.get(message)?.logMs ?? 0);
    if (failure === undefined) {
      journal.change(message, { stage: "" });
      log.info("queue: not tried", { queue: id, release: result });
      return "untried";
    }
    this.failed(message, failure, item.last);
    if (item.last) await this.bounce(message);
    return failure.destinationDown ? "down" : "up";
  }

  /** A real try of this message failed. */
  failed(message: QueuedMessage, failure: Failure, last: boolean): void {
    const { journal, log, rules, now } = this.#parts;
    const { retries } = journal.get(message) ?? NEW_ENTRY;
    const tried = now();
    const next = nextTry(message, tried, rules);
    journal.change(message, {
      stage: last ? "failed" : "",
      stageMs: tried,
      retries: retries + 1,
      lastTryMs: failure.logMs,
      logMs: failure.logMs,
      nextTryMs: next,
      lastReason: failure.reason,
    });
    const what = last ? "queue: last try failed" : "queue: deferred";
    const fields = { queue: message.id, retries: retries + 1, reason: failure.reason };
    log.info(what, last ? fields : { ...fields, next: new Date(next).toISOString() });
  }

  /**
   * What others, or this worker before it was restarted, made of messages that now lie in deferred/: failed tries are
   * counted, and what was under way is settled. Resolves with those that were tried.
   */
  async catchUp(messages: readonly QueuedMessage[]): Promise<QueuedMessage[]> {
    const { queue, journal } = this.#parts;
    const tried: QueuedMessage[] = [];
    if (messages.length === 0) return tried;
    const logs = await queue.deferLogs(messages.map(({ id }) => id));
    journal.batch(() => {
      for (const message of messages) {
        const entry = journal.get(message);
        const failure = failureIn(logs.get(message.id), entry?.logMs ?? 0);
        if (failure !== undefined) {
          this.failed(message, failure, entry?.stage === "last");
          tried.push(message);
        } else if (entry !== undefined && (entry.stage === "try" || entry.stage === "last"))
          journal.change(message, { stage: "" });
      }
    });
    return tried;
  }

  /** Has a message bounced with the words of its last try. Resolves when it is gone or cannot be. */
  bounce(message: QueuedMessage): Promise<void> {
    return this.#next(async () => {
      const { journal, now } = this.#parts;
      journal.change(message, { stage: "expire", stageMs: now() });
      await this.#expire(message);
    });
  }

  /** Has a message bounced with words of ours. */
  refuse(message: QueuedMessage, words: string): Promise<void> {
    return this.#next(async () => {
      const { queue, journal, log, now } = this.#parts;
      if (!(await queue.note(message.id, noteText(words)))) return;
      journal.change(message, { stage: "expire", stageMs: now() });
      log.warn("queue: skipped until its end, bounced", { queue: message.id, reason: words });
      await this.#expire(message);
    });
  }

  async #expire(message: QueuedMessage): Promise<void> {
    const { queue, journal, log } = this.#parts;
    const { id } = message;
    const marked = await queue.expire([id]);
    if (marked.length === 0) {
      journal.change(message, { stage: "" });
      return;
    }
    await queue.release(id);
    const place = await queue.left(id);
    if (place.queue === "gone") {
      journal.forget([id]);
      log.info("queue: bounced", { queue: id });
    } else log.warn("queue: expired and still there; tried again later", { queue: id, place: place.queue });
  }

  #next(work: () => Promise<void>): Promise<void> {
    const next = this.#bouncing.then(work);
    this.#bouncing = next.catch(() => {});
    return next;
  }
}
