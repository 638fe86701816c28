/** Scripts that do what no script should, for one sender among many. Full figures with POSTLUA_LONG. */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { after } from "node:test";
import { postfixTest } from "../postfix/harness.ts";
import { Field, LONG, SCRIPT } from "./field.ts";
import { table } from "./ledger.ts";

after(() => process.stdout.write(`\n${table()}\n`));

const ROUNDS = LONG ? 20 : 1;

/** The script of the load, and a DoMAILFROM that goes wrong for one sender. */
function harmful(body: string): string {
  return `${SCRIPT}
    function DoMAILFROM(data, sender)
      if sender == "harm@load.test" then ${body} end
    end
  `;
}

const BUDGET_CASES: [fault: string, body: string, budget: RegExp][] = [
  [
    "catastrophic pattern",
    `string.find(string.rep("a", 40), string.rep("a-", 12) .. "b")`,
    /^budget:(instructions|cpu)$/,
  ],
  ["endless loop in pcall", "while true do pcall(error) end", /^budget:(instructions|cpu)$/],
  [
    "memory bomb: one string",
    `local s = "x" while true do s = s .. s end`,
    /^(budget:(string|cpu)|memory:string)$/,
  ],
  [
    "memory bomb: tables",
    "local t = {} while true do t = { t } end",
    /^(budget:(instructions|cpu)|memory:memory)$/,
  ],
  [
    "memory bomb: many strings",
    `local t = {} for i = 1, 1e9 do t[i] = string.rep("x", 1e6) .. i end`,
    /^(budget:|memory:)/,
  ],
  ["print without end", `while true do print(string.rep("x", 1000)) end`, /^budget:output$/],
];

for (const [fault, body, budget] of BUDGET_CASES) {
  postfixTest(`${fault}: ends by its budget, and no worker dies`, async () => {
    await using field = await Field.start({ script: harmful(body), config: "[limits]\ncpu_ms = 500" });
    const load = field.load();
    await load.more(20);
    for (let n = 0; n < ROUNDS; n++) {
      assert.match(await field.provoke("harm@load.test"), /^451 4\.3\.0 Temporary mail policy problem/);
    }
    await load.more(20);
    const ended = field.lines("script error").map(({ kind }) => String(kind));
    assert.equal(ended.length, ROUNDS);
    for (const kind of ended) assert.match(kind, budget);
    const found = await field.settle(load, fault, `${ROUNDS} times, ended by ${ended[0]}`);
    assert.equal(found.retried, 0, "no other message noticed");
    assert.equal(field.lines("worker died").length, 0);
  });
}

postfixTest("memory outside the budgets' sight: the worker dies alone", async () => {
  await using field = await Field.start({
    script: harmful("Bad.FillMemory()"),
    bad: true,
    config: "[limits]\nworker_memory_mb = 400\nscript_deaths = 1000",
  });
  const load = field.load();
  await load.more(20);
  assert.match(await field.provoke("harm@load.test"), /^451 4\.7\.1 /);
  await load.more(20);
  await field.settle(load, "memory bomb in JavaScript", "killed at 400 MB");
  assert.deepEqual(
    field.lines("worker died").map(({ cause, callback }) => [cause, callback]),
    [["memory", "DoMAILFROM"]],
  );
});

postfixTest(
  "a script that kills workers is switched off: mail waits, none is let through unchecked",
  async () => {
    await using field = await Field.start({
      script: harmful("Bad.Spin()"),
      bad: true,
      config: "[limits]\nwatchdog_ms = 500\nscript_deaths = 2",
    });
    const load = field.load();
    await load.more(20);
    for (let n = 0; n < 2; n++) assert.match(await field.provoke("harm@load.test"), /^451 4\.7\.1 /);
    await field.served.postlua.waitFor(({ event }) => event === "script switched off");
    const path = field.served.postlua.scriptPath("SMTPSVR.LUA");
    writeFileSync(path, SCRIPT);
    await field.settle(load, "script switched off and on", "after 2 kills, on again by a new file");
    assert.equal((await field.status()).scripts[0]?.state, "in service");
  },
);

postfixTest("reloads under load: no connection is refused or dropped", async () => {
  await using field = await Field.start();
  const path = field.served.postlua.scriptPath("SMTPSVR.LUA");
  const load = field.load({ perSession: 3 });
  const reloads = LONG ? 100 : 15;
  const outcomes = new Map<string, number>();
  for (let n = 1; n <= reloads; n++) {
    writeFileSync(path, n % 5 === 4 ? `function broken_${n}(\n` : `${SCRIPT}-- version ${n}\n`);
    const { scripts } = await field.reload();
    const outcome = scripts[0]?.outcome ?? "";
    outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
    await load.more(LONG ? 20 : 5);
  }
  const found = await field.settle(
    load,
    "reloads under load",
    `${reloads} reloads, every fifth of a broken file`,
  );
  assert.equal(found.retried, 0);
  assert.equal(field.lines("worker died").length, 0);
  const broken = Math.floor((reloads + 1) / 5);
  // The watch on the directory may be quicker than the command; there is nothing left to load then.
  const unchanged = outcomes.get("unchanged") ?? 0;
  assert.equal((outcomes.get("loaded") ?? 0) + unchanged, reloads - broken);
  assert.equal(outcomes.get("refused"), broken);
  assert.ok(field.lines("script loaded").length >= reloads - broken);
});
