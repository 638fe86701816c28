/** The systemd unit fits the defaults of postlua.toml and the checkout, and systemd takes it where it is installed. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { CONFIG } from "../../src/config/schema.ts";

const CHECKOUT = join(import.meta.dirname, "../..");
const UNIT = readFileSync(join(CHECKOUT, "systemd/postlua.service"), "utf8");

function values(name: string): string[] {
  return [...UNIT.matchAll(new RegExp(`^${name}=(.*)$`, "gm"))].flatMap(([, value = ""]) => value.split(" "));
}

test("the unit makes the directories that the configuration names by default", () => {
  const config = CONFIG.parse({});
  const states = values("StateDirectory").map((name) => `/var/lib/${name}`);
  assert.ok(states.includes(config.data_dir));
  assert.ok(states.includes(config.save_dir));
  assert.deepEqual(values("LogsDirectory"), [config.log_dir.replace("/var/log/", "")]);
  assert.deepEqual(config.milter.listen, [`unix:/run/${values("RuntimeDirectory")[0]}/milter.sock`]);
  assert.ok(Number(values("TimeoutStopSec")[0]) * 1000 > config.limits.stop_timeout_ms);
});

test("what the unit runs is in the checkout", () => {
  const [node = "", main = "", command] = values("ExecStart");
  for (const path of [node, main]) assert.ok(existsSync(path.replace("/opt/postlua", CHECKOUT)), path);
  assert.equal(command, "serve");
});

const hasSystemd = spawnSync("systemd-analyze", ["--version"]).status === 0;
test("systemd-analyze verify finds nothing", { skip: hasSystemd ? false : "no systemd-analyze here" }, () => {
  const directory = mkdtempSync(join(tmpdir(), "postlua-unit-"));
  const unit = join(directory, "postlua.service");
  writeFileSync(unit, UNIT.replaceAll("/opt/postlua", CHECKOUT));
  const { status, stderr } = spawnSync("systemd-analyze", ["verify", unit], { encoding: "utf8" });
  rmSync(directory, { recursive: true });
  assert.equal(status, 0, stderr);
  assert.equal(stderr, "");
});
