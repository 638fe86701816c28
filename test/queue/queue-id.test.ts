/** Which strings are queue IDs, and where their files lie. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { PostfixError, timeValue } from "../../src/queue/postfix.ts";
import { isQueueId, isReusedId, placesInQueue } from "../../src/queue/queue-id.ts";

test("what Postfix calls a message by is an ID, and nothing else", () => {
  for (const id of ["8ABCDEF01", "0339E20C397", "4jXl8B0YspzJ9QD", "4jXbgC4KgkzJmqs"])
    assert.ok(isQueueId(id), id);
  const wrong = [
    "",
    "ALL",
    "-",
    "-f",
    "8abcdef01",
    "8ABCDEF01 ",
    " 8ABCDEF01",
    "8ABCDEF01\n",
    "../8ABCDEF01",
    "8/8ABCDEF01",
  ];
  const odd = [
    "8ABCD",
    "ABCDEFG01",
    "4jXl8B0YspJ9QD",
    "4jXl8B0Yszz",
    "4jXl8B0YspzJ9z",
    "4jal8B0YspzJ9QD",
    "8ABCDEF01\0",
  ];
  for (const id of [...wrong, ...odd, "A".repeat(41), 8, null, undefined, ["8ABCDEF01"]])
    assert.ok(!isQueueId(id), String(id));
});

test("short IDs are given again, long ones never", () => {
  assert.ok(isReusedId("8ABCDEF01"));
  assert.ok(!isReusedId("4jXl8B0YspzJ9QD"));
});

test("a hashed queue keeps long IDs by their microseconds in hex", () => {
  // As a real Postfix 3.7 placed them.
  assert.equal(placesInQueue("4jXl8B0YspzJ9QD")[0], "1/4jXl8B0YspzJ9QD");
  assert.equal(placesInQueue("4jXbgC4KgkzJmqs")[0], "9/4jXbgC4KgkzJmqs");
  assert.deepEqual(placesInQueue("0339E20C397").slice(0, 3), [
    "0/0339E20C397",
    "0339E20C397",
    "0/3/0339E20C397",
  ]);
});

test("times of main.cf", () => {
  assert.equal(timeValue("x", "300s", "s"), 300);
  assert.equal(timeValue("x", "5", "d"), 432_000);
  assert.equal(timeValue("x", "1h30m", "s"), 5_400);
  assert.equal(timeValue("x", "2W", "s"), 1_209_600);
  assert.equal(timeValue("x", "0", "h"), 0);
  for (const text of ["", "5y", "-1", "1.5h", "5 d"])
    assert.throws(() => timeValue("x", text, "s"), PostfixError);
});
