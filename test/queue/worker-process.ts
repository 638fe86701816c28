/**
 * The worker as a process that can be killed: worker-process.ts CONFIG_DIRECTORY JOURNAL. CheckFile does what the
 * message's header says: X-Priority, X-Force (retry or last).
 */
import { duplexPair } from "node:stream";
import { createLog } from "../../src/log.ts";
import { QueueAgent } from "../../src/queue/agent.ts";
import { QueueClient } from "../../src/queue/client.ts";
import { Journal } from "../../src/queue/journal.ts";
import { PostfixQueue } from "../../src/queue/postfix.ts";
import { run } from "../../src/queue/session.ts";
import { DEFAULTS } from "../../src/queue/settings.ts";
import { QueueWorker } from "../../src/queue/worker.ts";
import { asTold, checker } from "./yard.ts";

const [configDirectory = "", path = ""] = process.argv.slice(2);
const log = createLog({ level: "info", stream: process.stdout, text: true });
const queue = await PostfixQueue.open({ configDirectory });
const [near, far] = duplexPair();
const agent = new QueueAgent(queue, far, log);
const client = new QueueClient(near);
const journal = new Journal({ path, log });
const stop = new AbortController();
process.on("SIGTERM", () => stop.abort());
const worker = await QueueWorker.create({
  queue: client,
  checker: checker(asTold),
  journal,
  settings: { ...DEFAULTS, window: 5 },
  log,
});
process.stdout.write("ready\n");
await run({ worker, journal, log, signal: stop.signal, recheckMs: 500 });
client.close();
await agent.ended;
journal.close();
