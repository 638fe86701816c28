/** What the running service says of itself: status, metrics, and the two commands. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { type Running, start, until } from "./service.ts";

const SCRIPT = `
function DoRCPTTO(data, recipient)
  if recipient == "loop@y.test" then while true do end end
  if recipient == "fail@y.test" then error("on purpose") end
end
function ProcessMessage(sender, subject, recipients, actions)
  actions.Delete, actions.Ignore = 1, subject == "bad" and 1 or nil
  return actions
end
`;
const CONFIG = "watch_scripts = false\n[limits]\ncpu_ms = 100\n";
const MAIN = join(import.meta.dirname, "../../src/main.ts");

async function message(running: Running, subject: string): Promise<void> {
  const client = await running.session();
  await client.rcpt("<x@y.test>");
  await client.header("Subject", ` ${subject}`);
  await client.endOfMessage();
  await client.quit();
}

function command(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  return new Promise((resolve) => {
    execFile(process.execPath, [MAIN, ...args], (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : Number(error.code), stdout, stderr });
    });
  });
}

test("status counts sessions, messages, verdicts and budgets, over all workers there have been", async (t) => {
  const running = await start(t, { script: SCRIPT, workers: 2, config: CONFIG });
  for (const subject of ["good", "bad", "good"]) await message(running, subject);
  assert.match(await running.rcpt("loop@y.test"), /^451 /);
  assert.match(await running.rcpt("fail@y.test"), /^451 /);
  const open = await running.session();
  const counted = () =>
    until(async () => {
      const status = await running.status();
      return status.messages.total === 3 && status.budgets_exceeded.length === 1 && status;
    });
  const status = await counted();
  assert.equal(status.sessions.total, 6);
  assert.deepEqual(status.messages.verdicts, { continue: 2, refuse: 1 });
  assert.deepEqual(status.budgets_exceeded, [
    { script: "SMTPSVR.LUA", callback: "DoRCPTTO", budget: "cpu", count: 1 },
  ]);
  await until(async () => (await running.status()).sessions.open === 1);
  open.destroy();
  const [script] = status.scripts;
  assert.equal(script?.state, "in service");
  assert.match(script?.version ?? "", /^[0-9a-f]{12}$/);
  assert.equal(script?.modified, statSync(running.service.scriptPath("SMTPSVR.LUA")).mtime.toISOString());
  assert.deepEqual(script?.callbacks, ["DoRCPTTO", "ProcessMessage"]);
  assert.equal(script?.last_error?.callback, "DoRCPTTO");
  assert.match(script?.last_error?.message ?? "", /on purpose/);
  assert.equal(script?.last_error?.line, 4);
  assert.ok(status.workers.every(({ memory_mb }) => memory_mb > 20));

  for (const pid of await running.workers()) process.kill(pid, "SIGKILL");
  await until(async () => (await running.status()).worker_deaths.signal === 2);
  assert.deepEqual((await counted()).messages.verdicts, { continue: 2, refuse: 1 });
});

test("the metrics are Prometheus' text, on the control socket and on a listener of their own", async (t) => {
  const port = await freePort();
  const config = `${CONFIG}[metrics]\nlisten = "inet:${port}@127.0.0.1"\n`;
  const running = await start(t, { script: SCRIPT, config });
  await message(running, "good");
  const text = await until(async () => {
    const metrics = await running.text("GET", "/metrics");
    return metrics.includes("postlua_messages_total{") && metrics;
  });
  assert.match(text, /^# TYPE postlua_callback_seconds histogram$/m);
  const labels = 'script="SMTPSVR.LUA",callback="ProcessMessage"';
  const count = (le: string) =>
    Number(
      new RegExp(`^postlua_callback_seconds_bucket\\{${labels},le="${le}"\\} (\\d+)$`, "m").exec(text)?.[1],
    );
  assert.equal(count("\\+Inf"), 1);
  assert.ok(count("0.0001") <= count("120"));
  assert.match(text, new RegExp(`^postlua_callback_seconds_count\\{${labels}\\} 1$`, "m"));
  assert.match(text, /^postlua_messages_total\{verdict="continue"\} 1$/m);
  assert.match(text, /^postlua_workers 1$/m);
  assert.match(text, /^postlua_connections_total 1$/m);
  assert.match(text, /^postlua_reloads_total\{outcome="loaded"\} 1$/m);

  const response = await fetch(`http://127.0.0.1:${port}/metrics`);
  assert.match(response.headers.get("content-type") ?? "", /^text\/plain; version=0\.0\.4/);
  assert.match(await response.text(), /^postlua_connections_total 1$/m);
  assert.equal(
    (await fetch(`http://127.0.0.1:${port}/status`)).status,
    404,
    "the listener offers nothing else",
  );
  assert.equal((await fetch(`http://127.0.0.1:${port}/reload`, { method: "POST" })).status, 404);
});

test("the control socket is closed to others, and answers nonsense with an error", async (t) => {
  const running = await start(t, { script: SCRIPT });
  assert.equal(statSync(running.service.control).mode & 0o777, 0o600);
  assert.equal(await running.text("GET", "/nothing"), "no GET /nothing here\n");
  assert.equal(await running.text("GET", "/reload"), "no GET /reload here\n");
});

test("a control socket that cannot be had stops nobody from serving mail", async (t) => {
  const running = await start(t, { script: SCRIPT, occupyControl: true });
  const { problem } = await running.line("no control");
  assert.match(String(problem), /exists and is not a socket/);
  assert.equal(await running.rcpt("x@y.test"), "continue");
});

test("postlua status and postlua reload, for people and for programs", async (t) => {
  const running = await start(t, { script: SCRIPT, config: CONFIG });
  const { configFile } = running.service;
  const status = await command("status", "--config", configFile);
  assert.equal(status.code, 0, status.stderr);
  assert.match(status.stdout, /^postlua \d+, running since /);
  assert.match(status.stdout, /^script SMTPSVR\.LUA: in service, version [0-9a-f]{12} of /m);
  const json = await command("status", "--config", configFile, "--json");
  assert.equal(JSON.parse(json.stdout).pid, running.service.pid);

  assert.match(
    (await command("reload", "--config", configFile)).stdout,
    /^SMTPSVR\.LUA unchanged; version /m,
  );
  writeFileSync(running.service.scriptPath("SMTPSVR.LUA"), "x = = 1\n");
  const refused = await command("reload", "--config", configFile);
  assert.equal(refused.code, 1);
  assert.match(refused.stdout, /^SMTPSVR\.LUA refused; version [0-9a-f]{12} stays\n {2}SMTPSVR\.LUA:1: /m);
});

test("without a service the commands say so", async () => {
  const directory = mkdtempSync(join(tmpdir(), "postlua-control-"));
  try {
    const config = join(directory, "postlua.toml");
    writeFileSync(config, `[control]\nsocket = "${join(directory, "control.sock")}"\n`);
    const { code, stderr } = await command("status", "--config", config);
    assert.equal(code, 1);
    assert.match(stderr, /control\.sock: nobody answers; is postlua running/);
  } finally {
    rmSync(directory, { recursive: true });
  }
});

function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const server = createServer().listen(0, "127.0.0.1", () => {
      const address = server.address();
      const port = typeof address === "object" && address !== null ? address.port : 0;
      server.close(() => resolve(port));
    });
  });
}
