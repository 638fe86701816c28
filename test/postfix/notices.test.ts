/** Real bounces, delay warnings, reports and postmaster notices of a real Postfix, through ERRORS.LUA. */
import assert from "node:assert/strict";
import { setTimeout as delay } from "node:timers/promises";
import { simpleParser } from "mailparser";
import type { SinkMessage, SinkRefusal } from "../../postfix/sink.ts";
import { SmtpClient } from "../../postfix/smtp-client.ts";
import { encodeText } from "../../src/bytes.ts";
import { postfixTest, Served } from "./harness.ts";

function refuse(recipient: string): SinkRefusal | undefined {
  if (recipient.startsWith("unknown")) return { code: 550, text: `5.1.1 <${recipient}>: no such user here` };
  if (recipient.startsWith("later")) return { code: 451, text: "4.2.1 Come back later" };
  return undefined;
}

const SINK = { refuse };
const MESSAGE = "From: Ann <ann@example.test>\nTo: x@elsewhere.test\nSubject: Offer\n\nSome lines\n";

/** Prints what it is asked, one line a notice; then does what the notice's subject id says in `results`. */
const script = (results: Record<number, string>) => `
results = { ${Object.entries(results)
  .map(([id, expression]) => `[${id}] = function(subject, format, target, sender) return ${expression} end`)
  .join(", ")} }
function ProcessError(item, err, conn, sid, subject, fid, format, parameters, target, sender)
  print(sid, fid, item, err, conn, parameters[1], parameters[2], target, sender)
  if results[sid] then return results[sid](subject, format, target, sender) end
end`;

async function submit({ postfix }: Served, sender: string, to: readonly string[], options: string[] = []) {
  await postfix.run("sendmail", [...options, "-i", "-f", sender, ...to], MESSAGE);
}

/** A report that its readers understand, with the original's queue ID. */
async function assertReport({ bytes }: SinkMessage): Promise<string> {
  const { text, attachments, headers } = await simpleParser(bytes, { keepDeliveryStatus: true });
  const type = headers.get("content-type") as { value: string; params: Record<string, string> };
  assert.equal(type.value, "multipart/report");
  assert.equal(type.params["report-type"], "delivery-status");
  const [status, original, ...others] = attachments;
  assert.equal(status?.contentType, "message/delivery-status");
  assert.match(status?.content.toString("latin1") ?? "", /^Final-Recipient: rfc822; \S+@\S+\r?$/m);
  assert.match(original?.contentType ?? "", /^(?:message\/rfc822|text\/rfc822-headers)$/);
  assert.match(original?.content.toString("latin1") ?? "", /^Subject: Offer\r?$/m);
  assert.deepEqual(others, []);
  return (text ?? "").trimEnd();
}

const header = ({ headers }: SinkMessage, name: string) =>
  headers.find(([field]) => field.toLowerCase() === name)?.[1].trim();
/** Everything but the trace fields and what names message, queue file and time. */
const lasting = ({ bytes }: SinkMessage) =>
  bytes
    .toString("latin1")
    .replace(/^(?:Received:|Message-Id:|Date:|\tid |\tby ).*\r\n/gm, "")
    .replace(/\b[0-9A-F]{9,}\b|\b\d\d:\d\d:\d\d\b|\.\d{9,}\//g, "?");

postfixTest("a bounce is changed in every way; the report stays a report", async () => {
  const text = encodeText("Lieber Absender, %1 gibt es nicht (%3).\\nGrüße");
  const scripts = {
    "ERRORS.LUA": script({
      101: `"Unzustellbar: " .. subject, "${text}", target .. ", boss@example.test", '"Die Post" <post@example.test>'`,
    }),
  };
  await using served = await Served.start({ scripts, sink: SINK, internal: true });
  await submit(served, "ann@example.test", ["unknown@elsewhere.test"]);
  const bounce = await served.sink.waitFor(({ recipients }) => recipients.includes("boss@example.test"));
  assert.equal(bounce.sender, "post@example.test");
  assert.deepEqual([...bounce.recipients].sort(), ["ann@example.test", "boss@example.test"]);
  assert.equal(header(bounce, "subject"), "Unzustellbar: Undelivered Mail Returned to Sender");
  assert.equal(header(bounce, "from"), '"Die Post" <post@example.test>');
  assert.equal(
    await assertReport(bounce),
    "Lieber Absender, unknown@elsewhere.test gibt es nicht (550 5.1.1 <unknown@elsewhere.test>: no such user here).\nGrüße",
  );
  await served.postfix.settled();
  await served.postlua.stop();
  const [, original = ""] = /qmgr\[\d+\]: (\w+): from=<ann@example\.test>/.exec(served.postfix.log()) ?? [];
  assert.equal(
    served.postlua.printed(),
    `101\t201\t${original}\t550 5.1.1 <unknown@elsewhere.test>: no such user here\tfalse\tunknown@elsewhere.test\t5.1.1\tann@example.test\tMAILER-DAEMON@example.test\n`,
  );
  assert.equal(served.postlua.errors(), "");
});

postfixTest("notices that the script leaves alone are what they are without postlua", async () => {
  const run = async (internal: boolean) => {
    const scripts = { "ERRORS.LUA": script({ 101: "subject, format, target, sender, true" }) };
    const mainCf = { notify_classes: "bounce, 2bounce" };
    await using served = await Served.start({ scripts, sink: SINK, internal, mainCf });
    await submit(served, "ann@example.test", [
      "unknown@elsewhere.test",
      "unknown2@elsewhere.test",
      "x@y.test",
    ]);
    const arrived = await Promise.all([
      served.sink.waitFor(({ recipients }) => recipients.includes("ann@example.test")),
      served.sink.waitFor(({ recipients }) => recipients.includes("postmaster@example.test")),
    ]);
    assert.deepEqual(
      arrived.map(({ sender }) => sender),
      ["", "double-bounce@mx.example.test"],
    );
    return arrived.map(lasting);
  };
  assert.deepEqual(await run(true), await run(false));
});

postfixTest("a blank text suppresses a bounce, and the message that caused it is gone", async () => {
  const scripts = { "ERRORS.LUA": script({ 101: 'subject, ""' }) };
  await using served = await Served.start({ scripts, sink: SINK, internal: true });
  await submit(served, "ann@example.test", ["unknown@elsewhere.test"]);
  await served.postfix.waitFor(/: removed\n/);
  assert.deepEqual(await served.postfix.settled(), []);
  assert.match(served.postfix.log(), /milter-discard: END-OF-MESSAGE from localhost\[127\.0\.0\.1\]/);
  assert.deepEqual(served.sink.messages, []);
});

postfixTest("a script that fails holds up no bounce", async () => {
  const scripts = { "ERRORS.LUA": 'function ProcessError() error("oh no") end' };
  await using served = await Served.start({
    scripts,
    sink: SINK,
    internal: true,
    config: 'script_error = "reject"',
  });
  await submit(served, "ann@example.test", ["unknown@elsewhere.test"]);
  const bounce = await served.sink.waitFor(({ sender }) => sender === "");
  assert.match(await assertReport(bounce), /I'm sorry to have to inform you/);
  assert.deepEqual(await served.postfix.settled(), []);
  await served.postlua.stop();
  assert.match(served.postlua.errors(), /script=ERRORS\.LUA callback=ProcessError.*\n.*oh no/);
});

postfixTest("delay warnings to sender and postmaster, and at last the bounce", async () => {
  const scripts = {
    "ERRORS.LUA": script({ 102: '"Please wait", "%1 is slow: %3"', 106: 'subject .. " (copy)", format' }),
  };
  const mainCf = {
    delay_warning_time: "1s",
    notify_classes: "delay",
    delay_notice_recipient: "boss@example.test",
  };
  await using served = await Served.start({ scripts, sink: SINK, internal: true, mainCf });
  const { postfix, sink } = served;
  await submit(served, "ann@example.test", ["later@elsewhere.test"]);
  await postfix.waitFor(/status=deferred/);
  await postfix.settled();
  // Postfix warns at the first try after the time.
  for (
    const end = Date.now() + 20_000;
    !sink.messages.some(({ sender }) => sender === "") && Date.now() < end;
  ) {
    await delay(300);
    await postfix.flush();
    await postfix.settled();
  }
  const warning = await sink.waitFor(({ sender }) => sender === "");
  assert.equal(header(warning, "subject"), "Please wait");
  assert.equal(await assertReport(warning), "later@elsewhere.test is slow: 451 4.2.1 Come back later");
  const copy = await sink.waitFor(({ recipients }) => recipients.includes("boss@example.test"));
  assert.equal(header(copy, "subject"), "Postmaster Warning: Delayed Mail (copy)");
  assert.equal(copy.sender, "double-bounce@mx.example.test");
  await assertReport(copy);
  await postfix.run("postsuper", ["-e", "ALL"]);
  await postfix.flush();
  const bounce = await sink.waitFor(
    (message) => header(message, "subject") === "Undelivered Mail Returned to Sender",
  );
  await assertReport(bounce);
  await served.postlua.stop();
  const ids = served.postlua
    .printed()
    .split("\n")
    .map((line) => line.slice(0, 3));
  assert.deepEqual(ids.sort(), ["", "101", "102", "106"]);
});

postfixTest("what tells whether a server was reached", async () => {
  const scripts = { "ERRORS.LUA": script({}) };
  const mainCf = { transport_maps: "inline:{refused.test=smtp:[127.0.0.1]:1,gone.test=smtp:[host.invalid]}" };
  await using served = await Served.start({ scripts, sink: SINK, internal: true, mainCf });
  const { postfix, sink } = served;
  await submit(served, "ann@example.test", ["a@refused.test"]);
  await submit(served, "bob@example.test", ["b@gone.test"]);
  for (let n = 0; n < 2; n++) await postfix.settled();
  await postfix.run("postsuper", ["-e", "ALL"]);
  await postfix.flush();
  await sink.waitFor(({ recipients }) => recipients.includes("ann@example.test"));
  await sink.waitFor(({ recipients }) => recipients.includes("bob@example.test"));
  await served.postlua.stop();
  const printed = served.postlua.printed();
  assert.match(
    printed,
    /\tconnect to 127\.0\.0\.1\[127\.0\.0\.1\]:1: Connection refused\ttrue\ta@refused\.test\t4\.4\.1\t/,
  );
  assert.match(printed, /\tunable to look up host host\.invalid: .*\ttrue\tb@gone\.test\t[45]\.4\.4\t/);
});

postfixTest("reports of success, of sendmail -bv, bounces of bounces, and transcripts", async () => {
  const mainCf = {
    smtp_discard_ehlo_keywords: "dsn",
    notify_classes: "2bounce, policy, protocol",
    error_notice_recipient: "errors@example.test",
    "2bounce_notice_recipient": "twice@example.test",
  };
  const scripts = {
    "ERRORS.LUA": script({
      103: '"OK", "fine: %1"',
      104: '"Checked", format',
      107: '"Twice", format',
      108: `"${encodeText("Störung")}", "${encodeText("Jemand von %1: %3 (%2)")}"`,
      109: '"Client", format, "other@example.test"',
    }),
  };
  const sink = {
    refuse: (recipient: string) =>
      recipient.startsWith("odd") ? { code: 500, text: "5.5.1 What?" } : refuse(recipient),
  };
  await using served = await Served.start({ scripts, sink, internal: true, mainCf });
  const to =
    (address: string) =>
    ({ recipients }: SinkMessage) =>
      recipients.includes(address);

  await submit(served, "ann@example.test", ["x@elsewhere.test"], ["-N", "success"]);
  const success = await served.sink.waitFor(to("ann@example.test"));
  assert.equal(await assertReport(success), "fine: x@elsewhere.test");
  await submit(served, "bob@example.test", ["x@elsewhere.test"], ["-bv"]);
  const checked = await served.sink.waitFor(to("bob@example.test"));
  assert.equal(header(checked, "subject"), "Checked");
  await submit(served, "unknown@elsewhere.test", ["unknown2@elsewhere.test"]);
  const twice = await served.sink.waitFor(to("twice@example.test"));
  assert.equal(header(twice, "subject"), "Twice");

  const { client } = await SmtpClient.connect({ port: served.postfix.port, from: "127.0.0.2" });
  await client.command("EHLO client.test");
  await client.command("MAIL FROM:<bob@client.test>");
  await client.command("RCPT TO:<joe@elsewhere.test>");
  await client.command("QUIT");
  const { subject, text, from } = await simpleParser(
    (await served.sink.waitFor(to("errors@example.test"))).bytes,
  );
  assert.equal(subject, "Störung");
  assert.equal(
    text?.trimEnd(),
    "Jemand von unknown[127.0.0.2]: 554 5.7.1 <joe@elsewhere.test>: Relay access denied (5.7.1)",
  );
  assert.equal(from?.text, '"Mail Delivery System" <MAILER-DAEMON@mx.example.test>');

  await submit(served, "ann@example.test", ["odd@elsewhere.test"]);
  const transcript = await served.sink.waitFor(to("other@example.test"));
  assert.match(transcript.body, / In: {2}500 5\.5\.1 What\?\r\n/);
  assert.equal(header(transcript, "to"), "other@example.test");
  await served.postfix.settled();
  await served.postlua.stop();
  assert.equal(served.postlua.errors(), "");
});

postfixTest("repeats are dropped for a while", async () => {
  await using served = await Served.start({
    scripts: {},
    sink: SINK,
    internal: true,
    config: "[errors]\nrepeat_after = 3600",
  });
  const { postfix, postlua, sink } = served;
  await submit(served, "ann@example.test", ["unknown@elsewhere.test"]);
  await sink.waitFor(() => true);
  await submit(served, "ann@example.test", ["unknown@elsewhere.test"]);
  await postlua.waitFor(({ result }) => result === "discard, a repeat");
  await submit(served, "ann@example.test", ["unknown2@elsewhere.test"]);
  await sink.waitFor(({ bytes }) => bytes.includes("unknown2@"));
  assert.deepEqual(await postfix.settled(), []);
  assert.equal(sink.messages.length, 2);
});

postfixTest(
  "force sends what repeats; ProcessMessage3 of later VPOP3 is asked about real bounces, too",
  async () => {
    await using served = await Served.start({
      scripts: {
        "ERRORS.LUA": `
function ProcessMessage3(component, id, type, severity, err, conn, title_id, title, template_id, message, target, sender)
  print(component, type, severity, title_id, template_id, err, target)
  return "Again", message .. "\\nForced.\\n", target, sender, string.find(err, "unknown2") ~= nil
end`,
      },
      sink: SINK,
      internal: true,
      config: "[errors]\nrepeat_after = 3600",
    });
    const { postfix, postlua, sink } = served;
    const isAbout = ({ bytes }: SinkMessage, name: string) => bytes.includes(`rfc822; ${name}@`);
    const about = (name: string) => sink.messages.filter((message) => isAbout(message, name)).length;
    let first: SinkMessage | undefined;
    for (let n = 1; n <= 2; n++) {
      for (const name of ["unknown", "unknown2"]) {
        await submit(served, "ann@example.test", [`${name}@elsewhere.test`]);
      }
      first = await sink.waitFor((message) => message !== first && isAbout(message, "unknown2"));
    }
    await postlua.waitFor(({ result }) => result === "discard, a repeat");
    assert.deepEqual(await postfix.settled(), []);
    assert.deepEqual([about("unknown"), about("unknown2")], [1, 2]);
    for (const message of sink.messages) {
      assert.equal(header(message, "subject"), "Again");
      assert.match(await assertReport(message), /\nForced\.$/);
    }
    await postlua.stop();
    const asked =
      "1\t1\t4\t101\t201\t550 5.1.1 <unknown@elsewhere.test>: no such user here\tann@example.test";
    assert.ok(postlua.printed().split("\n").includes(asked), postlua.printed());
    assert.equal(postlua.errors(), "");
  },
);

postfixTest("bounces leave while postlua is down", async () => {
  await using served = await Served.start({
    scripts: { "ERRORS.LUA": script({ 101: '"x", ""' }) },
    sink: SINK,
    internal: true,
  });
  await served.postlua.stop();
  await submit(served, "ann@example.test", ["unknown@elsewhere.test"]);
  await assertReport(await served.sink.waitFor(({ sender }) => sender === ""));
});
