import assert from "node:assert/strict";
import { test } from "node:test";
import { Deadline, Gate, Pacer } from "../../src/net/gate.ts";

const never = new AbortController().signal;

test("Gate - lets in as many as it says, the rest in order", async () => {
  const gate = new Gate(2);
  const order: number[] = [];
  const enter = (n: number) => gate.enter(never).then(() => order.push(n));
  await Promise.all([enter(1), enter(2)]);
  const third = enter(3);
  const fourth = enter(4);
  gate.leave();
  await third;
  gate.leave();
  await fourth;
  assert.deepEqual(order, [1, 2, 3, 4]);
});

test("Gate - a waiter that gives up takes no place", async () => {
  const gate = new Gate(1);
  await gate.enter(never);
  const gone = new AbortController();
  const impatient = gate.enter(gone.signal);
  const patient = gate.enter(never);
  gone.abort();
  assert.equal(await impatient, false);
  gate.leave();
  assert.equal(await patient, true);
  gate.leave();
  assert.equal(await gate.enter(never), true);
  assert.equal(await gate.enter(AbortSignal.abort()), false);
  assert.throws(() => new Gate(0), RangeError);
});

test("Pacer - spreads a burst over turns of the event loop", async () => {
  const pacer = new Pacer(3);
  let turn = 0;
  const perTurn: number[] = [];
  const count = () => {
    turn++;
    setImmediate(count).unref();
  };
  // Before the pacer's own, so that a turn is counted before it lets the next ones through.
  setImmediate(count).unref();
  const burst = Promise.all(
    Array.from({ length: 8 }, async () => {
      await pacer.turn();
      perTurn[turn] = (perTurn[turn] ?? 0) + 1;
    }),
  );
  await burst;
  assert.equal(
    perTurn.flat().reduce((sum, n) => sum + n, 0),
    8,
  );
  assert.ok(Math.max(...perTurn.flat()) <= 3, `${perTurn}`);
});

test("Deadline - ends by time, by its parent, and says which", async () => {
  using short = new Deadline(1);
  await new Promise((resolve) => short.signal.addEventListener("abort", resolve));
  assert.equal(short.timedOut, true);
  assert.equal(short.leftMs, 0);
  const parent = new AbortController();
  using long = new Deadline(60_000, parent.signal);
  assert.ok(long.leftMs > 1000);
  parent.abort();
  assert.deepEqual([long.signal.aborted, long.timedOut], [true, false]);
  using late = new Deadline(60_000, parent.signal);
  assert.equal(late.signal.aborted, true);
});
