/** systemd's words, received on a real datagram socket. Node cannot open one, so a small Python program listens. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { type TestContext, test } from "node:test";
import type { Log } from "../../src/log.ts";
import { Notifier } from "../../src/serve/notify.ts";
import { start, until } from "./service.ts";

const RECEIVER = `
import os, socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1])
print("bound", flush=True)
while True:
    # Descriptors that come along (systemd-notify's barrier) are closed by not being received.
    print(s.recv(65536).decode().strip().replace("\\n", " "), flush=True)
`;

const missing = ["python3", "systemd-notify"].filter(
  (program) => spawnSync(program, ["--version"]).status !== 0,
);
const skip = missing.length === 0 ? false : `not here: ${missing.join(", ")}`;

interface Receiver {
  readonly socket: string;
  readonly heard: string[];
  /** Resolves when a message that `pattern` matches has come. */
  hear(pattern: RegExp): Promise<string>;
}

async function receiver(context: TestContext): Promise<Receiver> {
  const directory = mkdtempSync(join(tmpdir(), "notify-"));
  const socket = join(directory, "notify.sock");
  const child: ChildProcess = spawn("python3", ["-c", RECEIVER, socket], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  context.after(() => {
    child.kill();
    rmSync(directory, { recursive: true });
  });
  const lines = createInterface({ input: child.stdout as NodeJS.ReadableStream });
  const heard: string[] = [];
  await once(lines, "line");
  lines.on("line", (line) => {
    // systemd-notify's own, to wait until it has been heard.
    if (line !== "BARRIER=1") heard.push(line);
  });
  const hear = async (pattern: RegExp): Promise<string> => {
    for (;;) {
      const found = heard.find((line) => pattern.test(line));
      if (found !== undefined) return found;
      await once(lines, "line", { signal: AbortSignal.timeout(20_000) });
    }
  };
  return { socket, heard, hear };
}

function log(): { log: Log; problems: string[] } {
  const problems: string[] = [];
  const quiet = () => {};
  return {
    log: { error: (event) => problems.push(event), warn: quiet, info: quiet, debug: quiet },
    problems,
  };
}

test("READY, RELOADING with its time, STOPPING, in order and with our process ID", { skip }, async (t) => {
  const systemd = await receiver(t);
  const { log: quiet, problems } = log();
  const notifier = new Notifier(quiet, { ...process.env, NOTIFY_SOCKET: systemd.socket });
  await notifier.ready("2 workers");
  await notifier.reloading();
  await notifier.stopping();
  await systemd.hear(/STOPPING=1/);
  assert.equal(systemd.heard.length, 3, systemd.heard.join("\n"));
  const [ready = "", reloading = "", stopping = ""] = systemd.heard;
  assert.match(ready, /\bREADY=1\b/);
  assert.match(ready, /STATUS=2 workers/);
  assert.match(ready, new RegExp(`MAINPID=${process.pid}\\b`));
  assert.match(reloading, /\bRELOADING=1\b/);
  const [, microseconds] = /MONOTONIC_USEC=(\d+)/.exec(reloading) ?? [];
  assert.ok(Math.abs(Number(microseconds) / 1e6 - performance.now() / 1000 - bootOffset()) < 60);
  assert.match(stopping, /\bSTOPPING=1\b/);
  assert.deepEqual(problems, []);
});

test("the watchdog is fed several times within its time, once ready", { skip }, async (t) => {
  const systemd = await receiver(t);
  const environment = {
    NOTIFY_SOCKET: systemd.socket,
    WATCHDOG_USEC: "600000",
    WATCHDOG_PID: `${process.pid}`,
  };
  const notifier = new Notifier(log().log, environment);
  t.after(() => notifier.close());
  await notifier.ready("");
  await systemd.hear(/WATCHDOG=1/);
});

test("a watchdog meant for another process is not fed", { skip }, async (t) => {
  const systemd = await receiver(t);
  const environment = {
    ...process.env,
    NOTIFY_SOCKET: systemd.socket,
    WATCHDOG_USEC: "3000",
    WATCHDOG_PID: "1",
  };
  const notifier = new Notifier(log().log, environment);
  t.after(() => notifier.close());
  await notifier.ready("");
  await notifier.stopping();
  await systemd.hear(/STOPPING=1/);
  assert.ok(!systemd.heard.some((line) => line.includes("WATCHDOG=1")));
});

test("the service itself: READY when it serves, RELOADING and READY at SIGHUP and at a command, STOPPING", {
  skip,
}, async (t) => {
  const systemd = await receiver(t);
  const running = await start(t, { script: "x = 1", env: { NOTIFY_SOCKET: systemd.socket } });
  await systemd.hear(/READY=1/);
  process.kill(running.service.pid ?? 0, "SIGHUP");
  await systemd.hear(/RELOADING=1/);
  await until(() => systemd.heard.length >= 3);
  await running.reload();
  await until(() => systemd.heard.length >= 5);
  await running.service.stop();
  await systemd.hear(/STOPPING=1/);
  const words = systemd.heard.map((line) => /[A-Z]+=1\b/.exec(line)?.[0]);
  assert.deepEqual(words, ["READY=1", "RELOADING=1", "READY=1", "RELOADING=1", "READY=1", "STOPPING=1"]);
});

test("nothing happens without systemd, and a systemd that cannot be told is reported once", async () => {
  const { log: quiet, problems } = log();
  await new Notifier(quiet, {}).ready("");
  assert.deepEqual(problems, []);
  const notifier = new Notifier(quiet, { ...process.env, NOTIFY_SOCKET: "/nonexistent/notify.sock" });
  await notifier.ready("");
  await notifier.stopping();
  assert.deepEqual(problems, ["systemd cannot be told"]);
});

/** Seconds between the machine's monotonic clock and this process's. */
function bootOffset(): number {
  return Number(process.hrtime.bigint()) / 1e9 - performance.now() / 1000;
}
