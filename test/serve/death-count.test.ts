import assert from "node:assert/strict";
import { test } from "node:test";
import { DeathCount } from "../../src/serve/death-count.ts";

const LIMIT = { deaths: 3, withinMs: 1_000 };

test("deaths count within the window only, and each version for itself", () => {
  const count = new DeathCount();
  assert.equal(count.add("a", LIMIT, 0), 1);
  assert.equal(count.add("a", LIMIT, 500), 2);
  assert.equal(count.add("b", LIMIT, 600), 1);
  assert.equal(count.add("a", LIMIT, 1_000), 2, "the first is out of the window");
  assert.equal(count.add("a", LIMIT, 1_400), 3);
});

test("a forgotten version starts again", () => {
  const count = new DeathCount();
  count.add("a", LIMIT, 0);
  count.forget("a");
  assert.equal(count.add("a", LIMIT, 1), 1);
});
