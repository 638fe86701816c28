/** In which order a real Postfix sends what the worker releases. */
import assert from "node:assert/strict";
import { session } from "../../src/queue/session.ts";
import { send } from "../queue/harness.ts";
import { QuickSink } from "../queue/quick-sink.ts";
import { mail, shuffled, yard } from "../queue/yard.ts";
import { postfixTest } from "./harness.ts";

const LONG = process.env.POSTLUA_LONG !== undefined;
const MANY = LONG ? 300 : 100;

/** By how many places the earliest came too early; both first to last. */
function mostEarly(came: readonly string[], wanted: readonly string[]): number {
  assert.deepEqual([...came].sort(), [...wanted].sort());
  const at = new Map(wanted.map((subject, i) => [subject, i]));
  return Math.max(...came.map((subject, i) => (at.get(subject) as number) - i));
}

const descending = (count: number) => Array.from({ length: count }, (_, i) => `${count - 1 - i}`);

postfixTest(`window 1: ${MANY} messages parked at random arrive exactly by priority`, async (context) => {
  const { park, staff, sink } = await yard(context, { settings: { window: 1 } });
  await park(shuffled(MANY).map((n) => mail(`${n}`, `r${n}@remote.test`, n)));
  const { worker } = await staff();
  await session(worker);
  assert.deepEqual(sink.subjects, descending(MANY));
});

for (const window of [5, 20]) {
  postfixTest(
    `window ${window}: none of ${MANY} messages comes more than ${window} places early`,
    async (context) => {
      const { park, staff, sink } = await yard(context, { settings: { window }, sink: { delayMs: 20 } });
      await park(shuffled(MANY).map((n) => mail(`${n}`, `r${n}@remote.test`, n)));
      const { worker } = await staff();
      await session(worker);
      const early = mostEarly(sink.subjects, descending(MANY));
      context.diagnostic(`${early} places`);
      assert.ok(early <= window, `${early} places early`);
    },
  );
}

postfixTest("equal priorities go in the base order: arrival, or size", async (context) => {
  for (const order of ["arrival", "size"] as const) {
    const { park, staff, sink } = await yard(context, { settings: { window: 1, order } });
    const sizes = [3_000, 500, 9_000, 100, 5_000, 700];
    await park(sizes.map((size, i) => mail(`${i}`, "r@remote.test", i >= 4 ? 60 : 50, size)));
    const { worker } = await staff();
    await session(worker);
    const wanted = order === "arrival" ? ["4", "5", "0", "1", "2", "3"] : ["5", "4", "3", "1", "0", "2"];
    assert.deepEqual(sink.subjects, wanted);
  }
});

postfixTest("a message of high priority that comes late overtakes all but the window", async (context) => {
  const window = 4;
  let open = () => {};
  const gate = new Promise<void>((resolve) => {
    open = resolve;
  });
  const { park, staff, sink, postfix } = await yard(context, {
    settings: { window },
    sink: { hold: () => gate, delayMs: 30 },
  });
  await park(Array.from({ length: 40 }, (_, i) => mail(`${i}`, `r${i}@remote.test`, 50)));
  const { worker, checker } = await staff();
  const running = session(worker);
  await sink.count(window);
  const ids = await send(postfix.port, [mail("late", "late@remote.test", 100)]);
  // Only once CheckFile knows of it do the others go on.
  while (!checker.asked.some(({ file }) => file.id === ids[0])) await new Promise(setImmediate);
  open();
  await running;
  const place = sink.subjects.indexOf("late");
  context.diagnostic(`place ${place}`);
  assert.ok(place >= window && place <= 2 * window, `place ${place}`);
  assert.equal(sink.mails.length, 41);
});

postfixTest(
  "a destination that is slow and one that is down hold up nobody; each has its order",
  async (context) => {
    let open = () => {};
    const gate = new Promise<void>((resolve) => {
      open = resolve;
    });
    const slow = await QuickSink.start({ hold: () => gate });
    context.after(() => slow.stop());
    const { park, staff, sink } = await yard(context, {
      settings: { window: 1 },
      mainCf: {
        transport_maps: `inline:{ { slow.test = smtp:[127.0.0.1]:${slow.port} }, { down.test = smtp:[127.0.0.1]:1 } }`,
      },
    });
    const domains = ["remote.test", "slow.test", "down.test"];
    await park(shuffled(60).map((n) => mail(`${n}`, `r@${domains[n % 3]}`, n)));
    const { worker } = await staff();
    const running = session(worker);
    await sink.count(20);
    assert.equal(slow.mails.length, 1);
    open();
    await running;
    const wanted = (rest: number) => descending(60).filter((subject) => Number(subject) % 3 === rest);
    assert.deepEqual(sink.subjects, wanted(0));
    assert.deepEqual(slow.subjects, wanted(1));
  },
);

postfixTest(
  "a message for several destinations goes once, and waits for nobody that is down",
  async (context) => {
    const other = await QuickSink.start();
    context.after(() => other.stop());
    const { park, staff, sink } = await yard(context, {
      settings: { window: 1 },
      mainCf: {
        transport_maps: `inline:{ { other.test = smtp:[127.0.0.1]:${other.port} }, { down.test = smtp:[127.0.0.1]:1 } }`,
      },
    });
    const both = Array.from({ length: 12 }, (_, i) => ({
      ...mail(`both ${i}`, "", 50 + i),
      to: ["<a@remote.test>", "<b@other.test>", ...(i % 4 === 0 ? ["<c@down.test>"] : [])],
    }));
    await park([
      ...both,
      ...shuffled(20).map((n) => mail(`one ${n}`, `r@${n % 2 ? "other" : "remote"}.test`, n + 45)),
    ]);
    const { worker } = await staff();
    await session(worker);
    for (const [at, count] of [
      [sink, 22],
      [other, 22],
    ] as const) {
      assert.equal(at.mails.length, count);
      assert.equal(new Set(at.subjects).size, count);
    }
  },
);
