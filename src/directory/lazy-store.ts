/**
 * A store that is opened when it is first asked for something, so that a
 * service whose store cannot be reached still starts and serves mail. An
 * opening that fails is tried again with the next question.
 *
 * Every failure of the store passes here: `problem` hears of it, at most once
 * a minute.
 */
import { type Store, StoreUnavailable } from "./store.ts";

export interface LazyStoreOptions {
  /** For logs and messages, as Store's. */
  readonly name: string;
  /** @throws StoreUnavailable */
  readonly open: () => Store | Promise<Store>;
  /** The store cannot answer: a sentence for the log. */
  readonly problem: (sentence: string) => void;
}

const PROBLEM_EVERY_MS = 60_000;

export class LazyStore implements Store {
  readonly name: string;
  readonly #options: LazyStoreOptions;
  readonly #watchers = new Map<() => void, (() => void) | undefined>();
  #opening: Promise<Store> | undefined;
  #opened: Store | undefined;
  #toldAt = Number.NEGATIVE_INFINITY;
  #closed = false;

  constructor(options: LazyStoreOptions) {
    this.name = options.name;
    this.#options = options;
  }

  userNames: Store["userNames"] = () => this.#use((store) => store.userNames());
  user: Store["user"] = (name) => this.#use((store) => store.user(name));
  addUser: Store["addUser"] = (user) => this.#use((store) => store.addUser(user));
  changeUser: Store["changeUser"] = (...args) => this.#use((store) => store.changeUser(...args));
  removeUser: Store["removeUser"] = (name) => this.#use((store) => store.removeUser(name));
  importUsers: Store["importUsers"] = (...args) => this.#use((store) => store.importUsers(...args));
  passwordHash: Store["passwordHash"] = (name) => this.#use((store) => store.passwordHash(name));
  setting: Store["setting"] = (name) => this.#use((store) => store.setting(name));
  settings: Store["settings"] = () => this.#use((store) => store.settings());
  setSetting: Store["setSetting"] = (...args) => this.#use((store) => store.setSetting(...args));
  removeSetting: Store["removeSetting"] = (name) => this.#use((store) => store.removeSetting(name));
  userSetting: Store["userSetting"] = (...args) => this.#use((store) => store.userSetting(...args));
  userSettings: Store["userSettings"] = (user) => this.#use((store) => store.userSettings(user));
  userSettingNames: Store["userSettingNames"] = () => this.#use((store) => store.userSettingNames());
  setUserSetting: Store["setUserSetting"] = (...args) => this.#use((store) => store.setUserSetting(...args));
  removeUserSetting: Store["removeUserSetting"] = (...args) =>
    this.#use((store) => store.removeUserSetting(...args));
  definitions: Store["definitions"] = () => this.#use((store) => store.definitions());
  define: Store["define"] = (definitions) => this.#use((store) => store.define(definitions));
  list: Store["list"] = (name) => this.#use((store) => store.list(name));
  lists: Store["lists"] = () => this.#use((store) => store.lists());
  addList: Store["addList"] = (list) => this.#use((store) => store.addList(list));
  changeList: Store["changeList"] = (...args) => this.#use((store) => store.changeList(...args));
  removeList: Store["removeList"] = (name) => this.#use((store) => store.removeList(name));
  lookup: Store["lookup"] = (address) => this.#use((store) => store.lookup(address));

  async *users(): ReturnType<Store["users"]> {
    const store = await this.#use(async (opened) => opened);
    try {
      yield* store.users();
    } catch (error) {
      throw this.#heard(error);
    }
  }

  /** From when the store is open; what changed before, nobody can have read. */
  watch(changed: () => void): () => void {
    const key = () => changed();
    this.#watchers.set(key, this.#opened?.watch(key));
    return () => {
      this.#watchers.get(key)?.();
      this.#watchers.delete(key);
    };
  }

  async close(): Promise<void> {
    this.#closed = true;
    for (const stop of this.#watchers.values()) stop?.();
    this.#watchers.clear();
    const opening = this.#opening;
    this.#opening = undefined;
    this.#opened = undefined;
    // One that could not be opened needs no closing.
    const store = await opening?.catch(() => undefined);
    await store?.close();
  }

  async #use<T>(work: (store: Store) => Promise<T>): Promise<T> {
    try {
      return await work(this.#opened ?? (await this.#open()));
    } catch (error) {
      throw this.#heard(error);
    }
  }

  #open(): Promise<Store> {
    if (this.#closed) return Promise.reject(new StoreUnavailable(`${this.name} has been closed`));
    this.#opening ??= this.#start().catch((error) => {
      this.#opening = undefined;
      throw error;
    });
    return this.#opening;
  }

  async #start(): Promise<Store> {
    const store = await this.#options.open();
    if (!this.#closed) {
      this.#opened = store;
      for (const watcher of this.#watchers.keys()) this.#watchers.set(watcher, store.watch(watcher));
    }
    return store;
  }

  #heard(error: unknown): unknown {
    if (!(error instanceof StoreUnavailable) || this.#closed) return error;
    const now = performance.now();
    if (now - this.#toldAt >= PROBLEM_EVERY_MS) {
      this.#toldAt = now;
      this.#options.problem(error.message);
    }
    return error;
  }
}
