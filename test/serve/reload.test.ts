/** Hot reload: what takes effect for whom, and what is refused. */
import assert from "node:assert/strict";
import { readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { test } from "node:test";
import { replyText, start, until } from "./service.ts";

const says = (word: string) => `function DoRCPTTO() return "550 5.7.1 ${word}" end\n`;

test("a changed file is in service for new sessions by itself; running ones finish on theirs", async (t) => {
  const running = await start(t, { script: says("one") });
  const before = await running.session();
  writeFileSync(running.service.scriptPath("SMTPSVR.LUA"), says("two"));
  await running.line("script loaded", 2);
  assert.equal(await running.rcpt("x@y.test"), "550 5.7.1 two");
  assert.equal(replyText(await before.rcpt("<x@y.test>")), "550 5.7.1 one");
});

test("a session keeps its script from the negotiation on, also when the new one needs other events", async (t) => {
  const running = await start(t, { script: says("one") });
  const client = await running.client();
  writeFileSync(
    running.service.scriptPath("SMTPSVR.LUA"),
    "function ProcessMessage(f, s, r, actions) actions.Delete = 1 actions.Ignore = 1 return actions end\n",
  );
  assert.equal((await running.reload()).scripts[0]?.outcome, "loaded");
  const peer = { hostname: "c", family: "inet", address: "192.0.2.9", port: 1 } as const;
  await client.connect(peer);
  await client.helo("c");
  await client.mail("<a@b.test>");
  assert.equal(replyText(await client.rcpt("<x@y.test>")), "550 5.7.1 one");
  const fresh = await running.session();
  assert.equal(replyText(await fresh.rcpt("<x@y.test>")), "continue");
  await fresh.header("Subject", " x");
  assert.match(replyText((await fresh.endOfMessage()).reply), /^554 5\.7\.1 /);
});

test("a broken file is refused with file and line, on every channel, and the last good version stays", async (t) => {
  const running = await start(t, { script: says("good"), config: "watch_scripts = false" });
  const { service } = running;
  writeFileSync(service.scriptPath("SMTPSVR.LUA"), `-- 1\n-- 2\nfunction DoRCPTTO( return end\n`);
  const { scripts } = await running.reload();
  assert.equal(scripts[0]?.outcome, "refused");
  assert.equal(scripts[0]?.line, 3);
  assert.match(scripts[0]?.problem ?? "", /^SMTPSVR\.LUA:3: /);
  const line = await running.line("script refused, its last good version stays");
  assert.equal(line.line, 3);
  assert.equal(await running.rcpt("x@y.test"), "550 5.7.1 good");
  const status = (await running.status()).scripts[0];
  assert.equal(status?.state, "in service");
  assert.match(status?.problem ?? "", /^SMTPSVR\.LUA:3: /);
  await until(() => service.errors().includes("line=3 error=syntax"));

  // A worker that starts now has never seen a good file on disk.
  const [pid = 0] = await running.workers();
  process.kill(pid, "SIGKILL");
  await until(async () => (await running.workers()).some((other) => other !== pid));
  assert.equal(await running.rcpt("x@y.test"), "550 5.7.1 good");
});

test("a file whose top level fails, or never ends, is refused as well", async (t) => {
  const running = await start(t, {
    script: says("good"),
    config: "watch_scripts = false\n[limits]\ncpu_ms = 200",
  });
  const cases = [
    ["x = nil\nx.y = 1\n", "runtime"],
    ["while true do end\n", "budget"],
  ] as const;
  for (const [n, [text, kind]] of cases.entries()) {
    writeFileSync(running.service.scriptPath("SMTPSVR.LUA"), text);
    assert.equal((await running.reload()).scripts[0]?.outcome, "refused");
    assert.equal((await running.line("script refused, its last good version stays", n + 1)).kind, kind);
  }
  assert.equal(await running.rcpt("x@y.test"), "550 5.7.1 good");
});

test("a candidate that kills the process it is tried in harms no session", async (t) => {
  const running = await start(t, {
    script: says("good"),
    bad: true,
    config: "watch_scripts = false\n[limits]\nwatchdog_ms = 400",
  });
  const workers = await running.workers();
  writeFileSync(running.service.scriptPath("SMTPSVR.LUA"), "-- 1\nBad.Spin()\n");
  const { scripts } = await running.reload();
  assert.equal(scripts[0]?.outcome, "refused");
  assert.match(
    scripts[0]?.problem ?? "",
    /the process that tried it out died: the event loop has not turned/,
  );
  assert.equal(scripts[0]?.line, 2);
  assert.deepEqual(await running.workers(), workers);
  assert.equal(await running.rcpt("x@y.test"), "550 5.7.1 good");
});

test("a file that is gone changes nothing until a reload is asked for", async (t) => {
  const running = await start(t, { script: says("good") });
  const path = running.service.scriptPath("SMTPSVR.LUA");
  renameSync(path, `${path}.away`);
  await running.line("script file is gone, its last version stays until a reload is asked for");
  assert.equal(await running.rcpt("x@y.test"), "550 5.7.1 good");
  assert.equal((await running.reload()).scripts[0]?.outcome, "removed");
  assert.equal(await running.rcpt("x@y.test"), "continue");
  assert.equal((await running.status()).scripts[0]?.state, "absent");
});

test("without a good version at the first start the verdict is script_error, until a good one comes", async (t) => {
  const running = await start(t, { script: "function (" });
  assert.equal(running.lines("script not loaded").length, 1);
  assert.equal((await running.status()).scripts[0]?.state, "broken");
  assert.equal(await running.rcpt("x@y.test"), "451 4.3.0 Temporary mail policy problem, try again later");
  writeFileSync(running.service.scriptPath("SMTPSVR.LUA"), says("good"));
  await running.line("script loaded");
  assert.equal(await running.rcpt("x@y.test"), "550 5.7.1 good");
});

test("SIGHUP reads configuration and scripts; what needs a restart is named", async (t) => {
  const running = await start(t, { script: "function DoRCPTTO() error('x') end" });
  const { service } = running;
  assert.match(await running.rcpt("x@y.test"), /^451 /);
  const before = await running.session();
  const text = readFileSync(service.configFile, "utf8");
  const changed = `script_error = "reject"\n${text}\n[limits]\nwatchdog_ms = 7777\n`;
  writeFileSync(service.configFile, changed);
  process.kill(service.pid ?? 0, "SIGHUP");
  assert.equal((await running.line("configuration applied")).parameters, "script_error");
  assert.equal((await running.line("configuration needs a restart")).parameters, "limits.watchdog_ms");
  await running.line("script unchanged");
  assert.equal(await running.rcpt("x@y.test"), "554 5.3.0 Message refused: mail policy failed");
  assert.match(
    replyText(await before.rcpt("<x@y.test>")),
    /^451 /,
    "a running session keeps what it began with",
  );
  assert.deepEqual((await running.status()).config.restart_needed, ["limits.watchdog_ms"]);

  writeFileSync(service.configFile, `${changed}nonsense = 1\n`);
  const { config } = await running.reload();
  assert.equal(config.outcome, "refused");
  assert.match(config.problems[0] ?? "", /postlua\.toml:\d+: limits\.nonsense: unknown key/);
  assert.match(await running.rcpt("x@y.test"), /^554 /);
  rmSync(service.configFile);
  assert.match((await running.reload()).config.problems[0] ?? "", /cannot be read \(ENOENT\)/);
});
