/**
 * VPOP3.GetSetting, SetSetting, GetUserList, GetUserSetting, SetUserSetting
 * and ExpandAddress in the manual's shapes. The store and the expander do the
 * work; here byte strings become Unicode and results become tables.
 *
 * Nothing here can read a password hash. A store that cannot answer raises an
 * error: "no such setting" is said only by a store that has looked.
 */
import { encodeText, toBytes } from "../bytes.ts";
import type { Directory } from "../directory/directory.ts";
import { type ExpandedAddress, ExpansionError } from "../directory/expander.ts";
import { DirectoryError, type SettingDefinition, type Store, StoreUnavailable } from "../directory/store.ts";
import { type HostCall, type HostModule, LuaRaise } from "../lua/host.ts";
import type { LuaInput } from "../lua/values.ts";

/** What the helpers find in the environment's context. */
export interface DirectoryContext {
  /** The script is this user's own: it reads and sets no other user's settings. */
  readonly onlyUser?: string;
}

/** Charged for each value that is put into a table. */
const STEPS_A_VALUE = 10;

export function vpop3Module({ store, expander }: Pick<Directory, "store" | "expander">): HostModule {
  return {
    table: "VPOP3",
    functions: {
      /** (name) -> true, value | false, nil. */
      async GetSetting(call) {
        const name = text(call, 1);
        const value = await asked("GetSetting", store.setting(name));
        return value === undefined ? [false, null] : [true, encodeText(value)];
      },

      /** (name, value) -> whether it existed; it is never created. */
      async SetSetting(call) {
        const [name, value] = [text(call, 1), text(call, 2)];
        return [await asked("SetSetting", store.setSetting(name, value))];
      },

      /** () -> the users' names, in no particular order. */
      async GetUserList(call) {
        const names = await asked("GetUserList", store.userNames());
        call.charge(names.length * STEPS_A_VALUE);
        return [names.map(encodeText)];
      },

      /** (user, name) -> value, or its declared default | nil. */
      async GetUserSetting(call) {
        const [user, name] = [ownUser(call), text(call, 2)];
        const value = await asked("GetUserSetting", userSetting(store, user, name));
        return [value === undefined ? null : encodeText(value)];
      },

      /** (user, name, value) -> whether it existed, declared ones do; it is never created. */
      async SetUserSetting(call) {
        const [user, name, value] = [ownUser(call), text(call, 2), text(call, 3)];
        return [await asked("SetUserSetting", setUserSetting(store, user, name, value))];
      },

      /** (address [, in mail server, which Postfix has not]) -> rows. */
      async ExpandAddress(call) {
        const address = text(call, 1);
        call.optionalNumber(2, -1);
        const rows = await asked("ExpandAddress", expander.expand(address, call.signal));
        call.charge(rows.length * 5 * STEPS_A_VALUE);
        return [rows.map(rowTable)];
      },
    },
  };
}

async function userSetting(store: Store, user: string, name: string): Promise<string | undefined> {
  return (await store.userSetting(user, name)) ?? (await declared(store, user, name))?.fallback;
}

async function setUserSetting(store: Store, user: string, name: string, value: string): Promise<boolean> {
  if (await store.setUserSetting(user, name, value)) return true;
  const definition = await declared(store, user, name);
  if (definition === undefined) return false;
  return store.setUserSetting(user, definition.name, value, { create: true });
}

/** A setting that scripts have declared (MainGetSettings) is every user's, with its default. */
async function declared(store: Store, user: string, name: string): Promise<SettingDefinition | undefined> {
  const definition = (await store.definitions()).find((one) => lower(one.name) === lower(name));
  return definition !== undefined && (await store.user(user)) !== undefined ? definition : undefined;
}

function rowTable(row: ExpandedAddress): LuaInput {
  const { name, list, deferredExpansion, remote, forwarded } = row;
  return {
    Name: encodeText(name),
    List: list,
    ...(list && { DeferredExpansion: deferredExpansion }),
    Remote: remote,
    Forwarded: forwarded,
  };
}

/** An argument as ordinary text. The store and Postfix's tables hold UTF-8, so other bytes are no name there. */
function text(call: HostCall, position: number): string {
  const bytes = call.string(position);
  if (/^[\x00-\x7f]*$/.test(bytes)) return bytes;
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(toBytes(bytes));
  } catch {
    throw new LuaRaise(`bad argument #${position} (its bytes are no UTF-8 text)`);
  }
}

/** The user whose settings are asked for, if the script may know them. */
function ownUser(call: HostCall): string {
  const user = text(call, 1);
  const { onlyUser } = call.context as DirectoryContext;
  if (onlyUser === undefined || lower(user) === lower(onlyUser)) return user;
  throw new LuaRaise(
    `the settings of ${encodeText(user)} are closed to the script of ${encodeText(onlyUser)}`,
  );
}

/** As the store compares names. */
function lower(name: string): string {
  return name.replace(/[A-Z]+/g, (letters) => letters.toLowerCase());
}

async function asked<T>(helper: string, answer: Promise<T>): Promise<T> {
  try {
    return await answer;
  } catch (error) {
    if (
      error instanceof StoreUnavailable ||
      error instanceof DirectoryError ||
      error instanceof ExpansionError
    ) {
      throw new LuaRaise(encodeText(`${helper}: ${error.message}`));
    }
    throw error;
  }
}
