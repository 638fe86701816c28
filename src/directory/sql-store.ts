/**
 * The store over a database: each operation with the kind of transaction it
 * needs. What is wrong with the input is found by the operations (users.ts,
 * settings.ts, lists.ts), what is wrong with the database by the database.
 */
import * as listWork from "./lists.ts";
import * as settingWork from "./settings.ts";
import type { AddressMeaning, List, NewUser, SettingDefinition, Store, User, UserChange } from "./store.ts";
import * as userWork from "./users.ts";
import { type Database, NotUnique, type Work } from "./work.ts";

const USERS_A_PAGE = 500;
/** SQLite does a batch in one go: 2,000 users take it some 20 ms. */
const USERS_A_TRANSACTION = 2_000;

export interface SqlStoreOptions {
  /** Fewer make tests of transactions quicker. */
  readonly usersATransaction?: number;
}

export class SqlStore implements Store {
  readonly #database: Database;
  readonly #usersATransaction: number;

  constructor(database: Database, options: SqlStoreOptions = {}) {
    this.#database = database;
    this.#usersATransaction = options.usersATransaction ?? USERS_A_TRANSACTION;
  }

  get name(): string {
    return this.#database.name;
  }

  userNames(): Promise<readonly string[]> {
    return this.#database.read(() => userWork.userNames());
  }

  user(name: string): Promise<User | undefined> {
    return this.#database.read(() => userWork.userByName(name));
  }

  async *users(): AsyncGenerator<User> {
    for (let after = ""; ; ) {
      const page = await this.#database.read(() => userWork.usersAfter(after, USERS_A_PAGE));
      yield* page;
      const last = page.at(-1);
      if (last === undefined || page.length < USERS_A_PAGE) return;
      after = last.name;
    }
  }

  addUser(user: NewUser): Promise<void> {
    return this.#exclusively(() => userWork.addUser(user));
  }

  changeUser(name: string, change: UserChange): Promise<void> {
    return this.#exclusively(() => userWork.changeUser(name, change));
  }

  removeUser(name: string): Promise<boolean> {
    return this.#exclusively(() => userWork.removeUser(name));
  }

  async importUsers(
    users: AsyncIterable<NewUser> | Iterable<NewUser>,
    progress: (done: number) => void = () => {},
  ): Promise<number> {
    let done = 0;
    let batch: NewUser[] = [];
    const flush = async () => {
      await this.#addUsers(batch);
      done += batch.length;
      batch = [];
      progress(done);
    };
    for await (const user of users) {
      batch.push(user);
      if (batch.length >= this.#usersATransaction) await flush();
    }
    if (batch.length > 0) await flush();
    return done;
  }

  async #addUsers(users: readonly NewUser[]): Promise<void> {
    try {
      await this.#exclusively(() => userWork.addUsers(users));
    } catch (error) {
      if (!(error instanceof NotUnique)) throw error;
      await this.#exclusively(() => userWork.addOneByOne(users));
    }
  }

  passwordHash(name: string): Promise<string | undefined> {
    return this.#database.read(() => userWork.passwordHash(name));
  }

  setting(name: string): Promise<string | undefined> {
    return this.#database.read(() => settingWork.setting(name));
  }

  settings(): Promise<ReadonlyMap<string, string>> {
    return this.#database.read(() => settingWork.settings());
  }

  setSetting(name: string, value: string, options: { create?: boolean } = {}): Promise<boolean> {
    return this.#set(() => settingWork.setSetting(name, value, options.create === true));
  }

  removeSetting(name: string): Promise<boolean> {
    return this.#set(() => settingWork.removeSetting(name));
  }

  userSetting(user: string, name: string): Promise<string | undefined> {
    return this.#database.read(() => settingWork.userSetting(user, name));
  }

  userSettings(user: string): Promise<ReadonlyMap<string, string>> {
    return this.#database.read(() => settingWork.userSettings(user));
  }

  userSettingNames(): Promise<ReadonlySet<string>> {
    return this.#database.read(() => settingWork.userSettingNames());
  }

  setUserSetting(
    user: string,
    name: string,
    value: string,
    options: { create?: boolean } = {},
  ): Promise<boolean> {
    return this.#set(() => settingWork.setUserSetting(user, name, value, options.create === true));
  }

  removeUserSetting(user: string, name: string): Promise<boolean> {
    return this.#set(() => settingWork.removeUserSetting(user, name));
  }

  definitions(): Promise<readonly SettingDefinition[]> {
    return this.#database.read(() => settingWork.definitions());
  }

  define(definitions: readonly SettingDefinition[]): Promise<void> {
    return this.#set(() => settingWork.define(definitions));
  }

  list(name: string): Promise<List | undefined> {
    return this.#database.read(() => listWork.listByName(name));
  }

  lists(): Promise<readonly List[]> {
    return this.#database.read(() => listWork.lists());
  }

  addList(list: List): Promise<void> {
    return this.#exclusively(() => listWork.addList(list));
  }

  changeList(name: string, change: Partial<Omit<List, "name">>): Promise<void> {
    return this.#exclusively(() => listWork.changeList(name, change));
  }

  removeList(name: string): Promise<boolean> {
    return this.#exclusively(() => listWork.removeList(name));
  }

  lookup(address: string): Promise<AddressMeaning | undefined> {
    return this.#database.read(() => listWork.lookup(address));
  }

  watch(changed: () => void): () => void {
    return this.#database.watch(changed);
  }

  close(): Promise<void> {
    return this.#database.close();
  }

  #set<T>(work: () => Work<T>): Promise<T> {
    return this.#database.write(work, { on: "settings" });
  }

  /** What looks whether names and addresses are free may have nobody beside it. */
  #exclusively<T>(work: () => Work<T>): Promise<T> {
    return this.#database.write(work, { on: "users" });
  }
}
