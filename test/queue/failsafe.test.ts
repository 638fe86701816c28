/** When the failsafe finds that the queue worker has not run: signs of life against plans and clocks. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { overdue } from "../../src/queue/failsafe.ts";

const MINUTE = 60_000;
const NOW = Date.UTC(2026, 10, 23, 12, 0);
const rules = { afterMs: 15 * MINUTE, next: (after: number) => after + 5 * MINUTE };
const ago = (minutes: number) => NOW - minutes * MINUTE;

test("nothing waits: nothing is overdue", () => {
  assert.equal(overdue(undefined, undefined, NOW, rules), undefined);
  assert.equal(overdue({ aliveMs: ago(9_000), plannedMs: ago(9_000) }, undefined, NOW, rules), undefined);
});

test("a planned session that did not happen, counted from its time", () => {
  const at = (aliveMinutes: number, plannedMinutes: number) =>
    overdue({ aliveMs: ago(aliveMinutes), plannedMs: ago(plannedMinutes) }, ago(60), NOW, rules);
  assert.equal(at(20, 15), undefined);
  assert.match(at(20, 15.1) ?? "", /last sign of life is of 2026-11-23T11:40:00\.000Z; a session was due/);
  // A session that takes long gives signs of life.
  assert.equal(at(1, 30), undefined);
  // A plan for next week is a plan.
  assert.equal(at(3_000, -3_000), undefined);
});

test("a worker that plans nothing is due by the schedule", () => {
  const at = (minutes: number) => overdue({ aliveMs: ago(minutes), plannedMs: 0 }, ago(60), NOW, rules);
  assert.equal(at(20), undefined);
  assert.match(at(20.1) ?? "", /a session was due 2026-11-23T11:44:54/);
});

test("no worker ever ran: from the arrival of the oldest message", () => {
  const at = (minutes: number) => overdue(undefined, ago(minutes), NOW, rules);
  assert.equal(at(20), undefined);
  assert.match(at(21) ?? "", /no queue worker has run; mail waits since 2026-11-23T11:39:00/);
});

test("a clock that was set back leaves a sign of life in the future, which nobody gives", () => {
  assert.equal(overdue({ aliveMs: ago(-14), plannedMs: 0 }, ago(60), NOW, rules), undefined);
  assert.match(overdue({ aliveMs: ago(-16), plannedMs: 0 }, ago(60), NOW, rules) ?? "", /which is to come/);
});
