import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { CUTS } from "./feed.ts";
import { replay } from "./transcript.ts";

const FOLDER = join(import.meta.dirname, "sessions");

for (const file of readdirSync(FOLDER)) {
  const text = readFileSync(join(FOLDER, file), "latin1");
  const expected = text.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
  for (const [cutName, cut] of Object.entries(CUTS)) {
    for (const later of [false, true]) {
      const how = `${cutName}, handlers answer ${later ? "later" : "at once"}`;
      test(`${file.replace(/\.txt$/, "")} (${how})`, async () => {
        assert.deepEqual(await replay(text, cut, later), expected);
      });
    }
  }
}
