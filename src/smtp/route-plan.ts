/**
 * From decisions about users to the recipients of a message. A recipient of the
 * envelope is taken away only when one of its users has given the message away;
 * whoever else it stood for is put back by name. Everything else stays.
 *
 * Nobody is reached twice by what is added. What is added is expanded again by
 * the MTA: where that would bring back somebody who was taken away, the
 * recipient stays as it was, with a warning. Knows neither Lua nor the store.
 */

/** Where mail for an address ends. */
export interface Leaf {
  readonly address: string;
  /** The user whose mailbox it is. */
  readonly user: string | undefined;
}

/** undefined: that cannot be told now, and is left to the MTA. */
export type Expand = (address: string) => Promise<readonly Leaf[] | undefined>;

export interface Recipient {
  /** As it was typed. */
  readonly address: string;
  /** As after RCPT TO:<a>. */
  readonly parameters: string;
}

export interface UserRoute {
  readonly keep: boolean;
  readonly targets: readonly string[];
  /** Parameters of the recipient that led to the user. */
  readonly parameters: string;
}

export interface RecipientPlan {
  /** Of the recipients given, those that go. */
  readonly removed: readonly Recipient[];
  readonly added: readonly Recipient[];
  readonly warnings: readonly string[];
}

/**
 * Users who give their mail to one another and to nobody else would lose it: they keep it, as if they had no
 * forwarding. Whoever is a target of their own keeps a copy. @returns names of those whose mail went in a circle
 */
export async function breakCircles(routes: Map<string, UserRoute>, expand: Expand): Promise<string[]> {
  const reaches = new Map<string, readonly string[] | "somebody else">();
  for (const [user, route] of routes) {
    const users: string[] = [];
    let outside = false;
    for (const target of route.targets) {
      for (const leaf of (await expand(target)) ?? [undefined]) {
        if (leaf?.user !== undefined && routes.has(leaf.user)) users.push(leaf.user);
        else outside = true;
      }
    }
    if (users.includes(user)) routes.set(user, { ...route, keep: true });
    reaches.set(user, outside ? "somebody else" : users);
  }
  const delivered = new Set<string>();
  for (let grown = true; grown; ) {
    grown = false;
    for (const [user, { keep }] of routes) {
      const to = reaches.get(user) ?? [];
      if (delivered.has(user)) continue;
      if (keep || to === "somebody else" || to.some((other) => delivered.has(other))) {
        delivered.add(user);
        grown = true;
      }
    }
  }
  const circling = [...routes]
    .filter(([user, { targets }]) => !delivered.has(user) && targets.length > 0)
    .map(([user]) => user);
  for (const user of circling) {
    routes.set(user, { keep: true, targets: [], parameters: routes.get(user)?.parameters ?? "" });
  }
  return circling;
}

interface Candidate extends Recipient {
  readonly leaves: readonly Leaf[];
}

export async function planRecipients(
  recipients: readonly Recipient[],
  routes: ReadonlyMap<string, UserRoute>,
  expand: Expand,
): Promise<RecipientPlan> {
  const gone = (leaf: Leaf) => leaf.user !== undefined && routes.get(leaf.user)?.keep === false;
  /** How many recipients lead to each leaf. */
  const reached = new Map<string, number>();
  const names = new Set<string>();
  const removed: Recipient[] = [];
  const added: Candidate[] = [];
  const warnings: string[] = [];
  const stays = ({ address }: Recipient, leaves: readonly Leaf[]) => {
    names.add(address.toLowerCase());
    for (const key of leaves.map(keyOf)) reached.set(key, (reached.get(key) ?? 0) + 1);
  };
  const add = (candidate: Candidate) => {
    const { address, leaves } = candidate;
    if (names.has(address.toLowerCase()) || leaves.every((leaf) => reached.has(keyOf(leaf)))) return;
    added.push(candidate);
    stays(candidate, leaves);
  };

  const split: Candidate[] = [];
  for (const recipient of recipients) {
    const leaves = (await expand(recipient.address)) ?? [];
    if (leaves.some(gone)) split.push({ ...recipient, leaves });
    else stays(recipient, leaves);
  }
  const rest: Candidate[] = [];
  for (const candidate of split) {
    const members = await separate(
      candidate,
      candidate.leaves.filter((leaf) => !gone(leaf)),
      gone,
      expand,
    );
    if (typeof members === "string") {
      warnings.push(`<${candidate.address}> stays as it is: ${members}`);
      stays(candidate, candidate.leaves);
    } else {
      removed.push({ address: candidate.address, parameters: candidate.parameters });
      rest.push(...members);
    }
  }
  for (const { targets, parameters } of routes.values()) {
    for (const address of targets) {
      rest.push({ address, parameters, leaves: (await expand(address)) ?? [{ address, user: undefined }] });
    }
  }
  // What leads to many comes first: the others may be among them.
  for (const candidate of rest.sort((a, b) => b.leaves.length - a.leaves.length)) {
    const { address, leaves } = candidate;
    const wanted = leaves.filter((leaf) => !gone(leaf) && !reached.has(keyOf(leaf)));
    if (wanted.length === leaves.length) add(candidate);
    if (wanted.length === leaves.length || wanted.length === 0) continue;
    const members = await separate(candidate, wanted, gone, expand);
    if (typeof members === "string") {
      warnings.push(`<${address}> gets the message as a whole: ${members}`);
      added.push(candidate);
      stays(candidate, leaves);
    } else for (const member of members) add(member);
  }
  // What came later may have brought everything that an earlier one is for.
  const needed = added.filter(({ leaves }) => {
    const keys = leaves.map(keyOf);
    if (keys.some((key) => reached.get(key) === 1)) return true;
    for (const key of keys) reached.set(key, (reached.get(key) ?? 0) - 1);
    return false;
  });
  const recipient = ({ address, parameters }: Candidate): Recipient => ({ address, parameters });
  return { removed, added: needed.map(recipient), warnings };
}

/** `members` of an address as recipients of their own, or why that cannot be. Those that lead to most come first. */
async function separate(
  { parameters }: Recipient,
  members: readonly Leaf[],
  gone: (leaf: Leaf) => boolean,
  expand: Expand,
): Promise<Candidate[] | string> {
  const candidates: Candidate[] = [];
  for (const { address } of members) {
    if (!/^[^\s<>|/"][^\s<>]*@[^\s<>@]+$/.test(address)) return `"${address}" is no address of its own`;
    const leaves = await expand(address);
    if (leaves === undefined) return `<${address}> cannot be expanded`;
    const back = leaves.find(gone);
    if (back !== undefined) return `<${address}> would bring the mail back to ${back.user}`;
    candidates.push({ address, parameters, leaves });
  }
  return candidates.sort((a, b) => b.leaves.length - a.leaves.length);
}

function keyOf({ address, user }: Leaf): string {
  return user === undefined ? address.toLowerCase() : `\0${user}`;
}
