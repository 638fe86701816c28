/**
 * What a directory store offers: users, their settings, global settings, and
 * lists. SQLite and PostgreSQL implement it in the same way (sqlite.ts,
 * postgres.ts); nobody above knows which one it is.
 *
 * Names and texts are ordinary JavaScript strings; whoever has byte strings
 * converts them first. Names of users, settings and lists, and addresses, are
 * compared without regard to ASCII case and kept as they were first written.
 *
 * A store that cannot be reached, is locked for too long or is corrupt throws
 * StoreUnavailable, never an empty answer. What the caller did wrong (unknown
 * user, malformed address, taken name) throws DirectoryError with a sentence
 * for people.
 */

/** A user without settings and without the password hash, which is read by `passwordHash` alone. */
export interface User {
  /** Login and user id, such as "joe" or "joe@example.com". */
  readonly name: string;
  /** Full addresses whose mail is the user's, lower case; the first is the main one. May be empty. */
  readonly addresses: readonly string[];
  /** Path below the mail directory as Postfix's virtual(8) wants it, such as "example.com/joe/". */
  readonly mailbox: string;
  readonly enabled: boolean;
  readonly hasPassword: boolean;
}

export interface NewUser {
  readonly name: string;
  readonly addresses: readonly string[];
  /** Default: "DOMAIN/LOCALPART/" of the first address, or "NAME/" without one. */
  readonly mailbox?: string;
  /** Default true. */
  readonly enabled?: boolean;
  /** As Dovecot writes it, such as "{BLF-CRYPT}$2y$..."; default: none, nobody can log in. */
  readonly passwordHash?: string;
}

/** Only what is given is changed. */
export interface UserChange {
  readonly addresses?: readonly string[];
  readonly mailbox?: string;
  readonly enabled?: boolean;
  /** null takes the password away. */
  readonly passwordHash?: string | null;
}

export interface List {
  readonly name: string;
  /** The list's own address, lower case. */
  readonly address: string;
  /** Addresses, or names of users and lists of this store. */
  readonly members: readonly string[];
}

/** A setting that a script has declared for users (MainGetSettings). */
export interface SettingDefinition {
  readonly name: string;
  readonly title: string;
  /** As the script wrote it, such as "string", "number" or "boolean". */
  readonly type: string;
  readonly fallback: string;
}

/** What an address means to the store, disabled users left out. */
export type AddressMeaning =
  | { readonly kind: "user"; readonly user: User }
  | { readonly kind: "list"; readonly list: List };

export interface Store {
  /** For logs and messages, without a password: "sqlite:/var/lib/postlua/postlua.db". */
  readonly name: string;

  userNames(): Promise<readonly string[]>;
  /** By name; undefined when there is none. */
  user(name: string): Promise<User | undefined>;
  /** All of them in the order of their names, a page at a time. */
  users(): AsyncIterable<User>;
  addUser(user: NewUser): Promise<void>;
  changeUser(name: string, change: UserChange): Promise<void>;
  /** Takes the user's settings and list memberships away, too. @returns false when there was none */
  removeUser(name: string): Promise<boolean>;
  /**
   * Adds many users, in transactions of some thousands; `progress` hears how many are in.
   * @throws DirectoryError naming the first that cannot be added; those of earlier transactions stay
   */
  importUsers(
    users: AsyncIterable<NewUser> | Iterable<NewUser>,
    progress?: (done: number) => void,
  ): Promise<number>;
  /** "" when the user has no password; undefined when there is no such user or it is disabled. */
  passwordHash(name: string): Promise<string | undefined>;

  /** undefined when it does not exist. */
  setting(name: string): Promise<string | undefined>;
  settings(): Promise<ReadonlyMap<string, string>>;
  /** @returns false, and does nothing, when it does not exist; `create` makes it then */
  setSetting(name: string, value: string, options?: { create?: boolean }): Promise<boolean>;
  removeSetting(name: string): Promise<boolean>;

  /** undefined when the user or the setting does not exist. */
  userSetting(user: string, name: string): Promise<string | undefined>;
  userSettings(user: string): Promise<ReadonlyMap<string, string>>;
  /** Names, lower case, of the settings that any user has. */
  userSettingNames(): Promise<ReadonlySet<string>>;
  /** As setSetting. @throws DirectoryError with `create` when there is no such user */
  setUserSetting(user: string, name: string, value: string, options?: { create?: boolean }): Promise<boolean>;
  removeUserSetting(user: string, name: string): Promise<boolean>;
  /** What scripts have declared; a later declaration of the same name takes the place of the earlier. */
  definitions(): Promise<readonly SettingDefinition[]>;
  define(definitions: readonly SettingDefinition[]): Promise<void>;

  list(name: string): Promise<List | undefined>;
  lists(): Promise<readonly List[]>;
  addList(list: List): Promise<void>;
  /** Members, address, or both. */
  changeList(name: string, change: Partial<Omit<List, "name">>): Promise<void>;
  removeList(name: string): Promise<boolean>;

  /** What a full address, lower case, means here; undefined when nothing. No extension or catch-all is tried. */
  lookup(address: string): Promise<AddressMeaning | undefined>;

  /** Calls back after somebody, in this process or another, has changed something. @returns how to stop */
  watch(changed: () => void): () => void;
  close(): Promise<void>;
}

/** The store cannot answer now; mail waits for it. */
export class StoreUnavailable extends Error {
  override name = "StoreUnavailable";
}

/** What was asked for cannot be done; the message is a sentence for people. */
export class DirectoryError extends Error {
  override name = "DirectoryError";
}
