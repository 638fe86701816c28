/**
 * What a long queue costs: generated queue files in a private Postfix that
 * leaves them alone. First look (scan, CheckFile in Lua, order, journal), a
 * second one with 1 % new, one message that arrives; time and memory a
 * message. QUEUE_SIZES sets other sizes; POSTLUA_LONG adds 100,000. Root only.
 */
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { duplexPair } from "node:stream";
import { whyNoPostfix } from "../../postfix/layout.ts";
import { PrivatePostfix } from "../../postfix/private-instance.ts";
import { LuaEngine } from "../../src/lua/engine.ts";
import { QueueAgent } from "../../src/queue/agent.ts";
import { QueueClient } from "../../src/queue/client.ts";
import { Journal } from "../../src/queue/journal.ts";
import { LuaCheckers } from "../../src/queue/lua-checker.ts";
import { PostfixQueue } from "../../src/queue/postfix.ts";
import { DEFAULTS } from "../../src/queue/settings.ts";
import { QueueWorker } from "../../src/queue/worker.ts";
import { buildQueueFile, place } from "../queue/build.ts";
import { BUDGET, keptLog } from "../queue/harness.ts";

const SCRIPT = `
function CheckFile(filename, actions, size, created, returnpath, recipients, headerdata, headerlines)
  if string.find(headerdata["subject"], "urgent") then actions.Priority = 90 end
  if size > 1000000 then actions.Priority = 10 end
  actions.SkipSend = true
  actions.Reason = "benchmark"
  return actions
end
`;

const HEADER = [
  "Received: from client.test (client.test [192.0.2.1])",
  "\tby mx.example.test (Postfix) with ESMTP id 8ABCDEF01;",
  ...Array.from({ length: 14 }, (_, i) => `X-Header-${i}: a value of the length that values often have ${i}`),
];

/** Due in a day, so that Postfix does not look at them. */
function fill(directory: string, from: number, to: number): void {
  const now = Math.floor(Date.now() / 1_000);
  for (let i = from; i < to; i++) {
    const id =
      ((i * 7_919) % 0x100000).toString(16).toUpperCase().padStart(5, "0") +
      (0x100000 + i).toString(16).toUpperCase();
    const bytes = buildQueueFile({
      recipients: [`r${i}@d${i % 500}.test`],
      header: [...HEADER, `Subject: ${i % 10 === 0 ? "urgent" : "plain"} ${i}`],
      arrival: now - 3_600 + (i % 3_600),
    });
    place(directory, { path: `deferred/${id[0]}/${id}`, mtime: now + 86_400 }, bytes);
  }
}

async function scale(count: number): Promise<void> {
  const directory = mkdtempSync(join(existsSync("/dev/shm") ? "/dev/shm" : tmpdir(), "postlua-bench-"));
  const postfix = await PrivatePostfix.start({ mainCf: { defer_transports: "smtp, relay" } });
  writeFileSync(join(directory, "RELAYOUT.LUA"), SCRIPT);
  const engine = new LuaEngine({
    dialect: "5.0",
    dataDir: directory,
    scriptsDir: directory,
    modules: [],
    print: () => {},
  });
  const log = { ...keptLog(), info: () => {} };
  const checkers = new LuaCheckers({
    engine,
    scriptsDir: directory,
    budget: BUDGET,
    sessionMs: 1e9,
    output: { print: () => {}, error: () => {} },
    log,
  });
  const queue = await PostfixQueue.open(postfix);
  const [near, far] = duplexPair();
  const agent = new QueueAgent(queue, far, keptLog());
  const client = new QueueClient(near);
  const journal = new Journal({ path: join(directory, "queue.sqlite"), log });
  const checker = checkers.session("bench");
  const worker = await QueueWorker.create({ queue: client, checker, journal, settings: DEFAULTS, log });
  const before = process.memoryUsage().rss;
  const timed = async (what: "all" | "news", only?: readonly string[]): Promise<string> => {
    const start = performance.now();
    const { asked } = await worker.pass({ what, ...(only && { only }) });
    const ms = performance.now() - start;
    return `${ms.toFixed(0)} ms (${((ms * 1_000) / count).toFixed(0)} us a message, ${asked} asked)`;
  };
  try {
    fill(postfix.places.queue, 0, count);
    const first = await timed("all");
    const rss = process.memoryUsage().rss - before;
    fill(postfix.places.queue, count, Math.ceil(count * 1.01));
    const second = await timed("news");
    fill(postfix.places.queue, count * 2, count * 2 + 1);
    const one = `${((count * 2 * 7_919) % 0x100000).toString(16).toUpperCase().padStart(5, "0")}${(0x100000 + count * 2).toString(16).toUpperCase()}`;
    const third = await timed("news", [one]);
    console.log(
      `${count} messages: first look ${first}; 1 % more ${second}; one that arrives ${third}; ${(rss / count / 1_024).toFixed(1)} kB a message`,
    );
  } finally {
    await checker.close();
    client.close();
    await agent.ended;
    journal.close();
    await postfix.remove();
    rmSync(directory, { recursive: true });
  }
}

const sizes = (process.env.QUEUE_SIZES ?? "1000,10000").split(",").map(Number);
if (process.env.POSTLUA_LONG !== undefined && process.env.QUEUE_SIZES === undefined) sizes.push(100_000);
const reason = whyNoPostfix();
if (reason === undefined) for (const size of sizes) await scale(size);
else console.log(`not measured: ${reason}`);
