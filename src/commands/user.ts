/** `postlua user`: users of the store, one at a time or all of them. The import is in user-import.ts. */
import { checkSettingName, checkText, nameKey } from "../directory/names.ts";
import { DirectoryError, type Store, type User, type UserChange } from "../directory/store.ts";
import {
  type Common,
  findUser,
  jsonUser,
  oneLine,
  print,
  shade,
  show,
  showArray,
  withStore,
} from "./directory.ts";

export interface UserAddOptions extends Common {
  readonly address: readonly string[];
  readonly mailbox?: string;
  readonly disabled: boolean;
}

export interface UserSetOptions extends Common {
  readonly address?: readonly string[];
  readonly addAddress: readonly string[];
  readonly removeAddress: readonly string[];
  readonly mailbox?: string;
  readonly enable: boolean;
  readonly disable: boolean;
  /** NAME=VALUE each. */
  readonly setting: readonly string[];
  readonly unset: readonly string[];
}

export function userAdd(name: string, options: UserAddOptions): Promise<number> {
  const { address: addresses, mailbox, disabled, json } = options;
  return withStore(options, async (store) => {
    const enabled = !disabled;
    await store.addUser({ name, addresses, enabled, ...(mailbox === undefined ? {} : { mailbox }) });
    const user = await findUser(store, name);
    return show(json, jsonUser(user), `user ${user.name} added`);
  });
}

export function userList(options: Common): Promise<number> {
  return withStore(options, async (store) => {
    if (options.json) {
      await showArray(jsonUsers(store));
      return 0;
    }
    for await (const user of store.users()) {
      const marks = [user.enabled ? "" : "disabled", user.hasPassword ? "" : "no password"];
      const note = marks.filter((mark) => mark !== "").join(", ");
      const line = [user.name, ...user.addresses].join(" ");
      await print(`${line}${note === "" ? "" : shade(` (${note})`, "2")}\n`);
    }
    return 0;
  });
}

async function* jsonUsers(store: Store): AsyncGenerator<object> {
  for await (const user of store.users()) yield jsonUser(user);
}

export function userShow(name: string, options: Common): Promise<number> {
  return withStore(options, async (store) => showUser(store, await findUser(store, name), options.json));
}

/** Settings as they hold for the user: what scripts have declared with its default, and everything else that is set. */
async function showUser(store: Store, user: User, json: boolean): Promise<number> {
  const set = await store.userSettings(user.name);
  const declared = await store.definitions();
  const values = new Map([...set].map(([key, value]) => [nameKey(key), value]));
  const fields = declared.map(({ name, title, type, fallback }) => {
    const value = values.get(nameKey(name));
    return { name, title, type, default: fallback, value: value ?? fallback, set: value !== undefined };
  });
  const known = new Set(declared.map(({ name }) => nameKey(name)));
  const others = [...set].filter(([key]) => !known.has(nameKey(key)));
  const settings = Object.fromEntries(set);
  const row = (title: string, text: string) => `${title.padEnd(10)} ${text}`;
  const lines = [
    row("name", shade(user.name, "1")),
    row("addresses", user.addresses.join(" ") || "none"),
    row("mailbox", user.mailbox),
    row("enabled", user.enabled ? "yes" : shade("no", "33")),
    row("password", user.hasPassword ? "set" : "none: nobody can log in"),
    ...fields.map((field) => {
      const note = field.set ? "" : shade(" (default)", "2");
      return row("setting", `${field.name} = ${oneLine(field.value)}${note}`);
    }),
    ...others.map(([key, value]) => row("setting", `${key} = ${oneLine(value)}`)),
  ];
  return show(json, { ...jsonUser(user), settings, declared: fields }, lines.join("\n"));
}

export function userSet(name: string, options: UserSetOptions): Promise<number> {
  return withStore(options, async (store) => {
    const user = await findUser(store, name);
    const settings = options.setting.map(pair);
    const change = changeOf(user, options);
    if (Object.keys(change).length === 0 && settings.length === 0 && options.unset.length === 0) {
      throw new DirectoryError("nothing to change is named; see postlua user set --help");
    }
    const own = new Set([...(await store.userSettings(user.name)).keys()].map(nameKey));
    const absent = options.unset.find((key) => !own.has(nameKey(key)));
    if (absent !== undefined) {
      throw new DirectoryError(`the user ${user.name} has no setting ${JSON.stringify(absent)} of its own`);
    }
    for (const [key, value] of settings) checkText(value, checkSettingName(key));
    if (Object.keys(change).length > 0) await store.changeUser(user.name, change);
    for (const [key, value] of settings) {
      await store.setUserSetting(user.name, key, value, { create: true });
    }
    for (const key of options.unset) await store.removeUserSetting(user.name, key);
    if (options.json) return showUser(store, await findUser(store, user.name), true);
    return show(false, undefined, `user ${user.name} changed`);
  });
}

function changeOf(user: User, options: UserSetOptions): UserChange {
  const { address, addAddress, removeAddress, mailbox, enable, disable } = options;
  const gone = removeAddress.map((one) => one.toLowerCase());
  const missing = gone.find((one) => !user.addresses.includes(one));
  if (missing !== undefined) throw new DirectoryError(`${missing} is no address of the user ${user.name}`);
  const addresses = [...(address ?? user.addresses).filter((one) => !gone.includes(one)), ...addAddress];
  const moved = address !== undefined || addAddress.length > 0 || gone.length > 0;
  return {
    ...(moved ? { addresses } : {}),
    ...(mailbox === undefined ? {} : { mailbox }),
    ...(enable || disable ? { enabled: enable } : {}),
  };
}

function pair(text: string): [string, string] {
  const at = text.indexOf("=");
  if (at < 1) throw new DirectoryError(`a setting is given as NAME=VALUE, not ${JSON.stringify(text)}`);
  return [text.slice(0, at), text.slice(at + 1)];
}

export function userRemove(name: string, options: Common): Promise<number> {
  return withStore(options, async (store) => {
    // By its name alone: an address may stand for somebody else tomorrow.
    if (!(await store.removeUser(name))) {
      throw new DirectoryError(`there is no user ${JSON.stringify(name)}`);
    }
    return show(options.json, { removed: name }, `user ${name} removed; the mailbox is left as it is`);
  });
}
