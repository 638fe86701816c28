/**
 * What a user's routing values mean for one message: who else gets it, and
 * whether the user keeps a copy. Pure; the order is the one README.md states.
 */
import type { Redirect, RoutingValues } from "../scripts/redirect-values.ts";

export interface RoutingDecision {
  /** The user's own mailbox gets the message. */
  readonly keep: boolean;
  /** Addresses as the values have them, none twice. */
  readonly targets: readonly string[];
  /** Why it is as it is, for the log. */
  readonly notes: readonly string[];
}

/** What is known of an address that the values name: somebody there, the sender's own, or nobody to send to. */
export type TargetKind = "somebody" | "sender" | "nobody";

const KILOBYTE = 1024;

/** Addresses are separated by `;` or `,`. */
function addressList(text: string): string[] {
  return text
    .split(/[;,]/)
    .map((address) => address.trim().replace(/^<(.*)>$/, "$1"))
    .filter((address) => address !== "");
}

/** All addresses that `values` name, whether they come into play or not. */
export function mentioned(values: RoutingValues): string[] {
  const { assistants, forwards, bigRedirect, smallRedirect } = values;
  return [assistants, forwards, bigRedirect.target, smallRedirect.target].flatMap(addressList);
}

/** `size` in bytes. */
export function decideRouting(
  values: RoutingValues,
  size: number,
  kind: (address: string) => TargetKind,
): RoutingDecision {
  const { sendToNormalRecipient } = values;
  const notes: string[] = [];
  if (!values.shouldForward) return { keep: sendToNormalRecipient, targets: [], notes };
  const targets = new Map<string, string>();
  const send = (addresses: readonly string[]) => {
    for (const address of addresses) {
      if (!targets.has(address.toLowerCase())) targets.set(address.toLowerCase(), address);
    }
  };
  const reachable = (text: string, what: string): string[] =>
    addressList(text).filter((address) => {
      if (kind(address) !== "nobody") return true;
      notes.push(`${what}: there is nobody at ${address}`);
      return false;
    });
  /** Somebody else has got the message in the user's place. */
  let taken = false;

  const assistants = reachable(values.assistants, "Assistants");
  const others = assistants.filter((address) => kind(address) !== "sender");
  send(others);
  if (others.length < assistants.length) notes.push("from an assistant");
  else if (values.redirectToAssistant && others.length > 0) taken = true;

  if (values.useForwards) send(reachable(values.forwards, "Forwards"));

  const redirects: readonly [name: string, redirect: Redirect][] = [
    ["BigRedirect", values.bigRedirect],
    ["SmallRedirect", values.smallRedirect],
  ];
  for (const [name, { target, threshold, copy, bigger }] of redirects) {
    const limit = threshold * KILOBYTE;
    if (bigger ? size <= limit : size >= limit) continue;
    const addresses = reachable(target, name);
    if (addresses.length === 0) continue;
    send(addresses);
    notes.push(name);
    if (copy) continue;
    taken = true;
    break;
  }
  return { keep: sendToNormalRecipient && !taken, targets: [...targets.values()], notes };
}
