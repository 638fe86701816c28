import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { WatchedFile } from "../../src/net/watched-file.ts";

test("WatchedFile - follows changes, replacement and removal; looks no oftener than told", async () => {
  const directory = await mkdtemp(join(tmpdir(), "postlua-watched-"));
  const path = join(directory, "file");
  let parsed = 0;
  const parse = (text: string) => {
    parsed++;
    return text.trim();
  };
  try {
    const eager = new WatchedFile(path, parse, 0);
    const calm = new WatchedFile(path, (text) => text.trim(), 3_600_000);
    assert.equal(await eager.get(), "");
    await writeFile(path, "one");
    assert.equal(await eager.get(), "one");
    assert.equal(await calm.get(), "one");
    const before = parsed;
    assert.equal(await eager.get(), "one");
    assert.equal(parsed, before);
    await writeFile(path, "three");
    assert.deepEqual(await Promise.all([eager.get(), eager.get()]), ["three", "three"]);
    assert.equal(await calm.get(), "one");
    await rm(path);
    assert.equal(await eager.get(), "");
  } finally {
    await rm(directory, { recursive: true });
  }
});
