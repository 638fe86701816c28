/** Mail that users hand to sendmail(1) of a real Postfix, through SMTPSVR.LUA. */
import assert from "node:assert/strict";
import type { SinkMessage } from "../../postfix/sink.ts";
import { SmtpClient } from "../../postfix/smtp-client.ts";
import { postfixTest, Served } from "./harness.ts";

const MESSAGE =
  "From: Ann <ann@example.test>\nTo: bob@elsewhere.test\nSubject: Offer\n\nSome lines\n.\n..dot \xe9\n";

async function submit({ postfix }: Served, to: readonly string[], message = MESSAGE, options: string[] = []) {
  await postfix.run("sendmail", ["-i", ...options, "-f", "ann@example.test", ...to], message);
}

const served = (script: string, config = "") =>
  Served.start({ scripts: { "SMTPSVR.LUA": script }, internal: true, config });
const header = ({ headers }: SinkMessage, name: string) =>
  headers.filter(([field]) => field.toLowerCase() === name).map(([, value]) => value.trim());
/** The text that Postfix gives as the reason in a bounce, on one line. */
const reason = ({ body }: SinkMessage) => body.replace(/\r\n +/g, " ");

postfixTest("a submission runs Start to End and is tagged; its bytes stay", async () => {
  await using run = await served(`
    function Start() print("Start", IPAddress, Submission, LocalClientAddress) end
    function DoHELO(host, refuse, extended) print("DoHELO", host) end
    function DoMAILFROM(data, from) print("DoMAILFROM", data, from) end
    function DoRCPTTO(data, to, parameters, list) print("DoRCPTTO", to, table.getn(list)) end
    function DoDATAStart(list) print("DoDATAStart", table.getn(list)) return "", "X-Top: 1" end
    function ProcessMessage(from, subject, to, actions, mime, size)
      print("ProcessMessage", from, subject, table.concat(to, " "))
      actions.HeaderModifiers = { "Subject: " .. subject .. " (seen)", "X-Queue: " .. QueueID }
      actions.Recipients = { "cy@elsewhere.test" }
      return actions
    end
    function DoQUIT() print("DoQUIT") end
    function DoRSET() print("DoRSET") end
    function End() print("End") end`);
  await submit(run, ["bob@elsewhere.test", "dan@example.test"]);
  const remote = await run.sink.waitFor(({ recipients }) => recipients.includes("cy@elsewhere.test"));
  assert.deepEqual([...remote.recipients].sort(), ["bob@elsewhere.test", "cy@elsewhere.test"]);
  assert.equal(remote.sender, "ann@example.test");
  assert.deepEqual(header(remote, "subject"), ["Offer (seen)"]);
  assert.deepEqual(header(remote, "x-queue"), [remote.queueId]);
  assert.deepEqual(header(remote, "x-top"), ["1"]);
  assert.equal(remote.body, "Some lines\r\n.\r\n..dot \xe9\r\n");
  await run.postfix.settled();
  await run.postlua.stop();
  assert.equal(
    run.postlua.printed(),
    [
      "Start\t127.0.0.1\tsendmail\ttrue",
      "DoHELO\tlocalhost",
      "DoMAILFROM\t<ann@example.test>\tann@example.test",
      "DoRCPTTO\tbob@elsewhere.test\t0",
      "DoRCPTTO\tdan@example.test\t1",
      "DoDATAStart\t2",
      "ProcessMessage\tann@example.test\tOffer\tbob@elsewhere.test dan@example.test",
      "End",
      "",
    ].join("\n"),
  );
  assert.equal(run.postlua.errors(), "");
});

const REFUSING: [callback: string, script: string][] = [
  ["Start", 'function Start() if Submission == "sendmail" then return "554 5.7.1 not today" end end'],
  ["DoMAILFROM", 'function DoMAILFROM() return "554 5.7.1 not today" end'],
  [
    "DoRCPTTO",
    'function DoRCPTTO(data, to) if to == "dan@elsewhere.test" then return "554 5.7.1 not today" end end',
  ],
  [
    "ProcessMessage",
    `function ProcessMessage(from, subject, to, actions)
      actions.Ignore = true actions.Delete = true actions.Reason = "554 5.7.1 not today"
      return actions
    end`,
  ],
];

for (const [callback, script] of REFUSING) {
  postfixTest(
    `a submission refused by ${callback} comes back to its sender, and nobody else gets it`,
    async () => {
      await using run = await served(script);
      await submit(run, ["bob@elsewhere.test", "dan@elsewhere.test"]);
      const bounce = await run.sink.waitFor(({ sender }) => sender === "");
      assert.deepEqual(bounce.recipients, ["ann@example.test"]);
      assert.match(reason(bounce), /<bob@elsewhere\.test>: .*not today/);
      assert.match(reason(bounce), /<dan@elsewhere\.test>: .*not today/);
      assert.match(bounce.body, /^Status: 5\.7\.1\r$/m);
      assert.deepEqual(await run.postfix.settled(), []);
      assert.equal(run.sink.messages.length, 1);
      assert.doesNotMatch(run.postfix.log(), /status=deferred|milter configuration error/);
    },
  );
}

postfixTest("a submission put off with 4xx waits in the maildrop and goes when it is let go", async () => {
  const script = (code: string) => `function DoRCPTTO() return "${code}" end`;
  await using run = await served(script("451 4.7.1 later"));
  await submit(run, ["bob@elsewhere.test"]);
  await run.postlua.waitFor(({ result }) => String(result).startsWith("refuse 451"));
  await run.postfix.waitFor(/milter-reject: END-OF-MESSAGE .*4\.7\.1 later/);
  assert.deepEqual(run.sink.messages, []);
  run.postlua.setScripts({ "SMTPSVR.LUA": script("") });
  const loaded = () => run.postlua.lines.filter(({ event }) => event === "script loaded").length;
  await run.postlua.waitFor(() => loaded() === 2);
  // Else pickup looks once a minute.
  await run.postfix.run("postkick", ["public", "pickup", "W"]);
  const arrived = await run.sink.waitFor(() => true);
  assert.deepEqual(arrived.recipients, ["bob@elsewhere.test"]);
});

postfixTest("a submission can be discarded, redirected and held", async () => {
  await using run = await served(`
    function ProcessMessage(from, subject, to, actions)
      if subject == "discard" then actions.Ignore = true end
      if subject == "redirect" then
        actions.SendToOriginalRecipients = false
        actions.Recipients = { "boss@elsewhere.test" }
      end
      if subject == "hold" then actions.Hold = "odd" end
      return actions
    end`);
  for (const subject of ["discard", "redirect", "hold"]) {
    await submit(run, ["bob@elsewhere.test"], MESSAGE.replace("Offer", subject));
  }
  const arrived = await run.sink.waitFor(() => true);
  assert.deepEqual(arrived.recipients, ["boss@elsewhere.test"]);
  await run.postfix.waitFor(/milter-discard: END-OF-MESSAGE/);
  const held = await run.postfix.settled();
  assert.deepEqual(
    held.map(({ queue_name }) => queue_name),
    ["hold"],
  );
  assert.equal(run.sink.messages.length, 1);
});

postfixTest("AuthenticationRequired asks nobody who cannot log in", async () => {
  await using run = await served(
    "function Start() AuthenticationRequired = true end",
    'client_networks = ["192.0.2.0/24"]',
  );
  await submit(run, ["bob@elsewhere.test"]);
  await run.sink.waitFor(({ recipients }) => recipients.includes("bob@elsewhere.test"));
});

postfixTest("a script that discards SMTP mail at its end discards it once", async () => {
  await using run = await served(`
    function ProcessMessage(from, subject, to, actions) print(Submission) actions.Ignore = true return actions end`);
  const { client } = await SmtpClient.connect({ port: run.postfix.port });
  for (const line of ["EHLO c.test", "MAIL FROM:<a@c.test>", "RCPT TO:<b@elsewhere.test>", "DATA"]) {
    await client.command(line);
  }
  assert.equal((await client.message("Subject: x\r\n\r\n")).code, 250);
  await client.command("QUIT");
  await run.postlua.stop();
  assert.equal(run.postlua.printed(), "smtp\n");
});

postfixTest("mail with the null sender that is no notice goes through the session", async () => {
  await using run = await served(`
    function ProcessMessage(from, subject, to, actions)
      actions.HeaderModifiers = { "X-From: [" .. from .. "]" }
      return actions
    end`);
  await run.postfix.run("sendmail", ["-i", "-f", "<>", "bob@elsewhere.test"], MESSAGE);
  const arrived = await run.sink.waitFor(() => true);
  assert.equal(arrived.sender, "");
  assert.deepEqual(header(arrived, "x-from"), ["[]"]);
});

postfixTest(
  "a submission that leaves the site gets its signature; notices and local mail get none",
  async () => {
    const scripts = { "SIGNATURE.LUA": 'function GetSignature(format) return "Example Ltd" end' };
    const refuse = (recipient: string) =>
      recipient.startsWith("unknown") ? { code: 550, text: "5.1.1 Unknown" } : undefined;
    await using run = await Served.start({ scripts, internal: true, sink: { refuse } });
    const plain = MESSAGE.replace(" \xe9", "");
    await submit(run, ["bob@elsewhere.test"], plain);
    await submit(run, ["dan@example.test"], plain);
    await submit(run, ["unknown@elsewhere.test"], plain);
    const arrived = async (recipient: string) =>
      (await run.sink.waitFor(({ recipients }) => recipients.includes(recipient))).body;
    assert.equal(await arrived("bob@elsewhere.test"), "Some lines\r\n.\r\n..dot\r\nExample Ltd\r\n");
    assert.equal(await arrived("dan@example.test"), "Some lines\r\n.\r\n..dot\r\n");
    const bounce = await arrived("ann@example.test");
    const [notice = "", , original = ""] = bounce.split(/^Content-Description: /m).slice(1);
    assert.doesNotMatch(notice, /Example Ltd/);
    assert.match(original, /Example Ltd/);
  },
);
