/** `postlua list`: lists of the store and their members. */
import { nameKey } from "../directory/names.ts";
import { DirectoryError, type List, type Store } from "../directory/store.ts";
import { type Common, print, shade, show, withStore } from "./directory.ts";

export interface ListOptions extends Common {
  readonly address?: string;
  readonly member?: readonly string[];
}

export function listAdd(name: string, options: ListOptions): Promise<number> {
  return withStore(options, async (store) => {
    const { address = "", member: members = [], json } = options;
    await store.addList({ name, address, members });
    return show(json, await findList(store, name), `list ${name} added`);
  });
}

export function listList(options: Common): Promise<number> {
  return withStore(options, async (store) => {
    const lists = await store.lists();
    if (options.json) return show(true, lists, "");
    for (const { name, address, members } of lists) {
      await print(`${name} ${address}${shade(` (${count(members)})`, "2")}\n`);
    }
    return 0;
  });
}

export function listShow(name: string, options: Common): Promise<number> {
  return withStore(options, async (store) => {
    const list = await findList(store, name);
    const members = list.members.map((member) => `member  ${member}`);
    const lines = [`name    ${shade(list.name, "1")}`, `address ${list.address}`, ...members];
    return show(options.json, list, lines.join("\n"));
  });
}

export function listSet(name: string, options: ListOptions): Promise<number> {
  return withStore(options, async (store) => {
    const { address, member: members, json } = options;
    if (address === undefined && members === undefined) {
      throw new DirectoryError("nothing to change is named; see postlua list set --help");
    }
    await store.changeList(name, {
      ...(address === undefined ? {} : { address }),
      ...(members === undefined ? {} : { members }),
    });
    return show(json, await findList(store, name), `list ${name} changed`);
  });
}

export function listRemove(name: string, options: Common): Promise<number> {
  return withStore(options, async (store) => {
    if (!(await store.removeList(name))) {
      throw new DirectoryError(`there is no list ${JSON.stringify(name)}`);
    }
    return show(options.json, { removed: name }, `list ${name} removed`);
  });
}

export function listAddMembers(name: string, more: readonly string[], options: Common): Promise<number> {
  return changeMembers(name, options, (members) => [...members, ...more]);
}

export function listRemoveMembers(name: string, less: readonly string[], options: Common): Promise<number> {
  return changeMembers(name, options, (members) => {
    const gone = new Set(less.map(nameKey));
    const present = new Set(members.map(nameKey));
    const stranger = less.find((member) => !present.has(nameKey(member)));
    if (stranger !== undefined) {
      throw new DirectoryError(`${JSON.stringify(stranger)} is no member of the list ${name}`);
    }
    return members.filter((member) => !gone.has(nameKey(member)));
  });
}

function changeMembers(
  name: string,
  options: Common,
  change: (members: readonly string[]) => readonly string[],
): Promise<number> {
  return withStore(options, async (store) => {
    const members = change((await findList(store, name)).members);
    await store.changeList(name, { members });
    const list = await findList(store, name);
    return show(options.json, list, `list ${list.name} has ${count(list.members)} now`);
  });
}

async function findList(store: Store, name: string): Promise<List> {
  const list = await store.list(name);
  if (list === undefined) throw new DirectoryError(`there is no list ${JSON.stringify(name)}`);
  return list;
}

function count(members: readonly string[]): string {
  return members.length === 1 ? "1 member" : `${members.length} members`;
}
