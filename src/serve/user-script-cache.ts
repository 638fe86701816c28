/** Users' own scripts, as a worker has them: asked of the primary when they are first needed, forgotten at a reload. */
import type { ScriptState } from "../scripts/loader.ts";
import { userKey } from "../scripts/user-scripts.ts";
import type { UsersWithScripts } from "./messages.ts";

/** Compiled scripts kept; the one longest there goes first. */
const MOST_KEPT = 1_000;

export class UserScriptCache {
  readonly #ask: (user: string) => void;
  #users: ReadonlySet<string> = new Set();
  readonly #kept = new Map<string, Promise<ScriptState>>();
  readonly #waiting = new Map<string, ((state: ScriptState) => void)[]>();

  /** `ask`: the answer comes through answer(). */
  constructor(ask: (user: string) => void) {
    this.#ask = ask;
  }

  /** Whether any user may have one. */
  get any(): boolean {
    return this.#users.size > 0;
  }

  /** What was known is out of date. */
  forget(users: UsersWithScripts): void {
    this.#users = new Set(users);
    this.#kept.clear();
  }

  get(user: string): Promise<ScriptState> {
    const key = userKey(user);
    if (!this.#users.has(key)) return Promise.resolve({ kind: "absent" });
    let state = this.#kept.get(key);
    if (state === undefined) {
      state = this.#request(key);
      const [oldest] = this.#kept.keys();
      if (oldest !== undefined && this.#kept.size >= MOST_KEPT) this.#kept.delete(oldest);
      this.#kept.set(key, state);
    }
    return state;
  }

  answer(user: string, state: ScriptState): void {
    const waiting = this.#waiting.get(user) ?? [];
    this.#waiting.delete(user);
    for (const resolve of waiting) resolve(state);
  }

  #request(key: string): Promise<ScriptState> {
    return new Promise((resolve) => {
      const waiting = this.#waiting.get(key);
      if (waiting !== undefined) {
        waiting.push(resolve);
        return;
      }
      this.#waiting.set(key, [resolve]);
      this.#ask(key);
    });
  }
}
