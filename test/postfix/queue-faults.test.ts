/** The worker killed, Postfix stopped, admins at work, disk full: every message is delivered or bounced exactly once. */
import assert from "node:assert/strict";
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readdirSync, readlinkSync, rmSync, statfsSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { session } from "../../src/queue/session.ts";
import { type Mail, send } from "../queue/harness.ts";
import type { QuickMail, QuickSink } from "../queue/quick-sink.ts";
import { asTold, mail, shuffled, type Yard, yard } from "../queue/yard.ts";
import { postfixTest } from "./harness.ts";

const LONG = process.env.POSTLUA_LONG !== undefined;

/** What Postfix's own times make too long for the short form. */
const longTest: typeof postfixTest = LONG
  ? postfixTest
  : (name) => test(name, { skip: "may take minutes: long form only" }, () => {});

/** Of ten messages, one is refused for ever and gets one try, one is refused the first time. */
function load(count: number): Mail[] {
  return shuffled(count).map((n) => {
    const [name, force] = n % 10 === 0 ? ["busy", "last"] : n % 10 === 1 ? ["flaky", "retry"] : ["free", ""];
    const plain = mail(`n${n}.`, `${name}${n}@remote.test`, n % 7);
    const message = force === "" ? plain.message : `X-Force: ${force}\n${plain.message}`;
    return { ...plain, message, from: "<back@example.test>" };
  });
}

/** Refuses as `load` says; counts tries by recipient. */
function refusals() {
  const tries = new Map<string, number>();
  const refuse = (recipient: string) => {
    const count = (tries.get(recipient) ?? 0) + 1;
    tries.set(recipient, count);
    if (recipient.startsWith("busy") || (recipient.startsWith("flaky") && count === 1))
      return "450 4.2.0 not now";
    return undefined;
  };
  return { tries, refuse };
}

const isBounce = ({ recipients }: QuickMail) => recipients.includes("back@example.test");

/** What came, each as often as it came: subjects of mail, and of what bounced. */
function ledger(sink: QuickSink): { delivered: string[]; bounced: string[] } {
  const bounced = sink.mails.filter(isBounce).map(({ text }) => /Subject: (n\d+\.)/.exec(text)?.[1] ?? text);
  return { delivered: sink.mails.filter((one) => !isBounce(one)).map(({ subject }) => subject), bounced };
}

function processesIn(directory: string): boolean {
  return readdirSync("/proc").some((pid) => {
    try {
      return /^\d+$/.test(pid) && readlinkSync(`/proc/${pid}/cwd`).startsWith(directory);
    } catch {
      return false;
    }
  });
}

function assertOnce(sink: QuickSink, count: number): void {
  const { delivered, bounced } = ledger(sink);
  const numbers = Array.from({ length: count }, (_, n) => n);
  const names = (wanted: (n: number) => boolean) => numbers.filter(wanted).map((n) => `n${n}.`);
  assert.deepEqual(delivered.sort(), names((n) => n % 10 !== 0).sort());
  assert.deepEqual(bounced.sort(), names((n) => n % 10 === 0).sort());
}

/** A worker of its own process, which does not outlive a test that fails. */
function start(context: TestContext, place: Yard): ChildProcess {
  const program = join(import.meta.dirname, "../queue/worker-process.ts");
  const child = spawn(process.execPath, [program, place.postfix.configDirectory, place.journalPath], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  context.after(() => child.kill("SIGKILL"));
  return child;
}

async function ready(child: ChildProcess): Promise<void> {
  let out = "";
  for await (const chunk of child.stdout!.iterator({ destroyOnReturn: false })) {
    out += chunk;
    if (out.includes("ready\n")) break;
  }
  child.stdout!.resume();
}

const ROUNDS = LONG ? 200 : 6;
const MESSAGES = LONG ? 500 : 80;

postfixTest(
  `a worker killed at ${ROUNDS} random points over ${MESSAGES} messages loses and doubles none`,
  async (context) => {
    const { tries, refuse } = refusals();
    const place = await yard(context, { sink: { refuse, delayMs: LONG ? 500 : 60 } });
    const mails = load(MESSAGES);
    const { postfix, sink } = place;
    await place.park(mails.slice(0, MESSAGES / 2));
    const rest = mails.slice(MESSAGES / 2);
    for (let round = 0; round < ROUNDS; round++) {
      const child = start(context, place);
      const ended = once(child, "exit");
      await ready(child);
      const some = rest.splice(0, Math.ceil(rest.length / (ROUNDS - round)));
      if (some.length > 0) await send(postfix.port, some);
      await delay(Math.random() * 300);
      child.kill("SIGKILL");
      await ended;
    }
    context.diagnostic(`${sink.mails.length} had come when the last one was killed`);
    const child = start(context, place);
    const ended = once(child, "exit");
    await ready(child);
    await sink.until(() => sink.mails.length >= MESSAGES, "end", 120_000);
    child.kill("SIGTERM");
    const [status] = await ended;
    assert.equal(status, 0);
    await postfix.settled();
    assertOnce(sink, MESSAGES);
    assert.deepEqual(await postfix.queue(), []);
    const again = [...tries].filter(([name, count]) => name.startsWith("busy") && count > 1);
    context.diagnostic(`${again.length} had more than one last try`);
    assert.ok(again.length <= ROUNDS, JSON.stringify(again));
  },
);

longTest("Postfix stopped, started and reloaded meanwhile: everything goes, once", async (context) => {
  const { refuse } = refusals();
  let gate = Promise.resolve();
  let open = () => {};
  let held = 0;
  const place = await yard(context, {
    // What was cut off is tried again soon.
    mainCf: { minimal_backoff_time: "2s", maximal_backoff_time: "2s", queue_run_delay: "1s" },
    sink: {
      refuse,
      onlyAnswered: true,
      hold: async () => {
        held++;
        await gate;
        held--;
      },
    },
  });
  const { postfix, sink } = place;
  await place.park(load(60));
  const child = start(context, place);
  const ended = once(child, "exit");
  await ready(child);
  await sink.count(10);
  await postfix.run("postfix", ["reload"]);
  await sink.count(20);
  // A delivery that Postfix's end cuts off after the server took the message would come twice, worker or not: here
  // a whole window is waiting for the server's answer.
  gate = new Promise((resolve) => {
    open = resolve;
  });
  while (held < 5) await delay(1);
  await postfix.stop();
  await sink.until(() => sink.connections === 0, "end of connections");
  // A message that a delivery agent of before still holds would wait for a minute.
  while (processesIn(`${postfix.scratch.path}/spool`)) await delay(5);
  open();
  await postfix.start();
  await sink.until(() => sink.mails.length >= 60, "all", 900_000);
  child.kill("SIGTERM");
  await ended;
  assertOnce(sink, 60);
});

postfixTest(
  "an admin who flushes, holds, deletes and requeues meanwhile gets what he asks for",
  async (context) => {
    const place = await yard(context, { sink: { delayMs: 20 }, settings: { window: 2 } });
    const { postfix, sink, park, staff } = place;
    const ids = await park(Array.from({ length: 40 }, (_, n) => mail(`n${n}.`, `r${n}@remote.test`, n)));
    const { worker } = await staff();
    // The last in order, so that there is time.
    const [held = "", deleted = "", requeued = ""] = ids;
    const running = session(worker);
    await sink.count(3);
    await postfix.run("postsuper", ["-h", held]);
    await postfix.run("postsuper", ["-d", deleted]);
    await postfix.run("postsuper", ["-r", requeued]);
    await postfix.flush();
    await running;
    await session(worker);
    await sink.count(38);
    assert.deepEqual(
      sink.subjects.sort(),
      ids
        .map((_, n) => `n${n}.`)
        .filter((name) => name !== "n0." && name !== "n1.")
        .sort(),
    );
    assert.deepEqual(
      (await postfix.settled()).map(({ queue_id, queue_name }) => [queue_id, queue_name]),
      [[held, "hold"]],
    );
    await postfix.run("postsuper", ["-H", held]);
    await session(worker);
    assert.ok(sink.subjects.includes("n0."));
    assert.equal(sink.mails.length, 39);
  },
);

postfixTest("without the worker, postqueue -f delivers all that it left", async (context) => {
  const { refuse } = refusals();
  const place = await yard(context, { sink: { refuse, delayMs: 20 } });
  const { postfix, sink } = place;
  await place.park(load(40).filter(({ to }) => to[0]?.startsWith("<free")));
  const child = start(context, place);
  const ended = once(child, "exit");
  await sink.count(3);
  child.kill("SIGKILL");
  await ended;
  await postfix.flush();
  await sink.count(32);
  await postfix.settled();
  assert.equal(new Set(sink.subjects).size, 32);
  assert.equal(sink.mails.length, 32);
});

postfixTest("a journal on a full disk stops nobody, and is written when there is room", async (context) => {
  const directory = mkdtempSync(join(tmpdir(), "postlua-full-"));
  execFileSync("mount", ["-t", "tmpfs", "-o", "size=256k", "tmpfs", directory]);
  context.after(() => {
    execFileSync("umount", [directory]);
    rmSync(directory, { recursive: true });
  });
  const { refuse } = refusals();
  const { park, staff, sink, postfix } = await yard(context, { sink: { refuse }, directory, rule: asTold });
  const filler = join(directory, "filler");
  const { bsize, bavail } = statfsSync(directory);
  writeFileSync(filler, Buffer.alloc(bsize * (bavail - 1)));
  const mails = load(40).filter(({ to }) => !to[0]?.startsWith("<flaky"));
  await park(mails);
  const { worker, journal, log } = await staff();
  await session(worker);
  await sink.count(36);
  await postfix.settled();
  assert.equal(new Set(sink.subjects.filter((one) => one.startsWith("n"))).size, 32);
  assert.equal(sink.mails.filter(isBounce).length, 4);
  assert.equal(journal.isSaved, false);
  assert.match(log.lines.join("\n"), /queue journal: cannot be written.* reason=.*(full|I\/O)/);
  rmSync(filler);
  journal.close();
  assert.equal(log.lines.filter((line) => line.includes("cannot be written")).length, 1);
});

postfixTest("Postfix's own looks at parked mail, each second, disturb nothing", async (context) => {
  const { park, postfix, staff, sink } = await yard(context, {
    settings: { window: 2 },
    sink: { delayMs: 40 },
    mainCf: { queue_run_delay: "1s", minimal_backoff_time: "1s", maximal_backoff_time: "2s" },
  });
  const count = 80;
  await park(shuffled(count).map((n) => mail(`n${n}.`, `r${n}@remote.test`, n)));
  const { worker, journal } = await staff();
  await session(worker);
  assert.equal(new Set(sink.subjects).size, count);
  assert.equal(sink.mails.length, count);
  assert.deepEqual(await postfix.settled(), []);
  assert.deepEqual(journal.unfinished(), []);
});
