/** Workers that die, stop and hang under real mail. Full figures with POSTLUA_LONG. */
import assert from "node:assert/strict";
import { after } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { postfixTest } from "../postfix/harness.ts";
import { Field, LONG, repeat, SCRIPT, signal } from "./field.ts";
import { table } from "./ledger.ts";

after(() => process.stdout.write(`\n${table()}\n`));

postfixTest("no fault at all, for comparison", async () => {
  await using field = await Field.start();
  const load = field.load();
  await load.more(LONG ? 2_000 : 200);
  const found = await field.settle(load, "none", "");
  assert.equal(found.retried, 0);
});

postfixTest("kill -9 of a worker every 200 ms", async () => {
  await using field = await Field.start();
  const load = field.load({ perSession: 2 });
  let turn = 0;
  let kills = 0;
  await repeat(200, LONG ? 30_000 : 3_000, async () => {
    const workers = await field.workers();
    if (signal(workers[turn++ % Math.max(workers.length, 1)], "SIGKILL")) kills++;
  });
  await field.settle(load, "kill -9 of a worker every 200 ms", `${kills} kills`);
  assert.ok(kills > 3, `${kills} kills`);
});

postfixTest("all workers killed at once", async () => {
  await using field = await Field.start();
  const load = field.load({ perSession: 2 });
  const rounds = await repeat(700, LONG ? 20_000 : 2_500, async () => {
    for (const pid of await field.workers()) signal(pid, "SIGKILL");
  });
  await field.settle(load, "all workers killed at once", `${rounds} times`);
});

postfixTest("workers killed between hand-over and acknowledgement", async () => {
  await using field = await Field.start();
  const load = field.load();
  let handed = 0;
  const rounds = await repeat(200, LONG ? 20_000 : 2_500, async () => {
    const workers = await field.workers();
    // Stopped, a worker is handed connections and acknowledges none.
    for (const pid of workers) signal(pid, "SIGSTOP");
    await delay(60);
    handed += (await field.status()).pending_connections;
    for (const pid of workers) signal(pid, "SIGKILL");
  });
  await field.settle(load, "killed before acknowledging", `${rounds} times, ${handed} connections waiting`);
  assert.ok(handed > 0, "connections were on their way");
});

postfixTest("kill -9 of the primary, started again as systemd does", async () => {
  await using field = await Field.start();
  const { postlua } = field.served;
  const load = field.load({ perSession: 2 });
  const kills = await repeat(300, LONG ? 20_000 : 3_000, async () => {
    signal(postlua.pid, "SIGKILL");
    await postlua.exited;
    await postlua.start();
  });
  await field.settle(load, "kill -9 of the primary", `${kills} kills`);
});

postfixTest("SIGSTOP of a worker", async () => {
  await using field = await Field.start({ config: "[limits]\nwatchdog_ms = 1000" });
  const load = field.load();
  await load.more(20);
  const rounds = LONG ? 5 : 1;
  for (let n = 1; n <= rounds; n++) {
    const [pid] = await field.workers();
    signal(pid, "SIGSTOP");
    while (field.lines("worker died").length < n) await load.more(5);
  }
  await field.settle(load, "SIGSTOP of a worker", `${rounds} times, killed after 2 s`);
  assert.ok(field.lines("worker died").every(({ cause }) => cause === "silent"));
});

postfixTest("a worker stuck in JavaScript", async () => {
  const script = `
    function DoMAILFROM(data, sender)
      if sender == "spin@load.test" then Bad.Spin() end
    end
  `;
  await using field = await Field.start({
    script: SCRIPT + script,
    bad: true,
    config: "[limits]\nwatchdog_ms = 1000\nscript_deaths = 1000",
  });
  const load = field.load();
  await load.more(20);
  const rounds = LONG ? 5 : 1;
  for (let n = 1; n <= rounds; n++) {
    // Postfix answers for the worker that was killed.
    assert.match(await field.provoke("spin@load.test"), /^451 4\.7\.1 /);
  }
  await load.more(20);
  await field.settle(load, "stuck in JavaScript", `${rounds} times, killed after 1 s`);
  assert.equal(field.lines("worker stuck, killed").length, rounds);
});
