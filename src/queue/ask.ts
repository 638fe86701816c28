/** CheckFile asked about many messages: in their order, some at a time, since scripts may wait for other servers. */
import type { CheckActions, Checker } from "./actions.ts";
import type { QueuedMessage } from "./client.ts";
import { combine, questions } from "./decide.ts";
import type { Entry } from "./journal.ts";

/** What holds for one message, all its routes asked. */
export async function askOne(
  checker: Checker,
  message: QueuedMessage,
  entry: Entry | undefined,
): Promise<CheckActions> {
  const answers: CheckActions[] = [];
  for (const question of questions(message, entry)) answers.push(await checker.check(question));
  return combine(answers);
}

/** Runs `work` on each item, begun in their order, at most `atOnce` at a time. Stops beginning when `signal` says so. */
export async function each<Item>(
  items: readonly Item[],
  atOnce: number,
  work: (item: Item) => Promise<void>,
  signal?: AbortSignal,
): Promise<void> {
  let next = 0;
  const lane = async () => {
    while (next < items.length && signal?.aborted !== true) await work(items[next++] as Item);
  };
  await Promise.all(Array.from({ length: Math.min(atOnce, items.length) }, lane));
}
