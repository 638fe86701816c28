/**
 * What is to happen with one message now: the script's answer, the retry
 * schedule and the message's age put together. Pure, so that `--dry-run` and
 * the listing say what the worker would do.
 */
import type { CheckActions, CheckQuestion, Route } from "./actions.ts";
import { UNCHANGED } from "./actions.ts";
import type { QueuedMessage } from "./client.ts";
import type { Entry } from "./journal.ts";
import { isDue, lastChance, type RetryRules } from "./retry.ts";

export type Decision =
  /** Have it tried. `last`: when it comes back, it is bounced with the words of this try. */
  | { readonly kind: "send"; readonly last: boolean }
  | { readonly kind: "skip" }
  /** The retry schedule says not yet. */
  | { readonly kind: "wait"; readonly untilMs: number }
  /** Its last try failed: bounce it. */
  | { readonly kind: "expire" }
  /** It was skipped until its end: bounce it with these words. */
  | { readonly kind: "refuse"; readonly words: string };

/** Why the worker does not concern itself with a message; undefined when it does. */
export type Foreign = "held" | "moving" | "local" | "unknown" | "expired";

export function foreign(message: QueuedMessage): Foreign | undefined {
  if (message.queue === "hold") return "held";
  const hops = message.hops.filter((hop) => hop !== undefined);
  if (hops.some(({ kind }) => kind === "unknown")) return "unknown";
  if (!hops.some(({ kind }) => kind === "relay" || kind === "mx")) return "local";
  if (message.queue !== "deferred") return "moving";
  return undefined;
}

/** "transport:nexthop" of each destination that mail of ours goes to. */
export function destinations(message: QueuedMessage): string[] {
  const all = new Set<string>();
  for (const hop of message.hops) if (hop?.kind === "relay" || hop?.kind === "mx") all.add(hop.destination);
  return [...all];
}

/** What CheckFile is asked: once for each route that undelivered recipients are on. */
export function questions(message: QueuedMessage, entry: Entry | undefined): CheckQuestion[] {
  const byRoute = new Map<Route, string[]>();
  for (const [i, { address }] of message.recipients.entries()) {
    const kind = message.hops[i]?.kind;
    if (kind !== "relay" && kind !== "mx") continue;
    const list = byRoute.get(kind);
    if (list === undefined) byRoute.set(kind, [address]);
    else list.push(address);
  }
  const lastTryMs = entry?.lastTryMs ?? 0;
  const lastTry = lastTryMs === 0 ? undefined : new Date(lastTryMs);
  return [...byRoute].map(([route, recipients]) => ({
    route,
    file: message,
    path: message.path,
    recipients,
    retries: entry?.retries ?? 0,
    lastTry,
  }));
}

/** Several routes' answers as one: it goes when none skips, at the lowest Priority; the last try takes all of them. */
export function combine(answers: readonly CheckActions[]): CheckActions {
  const [first = UNCHANGED, ...others] = answers;
  if (others.length === 0) return first;
  const skipSend = answers.some((answer) => answer.skipSend);
  return {
    skipSend,
    forceRetry: answers.some(({ forceRetry }) => forceRetry),
    forceLastTry: !skipSend && answers.every(({ forceLastTry }) => forceLastTry),
    reason: [...new Set(answers.map(({ reason }) => reason).filter((reason) => reason !== ""))].join("; "),
    priority: Math.min(...answers.map(({ priority }) => priority)),
  };
}

export function decide(
  message: QueuedMessage,
  entry: Entry | undefined,
  actions: CheckActions,
  rules: RetryRules,
  now: number,
): Decision {
  if (entry?.stage === "failed" || entry?.stage === "expire") return { kind: "expire" };
  const atItsEnd = now >= lastChance(message, rules);
  if (actions.skipSend) {
    return atItsEnd ? { kind: "refuse", words: refusal(entry, actions.reason) } : { kind: "skip" };
  }
  if (actions.forceLastTry || atItsEnd) return { kind: "send", last: true };
  if (entry === undefined || actions.forceRetry || isDue(entry.nextTryMs, now, rules)) {
    return { kind: "send", last: false };
  }
  return { kind: "wait", untilMs: entry.nextTryMs };
}

function refusal(entry: Entry | undefined, reason: string): string {
  const why = reason === "" ? "held back by the mail server's rules" : reason;
  return entry === undefined || entry.retries === 0 ? why : `${entry.lastReason}; then held back: ${why}`;
}
