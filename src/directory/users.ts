/** Users as work on the tables. What the caller did wrong throws DirectoryError and undoes the transaction. */
import {
  checkMailbox,
  checkName,
  checkOwnAddresses,
  checkPasswordHash,
  defaultMailbox,
  nameKey,
} from "./names.ts";
import { DirectoryError, type NewUser, type User, type UserChange } from "./store.ts";
import { type Columns, first, insertMany, rows, run, type Value, type Work } from "./work.ts";

/** Columns of a user for `toUser`; addresses hold no spaces. */
export const USER_COLUMNS = `u.name, u.mailbox, u.enabled,
  CASE WHEN u.password IS NULL THEN 0 ELSE 1 END AS has_password,
  (SELECT string_agg(a.address, ' ' ORDER BY a.position) FROM addresses a WHERE a.user_id = u.id) AS addresses`;

export interface UserRow {
  readonly name: string;
  readonly mailbox: string;
  readonly enabled: number;
  readonly has_password: number;
  readonly addresses: string | null;
}

export function toUser(row: UserRow): User {
  return {
    name: row.name,
    addresses: row.addresses?.split(" ") ?? [],
    mailbox: row.mailbox,
    enabled: row.enabled === 1,
    hasPassword: row.has_password === 1,
  };
}

/** A new user whose every field has been looked at. */
interface CheckedUser {
  readonly name: string;
  readonly key: string;
  readonly addresses: readonly string[];
  readonly mailbox: string;
  readonly enabled: boolean;
  readonly passwordHash: string | null;
}

export function checkUser(user: NewUser): CheckedUser {
  const name = checkName(user.name, "user");
  const addresses = checkOwnAddresses(user.addresses);
  return {
    name,
    key: nameKey(name),
    addresses,
    mailbox: checkMailbox(user.mailbox ?? defaultMailbox({ name, addresses })),
    enabled: user.enabled ?? true,
    passwordHash: user.passwordHash === undefined ? null : checkPasswordHash(user.passwordHash),
  };
}

export function* userNames(): Work<string[]> {
  const found = yield* rows<{ name: string }>("SELECT name FROM users ORDER BY name_key");
  return found.map(({ name }) => name);
}

export function* userByName(name: string): Work<User | undefined> {
  const row = yield* first<UserRow>(
    `SELECT ${USER_COLUMNS} FROM users u WHERE u.name_key = $1`,
    nameKey(name),
  );
  return row === undefined ? undefined : toUser(row);
}

/** Up to `limit` users whose names come after `name`. */
export function* usersAfter(name: string, limit: number): Work<User[]> {
  const found = yield* rows<UserRow>(
    `SELECT ${USER_COLUMNS} FROM users u WHERE u.name_key > $1 ORDER BY u.name_key LIMIT $2`,
    nameKey(name),
    limit,
  );
  return found.map(toUser);
}

export function* addUser(user: NewUser): Work<void> {
  const checked = checkUser(user);
  yield* refuseTakenName(checked.name);
  for (const address of checked.addresses) yield* refuseTakenAddress(address);
  yield* refuseTakenMailbox(checked.mailbox);
  yield* insertUsers([checked]);
}

/**
 * Adds users at once. @throws NotUnique when something of them is taken;
 * adding them one by one then says what
 */
export function* addUsers(users: readonly NewUser[]): Work<void> {
  const checked = users.map(checkUser);
  const lists = yield* rows<{ name_key: string }>("SELECT name_key FROM lists");
  const taken = new Set(lists.map(({ name_key }) => name_key));
  for (const { name, key } of checked) if (taken.has(key)) throw nameTaken(name, "list");
  yield* insertUsers(checked);
}

/** Slower, and says which user cannot be added, and why. */
export function* addOneByOne(users: readonly NewUser[]): Work<void> {
  for (const user of users) yield* addUser(user);
}

const INSERTED_USER: Columns = {
  id: "integer",
  name: "text",
  name_key: "text",
  mailbox: "text",
  enabled: "integer",
  password: "text",
};

const INSERTED_ADDRESS: Columns = {
  address: "text",
  domain: "text",
  user_id: "integer",
  position: "integer",
};

function* insertUsers(users: readonly CheckedUser[]): Work<void> {
  const last = yield* first<{ id: number }>("SELECT COALESCE(max(id), 0) AS id FROM users");
  const next = (last?.id ?? 0) + 1;
  yield* insertMany(
    "users",
    INSERTED_USER,
    users.map((user, n) => [
      next + n,
      user.name,
      user.key,
      user.mailbox,
      user.enabled ? 1 : 0,
      user.passwordHash,
    ]),
  );
  yield* insertMany(
    "addresses",
    INSERTED_ADDRESS,
    users.flatMap((user, n) => addressRows(next + n, user.addresses)),
  );
}

function addressRows(id: number, addresses: readonly string[]): Value[][] {
  return addresses.map((address, position) => [address, domainOf(address), id, position]);
}

export function domainOf(address: string): string {
  return address.slice(address.lastIndexOf("@") + 1);
}

export function* changeUser(name: string, change: UserChange): Work<void> {
  const id = yield* idOf(name);
  if (change.addresses !== undefined) {
    const addresses = checkOwnAddresses(change.addresses);
    yield* run("DELETE FROM addresses WHERE user_id = $1", id);
    for (const address of addresses) yield* refuseTakenAddress(address);
    yield* insertMany("addresses", INSERTED_ADDRESS, addressRows(id, addresses));
  }
  if (change.mailbox !== undefined) {
    const mailbox = checkMailbox(change.mailbox);
    yield* refuseTakenMailbox(mailbox, id);
    yield* run("UPDATE users SET mailbox = $1 WHERE id = $2", mailbox, id);
  }
  if (change.enabled !== undefined) {
    yield* run("UPDATE users SET enabled = $1 WHERE id = $2", change.enabled ? 1 : 0, id);
  }
  if (change.passwordHash !== undefined) {
    const hash = change.passwordHash === null ? null : checkPasswordHash(change.passwordHash);
    yield* run("UPDATE users SET password = $1 WHERE id = $2", hash, id);
  }
}

export function* removeUser(name: string): Work<boolean> {
  const id = yield* findId(name);
  if (id === undefined) return false;
  // In SQLite they lie in another file, where no foreign key reaches them.
  yield* run("DELETE FROM user_settings WHERE user_key = $1", nameKey(name));
  yield* run(
    `DELETE FROM members WHERE member_key = $1
       OR member_key IN (SELECT address FROM addresses WHERE user_id = $2)`,
    nameKey(name),
    id,
  );
  yield* run("DELETE FROM users WHERE id = $1", id);
  return true;
}

export function* passwordHash(name: string): Work<string | undefined> {
  const row = yield* first<{ password: string | null }>(
    "SELECT password FROM users WHERE name_key = $1 AND enabled = 1",
    nameKey(name),
  );
  return row === undefined ? undefined : (row.password ?? "");
}

export function* findId(name: string): Work<number | undefined> {
  return (yield* first<{ id: number }>("SELECT id FROM users WHERE name_key = $1", nameKey(name)))?.id;
}

/** @throws DirectoryError when there is no such user */
export function* idOf(name: string): Work<number> {
  const id = yield* findId(name);
  if (id === undefined) throw new DirectoryError(`there is no user ${JSON.stringify(name)}`);
  return id;
}

/** Users and lists share their names, because a member of a list may be either. */
export function* refuseTakenName(name: string): Work<void> {
  const key = nameKey(name);
  const user = yield* first("SELECT id FROM users WHERE name_key = $1", key);
  if (user !== undefined) throw nameTaken(name, "user");
  const list = yield* first("SELECT id FROM lists WHERE name_key = $1", key);
  if (list !== undefined) throw nameTaken(name, "list");
}

function nameTaken(name: string, by: "user" | "list"): DirectoryError {
  return new DirectoryError(`there is a ${by} ${JSON.stringify(name)} already`);
}

export function* refuseTakenAddress(address: string): Work<void> {
  const owner = yield* first<{ name: string; kind: string }>(
    `SELECT COALESCE(u.name, l.name) AS name, CASE WHEN u.id IS NULL THEN 'list' ELSE 'user' END AS kind
     FROM addresses a LEFT JOIN users u ON u.id = a.user_id LEFT JOIN lists l ON l.id = a.list_id
     WHERE a.address = $1`,
    address,
  );
  if (owner === undefined) return;
  throw new DirectoryError(
    `the address ${address} belongs to the ${owner.kind} ${JSON.stringify(owner.name)} already`,
  );
}

/** Else one would read another one's mail. */
function* refuseTakenMailbox(mailbox: string, exceptId = 0): Work<void> {
  const owner = yield* first<{ name: string }>(
    "SELECT name FROM users WHERE mailbox = $1 AND id <> $2",
    mailbox,
    exceptId,
  );
  if (owner === undefined) return;
  throw new DirectoryError(
    `the mailbox ${mailbox} is that of the user ${JSON.stringify(owner.name)} already; name another one`,
  );
}
