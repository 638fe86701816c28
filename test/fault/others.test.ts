/**
 * What the sessions of other workers notice of a fault in one: a load that leaves the machine time to spare, so that
 * what is slow is slow for the fault. The first row, without any fault, is what to compare with. Full figures with
 * POSTLUA_LONG.
 */
import assert from "node:assert/strict";
import { after } from "node:test";
import { postfixTest } from "../postfix/harness.ts";
import { Field, LONG, SCRIPT, signal } from "./field.ts";
import { timesOfOthers } from "./ledger.ts";

const ROUNDS = LONG ? 10 : 1;
/** Far above what is seen on a quiet machine (the table): a session that waits for the hurt worker takes longer. */
const GROSS_MS = 900;

const HARM = `${SCRIPT}
  function DoMAILFROM(data, sender)
    if sender == "spin@load.test" then Bad.Spin() end
    if sender == "memory@load.test" then Bad.FillMemory() end
    if sender == "pattern@load.test" then string.find(string.rep("a", 40), string.rep("a-", 12) .. "b") end
  end
`;
const CONFIG = "[limits]\nwatchdog_ms = 1000\nworker_memory_mb = 400\nscript_deaths = 1000\ncpu_ms = 500";

/** Does its harm once; resolves when it is over. */
type Fault = (field: Field, round: number) => Promise<unknown>;

const FAULTS: readonly (readonly [name: string, fault: Fault])[] = [
  ["none", async () => {}],
  [
    "SIGSTOP",
    async (field, round) => {
      signal((await field.workers())[0], "SIGSTOP");
      await deaths(field, round);
    },
  ],
  ["stuck in JavaScript", (field) => field.provoke("spin@load.test")],
  ["memory bomb", (field) => field.provoke("memory@load.test")],
  ["catastrophic pattern", (field) => field.provoke("pattern@load.test")],
  [
    "kill -9",
    async (field, round) => {
      signal((await field.workers())[0], "SIGKILL");
      await deaths(field, round);
    },
  ],
];

const rows: Record<string, string | number>[] = [];
after(() => {
  process.stdout.write("\nsessions of other workers, connect to outcome:\n");
  console.table(rows);
});

for (const [name, fault] of FAULTS) {
  postfixTest(`other workers' sessions go on: ${name}`, async () => {
    await using field = await Field.start({ script: HARM, bad: true, config: CONFIG });
    const load = field.load({ clients: 4, everyMs: 120 });
    await load.more(40);
    for (let round = 1; round <= ROUNDS; round++) {
      await fault(field, round);
      await load.more(40);
    }
    await field.settle(load, name, "");
    const died = field.lines("worker died");
    const hurt = died.map(({ worker }) => Number(worker));
    const times = timesOfOthers(load.sent, field.served.sink.messages, hurt);
    assert.ok(times.length >= 40, `${times.length} sessions`);
    const at = (q: number) => Math.round(times[Math.floor(q * (times.length - 1))] ?? 0);
    rows.push({
      fault: name,
      rounds: ROUNDS,
      sessions: times.length,
      p50: at(0.5),
      p99: at(0.99),
      max: at(1),
    });
    if (hurt.length > 0) assert.ok(at(1) < GROSS_MS, `${at(1)} ms; ${JSON.stringify(died)}`);
  });
}

async function deaths(field: Field, count: number): Promise<void> {
  await field.served.postlua.waitFor(() => field.lines("worker died").length >= count);
}
