import assert from "node:assert/strict";
import { test } from "node:test";
import { Vital, VitalReader } from "../../src/serve/vital.ts";

function pair(): [Vital, VitalReader] {
  const vital = new Vital();
  return [vital, new VitalReader(vital.shared)];
}

test("the reader sees beats, and what runs while it runs", () => {
  const [vital, reader] = pair();
  assert.equal(reader.beats(), 0);
  vital.beat();
  assert.equal(reader.beats(), 1);
  assert.equal(reader.place(), undefined);
  vital.enter("s-1", "4QID", "SMTPSVR.LUA", "DoRCPTTO");
  vital.at(12);
  assert.deepEqual(reader.place(), {
    session: "s-1",
    queue: "4QID",
    script: "SMTPSVR.LUA",
    callback: "DoRCPTTO",
    line: 12,
  });
  vital.leave();
  assert.equal(reader.place(), undefined);
});

test("a shorter text leaves nothing of a longer one, and the line is the new callback's", () => {
  const [vital, reader] = pair();
  vital.enter("session-with-a-long-name", "QUEUE", "SMTPSVR.LUA", "ProcessMessage");
  vital.at(7);
  vital.leave();
  vital.enter("s", "", "SMTPSVR.LUA", "");
  assert.deepEqual(reader.place(), { session: "s", queue: "", script: "SMTPSVR.LUA", callback: "", line: 0 });
});

test("texts that are too long are cut; bytes above 127 stay", () => {
  const [vital, reader] = pair();
  vital.enter("\xe4".repeat(200), "", "", "");
  assert.equal(reader.place()?.session, "\xe4".repeat(95));
});
