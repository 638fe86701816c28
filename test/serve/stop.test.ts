/** The orderly stop, and the socket files before and after it. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { existsSync, lstatSync, renameSync, rmSync } from "node:fs";
import { connect, createServer } from "node:net";
import { test } from "node:test";
import { Scratch } from "../../postfix/scratch.ts";
import { PostluaService } from "../../postfix/service.ts";
import { replyText, start, until } from "./service.ts";

const SCRIPT = `
function DoRCPTTO(data, recipient)
  if recipient == "slow@y.test" then os.sleep(60000) end
end
function ProcessMessage(sender, subject, recipients, actions)
  actions.Reason = "550 5.7.1 seen " .. subject
  actions.Delete, actions.Ignore = 1, 1
  return actions
end
`;

test("a message under way is finished, then the service ends; nobody is let in meanwhile", async (t) => {
  const running = await start(t, { script: SCRIPT, workers: 2 });
  const { service } = running;
  const idle = connect(service.milter.slice("unix:".length));
  await once(idle, "connect");
  idle.resume().on("error", () => {});
  const dropped = once(idle, "close");
  const sender = await running.session();
  await sender.rcpt("<x@y.test>");
  await sender.header("Subject", " one");
  const stopped = service.stop();
  await running.line("stopping");
  await dropped;
  await assert.rejects(running.client(), /ENOENT|ECONNREFUSED/);
  assert.equal(existsSync(service.milter.slice("unix:".length)), false, "the socket file is gone");
  await sender.body("text\r\n");
  assert.equal(replyText((await sender.endOfMessage()).reply), "550 5.7.1 seen one");
  assert.equal(await stopped, 0);
  assert.equal(running.lines("stopped").length, 1);
  assert.equal(running.lines("worker died").length, 0);
});

test("what is not finished in time is answered with tempfail", async (t) => {
  const running = await start(t, {
    script: SCRIPT,
    config: "[limits]\nstop_timeout_ms = 500\nwall_ms = 60000",
  });
  const client = await running.session();
  const reply = client.rcpt("<slow@y.test>");
  const code = await running.service.stop();
  assert.equal(replyText(await reply), "tempfail");
  assert.equal(code, 0);
});

test("a worker that does not stop is killed, and the service ends all the same", async (t) => {
  const running = await start(t, {
    script: SCRIPT,
    workers: 2,
    config: "[limits]\nstop_timeout_ms = 200\nwatchdog_ms = 60000",
  });
  await until(async () => (await running.workers()).length === 2);
  const [pid = 0] = await running.workers();
  process.kill(pid, "SIGSTOP");
  assert.equal(await running.service.stop(), 0);
  const died = await running.line("worker died");
  assert.deepEqual([died.worker, died.detail], [pid, "does not stop"]);
});

test("a deleted socket file comes back, with its mode", async (t) => {
  const running = await start(t, { script: SCRIPT });
  const path = running.service.milter.slice("unix:".length);
  const { mode } = lstatSync(path);
  rmSync(path);
  await running.line("socket file was deleted; listening again");
  assert.equal(lstatSync(path).mode, mode);
  assert.equal(await running.rcpt("x@y.test"), "continue");
});

test("another program's socket in our place is left alone, also at the end", async (t) => {
  const running = await start(t, { script: SCRIPT });
  const path = running.service.milter.slice("unix:".length);
  const other = createServer((socket) => socket.end("other\n")).listen(`${path}.other`);
  t.after(() => other.close());
  await until(() => existsSync(`${path}.other`));
  renameSync(`${path}.other`, path);
  await running.line("socket file was replaced by another");
  await running.service.stop();
  const said = await new Promise<string>((resolve, reject) => {
    connect(path)
      .on("data", (bytes) => resolve(bytes.toString()))
      .on("error", reject);
  });
  assert.equal(said, "other\n");
});

test("a stop before the service is ready is as orderly", async (t) => {
  const scratch = Scratch.create();
  const service = new PostluaService({
    scratch,
    configDirectory: scratch.path,
    scripts: { "SMTPSVR.LUA": SCRIPT },
    workers: 2,
    onLine: ({ event }) => {
      if (event === "listening") process.kill(service.pid ?? 0, "SIGTERM");
    },
  });
  t.after(() => scratch.remove());
  await assert.rejects(service.start(), /postlua ended at its start/);
  assert.equal(await service.exited, 0);
  assert.ok(service.lines.some(({ event }) => event === "stopped"));
});
