/**
 * Expansion where no Postfix is configured, as when scripts are tried out on
 * another machine: the store's own users and lists, everything else remote.
 */
import type { ExpandedAddress } from "./expander.ts";
import type { Store } from "./store.ts";

/** @throws StoreUnavailable */
export async function expandFromStore(store: Store, address: string): Promise<readonly ExpandedAddress[]> {
  const rows = new Map<string, ExpandedAddress>();
  const add = (name: string, to: string, rest: Partial<ExpandedAddress>) => {
    const none = { user: undefined, list: false, deferredExpansion: false, remote: false, forwarded: false };
    rows.set(to, { name, address: to, ...none, ...rest });
  };
  const expand = async (given: string): Promise<void> => {
    const to = given.toLowerCase();
    if (rows.has(to)) return;
    const meaning = await store.lookup(to);
    if (meaning === undefined) {
      // Members of lists may be the names of users and lists.
      const named = to.includes("@") ? undefined : await addressOf(store, given);
      if (named !== undefined) await expand(named);
      else if (to.includes("@")) add(given, to, { remote: true });
    } else if (meaning.kind === "user") add(meaning.user.name, to, { user: meaning.user.name });
    else {
      add(meaning.list.name, to, { list: true });
      for (const member of meaning.list.members) await expand(member);
    }
  };
  await expand(address);
  return [...rows.values()];
}

async function addressOf(store: Store, name: string): Promise<string | undefined> {
  const user = await store.user(name);
  if (user !== undefined) return user.enabled ? user.addresses[0] : undefined;
  return (await store.list(name))?.address;
}
