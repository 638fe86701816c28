/**
 * What reading the queue costs: a first scan, a second one with nothing new
 * and one with 1 % new, for growing queues of generated files; and what
 * releasing one message costs by the flush socket and by `postqueue -i`, on a
 * private Postfix (root only). QUEUE_SIZES sets other sizes.
 */
import { existsSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { whyNoPostfix } from "../../postfix/layout.ts";
import { PrivatePostfix } from "../../postfix/private-instance.ts";
import { PostfixQueue } from "../../src/queue/postfix.ts";
import { QUEUES, QueueScanner } from "../../src/queue/scan.ts";
import { buildQueueFile, place } from "../queue/build.ts";
import { parked, send } from "../queue/harness.ts";

const HEADER = [
  "Received: from client.test (client.test [192.0.2.1])",
  "\tby mx.example.test (Postfix) with ESMTP id 8ABCDEF01;",
  ...Array.from({ length: 14 }, (_, i) => `X-Header-${i}: a value of the length that values often have ${i}`),
  "Subject: generated",
];

function fill(directory: string, from: number, to: number): void {
  for (let i = from; i < to; i++) {
    const id =
      ((i * 7919) % 0x100000).toString(16).toUpperCase().padStart(5, "0") +
      (0x100000 + i).toString(16).toUpperCase();
    const bytes = buildQueueFile({
      recipients: [`r${i}@remote.test`],
      header: HEADER,
      arrival: 1_700_000_000 + i,
    });
    place(directory, { path: `deferred/${id[0]}/${id}` }, bytes);
  }
}

async function scans(count: number): Promise<void> {
  const base = existsSync("/dev/shm") ? "/dev/shm" : tmpdir();
  const directory = mkdtempSync(join(base, "postlua-bench-"));
  try {
    for (const queue of QUEUES) mkdirSync(join(directory, queue));
    fill(directory, 0, count);
    const scanner = new QueueScanner(directory, undefined, () => Date.now() + 60_000);
    const timed = async (): Promise<string> => {
      const start = performance.now();
      let news = 0;
      await scanner.scan({
        onBatch: ({ found, moved }) => {
          news += found.length + moved.length;
        },
      });
      const ms = performance.now() - start;
      return `${ms.toFixed(0)} ms (${((ms * 1000) / count).toFixed(1)} us a message, ${news} new)`;
    };
    const first = await timed();
    const second = await timed();
    fill(directory, count, count + Math.ceil(count / 100));
    console.log(`${count} messages: first scan ${first}, second ${second}, with 1 % more ${await timed()}`);
  } finally {
    rmSync(directory, { recursive: true });
  }
}

async function releases(): Promise<void> {
  await using postfix = await PrivatePostfix.start({ mainCf: { defer_transports: "smtp" } });
  const count = 60;
  const ids = await send(
    postfix.port,
    Array.from({ length: count }, (_, i) => ({
      to: [`<r${i}@remote.test>`],
      message: `Subject: ${i}\n\nb\n`,
    })),
  );
  await parked(postfix, count);
  const queue = await PostfixQueue.open(postfix);
  const median = async (release: (id: string) => Promise<void>, some: readonly string[]): Promise<number> => {
    const times: number[] = [];
    for (const id of some) {
      const start = performance.now();
      await release(id);
      times.push(performance.now() - start);
    }
    return times.sort((a, b) => a - b)[times.length >> 1] ?? 0;
  };
  const socket = await median((id) => queue.release(id), ids.slice(0, count / 2));
  const program = await median((id) => queue.releaseByCommand(id), ids.slice(count / 2));
  console.log(
    `one release: flush socket ${socket.toFixed(2)} ms, postqueue -i ${program.toFixed(2)} ms, ${(program / socket).toFixed(0)} times as long`,
  );
}

for (const size of (process.env.QUEUE_SIZES ?? "1000,10000").split(",").map(Number)) await scans(size);
const reason = whyNoPostfix();
if (reason === undefined) await releases();
else console.log(`releases not measured: ${reason}`);
