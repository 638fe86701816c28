/** Retries, last tries, skips and ends of life on a real Postfix; time is a clock that the test sets. */
import assert from "node:assert/strict";
import type { CheckQuestion } from "../../src/queue/actions.ts";
import { readHeartbeat } from "../../src/queue/heartbeat.ts";
import { run, session } from "../../src/queue/session.ts";
import { signOfLife } from "../../src/queue/signs-of-life.ts";
import { type Mail, send } from "../queue/harness.ts";
import type { QuickMail } from "../queue/quick-sink.ts";
import { header, mail, type Rule, yard } from "../queue/yard.ts";
import { postfixTest } from "./harness.ts";

const MINUTE = 60_000;
const DAY = 86_400_000;

/** Counts tries by recipient; those whose name begins so are told to come back. */
function busy(reply = "450 4.2.0 mailbox busy") {
  const tries = new Map<string, number>();
  const refuse = (recipient: string) => {
    tries.set(recipient, (tries.get(recipient) ?? 0) + 1);
    return recipient.startsWith("busy") ? reply : undefined;
  };
  return { tries, refuse };
}

function clock() {
  const state = { offset: 0 };
  return { now: () => Date.now() + state.offset, advance: (ms: number) => (state.offset += ms) };
}

const from = (message: Mail): Mail => ({ ...message, from: "<back@example.test>" });
const isBounce = ({ sender, recipients }: QuickMail) =>
  sender === "" && recipients.includes("back@example.test");
const subject = (question: CheckQuestion) => header(question, "subject");

postfixTest("retries follow Postfix's back-off, are counted, and are told to CheckFile", async (context) => {
  const { tries, refuse } = busy();
  const { now, advance } = clock();
  const { park, staff } = await yard(context, { sink: { refuse }, now });
  const [id = ""] = await park([mail("x", "busy@remote.test")]);
  const { worker, journal, client, checker } = await staff();
  const count = () => tries.get("busy@remote.test") ?? 0;
  await session(worker);
  assert.equal(count(), 1);
  const entry = () => journal.get(client.messages.get(id)!)!;
  assert.equal(entry().retries, 1);
  assert.match(entry().lastReason, /said: 450 4\.2\.0 mailbox busy/);
  await session(worker);
  assert.equal(count(), 1);
  advance(280_000);
  await session(worker);
  assert.equal(count(), 1);
  advance(21_000);
  await session(worker);
  assert.equal(count(), 2);
  // As long again as it is old: two hours are more than the longest back-off of 4,000 s.
  advance(2 * 60 * MINUTE);
  await session(worker);
  assert.equal(count(), 3);
  const wait = entry().nextTryMs - now();
  assert.ok(wait > 3_900_000 && wait <= 4_000_000, `${wait}`);
  await session(worker);
  const last = checker.asked.at(-1)!;
  assert.equal(last.retries, 3);
  assert.ok(Math.abs((last.lastTry?.getTime() ?? 0) - Date.now()) < 60_000);
  assert.deepEqual(last.recipients, ["busy@remote.test"]);
  assert.equal(last.route, "relay");
});

postfixTest("ForceRetry tries now, SkipSend never; answers and reasons are logged", async (context) => {
  const { tries, refuse } = busy();
  let forced = true;
  const rule: Rule = (question) => {
    if (subject(question) === "kept") return { skipSend: true, reason: "too large" };
    return forced ? { forceRetry: true, reason: "hurry" } : {};
  };
  const { park, staff, postfix } = await yard(context, { sink: { refuse }, rule });
  const [, kept = ""] = await park([mail("x", "busy@remote.test"), mail("kept", "free@remote.test")]);
  const { worker, log } = await staff();
  for (let i = 0; i < 3; i++) await session(worker);
  assert.equal(tries.get("busy@remote.test"), 3);
  forced = false;
  await session(worker);
  assert.equal(tries.get("busy@remote.test"), 3);
  assert.equal(tries.get("free@remote.test"), undefined);
  assert.match(log.lines.join("\n"), new RegExp(`queue: skipped queue=${kept} priority=50 reason=too large`));
  assert.match(log.lines.join("\n"), /queue: to be sent .*reason=hurry/);
  // Without the worker, everything goes.
  await postfix.flush();
  await postfix.waitFor(new RegExp(`${kept}: removed`));
});

postfixTest("ForceLastTry: one real try, then a bounce with what the server said", async (context) => {
  const { tries, refuse } = busy("450 4.2.0 come back in May");
  const { park, staff, sink, postfix } = await yard(context, {
    sink: { refuse },
    rule: () => ({ forceLastTry: true }),
  });
  const mails = [from(mail("a", "busy@remote.test")), from(mail("b", "free@remote.test"))];
  mails.push({ ...from(mail("c", "")), to: ["<busy2@remote.test>", "<free2@remote.test>"] });
  await park(mails);
  const { worker } = await staff();
  await session(worker);
  await sink.until(() => sink.mails.filter(isBounce).length === 2, "bounces");
  assert.deepEqual(
    [...tries.values()].filter((count) => count !== 1),
    [2],
    "only back@example.test twice",
  );
  for (const { text } of sink.mails.filter(isBounce)) {
    assert.match(text, /450 4\.2\.0 come back in May/);
    assert.doesNotMatch(text, /deferred transport|administratively|<free/);
  }
  assert.deepEqual(await postfix.settled(), []);
  assert.deepEqual(sink.subjects.filter((one) => /^[abc]$/.test(one)).sort(), ["b", "c"]);
});

postfixTest("mail skipped all its life is bounced with the script's reason, untried", async (context) => {
  const { tries, refuse } = busy();
  const { now, advance } = clock();
  let reason = "only on Sundays";
  const { park, staff, sink, postfix } = await yard(context, {
    sink: { refuse },
    now,
    rule: () => ({ skipSend: true, reason }),
  });
  await park([from(mail("x", "free@remote.test")), from(mail("y", "busy@remote.test"))]);
  const { worker } = await staff();
  await session(worker);
  advance(5 * DAY - 32 * MINUTE);
  await session(worker);
  assert.equal((await postfix.settled()).length, 2);
  reason = "only on Sundays, and it's Monday\r\nX-Evil: 1";
  advance(3 * MINUTE);
  // A pass between sessions does it, too.
  await worker.pass({ what: "ends" });
  await worker.settled();
  await sink.until(() => sink.mails.filter(isBounce).length === 2, "bounces");
  for (const { text } of sink.mails.filter(isBounce)) {
    assert.match(text, /not sent: only on Sundays, and it's Monday\?\?X-Evil: 1/);
    assert.doesNotMatch(text, /deferred transport/);
  }
  assert.equal(tries.get("free@remote.test"), undefined);
  assert.deepEqual(await postfix.settled(), []);
});

postfixTest(
  "at the end of its life mail has a last real try, and the bounce says how it went",
  async (context) => {
    const { tries, refuse } = busy("451 4.7.1 greylisted for ever");
    const { now, advance } = clock();
    const { park, staff, sink, postfix } = await yard(context, { sink: { refuse }, now });
    await park([from(mail("x", "busy@remote.test")), from(mail("y", "free@remote.test"))]);
    const { worker } = await staff();
    await session(worker);
    assert.equal(tries.get("busy@remote.test"), 1);
    advance(5 * DAY - 29 * MINUTE);
    await session(worker);
    await sink.until(() => sink.mails.some(isBounce), "a bounce");
    assert.equal(tries.get("busy@remote.test"), 2);
    const bounce = sink.mails.find(isBounce);
    assert.match(bounce?.text ?? "", /451 4\.7\.1 greylisted for ever/);
    assert.doesNotMatch(bounce?.text ?? "", /deferred transport/);
    assert.deepEqual(await postfix.settled(), []);
  },
);

postfixTest("mail on hold, local mail and mail that is gone are nobody's business", async (context) => {
  const { park, staff, sink, postfix } = await yard(context, {
    sink: { refuse: (recipient) => (recipient.startsWith("local") ? "450 4.2.0 no" : undefined) },
  });
  const [held = "", , gone = ""] = await park([
    mail("held", "a@remote.test"),
    mail("local", "local@example.test"),
    mail("gone", "b@remote.test"),
    mail("sent", "c@remote.test"),
  ]);
  const { worker, checker, client } = await staff();
  await client.refresh();
  await postfix.run("postsuper", ["-h", held]);
  await postfix.run("postsuper", ["-d", gone]);
  await session(worker);
  assert.deepEqual(sink.subjects, ["sent"]);
  assert.deepEqual(checker.asked.map(subject), ["sent"]);
  assert.deepEqual((await worker.plan()).map(({ foreign }) => foreign).sort(), ["held", "local"]);
  await postfix.run("postsuper", ["-H", held]);
  await session(worker);
  assert.deepEqual(sink.subjects, ["sent", "held"]);
});

postfixTest("a plan says who goes in which order and why, and touches nothing", async (context) => {
  const rule: Rule = (question) => {
    const priority = Number(header(question, "x-priority"));
    return priority === 0 ? { skipSend: true, reason: "zero", priority } : { priority };
  };
  const { park, staff, postfix, sink } = await yard(context, { rule });
  await park([3, 0, 7, 5].map((n) => mail(`${n}`, `r${n}@remote.test`, n)));
  const { worker, log, journal } = await staff();
  const rows = await worker.plan();
  assert.deepEqual(
    rows.map(({ position, actions, decision }) => [position, actions.priority, decision?.kind]),
    [
      [1, 7, "send"],
      [2, 5, "send"],
      [3, 3, "send"],
      [undefined, 0, "skip"],
    ],
  );
  assert.equal(rows[3]?.actions.reason, "zero");
  assert.match(rows[0]?.destinations[0] ?? "", /^smtp:\[127\.0\.0\.1\]:\d+$/);
  assert.deepEqual(log.lines, []);
  assert.deepEqual(journal.unfinished(), []);
  assert.equal((await postfix.settled()).length, 4);
  assert.equal(sink.mails.length, 0);
});

postfixTest("a destination that is down is left alone for a while; the others go on", async (context) => {
  const { now, advance } = clock();
  const { park, staff, sink } = await yard(context, {
    now,
    settings: { window: 2 },
    mainCf: { transport_maps: "inline:{ { down.test = smtp:[127.0.0.1]:1 } }" },
  });
  await park(Array.from({ length: 12 }, (_, i) => mail(`${i}`, `r@${i < 10 ? "down" : "remote"}.test`)));
  const { worker, log } = await staff();
  const released = () => log.lines.filter((line) => /released .*:1$/.test(line)).length;
  await session(worker);
  assert.equal(sink.mails.length, 2);
  const first = released();
  assert.ok(first >= 2 && first <= 4, `${first}`);
  assert.match(log.lines.join("\n"), /destination is down destination=smtp:\[127\.0\.0\.1\]:1/);
  await session(worker);
  assert.equal(released(), first);
  advance(6 * MINUTE);
  await session(worker);
  assert.ok(released() > first);
});

postfixTest("a run without end sends what comes, and a stop leaves the rest to Postfix", async (context) => {
  const rule: Rule = (question) => ({ skipSend: subject(question) === "kept", reason: "kept" });
  const { park, staff, sink, postfix } = await yard(context, { rule });
  await park([mail("first", "a@remote.test"), mail("kept", "b@remote.test")]);
  const { worker, journal, log, checker } = await staff();
  const stop = new AbortController();
  const running = run({ worker, journal, log, signal: stop.signal });
  await sink.count(1);
  await send(postfix.port, [mail("second", "c@remote.test")]);
  await sink.count(2);
  assert.deepEqual(sink.subjects, ["first", "second"]);
  // Mail that is skipped is not asked about again for each that comes.
  assert.equal(checker.asked.filter((question) => subject(question) === "kept").length, 1);
  assert.ok(journal.heartbeat.aliveMs > 0 && journal.heartbeat.plannedMs > Date.now());
  stop.abort();
  await running;
  await postfix.flush();
  await sink.count(3);
});

postfixTest(
  "a message whose next hop nobody can tell waits, and goes unasked in the end",
  async (context) => {
    const { now, advance } = clock();
    const { park, staff, sink, postfix } = await yard(context, { now });
    const [id = ""] = await park([mail("x", "a@remote.test")]);
    const { worker, client, checker, log } = await staff();
    await client.refresh();
    const known = client.messages.get(id)!;
    const unknown = { kind: "unknown", transport: "", nexthop: "", destination: "" } as const;
    (client.messages as Map<string, typeof known>).set(id, { ...known, hops: [unknown] });
    await session(worker);
    assert.equal(sink.mails.length, 0);
    assert.match(log.lines.join("\n"), /does not say where this message goes/);
    advance(16 * MINUTE);
    await session(worker);
    await sink.count(1);
    assert.equal(checker.asked.length, 0);
    assert.deepEqual(await postfix.settled(), []);
  },
);

postfixTest("a worker that can neither read the queue nor send gives no sign of life", async (context) => {
  let now = Date.now();
  const { staff, journalPath } = await yard(context);
  const { worker, journal, client } = await staff({ now: () => now });
  let trouble: Error | undefined;
  const sign = () => {
    signOfLife(journal, { isReadable: worker.isReadable, trouble }, ++now);
    return readHeartbeat(journalPath).aliveMs === now;
  };
  assert.equal(sign(), true);
  trouble = new Error("Postfix cannot be asked");
  assert.equal(sign(), false);
  trouble = undefined;
  assert.equal(sign(), true);
  await worker.pass({ what: "all" });
  assert.equal(sign(), true);
  client.close();
  await assert.rejects(worker.pass({ what: "all" }), /gone|closed|destroyed|Premature/);
  assert.equal(sign(), false);
});
