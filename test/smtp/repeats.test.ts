import assert from "node:assert/strict";
import { test } from "node:test";
import { Repeats } from "../../src/smtp/repeats.ts";

test("a key is a repeat within the time, counted from when it was last sent", () => {
  let now = 1000;
  const repeats = new Repeats(100, () => now);
  assert.equal(repeats.has("a"), false);
  repeats.add("a");
  assert.equal(repeats.has("a"), true);
  assert.equal(repeats.has("b"), false);
  now += 99;
  assert.equal(repeats.has("a"), true);
  repeats.add("a");
  now += 99;
  assert.equal(repeats.has("a"), true);
  now += 1;
  assert.equal(repeats.has("a"), false);
});

test("without a time nothing is a repeat", () => {
  const repeats = new Repeats(0, () => 0);
  repeats.add("a");
  assert.equal(repeats.active, false);
  assert.equal(repeats.has("a"), false);
});

test("of too many keys the oldest are forgotten", () => {
  const repeats = new Repeats(100, () => 0);
  for (let n = 0; n < 10_001; n++) {
    repeats.add("kept");
    repeats.add(String(n));
  }
  assert.equal(repeats.has("0"), false);
  assert.equal(repeats.has("1"), false);
  assert.equal(repeats.has("2"), true);
  assert.equal(repeats.has("kept"), true);
});
