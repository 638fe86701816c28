/** Every case of test/lua50 prints what real Lua 5.0 printed, byte for byte. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { AMPLE, makeEngine, run } from "./helper.ts";

const directory = join(import.meta.dirname, "../lua50");
const engine = makeEngine({ dialect: "5.0" });

for (const file of readdirSync(directory)) {
  if (!file.endsWith(".lua")) continue;
  const name = file.slice(0, -4);
  test(name, async () => {
    const expected = readFileSync(join(directory, `${name}.out`), "latin1");
    assert.equal(await run(engine, readFileSync(join(directory, file)), AMPLE, file), expected);
  });
}
