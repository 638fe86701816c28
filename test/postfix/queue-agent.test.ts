/** The queue through the agent, on a real Postfix: releases, expiry, defer logs, and what scans say meanwhile. */
import assert from "node:assert/strict";
import { duplexPair } from "node:stream";
import type { TestContext } from "node:test";
import type { Parameters } from "../../postfix/layout.ts";
import { PrivatePostfix } from "../../postfix/private-instance.ts";
import { Sink, type SinkOptions } from "../../postfix/sink.ts";
import { QueueAgent } from "../../src/queue/agent.ts";
import { AgentError, QueueClient } from "../../src/queue/client.ts";
import { PARKED_REASON } from "../../src/queue/defer-log.ts";
import { PostfixError, PostfixQueue, readSettings } from "../../src/queue/postfix.ts";
import { keptLog, parked, send } from "../queue/harness.ts";
import { postfixTest } from "./harness.ts";

interface Field {
  readonly sink: Sink;
  readonly postfix: PrivatePostfix;
  readonly queue: PostfixQueue;
  readonly client: QueueClient;
}

async function field(
  context: TestContext,
  options: SinkOptions = {},
  mainCf: Parameters = {},
): Promise<Field> {
  const sink = await Sink.start(options);
  const postfix = await PrivatePostfix.start({
    sinkPort: sink.port,
    mainCf: { defer_transports: "smtp", enable_long_queue_ids: "yes", ...mainCf },
  });
  const queue = await PostfixQueue.open(postfix);
  const [near, far] = duplexPair();
  const agent = new QueueAgent(queue, far, keptLog());
  const client = new QueueClient(near);
  context.after(async () => {
    client.close();
    await agent.ended;
    await postfix.remove();
    await sink.stop();
  });
  return { sink, postfix, queue, client };
}

const mail = (subject: string, ...to: string[]) => ({
  to: to.map((address) => `<${address}>`),
  message: `Subject: ${subject}\n\nb\n`,
});

postfixTest("settings are Postfix's own, times in seconds", async () => {
  await using postfix = await PrivatePostfix.start({
    mainCf: {
      minimal_backoff_time: "2m",
      maximal_backoff_time: "1h30m",
      maximal_queue_lifetime: "3",
      bounce_queue_lifetime: "12h",
      queue_run_delay: "1000",
      delay_warning_time: "4",
      default_destination_concurrency_limit: "7",
      smtp_destination_concurrency_limit: "3",
      defer_transports: "smtp, relay second",
      relayhost: "[relay.test]:587",
      transport_maps: "inline:{ a=b: }",
      enable_long_queue_ids: "yes",
      default_transport: "smtp:[x]:25",
    },
    masterCf: { "second/unix": "- - n - - smtp -o syslog_name=second" },
  });
  const settings = await readSettings(postfix);
  assert.equal(settings.queueDirectory, postfix.places.queue);
  assert.equal(settings.minimalBackoffTime, 120);
  assert.equal(settings.maximalBackoffTime, 5_400);
  assert.equal(settings.maximalQueueLifetime, 259_200);
  assert.equal(settings.bounceQueueLifetime, 43_200);
  assert.equal(settings.queueRunDelay, 1_000);
  assert.equal(settings.delayWarningTime, 14_400);
  assert.equal(settings.destinationConcurrencyLimit, 7);
  assert.deepEqual(settings.transportConcurrencyLimits, { smtp: 3 });
  assert.deepEqual(settings.deferTransports, ["smtp", "relay", "second"]);
  assert.equal(settings.relayhost, "[relay.test]:587");
  assert.equal(settings.defaultTransport, "smtp");
  assert.equal(settings.longQueueIds, true);
  assert.equal(settings.nextHopByDomain, false);
  assert.ok(settings.smtpTransports.includes("second"));
  await assert.rejects(readSettings({ configDirectory: "/nonexistent" }), PostfixError);
});

postfixTest(
  "a release tries one message; mail on hold, under way or gone is told and left alone",
  async (context) => {
    const { sink, postfix, queue, client } = await field(context);
    const [first = "", second = "", third = "", fourth = ""] = await send(
      postfix.port,
      [1, 2, 3, 4].map((n) => mail(`${n}`, `r${n}@remote.test`)),
    );
    await parked(postfix, 4);
    const { added } = await client.refresh();
    assert.deepEqual([...added].sort(), [first, second, third, fourth].sort());
    const [log] = (await client.deferLogs([first])).values();
    assert.equal(log?.entries[0]?.reason, PARKED_REASON);
    assert.equal(log?.entries[0]?.recipient, "r1@remote.test");
    assert.equal(log?.entries[0]?.offset, client.messages.get(first)?.recipients[0]?.offset);
    await postfix.run("postsuper", ["-h", third]);
    assert.equal(await client.release(first), "taken");
    assert.equal(await client.release(third), "held");
    assert.equal(await client.release("4jXl8B0YspzJ9QD"), "gone");
    await queue.releaseByCommand(second);
    await sink.waitFor(({ queueId }) => queueId === first);
    await sink.waitFor(({ queueId }) => queueId === second);
    for (const id of [first, second]) {
      let [place] = await client.settled([id], 30_000);
      if (place?.queue !== "gone") [place] = await client.where([id]);
      assert.deepEqual(place, { id, queue: "gone", mtimeMs: 0 });
    }
    const { changed, gone } = await client.refresh();
    assert.deepEqual([changed, [...gone].sort()], [[third], [first, second].sort()]);
    assert.equal(client.messages.get(third)?.queue, "hold");
    assert.equal(client.messages.get(fourth)?.hops[0]?.kind, "relay");
    assert.equal(await client.read(first), undefined);
    // All of it, but not what an admin holds.
    await client.flush();
    await sink.waitFor(({ queueId }) => queueId === fourth);
    await postfix.settled();
    assert.equal((await client.where([third]))[0]?.queue, "hold");
    assert.equal(sink.messages.length, 3);
  },
);

postfixTest(
  "a refusal leaves its words; expiry bounces with them, and not what is on hold",
  async (context) => {
    const refuse = (address: string) =>
      address.startsWith("slow") ? { code: 450, text: "4.2.0 Mailbox busy" } : undefined;
    const { sink, postfix, client } = await field(context, { refuse });
    const [id = "", held = ""] = await send(postfix.port, [
      { ...mail("x", "slow@remote.test", "quick@remote.test"), from: "<back@example.test>" },
      mail("y", "slow@remote.test"),
    ]);
    await parked(postfix, 2);
    await client.refresh();
    await postfix.run("postsuper", ["-h", held]);
    assert.equal(await client.release(id), "taken");
    const [place] = await client.settled([id], 30_000);
    assert.equal(place?.queue, "deferred");
    const { changed } = await client.refresh();
    assert.ok(changed.includes(id));
    const message = client.messages.get(id);
    assert.deepEqual(
      message?.recipients.map(({ address, state }) => [address, state]),
      [
        ["slow@remote.test", "todo"],
        ["quick@remote.test", "done"],
      ],
    );
    assert.deepEqual(
      message?.hops.map((hop) => hop?.kind),
      ["relay", undefined],
    );
    const entry = (await client.deferLogs([id])).get(id)?.entries[0];
    assert.match(entry?.reason ?? "", /said: 450 4\.2\.0 Mailbox busy/);
    assert.equal(entry?.status, "4.2.0");
    assert.equal(entry?.diagnostic, "450 4.2.0 Mailbox busy");
    assert.deepEqual(await client.expire([id, held, "4jXl8B0YspzJ9QD"]), [id]);
    assert.equal((await client.read(id))?.expire, true);
    assert.equal(await client.release(id), "taken");
    await postfix.waitFor(new RegExp(`${id}: .*status=force-expired, returned to sender`));
    const bounce = await sink.waitFor(({ recipients }) => recipients.includes("back@example.test"));
    assert.match(bounce.body, /450 4\.2\.0 Mailbox busy/);
    assert.equal((await client.where([held]))[0]?.queue, "hold");
  },
);

postfixTest(
  "scans during a flush of 200 messages lose none and call none gone that is there",
  async (context) => {
    const { sink, postfix, client } = await field(context, {
      refuse: (address) => (address.startsWith("busy") ? { code: 451, text: "4.3.0 later" } : undefined),
    });
    const names = Array.from({ length: 200 }, (_, i) => `${i % 2 === 0 ? "busy" : "free"}${i}@remote.test`);
    const ids = await send(
      postfix.port,
      names.map((name) => mail("s", name)),
    );
    await parked(postfix, ids.length);
    assert.equal((await client.refresh()).added.length, ids.length);
    const stay = new Set(ids.filter((_, i) => i % 2 === 0));
    await client.flush();
    let scans = 0;
    for (; sink.messages.length < ids.length / 2; scans++) {
      const { added, gone } = await client.refresh();
      assert.deepEqual(added, []);
      for (const id of gone) assert.ok(!stay.has(id), `${id} is called gone`);
    }
    await postfix.settled();
    await client.refresh();
    assert.deepEqual([...client.messages.keys()].sort(), [...stay].sort());
    assert.ok(scans > 0);
  },
);

postfixTest("with Postfix stopped, releases fail in words and scans go on", async (context) => {
  const { postfix, client } = await field(context);
  const [id = ""] = await send(postfix.port, [mail("x", "r@remote.test")]);
  await parked(postfix, 1);
  await postfix.stop();
  await client.refresh();
  assert.equal(client.messages.get(id)?.hops[0]?.kind, "unknown");
  await assert.rejects(client.release(id), (error: Error) => {
    assert.ok(error instanceof AgentError);
    assert.match(error.message, /postqueue -c \S+ -i \w+: .*(mail system is down|not running)/i);
    return true;
  });
  await postfix.start();
  await client.refresh({ fresh: true });
  assert.equal(client.messages.get(id)?.hops[0]?.kind, "relay");
});
