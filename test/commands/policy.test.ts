/** What `postlua check` says about scripts that the configured doors cannot serve, and which doors there must be. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { unservedByDoors, unservedScript } from "../../src/commands/check-policy.ts";
import { ConfigError, parseConfig } from "../../src/config/load.ts";

const callbacks = new Set(["Start", "DoRoute", "DoMAILFROM", "DoDATAStart", "ProcessMessage", "DoQUIT"]);
const MILTER = '[milter]\nlisten = ["unix:/run/m"]\n';
const POLICY = '[policy]\nlisten = ["unix:/run/p"]\n';
const NO_MILTER = "[milter]\nlisten = []\n";

function said(text: string): string[] {
  const config = parseConfig(text, "x.toml");
  return unservedByDoors(config, { callbacks }).map((row) => row.join(": "));
}

test("with both doors there is nothing to say; DoRoute needs the policy service", () => {
  assert.deepEqual(said(MILTER + POLICY), []);
  assert.deepEqual(said(""), ["DoRoute: never called: [policy] listen has no address"]);
});

test("with the policy service alone each callback that lacks something is named", () => {
  const rows = said(NO_MILTER + POLICY);
  assert.deepEqual(
    rows.map((row) => row.split(":")[0]),
    ["ProcessMessage", "DoQUIT", "DoMAILFROM", "DoDATAStart"],
  );
  assert.match(rows[0] ?? "", /the policy service sees no content/);
  assert.match(rows[3] ?? "", /its header lines go nowhere/);
  const alone = parseConfig(NO_MILTER + POLICY, "x.toml");
  assert.match(unservedScript("ERRORS.LUA", alone) ?? "", /^never called: \[milter\]/);
  assert.match(unservedScript("USER_REDIRECT.LUA", alone) ?? "", /^called for messages with one recipient/);
  assert.equal(unservedScript("SMTPSVR.LUA", alone), undefined);
  assert.equal(unservedScript("ERRORS.LUA", parseConfig("", "x.toml")), undefined);
});

test("a service without any door is a wrong configuration, with file, line and key", () => {
  assert.throws(
    () => parseConfig(`log_level = "info"\n${NO_MILTER}`, "x.toml"),
    (error: unknown) =>
      error instanceof ConfigError &&
      error.message === "x.toml:3: milter.listen: needs at least one address, unless [policy] listen has one",
  );
});
