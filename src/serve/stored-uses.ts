/**
 * Whether the store holds anything that matters for mail: users with routing
 * settings, signatures. Where it does not, workers ask Postfix for nothing and
 * messages cost nothing. Until the store has answered for the first time
 * everything may be there; while it is away, what was there last.
 */
import type { Store } from "../directory/store.ts";
import { isDefaultRedirect, USED_BY_DEFAULT } from "../scripts/default-redirect.ts";
import type { ScriptState } from "../scripts/loader.ts";
import { ROUTING_SETTINGS } from "../scripts/redirect-values.ts";
import { SIGNATURE_SETTINGS } from "../smtp/stored-signature.ts";

/** The service is ready without an answer after so long, and asks again as often while there is none. */
const PATIENCE_MS = 2_000;

/** Between two looks, and as a multiple of the time that the last one took. */
const REST_MS = 250;
const REST_SHARE = 20;

interface Stored {
  readonly users: boolean;
  readonly routing: boolean;
  readonly signatures: boolean;
}

const ROUTING = [...ROUTING_SETTINGS.map((name) => name.toLowerCase()), ...USED_BY_DEFAULT];

export class StoredUses {
  /** Resolves when the store has answered, or has been waited for long enough. */
  readonly known: Promise<void>;
  readonly #store: Store;
  readonly #changed: () => void;
  readonly #unwatch: () => void;
  #stored: Stored = { users: true, routing: true, signatures: true };
  /** Scripts may change settings with every message; looking at all users each time would cost too much. */
  #restUntil = 0;
  #looking = false;
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  /** `changed` is called after any of what this object says has changed. */
  constructor(store: Store, changed: () => void) {
    this.#store = store;
    this.#changed = changed;
    this.#unwatch = store.watch(() => this.#lookSoon());
    const patience = new Promise<void>((resolve) => setTimeout(resolve, PATIENCE_MS).unref());
    this.known = Promise.race([this.#look(), patience]);
  }

  get signatures(): boolean {
    return this.#stored.signatures;
  }

  /** `state` of the USER_REDIRECT.LUA for all users; `own`: some users have one. */
  routing(state: ScriptState | undefined, own: boolean): boolean {
    const shipped = state?.kind === "loaded" && isDefaultRedirect(state.loaded);
    const { users, routing } = this.#stored;
    return users && (routing || own || !shipped);
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#unwatch();
  }

  /** Something has changed, or the store should be there again. */
  #lookSoon(): void {
    if (this.#closed || this.#timer !== undefined) return;
    const wait = Math.max(0, this.#restUntil - performance.now());
    this.#timer = setTimeout(() => void this.#look(), wait).unref();
  }

  async #look(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const since = performance.now();
    this.#restUntil = since + REST_MS;
    // What changes during a look asks for another one after it.
    if (this.#looking) return this.#lookSoon();
    this.#looking = true;
    try {
      const stored = await read(this.#store);
      const before = this.#stored;
      this.#stored = stored;
      const same = (Object.keys(stored) as (keyof Stored)[]).every((key) => stored[key] === before[key]);
      if (!same && !this.#closed) this.#changed();
    } catch {
      // The store has told the log.
      this.#restUntil = performance.now() + PATIENCE_MS;
      this.#lookSoon();
      return;
    } finally {
      this.#looking = false;
    }
    const took = performance.now() - since;
    this.#restUntil = performance.now() + Math.max(REST_MS, took * REST_SHARE);
  }
}

async function read(store: Store): Promise<Stored> {
  const names = await store.userSettingNames();
  const common = [...(await store.settings()).keys()].map((name) => name.toLowerCase());
  // A script's own declarations matter when a user has such a setting.
  const declared = new Set(
    (await store.definitions())
      .filter(({ name, fallback }) => fallback !== "" && !USED_BY_DEFAULT.includes(name.toLowerCase()))
      .map(({ name }) => name.toLowerCase()),
  );
  let users = names.size > 0;
  if (!users) {
    for await (const _user of store.users()) {
      users = true;
      break;
    }
  }
  return {
    users,
    routing: ROUTING.some((name) => names.has(name) || declared.has(name)),
    signatures: SIGNATURE_SETTINGS.some((name) => names.has(name) || common.includes(name)),
  };
}
