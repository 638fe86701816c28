import assert from "node:assert/strict";
import { test } from "node:test";
import { Backoff } from "../../src/serve/backoff.ts";

test("the first replacement comes at once, further ones later and later, up to a limit", () => {
  const backoff = new Backoff();
  const delays = Array.from({ length: 10 }, () => backoff.died(50, false));
  assert.deepEqual(delays, [0, 100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000]);
});

test("workers that had served are missed sooner", () => {
  const backoff = new Backoff();
  const delays = Array.from({ length: 7 }, () => backoff.died(50, true));
  assert.deepEqual(delays, [0, 100, 200, 400, 400, 400, 400]);
});

test("a worker that lived long starts the count anew", () => {
  const backoff = new Backoff();
  for (let n = 0; n < 5; n++) backoff.died(50, true);
  assert.equal(backoff.died(10_000, true), 0);
  assert.equal(backoff.died(50, true), 100);
});
