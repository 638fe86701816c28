/** Order, dispatch and decisions, without a queue. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type CheckActions, UNCHANGED } from "../../src/queue/actions.ts";
import type { QueuedMessage } from "../../src/queue/client.ts";
import { combine, decide, foreign } from "../../src/queue/decide.ts";
import { Dispatcher, type Item } from "../../src/queue/dispatch.ts";
import { type Entry, NEW_ENTRY } from "../../src/queue/journal.ts";
import type { HopKind, NextHop } from "../../src/queue/next-hop.ts";
import { compareRanks, type Rank, RankedQueue } from "../../src/queue/order.ts";
import { failureIn, noteText } from "../../src/queue/outcome.ts";
import type { Place, ReleaseResult } from "../../src/queue/protocol.ts";
import { isDue, lastChance, nextTry, type RetryRules } from "../../src/queue/retry.ts";
import { shuffled } from "./yard.ts";

const rank = (priority: number, n = 0): Rank => ({
  priority,
  size: 0,
  seconds: n,
  microseconds: 0,
  id: `A${n}`,
});

test("a ranked queue gives what a stable sort gives, whatever is added meanwhile", () => {
  const queue = new RankedQueue<{ readonly rank: Rank }>();
  const numbers = shuffled(500);
  const items = numbers.map((n) => ({ rank: rank(n % 5, n) }));
  for (const item of items.slice(0, 400)) queue.add(item);
  const taken = Array.from({ length: 200 }, () => queue.take());
  for (const item of items.slice(400)) queue.add(item);
  for (let item = queue.take(); item !== undefined; item = queue.take()) taken.push(item);
  const sorted = (list: readonly { readonly rank: Rank }[]) =>
    [...list].sort((a, b) => compareRanks(a.rank, b.rank));
  const first = sorted(items.slice(0, 400)).slice(0, 200);
  const rest = items.filter((item) => !first.includes(item));
  assert.deepEqual(taken, [...first, ...sorted(rest)]);
  assert.equal(queue.size, 0);
});

test("priorities of any finite size have an order", () => {
  const values = [1e308, 100, 50.5, 50, 0, -0.5, -1e308];
  const ranks = values.map((priority, n) => rank(priority, n));
  assert.deepEqual([...ranks].reverse().sort(compareRanks), ranks);
});

/** A dispatcher whose deliveries end when the test says so. */
function harness(windows: Readonly<Record<string, number>>) {
  const released: string[] = [];
  const ends = new Map<string, (place: Place) => void>();
  const down: string[] = [];
  const verdicts = new Map<string, "down" | "up">();
  const dispatcher = new Dispatcher({
    release: async (id): Promise<ReleaseResult> => {
      released.push(id);
      return "taken";
    },
    left: (id) => new Promise((resolve) => ends.set(id, resolve)),
    windowOf: (destination) => windows[destination] ?? 1,
    onRelease: () => {},
    onRest: async ({ id }) => verdicts.get(id),
    onTrouble: (error) => {
      throw error;
    },
    onDown: (destination, items) => down.push(`${destination} ${items.map(({ id }) => id).join(" ")}`),
  });
  const turn = () => new Promise<void>((resolve) => setImmediate(resolve));
  const end = async (id: string, verdict: "down" | "up" = "up") => {
    await turn();
    verdicts.set(id, verdict);
    ends.get(id)?.({ id, queue: "gone", mtimeMs: 0 });
    await turn();
  };
  const add = (id: string, priority: number, ...destinations: string[]) => {
    const item: Item = { id, rank: { ...rank(priority), id }, destinations, last: false };
    dispatcher.add(item);
  };
  return { dispatcher, released, down, end, add, turn };
}

test("a window is never exceeded, and is filled in order", async () => {
  const { dispatcher, released, end, add, turn } = harness({ a: 2 });
  dispatcher.stand();
  for (const [i, priority] of [10, 40, 20, 50, 30].entries()) add(`m${i}`, priority, "a");
  assert.deepEqual(released, []);
  dispatcher.go();
  await turn();
  assert.deepEqual(released, ["m3", "m1"]);
  add("late", 100, "a");
  await turn();
  assert.equal(released.length, 2);
  await end("m1");
  assert.deepEqual(released.slice(2), ["late"]);
  dispatcher.remove("m4");
  await end("m3");
  await end("late");
  assert.deepEqual(released.slice(3), ["m2", "m0"]);
  await end("m2");
  await end("m0");
  assert.equal(dispatcher.size, 0);
  assert.equal(dispatcher.underWay, 0);
});

test("a message for two destinations waits for both, holds up neither, and goes in the end", async () => {
  const { released, end, add, turn } = harness({ a: 1, b: 1 });
  add("slow", 90, "b");
  await turn();
  add("both", 80, "a", "b");
  for (let i = 0; i < 4; i++) add(`a${i}`, 50 - i, "a");
  add("b1", 10, "b");
  await turn();
  assert.deepEqual(released, ["slow", "a0"]);
  await end("a0");
  assert.deepEqual(released, ["slow", "a0", "a1"]);
  // Now b has room, but a has none.
  await end("slow");
  assert.deepEqual(released.slice(3), ["b1"]);
  // Turned away twice, it goes though b is full.
  await end("a1");
  assert.deepEqual(released.slice(4), ["both"]);
  await end("both");
  assert.deepEqual(released.slice(5), ["a2"]);
});

test("a destination found down by a whole window gives back what waits; the others go on", async () => {
  const { dispatcher, released, down, end, add, turn } = harness({ a: 2, b: 1 });
  for (let i = 0; i < 6; i++) add(`a${i}`, 50 - i, "a");
  add("b0", 1, "b");
  await turn();
  await end("a0", "down");
  await end("a1", "down");
  assert.equal(down.length, 1);
  assert.match(down[0] ?? "", /^a a4 a5$/);
  assert.ok(released.includes("b0"));
  for (const id of ["a2", "a3", "b0"]) await end(id);
  assert.equal(dispatcher.size, 0);
});

const RULES: RetryRules = {
  minimalMs: 300_000,
  maximalMs: 4_000_000,
  lifetimeMs: 432_000_000,
  bounceLifetimeMs: 86_400_000,
  marginMs: 1_800_000,
};
const BORN = 1_700_000_000;
const at = (seconds: number) => (BORN + seconds) * 1_000;

test("back-off and end of life are Postfix's; a clock set back makes due, not stuck", () => {
  const mail = { createTime: BORN, sender: "a@b" };
  assert.equal(nextTry(mail, at(0), RULES), at(300));
  assert.equal(nextTry(mail, at(1_000), RULES), at(2_000));
  assert.equal(nextTry(mail, at(100_000), RULES), at(104_000));
  assert.equal(nextTry(mail, at(-5_000), RULES), at(-4_700));
  assert.equal(isDue(at(300), at(299), RULES), false);
  assert.equal(isDue(at(300), at(300), RULES), true);
  assert.equal(isDue(at(300), at(-100_000), RULES), true);
  assert.equal(lastChance(mail, RULES), at(432_000 - 1_800));
  assert.equal(lastChance({ ...mail, sender: "" }, RULES), at(86_400 - 1_800));
  assert.equal(lastChance(mail, { ...RULES, lifetimeMs: 4_000 }), at(3));
});

function message(...kinds: HopKind[]): QueuedMessage {
  const hops = kinds.map(
    (kind): NextHop => ({ kind, transport: "smtp", nexthop: kind, destination: `smtp:${kind}` }),
  );
  return { id: "A", queue: "deferred", createTime: BORN, sender: "a@b", hops } as unknown as QueuedMessage;
}

test("what is whose business", () => {
  assert.equal(foreign(message("mx")), undefined);
  assert.equal(foreign(message("local", "relay")), undefined);
  assert.equal(foreign(message("local")), "local");
  assert.equal(foreign(message("mx", "unknown")), "unknown");
  assert.equal(foreign({ ...message("mx"), queue: "hold" }), "held");
  assert.equal(foreign({ ...message("mx"), queue: "active" }), "moving");
});

test("decisions: schedule, skips, last tries, ends", () => {
  const entry = (changes: Partial<Entry>): Entry => ({ ...NEW_ENTRY, ...changes });
  const later = entry({ retries: 2, nextTryMs: at(900), lastReason: "450 busy" });
  const say = (actions: Partial<CheckActions>, known: Entry | undefined, seconds: number) =>
    decide(message("mx"), known, { ...UNCHANGED, ...actions }, RULES, at(seconds));
  const end = 432_000;
  assert.deepEqual(say({}, undefined, 1), { kind: "send", last: false });
  assert.deepEqual(say({}, later, 600), { kind: "wait", untilMs: at(900) });
  assert.deepEqual(say({ forceRetry: true }, later, 600), { kind: "send", last: false });
  assert.deepEqual(say({ forceLastTry: true }, later, 600), { kind: "send", last: true });
  assert.deepEqual(say({ skipSend: true, forceRetry: true }, later, 600), { kind: "skip" });
  assert.deepEqual(say({}, later, end), { kind: "send", last: true });
  assert.deepEqual(say({ skipSend: true, reason: "no" }, undefined, end), { kind: "refuse", words: "no" });
  assert.deepEqual(say({ skipSend: true, reason: "no" }, later, end), {
    kind: "refuse",
    words: "450 busy; then held back: no",
  });
  assert.deepEqual(say({ skipSend: true }, entry({ stage: "failed" }), 1), { kind: "expire" });
});

test("two routes: it goes when neither skips, at the lower priority", () => {
  const both = (a: Partial<CheckActions>, b: Partial<CheckActions>) =>
    combine([
      { ...UNCHANGED, ...a },
      { ...UNCHANGED, ...b },
    ]);
  assert.equal(both({ priority: 90 }, { priority: 20 }).priority, 20);
  assert.equal(both({ skipSend: true, reason: "x" }, { reason: "y" }).reason, "x; y");
  assert.equal(both({ skipSend: true }, { forceLastTry: true }).forceLastTry, false);
  assert.equal(both({ forceLastTry: true }, {}).forceLastTry, false);
  assert.equal(both({ forceLastTry: true }, { forceLastTry: true }).forceLastTry, true);
  assert.deepEqual(combine([]), UNCHANGED);
});

test("only a real try is a failure", () => {
  const entry = { recipient: "a@b", offset: 0, status: "4.0.0", diagnostic: "", server: "" };
  const log = (reason: string, server = "", lastTryMs = 5) => ({
    lastTryMs,
    entries: [{ ...entry, reason, server }],
  });
  assert.equal(failureIn(undefined, 0), undefined);
  assert.equal(failureIn(log("deferred transport"), 0), undefined);
  assert.equal(failureIn(log(noteText("too large")), 0), undefined);
  assert.equal(failureIn(log("450 busy"), 5), undefined);
  assert.deepEqual(failureIn(log("450 busy", "mx"), 4), {
    logMs: 5,
    reason: "450 busy",
    destinationDown: false,
  });
  assert.equal(failureIn(log("Connection refused"), 0)?.destinationDown, true);
});
