/** When the failsafe finds that the queue worker has not run: signs of life against plans and clocks. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { duplexPair } from "node:stream";
import { after, test } from "node:test";
import { QueueClient } from "../../src/queue/client.ts";
import { overdue } from "../../src/queue/failsafe.ts";
import { readHeartbeat } from "../../src/queue/heartbeat.ts";
import { Journal } from "../../src/queue/journal.ts";
import { signOnlyWhileWell } from "../../src/queue/signs-of-life.ts";
import { keptLog } from "./harness.ts";

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

test("a worker that can neither read the queue nor send gives no sign of life", async () => {
  const directory = mkdtempSync(join(tmpdir(), "postlua-signs-"));
  after(() => rmSync(directory, { recursive: true }));
  let now = 1_000;
  const path = join(directory, "queue.db");
  const journal = new Journal({ path, log: keptLog(), now: () => now });
  const [near, far] = duplexPair();
  const queue = new QueueClient(near);
  let troubled = false;
  signOnlyWhileWell(journal, queue, () => troubled);
  const sign = () => {
    journal.alive(++now);
    return readHeartbeat(path).aliveMs === now;
  };
  assert.equal(sign(), true);
  troubled = true;
  assert.equal(sign(), false);
  troubled = false;
  assert.equal(sign(), true);
  const refresh = queue.refresh();
  far.destroy();
  await assert.rejects(refresh, /gone|closed|destroyed|Premature/);
  assert.equal(sign(), false);
  journal.close();
});
