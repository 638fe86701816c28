/**
 * The sessions of a worker that both doors may meet in, by client. Sessions of
 * the policy service alone end when the primary says that their client has
 * gone, when the client comes anew, or after a time without requests; sessions
 * with a milter end with its connection.
 */
import type { PolicyQuestion } from "../smtp/policy-question.ts";
import type { SharedSession } from "../smtp/shared-session.ts";

interface Entry {
  readonly key: string;
  readonly session: SharedSession;
  /** Number of what the primary handed over last. */
  last: number;
  timer: NodeJS.Timeout;
}

export interface SharedSessionsOptions {
  /** Time without anything from either door after which a session without a milter ends. */
  readonly idleMs: number;
  /** A session is no longer to be met. */
  readonly over: (key: string, last: number) => void;
}

export class SharedSessions {
  readonly #options: SharedSessionsOptions;
  readonly #byKey = new Map<string, Entry>();
  readonly #bySession = new Map<SharedSession, Entry>();
  /** Endings under way. */
  readonly #ending = new Set<Promise<void>>();

  constructor(options: SharedSessionsOptions) {
    this.#options = options;
  }

  /** Sessions that no milter connection serves. */
  get alone(): number {
    let alone = 0;
    for (const { session } of this.#byKey.values()) if (!session.served) alone++;
    return alone;
  }

  /** The session of a client, if there is one that a milter connection could meet. */
  waiting(key: string): SharedSession | undefined {
    const session = this.#byKey.get(key)?.session;
    return session?.hasMilter === false ? session : undefined;
  }

  /** The session that a policy request belongs to. */
  ofRequest(key: string, last: number, question: PolicyQuestion, create: () => SharedSession): SharedSession {
    const entry = this.#byKey.get(key);
    if (entry !== undefined && !entry.session.begunAnew(question)) return this.#touch(entry, last);
    if (entry !== undefined) this.#leave(entry);
    return this.#enter(key, last, create());
  }

  /** The session that a new milter connection belongs to. */
  ofMilter(key: string, last: number, create: () => SharedSession): SharedSession {
    const entry = this.#byKey.get(key);
    if (entry !== undefined && !entry.session.hasMilter) return this.#touch(entry, last);
    if (entry !== undefined) this.#leave(entry);
    return this.#enter(key, last, create());
  }

  /** The client of a session is gone, unless something came of it after number `last`. */
  release(key: string, last: number): void {
    const entry = this.#byKey.get(key);
    if (entry?.last === last && !entry.session.served) this.#end(entry);
  }

  /** A session was ended at its milter's door. */
  ended(session: SharedSession): void {
    const entry = this.#bySession.get(session);
    if (entry !== undefined) this.#forget(entry);
  }

  /** A milter let go of a session that goes on. */
  kept(session: SharedSession): void {
    this.#bySession.get(session)?.timer.refresh();
  }

  /** What was handed over about a client came to no session. */
  unmet(key: string, last: number): void {
    if (!this.#byKey.has(key)) this.#options.over(key, last);
  }

  /** Ends all that have no milter; resolves when every End has run. */
  async close(): Promise<void> {
    for (const entry of this.#byKey.values()) if (!entry.session.served) this.#end(entry);
    await Promise.all(this.#ending);
  }

  #enter(key: string, last: number, session: SharedSession): SharedSession {
    const timer = setTimeout(() => this.#idle(entry), this.#options.idleMs).unref();
    const entry: Entry = { key, session, last, timer };
    this.#byKey.set(key, entry);
    this.#bySession.set(session, entry);
    return session;
  }

  #touch(entry: Entry, last: number): SharedSession {
    entry.last = last;
    entry.timer.refresh();
    return entry.session;
  }

  #idle(entry: Entry): void {
    if (entry.session.served) entry.timer.refresh();
    else this.#end(entry);
  }

  /** Another session has taken its place; one with a milter goes on until that connection ends. */
  #leave(entry: Entry): void {
    clearTimeout(entry.timer);
    this.#byKey.delete(entry.key);
    this.#bySession.delete(entry.session);
    if (!entry.session.served) this.#finish(entry.session);
  }

  #end(entry: Entry): void {
    this.#forget(entry);
    this.#finish(entry.session);
  }

  #finish(session: SharedSession): void {
    const ending = session.end().finally(() => this.#ending.delete(ending));
    this.#ending.add(ending);
  }

  #forget(entry: Entry): void {
    clearTimeout(entry.timer);
    this.#byKey.delete(entry.key);
    this.#bySession.delete(entry.session);
    this.#options.over(entry.key, entry.last);
  }
}
