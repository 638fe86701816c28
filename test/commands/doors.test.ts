/** `postlua check` and `postlua try` about block lists and EHLO keywords. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { missingDoors } from "../../src/commands/check-doors.ts";
import { ehloFacts } from "../../src/config/ehlo.ts";

const MAIN = join(import.meta.dirname, "../../src/main.ts");

/** Runs a command with this script, in a place of its own, and a DNS server that nobody runs. */
function postlua(context: TestContext, script: string, ...args: readonly string[]): string {
  const place = mkdtempSync(join(tmpdir(), "postlua-doors-"));
  context.after(() => rmSync(place, { recursive: true, force: true }));
  mkdirSync(join(place, "scripts"));
  writeFileSync(join(place, "scripts", "SMTPSVR.LUA"), script);
  const path = (name: string) => JSON.stringify(join(place, name));
  const config = join(place, "postlua.toml");
  writeFileSync(
    config,
    `scripts_dir = ${path("scripts")}\ndata_dir = ${path("")}\nlog_dir = ${path("")}\nsave_dir = ${path("")}
[postfix]\nconfig_dir = ${path("")}\n[dns]\nservers = ["127.0.0.1:9"]\ntimeout_ms = 100\n[rbl]\ntimeout_ms = 200\n`,
  );
  const message = join(place, "message");
  writeFileSync(message, "Subject: x\n\ny\n");
  const more = args[0] === "try" ? ["--message", message] : [];
  const { stdout } = spawnSync(process.execPath, [MAIN, ...args, "--config", config, ...more], {
    encoding: "utf8",
  });
  return stdout;
}

test("check - names misspelt globals, and callbacks that nothing leads to", (context) => {
  const out = postlua(
    context,
    `RBLRejectMesage = "550 no"
RBLResultInfo = {}
local RBLHeadr = 1
function RBLResults() end
function GetEHLOCapabilities(hostname, capabilities) end`,
    "check",
  );
  assert.match(
    out,
    /SMTPSVR\.LUA:1: warning: RBLRejectMesage means nothing here; is RBLRejectMessage meant\?/,
  );
  assert.match(out, /SMTPSVR\.LUA:2: warning: RBLResultInfo is read-only/);
  assert.doesNotMatch(out, /RBLHeadr/);
  assert.match(out, /SMTPSVR\.LUA:4: warning: RBLResults: never called: \[rbl\] servers/);
  assert.match(out, /SMTPSVR\.LUA:5: warning: GetEHLOCapabilities: never called: \[socketmap\] listen/);
});

test("missingDoors() - says how Postfix is told to ask, until it does", () => {
  const callbacks = new Set(["GetEHLOCapabilities"]);
  const says = (listen: string, table: string) => {
    const ehlo = ehloFacts(new Map([["smtpd_discard_ehlo_keyword_address_maps", table]]));
    const config = {
      rbl: { servers: ["a.test"] },
      socketmap: { listen: [listen] },
      facts: { problem: "", ehlo },
    };
    return missingDoors(config as never, { callbacks, mentions: () => false }).map(([, text]) => text);
  };
  const asked = (address: string) => [
    `never called: Postfix does not ask; postconf smtpd_discard_ehlo_keyword_address_maps=socketmap:${address}:ehlo`,
  ];
  assert.deepEqual(says("inet:9903@127.0.0.1", ""), asked("inet:127.0.0.1:9903"));
  assert.deepEqual(says("unix:/run/x.sock", "hash:/x"), asked("unix:/run/x.sock"));
  assert.deepEqual(says("unix:/run/x.sock", "socketmap:unix:/run/x.sock:ehlo"), []);
});

test("try - shows the keywords that are taken away, what the lists said, and RBLResults", (context) => {
  const out = postlua(
    context,
    `CheckRBL, RBLServers = true, { "a.test" }
function RBLResults() return "450 4.7.1 " .. tostring(RBLFound) end
function GetEHLOCapabilities(hostname, capabilities) return (string.gsub(capabilities, "ETRN\\n", "")) end`,
    "try",
    "--ip",
    "192.0.2.7",
  );
  assert.match(out, /GetEHLOCapabilities\("192\.0\.2\.7", "PIPELINING\\nSIZE /);
  assert.match(out, /^EHLO keywords not offered: ETRN/m);
  assert.match(out, /^ {2}RBLResults\(\)\n {4}returned "450 4\.7\.1 false"/m);
  assert.match(out, /^ {2}block lists: not listed \(no answer from a\.test\)$/m);
  assert.match(out, /^MAIL FROM:.*: refuse 450 4\.7\.1 false$/m);
});
