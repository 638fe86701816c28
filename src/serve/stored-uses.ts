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
  #looking = false;
  #again = false;
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  /** `changed` is called after any of what this object says has changed. */
  constructor(store: Store, changed: () => void) {
    this.#store = store;
    this.#changed = changed;
    this.#unwatch = store.watch(() => void this.#look());
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

  async #look(): Promise<void> {
    this.#again = true;
    if (this.#looking) return;
    this.#looking = true;
    clearTimeout(this.#timer);
    while (this.#again && !this.#closed) {
      this.#again = false;
      try {
        const stored = await read(this.#store);
        const before = this.#stored;
        this.#stored = stored;
        const same = (Object.keys(stored) as (keyof Stored)[]).every((key) => stored[key] === before[key]);
        if (!same && !this.#closed) this.#changed();
      } catch {
        // The store has told the log.
        if (!this.#closed) this.#timer = setTimeout(() => void this.#look(), PATIENCE_MS).unref();
      }
    }
    this.#looking = false;
  }
}

async function read(store: Store): Promise<Stored> {
  const names = await store.userSettingNames();
  const common = [...(await store.settings()).keys()].map((name) => name.toLowerCase());
  let users = names.size > 0;
  if (!users) {
    for await (const _user of store.users()) {
      users = true;
      break;
    }
  }
  return {
    users,
    routing: ROUTING.some((name) => names.has(name)),
    signatures: SIGNATURE_SETTINGS.some((name) => names.has(name) || common.includes(name)),
  };
}
