/** What goes wrong around the service: disks, sockets, peers, time-outs, restarts. Full figures with POSTLUA_LONG. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { lstatSync, rmSync, writeFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { dirname, join } from "node:path";
import { after } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { MilterClient } from "../../src/milter/client.ts";
import { postfixTest } from "../postfix/harness.ts";
import { Field, LONG, SCRIPT, signal } from "./field.ts";
import { table } from "./ledger.ts";

after(() => process.stdout.write(`\n${table()}\n`));

postfixTest("a full disk under LUA.OUT", async (t) => {
  await using field = await Field.start();
  const { postlua } = field.served;
  const log = join(dirname(postlua.configFile), "log");
  const mounted = spawnSync("mount", ["-t", "tmpfs", "-o", "size=64k", "tmpfs", log]);
  if (mounted.status !== 0) return t.skip(`NOT RUN: no tmpfs can be mounted here: ${mounted.stderr}`);
  try {
    writeFileSync(join(log, "ballast"), "x".repeat(64 * 1024));
  } catch {
    // It is full then.
  }
  try {
    const load = field.load();
    await load.more(LONG ? 1_000 : 100);
    const found = await field.settle(load, "disk full under LUA.OUT", "output lost, mail not");
    assert.equal(found.retried, 0);
    const problem = String(field.lines("output")[0]?.problem);
    assert.match(problem, /LUA\.OUT cannot be written \(ENOSPC.*script output is lost meanwhile/);
  } finally {
    spawnSync("umount", ["-l", log]);
  }
});

postfixTest("the socket file is deleted", async () => {
  await using field = await Field.start();
  const path = field.served.postlua.milter.slice("unix:".length);
  const load = field.load();
  const rounds = LONG ? 10 : 2;
  for (let n = 1; n <= rounds; n++) {
    await load.more(10);
    rmSync(path);
    while (field.lines("socket file was deleted; listening again").length < n) await delay(20);
  }
  await load.more(10);
  await field.settle(load, "socket file deleted", `${rounds} times`);
  assert.ok(lstatSync(path).isSocket());
});

postfixTest("thousands of idle milter connections", async () => {
  await using field = await Field.start();
  const { milter } = field.served.postlua;
  const count = LONG ? 2_000 : 400;
  const idle: MilterClient[] = [];
  try {
    while (idle.length < count) {
      const some = await Promise.all(Array.from({ length: 50 }, () => MilterClient.connect(milter)));
      for (const client of some) idle.push(client);
      await Promise.all(some.map((client) => client.negotiate()));
    }
    const load = field.load();
    await load.more(LONG ? 500 : 50);
    const { workers } = await field.status();
    const memory = workers.map(({ memory_mb }) => memory_mb);
    const found = await field.settle(
      load,
      "idle milter connections",
      `${count}; workers of ${memory.join(", ")} MB`,
    );
    assert.equal(found.retried, 0);
    // Workers report once a second.
    while ((await field.status()).sessions.open < count) await delay(50);
  } finally {
    for (const client of idle) client.destroy();
  }
});

postfixTest("peers that send a byte at a time, half a packet, or nothing at all", async () => {
  await using field = await Field.start();
  const path = field.served.postlua.milter.slice("unix:".length);
  const peers = Array.from({ length: LONG ? 300 : 60 }, () => connect(path));
  for (const peer of peers) peer.on("error", () => {});
  const packet = Buffer.from("\x00\x00\x00\x0dO\x00\x00\x00\x06\x00\x00\x01\xff\x00\x1f\xff\xff", "latin1");
  let sent = 0;
  const drip = setInterval(() => {
    for (const [n, peer] of peers.entries()) {
      // A third says nothing, a third stops half way, a third goes on byte by byte.
      if (n % 3 === 2 || (n % 3 === 1 && sent < 8))
        peer.write(packet.subarray(sent % packet.length, (sent % packet.length) + 1));
    }
    sent++;
  }, 20);
  try {
    const load = field.load();
    await load.more(LONG ? 500 : 80);
    const found = await field.settle(load, "slow milter peers", `${peers.length}`);
    assert.equal(found.retried, 0);
    assert.equal(field.lines("worker died").length, 0);
  } finally {
    clearInterval(drip);
    for (const peer of peers) peer.destroy();
  }
});

postfixTest("peers that break off wherever they like", async () => {
  await using field = await Field.start();
  const path = field.served.postlua.milter.slice("unix:".length);
  const packet = Buffer.from("\x00\x00\x00\x0dO\x00\x00\x00\x06\x00\x00\x01\xff\x00\x1f\xff\xff", "latin1");
  const breakers: Socket[] = [];
  let broken = 0;
  const timer = setInterval(() => {
    const peer = connect(path);
    peer.on("error", () => {});
    peer.on("connect", () => {
      peer.write(packet.subarray(0, broken % (packet.length + 1)));
      if (broken++ % 2 === 0) peer.end();
      else peer.destroy();
    });
    breakers.push(peer);
  }, 5);
  try {
    const load = field.load();
    await load.more(LONG ? 500 : 80);
    const found = await field.settle(load, "peers that break off", `${broken}`);
    assert.equal(found.retried, 0);
    assert.equal(field.lines("worker died").length, 0);
  } finally {
    clearInterval(timer);
    for (const peer of breakers) peer.destroy();
  }
});

postfixTest("Postfix's milter time-out passes while a worker stands still", async () => {
  await using field = await Field.start({
    mainCf: { milter_command_timeout: "1s", milter_content_timeout: "1s" },
  });
  const load = field.load();
  const rounds = LONG ? 5 : 1;
  for (let n = 0; n < rounds; n++) {
    await load.more(20);
    const [pid] = await field.workers();
    signal(pid, "SIGSTOP");
    await delay(2_500);
    signal(pid, "SIGCONT");
  }
  await load.more(20);
  await field.settle(load, "milter time-out", `a worker stopped for 2.5 s, ${rounds} times; time-out 1 s`);
  assert.equal(field.lines("worker died").length, 0);
});

postfixTest("a script that waits longer than Postfix would: PROGRESS keeps it waiting", async (t) => {
  if (!LONG) return t.skip("takes half a minute; run with POSTLUA_LONG");
  const script = `${SCRIPT}
    function DoMAILFROM(data, sender)
      if sender == "slow@load.test" then os.sleep(24000) end
    end
  `;
  await using field = await Field.start({ script, mainCf: { milter_command_timeout: "12s" } });
  const load = field.load();
  assert.equal(await field.provoke("slow@load.test"), "");
  const found = await field.settle(load, "callback of 24 s", "milter_command_timeout 12 s");
  assert.equal(found.retried, 0);
});

postfixTest("orderly stops and starts under load", async () => {
  await using field = await Field.start({ config: "[limits]\nstop_timeout_ms = 1000" });
  const { postlua } = field.served;
  const load = field.load({ perSession: 3 });
  const rounds = LONG ? 10 : 2;
  for (let n = 0; n < rounds; n++) {
    await load.more(15);
    assert.equal(await postlua.stop(), 0);
    await postlua.start();
  }
  await load.more(15);
  await field.settle(load, "stopped and started", `${rounds} times`);
  assert.equal(field.lines("worker died").length, 0);
});
