/**
 * What ordering costs: the same parked mail sent by the worker, one release
 * a message, and by Postfix alone (`postqueue -f`), as a ratio of their
 * speeds, 1 being as fast. Against a server that answers at once, which shows
 * the cost of a release, and against one that takes its time as servers do.
 * Then what Postfix's own runs over parked mail cost. QUEUE_MAIL sets another
 * number of messages. Root only.
 */
import { mkdtempSync, readdirSync, rmSync, statSync, utimesSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { duplexPair } from "node:stream";
import { setTimeout as delay } from "node:timers/promises";
import { whyNoPostfix } from "../../postfix/layout.ts";
import { PrivatePostfix } from "../../postfix/private-instance.ts";
import { QueueAgent } from "../../src/queue/agent.ts";
import { QueueClient } from "../../src/queue/client.ts";
import { Journal } from "../../src/queue/journal.ts";
import { PostfixQueue } from "../../src/queue/postfix.ts";
import { session } from "../../src/queue/session.ts";
import { DEFAULTS } from "../../src/queue/settings.ts";
import { QueueWorker } from "../../src/queue/worker.ts";
import { keptLog, parked, send } from "../queue/harness.ts";
import { QuickSink } from "../queue/quick-sink.ts";
import { byHeader, checker, mail, shuffled } from "../queue/yard.ts";

const COUNT = Number(process.env.QUEUE_MAIL ?? 400);
const ROUNDS = 3;

async function compare(delayMs: number): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), "postlua-bench-"));
  const sink = await QuickSink.start(delayMs === 0 ? {} : { delayMs });
  const postfix = await PrivatePostfix.start({
    sinkPort: sink.port,
    mainCf: { defer_transports: "smtp, relay", enable_long_queue_ids: "yes" },
  });
  const queue = await PostfixQueue.open(postfix);
  const [near, far] = duplexPair();
  const agent = new QueueAgent(queue, far, keptLog());
  const client = new QueueClient(near);
  const log = keptLog();
  const journal = new Journal({ path: join(directory, "queue.sqlite"), log });
  const parts = { queue: client, checker: checker(byHeader), journal, settings: DEFAULTS, log };
  const worker = await QueueWorker.create(parts);
  const timed = async (work: () => Promise<unknown>): Promise<number> => {
    const mails = shuffled(COUNT).map((n) => mail(`${n}`, `r${n}@remote.test`, n));
    await send(postfix.port, mails);
    await parked(postfix, COUNT);
    sink.mails.length = 0;
    const start = performance.now();
    const done = sink.count(COUNT).then(() => performance.now() - start);
    await work();
    return done;
  };
  const ratios: number[] = [];
  try {
    for (let round = 0; round < ROUNDS; round++) {
      const flush = await timed(() => postfix.flush());
      await postfix.settled();
      const ours = await timed(() => session(worker));
      ratios.push(flush / ours);
      const each = (ms: number) => `${(ms / COUNT).toFixed(2)} ms`;
      console.log(
        `server takes ${delayMs} ms: postqueue -f ${each(flush)} a message, worker ${each(ours)}: ${(flush / ours).toFixed(2)} of its speed`,
      );
    }
    const median = ratios.sort((a, b) => a - b)[ROUNDS >> 1] ?? 0;
    console.log(`server takes ${delayMs} ms: median ${median.toFixed(2)}`);
  } finally {
    client.close();
    await agent.ended;
    journal.close();
    await postfix.remove();
    await sink.stop();
    rmSync(directory, { recursive: true });
  }
}

/** Each queue run takes up what is due though it is parked, and puts it back. */
async function ownRun(): Promise<void> {
  await using postfix = await PrivatePostfix.start({
    mainCf: { defer_transports: "smtp, relay", enable_long_queue_ids: "yes" },
  });
  await send(
    postfix.port,
    shuffled(COUNT).map((n) => mail(`${n}`, `r${n}@remote.test`, n)),
  );
  await parked(postfix, COUNT);
  const deferred = join(postfix.places.queue, "deferred");
  const files = readdirSync(deferred, { recursive: true, encoding: "utf8" })
    .map((name) => join(deferred, name))
    .filter((path) => statSync(path).isFile());
  const past = Date.now() / 1_000 - 60;
  for (const file of files) utimesSync(file, past, past);
  const start = performance.now();
  await postfix.run("postkick", ["public", "qmgr", "D"]);
  const isBack = (file: string) => (statSync(file, { throwIfNoEntry: false })?.mtimeMs ?? 0) > Date.now();
  while (!files.every(isBack)) await delay(20);
  const ms = (performance.now() - start) / files.length;
  console.log(`Postfix's own run over ${files.length} parked messages: ${ms.toFixed(2)} ms a message`);
}

const reason = whyNoPostfix();
if (reason === undefined) {
  for (const delayMs of [0, 50, 200]) await compare(delayMs);
  await ownRun();
} else console.log(`not measured: ${reason}`);
