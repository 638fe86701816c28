/** Workers that die, hang, stop or grow: who is killed, who is blamed, and that no connection is lost. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { test } from "node:test";
import { children, start, until } from "./service.ts";

const SCRIPT = `
function DoMAILFROM(data, sender)
  if sender == "spin@b.test" then Bad.Spin() end
  if sender == "heap@b.test" then Bad.FillHeap() end
  if sender == "memory@b.test" then Bad.FillMemory() end
  if sender == "crash@b.test" then Bad.Crash() end
end
function DoRCPTTO() return "550 5.7.1 alive" end
`;
const CLOSED = /closed the connection|ECONNRESET/;
const LIMITS =
  "watch_scripts = false\n[limits]\nwatchdog_ms = 800\nworker_memory_mb = 384\nscript_deaths = 3\n";

test("a worker stuck in JavaScript is named and replaced, and only its own sessions notice", async (t) => {
  const running = await start(t, { script: SCRIPT, bad: true, workers: 2, config: LIMITS });
  await until(async () => (await running.workers()).length === 2);
  const stuck = await running.client();
  await stuck.connect({ hostname: "c", family: "inet", address: "192.0.2.1", port: 1 });
  await stuck.helo("c");
  const broken = assert.rejects(stuck.mail("<spin@b.test>"), CLOSED);
  const killed = running.service.waitFor(({ event }) => event === "worker stuck, killed");
  const times: number[] = [];
  const load = async () => {
    while (running.lines("worker stuck, killed").length === 0) {
      const since = performance.now();
      assert.equal(await running.rcpt("x@y.test"), "550 5.7.1 alive");
      times.push(performance.now() - since);
    }
  };
  await Promise.all([load(), load(), load()]);
  await broken;
  const { script, callback, line, session } = await killed;
  assert.deepEqual([script, callback, line], ["SMTPSVR.LUA", "DoMAILFROM", 3]);
  assert.match(String(session), /^\w+-\w+$/);
  times.sort((a, b) => b - a);
  const [waited = 0, slowest = 0] = times;
  t.diagnostic(`${times.length} other sessions meanwhile, the slowest took ${slowest.toFixed(1)} ms`);
  t.diagnostic(`the one that had been handed to the stuck worker took ${waited.toFixed(1)} ms`);
  assert.ok(times.length > 10, `${times.length} answered`);
  assert.ok(slowest < 400, `one of the other sessions took ${slowest} ms`);
  const died = await running.line("worker died");
  assert.equal(died.cause, "stuck");
  assert.equal(died.callback, "DoMAILFROM");
  assert.equal(died.restart_in_ms, 0);
  await until(async () => (await running.workers()).length === 2);
  await until(() => running.service.errors().includes("callback=DoMAILFROM line=3 error=stopped"));
});

test("a script that kills its worker three times is switched off, loudly; a changed text switches it on", async (t) => {
  const running = await start(t, { script: SCRIPT, bad: true, workers: 1, config: LIMITS });
  for (let n = 1; n <= 3; n++) {
    await assert.rejects(running.rcpt("x@y.test", "<spin@b.test>"), CLOSED);
    await running.line("worker died", n);
    await until(async () => (await running.workers()).length === 1);
  }
  const off = await running.line("script switched off");
  assert.match(String(off.message), /SMTPSVR\.LUA is switched off: it killed 3 workers within 10 minutes/);
  assert.equal(await running.rcpt("x@y.test"), "451 4.3.0 Temporary mail policy problem, try again later");
  assert.equal((await running.status()).scripts[0]?.state, "switched off");
  assert.match(
    await running.text("GET", "/metrics"),
    /^postlua_script_switched_off\{script="SMTPSVR\.LUA"\} 1$/m,
  );
  await until(() => running.service.errors().includes("is switched off"));

  const same = await running.reload();
  assert.equal(same.scripts[0]?.switched_off, true, "the same text stays switched off");
  assert.match(await running.rcpt("x@y.test"), /^451 /);
  writeFileSync(running.service.scriptPath("SMTPSVR.LUA"), 'function DoRCPTTO() return "550 5.7.1 new" end');
  assert.equal((await running.reload()).scripts[0]?.outcome, "loaded");
  assert.equal(await running.rcpt("x@y.test"), "550 5.7.1 new");
  assert.equal((await running.status()).scripts[0]?.state, "in service");
});

test("heap overflow and memory outside the heap each end one worker, and are the script's doing", async (t) => {
  const config = LIMITS.replace("watchdog_ms = 800", "watchdog_ms = 20000").replace("_mb = 384", "_mb = 512");
  const running = await start(t, { script: SCRIPT, bad: true, workers: 1, config });
  for (const [n, sender] of ["<heap@b.test>", "<memory@b.test>"].entries()) {
    await assert.rejects(running.rcpt("x@y.test", sender), CLOSED);
    const died = await running.line("worker died", n + 1);
    assert.equal(died.cause, "memory", `${died.detail}`);
    assert.equal(died.callback, "DoMAILFROM");
    t.diagnostic(`${sender}: ${died.detail}`);
    await until(async () => (await running.workers()).length === 1);
    assert.equal(await running.rcpt("x@y.test"), "550 5.7.1 alive");
  }
});

test("a bug of ours or a kill from outside is held against no script", async (t) => {
  const running = await start(t, { script: SCRIPT, bad: true, workers: 1, config: LIMITS });
  for (let n = 1; n <= 4; n++) {
    const [pid = 0] = await running.workers();
    if (n === 1) await assert.rejects(running.rcpt("x@y.test", "<crash@b.test>"), CLOSED);
    else process.kill(pid, "SIGKILL");
    assert.equal((await running.line("worker died", n)).cause, n === 1 ? "exit" : "signal");
    await until(async () => (await running.workers()).length === 1);
  }
  assert.equal(await running.rcpt("x@y.test"), "550 5.7.1 alive");
  assert.equal(running.lines("script switched off").length, 0);
});

test("a stopped worker is killed by the primary; new connections hardly wait for it", async (t) => {
  const running = await start(t, { script: SCRIPT, bad: true, workers: 2, config: LIMITS });
  await until(async () => (await running.workers()).length === 2);
  const [pid = 0] = await running.workers();
  process.kill(pid, "SIGSTOP");
  const replies = await Promise.all(Array.from({ length: 40 }, () => running.rcpt("x@y.test")));
  assert.deepEqual(new Set(replies), new Set(["550 5.7.1 alive"]));
  const died = await running.line("worker died");
  assert.equal(died.worker, pid);
  assert.equal(died.cause, "silent");
  assert.equal(running.lines("script switched off").length, 0);
});

test("no connection is lost when workers die with them in their hands, even all of them", async (t) => {
  const config = LIMITS.replace("watchdog_ms = 800", "watchdog_ms = 20000");
  const running = await start(t, { script: SCRIPT, bad: true, workers: 2, config });
  await until(async () => (await running.workers()).length === 2);
  const workers = await running.workers();
  // Stopped, they acknowledge nothing; killed, they have read nothing.
  for (const pid of workers) process.kill(pid, "SIGSTOP");
  await until(() => workers.every(isStopped));
  const replies = Array.from({ length: 60 }, () => running.rcpt("x@y.test"));
  await until(async () => (await running.status()).pending_connections === 60);
  for (const pid of workers) process.kill(pid, "SIGKILL");
  for (const reply of await Promise.all(replies)) assert.equal(reply, "550 5.7.1 alive");
});

/** The signal has arrived: every thread of the process stands still. */
function isStopped(pid: number): boolean {
  return readdirSync(`/proc/${pid}/task`).every((thread) =>
    /\) [Tt] /.test(readFileSync(`/proc/${pid}/task/${thread}/stat`, "utf8")),
  );
}

test("connections that arrive while there is no worker wait for one", async (t) => {
  const running = await start(t, { script: SCRIPT, bad: true, workers: 1, config: LIMITS });
  for (let n = 1; n <= 3; n++) {
    const [pid = 0] = await running.workers();
    process.kill(pid, "SIGKILL");
    const replies = await Promise.all(Array.from({ length: 10 }, () => running.rcpt("x@y.test")));
    assert.deepEqual(new Set(replies), new Set(["550 5.7.1 alive"]));
    await running.line("worker died", n);
  }
});

test("workers end with their primary, whatever ends it", async (t) => {
  const running = await start(t, { script: SCRIPT, bad: true, workers: 2, config: LIMITS });
  const primary = running.service.pid ?? 0;
  const workers = children(primary);
  assert.ok(workers.length >= 2);
  process.kill(primary, "SIGKILL");
  assert.equal(await running.service.exited, null);
  await until(() => workers.every((pid) => !isAlive(pid)));
  await running.service.start();
  assert.equal(
    await running.rcpt("x@y.test"),
    "550 5.7.1 alive",
    "the socket file left behind is taken over",
  );
});

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
