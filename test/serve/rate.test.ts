import assert from "node:assert/strict";
import { test } from "node:test";
import { Rate } from "../../src/serve/rate.ts";

test("growth per second over the last minute", () => {
  const rate = new Rate();
  assert.equal(rate.perSecond(5, 0), 0, "nothing is known before the first sample");
  rate.sample(0, 0);
  assert.equal(rate.perSecond(50, 10_000), 5);
  for (let at = 5_000; at <= 120_000; at += 5_000) rate.sample(at / 100, at);
  assert.equal(rate.perSecond(1_200, 120_000), 10);
  assert.equal(rate.perSecond(1_200, 180_000), 5, "standing still, it falls");
});
