/**
 * The queue as the worker sees it, for `--dry-run` and the listing: who goes
 * in which order, who does not and why. Changes nothing.
 */
import { type CheckActions, type Checker, UNCHANGED } from "./actions.ts";
import { askOne, each } from "./ask.ts";
import type { QueuedMessage } from "./client.ts";
import { type Decision, decide, destinations, type Foreign, foreign } from "./decide.ts";
import type { Entry } from "./journal.ts";
import { compareRanks, type Rank, rankOf } from "./order.ts";
import type { RetryRules } from "./retry.ts";
import type { WorkerSettings } from "./settings.ts";

export interface Planned {
  readonly message: QueuedMessage;
  /** From 1 among those that go; undefined for the others. */
  readonly position: number | undefined;
  /** Why the worker leaves it alone; then `decision` is undefined. */
  readonly foreign: Foreign | undefined;
  readonly decision: Decision | undefined;
  readonly actions: CheckActions;
  /** What the journal knows: retries, last try, its reason, next try. */
  readonly entry: Entry | undefined;
  readonly destinations: readonly string[];
}

export interface PlanParts {
  readonly messages: Iterable<QueuedMessage>;
  /** undefined: what CheckFile said last, as the journal has it. */
  readonly checker: Checker | undefined;
  readonly entry: (message: QueuedMessage) => Entry | undefined;
  readonly settings: WorkerSettings;
  readonly rules: RetryRules;
  readonly now: number;
}

/** Those that go first, in their order; then those that wait, by time; then the others. */
export async function plan(parts: PlanParts): Promise<Planned[]> {
  const { settings, rules, now } = parts;
  const all = [...parts.messages]
    .map((message) => ({ message, rank: rankOf(message, 0, settings.order) }))
    .sort((a, b) => compareRanks(a.rank, b.rank));
  const rows: { readonly planned: Planned; readonly rank: Rank }[] = [];
  await each(all, settings.checks, async ({ message }) => {
    const entry = parts.entry(message);
    const alien = foreign(message);
    const actions = alien !== undefined ? UNCHANGED : await answer(parts.checker, message, entry);
    const decision = alien !== undefined ? undefined : decide(message, entry, actions, rules, now);
    const planned = { message, position: undefined, foreign: alien, decision, actions, entry };
    const rank = rankOf(message, actions.priority, settings.order);
    rows.push({ planned: { ...planned, destinations: destinations(message) }, rank });
  });
  rows.sort(
    (a, b) =>
      group(a.planned) - group(b.planned) ||
      until(a.planned) - until(b.planned) ||
      compareRanks(a.rank, b.rank),
  );
  return rows.map(({ planned }, i) => (group(planned) === 0 ? { ...planned, position: i + 1 } : planned));
}

async function answer(
  checker: Checker | undefined,
  message: QueuedMessage,
  entry: Entry | undefined,
): Promise<CheckActions> {
  if (checker !== undefined) return askOne(checker, message, entry);
  if (entry === undefined) return UNCHANGED;
  const { skipped, priority, reason } = entry;
  return { ...UNCHANGED, skipSend: skipped, priority, reason };
}

const GROUPS = ["send", "wait", "skip", "refuse", "expire"];

function group({ decision }: Planned): number {
  return decision === undefined ? GROUPS.length : GROUPS.indexOf(decision.kind);
}

function until({ decision }: Planned): number {
  return decision?.kind === "wait" ? decision.untilMs : 0;
}
