/** `postfix/setup.sh` in a checkout that borrows another one's modules: npm must not empty them. */
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

const SETUP = join(import.meta.dirname, "../../postfix/setup.sh");

test("linked node_modules are used and stay, however old they are", (t) => {
  const place = mkdtempSync(join(tmpdir(), "postlua-setup-"));
  t.after(() => rmSync(place, { recursive: true }));
  const [checkout, modules] = [join(place, "checkout"), join(place, "modules")];
  mkdirSync(join(checkout, "postfix"), { recursive: true });
  mkdirSync(join(modules, ".bin"), { recursive: true });
  copyFileSync(SETUP, join(checkout, "postfix/setup.sh"));
  // Nothing to fetch: this npm ci needs no network, and empties node_modules all the same.
  writeFileSync(join(checkout, "package.json"), '{"name":"none","version":"1.0.0"}');
  const lock = { name: "none", version: "1.0.0", lockfileVersion: 3, requires: true, packages: {} };
  writeFileSync(join(checkout, "package-lock.json"), JSON.stringify(lock));
  symlinkSync(process.execPath, join(modules, ".bin/node"));
  writeFileSync(join(modules, ".package-lock.json"), "{}");
  utimesSync(join(modules, ".package-lock.json"), 1, 1);
  symlinkSync(modules, join(checkout, "node_modules"));

  execFileSync("sh", [join(checkout, "postfix/setup.sh")], { stdio: "pipe" });
  assert.ok(existsSync(join(modules, ".package-lock.json")), "the other checkout's modules are there");

  rmSync(join(modules, ".bin/node"));
  const { status, stderr } = spawnSync("sh", [join(checkout, "postfix/setup.sh")], { encoding: "utf8" });
  assert.equal(status, 1);
  assert.match(stderr, /node_modules is a link to .*\/modules, where no modules are/);
});
