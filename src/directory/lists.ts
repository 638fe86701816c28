/**
 * Lists and what addresses mean, as work on the tables. A list cannot come to
 * hold itself, also not by way of others: Postfix would defer its mail for
 * ever.
 */
import { addressKey, checkAddress, checkName, checkOwnAddress, nameKey } from "./names.ts";
import { type AddressMeaning, DirectoryError, type List } from "./store.ts";
import {
  domainOf,
  refuseTakenAddress,
  refuseTakenName,
  toUser,
  USER_COLUMNS,
  type UserRow,
} from "./users.ts";
import { type Columns, first, insertMany, rows, run, type Work } from "./work.ts";

interface ListRow {
  readonly id: number;
  readonly name: string;
  readonly address: string;
}

interface MemberRow {
  readonly list_id: number;
  readonly member: string;
}

const LIST_ROWS = "SELECT l.id, l.name, a.address FROM lists l JOIN addresses a ON a.list_id = l.id";

export function* listByName(name: string): Work<List | undefined> {
  const row = yield* first<ListRow>(`${LIST_ROWS} WHERE l.name_key = $1`, nameKey(name));
  return row === undefined ? undefined : yield* withMembers(row);
}

function* withMembers({ id, name, address }: ListRow): Work<List> {
  const found = yield* rows<{ member: string }>(
    "SELECT member FROM members WHERE list_id = $1 ORDER BY position",
    id,
  );
  return { name, address, members: found.map(({ member }) => member) };
}

export function* lists(): Work<List[]> {
  const found = yield* rows<ListRow>(`${LIST_ROWS} ORDER BY l.name_key`);
  const members = new Map<number, string[]>(found.map(({ id }) => [id, []]));
  for (const row of yield* rows<MemberRow>(
    "SELECT list_id, member FROM members ORDER BY list_id, position",
  )) {
    members.get(row.list_id)?.push(row.member);
  }
  return found.map(({ id, name, address }) => ({ name, address, members: members.get(id) ?? [] }));
}

const INSERTED_MEMBER: Columns = {
  list_id: "integer",
  member_key: "text",
  member: "text",
  position: "integer",
};

export function* addList(list: List): Work<void> {
  const name = checkName(list.name, "list");
  yield* refuseTakenName(name);
  const last = yield* first<{ id: number }>("SELECT COALESCE(max(id), 0) AS id FROM lists");
  const id = (last?.id ?? 0) + 1;
  yield* run("INSERT INTO lists (id, name, name_key) VALUES ($1, $2, $3)", id, name, nameKey(name));
  yield* giveAddress(id, list.address);
  yield* fill(id, name, list.members);
}

export function* changeList(name: string, change: Partial<Omit<List, "name">>): Work<void> {
  const list = yield* first<ListRow>(`${LIST_ROWS} WHERE l.name_key = $1`, nameKey(name));
  if (list === undefined) throw new DirectoryError(`there is no list ${JSON.stringify(name)}`);
  if (change.address !== undefined) {
    yield* run("DELETE FROM addresses WHERE list_id = $1", list.id);
    yield* giveAddress(list.id, change.address);
  }
  if (change.members !== undefined) {
    yield* run("DELETE FROM members WHERE list_id = $1", list.id);
    yield* fill(list.id, list.name, change.members);
  } else if (change.address !== undefined) {
    yield* refuseLoop(list.id, list.name);
  }
}

function* giveAddress(id: number, given: string): Work<void> {
  const address = checkOwnAddress(given);
  yield* refuseTakenAddress(address);
  yield* run(
    "INSERT INTO addresses (address, domain, list_id, position) VALUES ($1, $2, $3, 0)",
    address,
    domainOf(address),
    id,
  );
}

function* fill(id: number, name: string, members: readonly string[]): Work<void> {
  const names = yield* knownNames(members);
  const kept = new Map<string, string>();
  for (const member of members) {
    const key = nameKey(member);
    if (names.has(key)) kept.set(key, member);
    else if (member.includes("@")) {
      const address = checkAddress(member);
      kept.set(address, address);
    } else {
      throw new DirectoryError(
        `${JSON.stringify(member)} is no full address, and no user or list has that name`,
      );
    }
  }
  yield* insertMany(
    "members",
    INSERTED_MEMBER,
    [...kept].map(([key, member], position) => [id, key, member, position]),
  );
  yield* refuseLoop(id, name);
}

/** Those of the names that a user or a list has, as keys. */
function* knownNames(members: readonly string[]): Work<Set<string>> {
  const known = new Set<string>();
  for (const key of new Set(members.map(nameKey))) {
    const found = yield* first(
      `SELECT name_key FROM users WHERE name_key = $1
       UNION ALL SELECT name_key FROM lists WHERE name_key = $1`,
      key,
    );
    if (found !== undefined) known.add(key);
  }
  return known;
}

function* refuseLoop(id: number, name: string): Work<void> {
  // From the list down: which lists are members, by name or by address.
  const found = yield* first(
    `WITH RECURSIVE below (id) AS (
       SELECT l.id FROM members m
         JOIN lists l ON l.name_key = m.member_key WHERE m.list_id = $1
       UNION SELECT a.list_id FROM members m
         JOIN addresses a ON a.address = m.member_key AND a.list_id IS NOT NULL WHERE m.list_id = $1
       UNION SELECT n.child FROM below b JOIN (
         SELECT m.list_id AS parent, l.id AS child FROM members m JOIN lists l ON l.name_key = m.member_key
         UNION SELECT m.list_id, a.list_id FROM members m
           JOIN addresses a ON a.address = m.member_key AND a.list_id IS NOT NULL
       ) n ON n.parent = b.id
     ) SELECT id FROM below WHERE id = $1`,
    id,
  );
  if (found === undefined) return;
  throw new DirectoryError(
    `the list ${JSON.stringify(name)} would be a member of itself, directly or by way of another list`,
  );
}

export function* removeList(name: string): Work<boolean> {
  const list = yield* first<ListRow>(`${LIST_ROWS} WHERE l.name_key = $1`, nameKey(name));
  if (list === undefined) return false;
  yield* run("DELETE FROM members WHERE member_key IN ($1, $2)", nameKey(name), list.address);
  yield* run("DELETE FROM lists WHERE id = $1", list.id);
  return true;
}

export function* lookup(given: string): Work<AddressMeaning | undefined> {
  const address = addressKey(given);
  const user = yield* first<UserRow>(
    `SELECT ${USER_COLUMNS} FROM users u
     WHERE u.id = (SELECT user_id FROM addresses WHERE address = $1) AND u.enabled = 1`,
    address,
  );
  if (user !== undefined) return { kind: "user", user: toUser(user) };
  const list = yield* first<ListRow>(`${LIST_ROWS} WHERE a.address = $1`, address);
  return list === undefined ? undefined : { kind: "list", list: yield* withMembers(list) };
}
