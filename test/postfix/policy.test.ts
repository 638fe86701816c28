/** The policy service alone, asked by a real Postfix: refusals as clients see them, callbacks, relaying, routing. */
import assert from "node:assert/strict";
import { SmtpClient } from "../../postfix/smtp-client.ts";
import { postfixTest, Served } from "./harness.ts";
import { converse, everyList, lateLists, MESSAGE, printed, TELLING } from "./policy-script.ts";

const ALONE = { doors: ["policy"] } as const;

postfixTest("policy alone: every step runs once, refusals show at their own step", async () => {
  await using served = await Served.start({
    scripts: { "SMTPSVR.LUA": TELLING },
    ...ALONE,
    mainCf: everyList,
  });
  const replies = await converse(served, "127.0.0.2", [
    "EHLO client.test",
    "MAIL FROM:<bad@b.test>",
    "MAIL FROM:<a@b.test> SIZE=3000",
    "MAIL FROM:<a@b.test> SIZE=100",
    "RCPT TO:<x@example.test>",
    "RCPT TO:<bad@example.test>",
    "RCPT TO:<y@example.test>",
    "DATA",
    MESSAGE,
    "MAIL FROM:<>",
    "RCPT TO:<nodata@example.test>",
    "DATA",
    "RSET",
    "MAIL FROM:<>",
    "RCPT TO:<x@example.test>",
    "DATA",
    `Subject: long\r\n\r\n${"x".repeat(100)}\r\n`.concat("y\r\n".repeat(1_000)),
    "QUIT",
  ]);
  assert.deepEqual(replies, [
    "220 mx.example.test ESMTP Postfix",
    "250 EHLO",
    "551 5.7.2 <bad@b.test>: Sender address rejected: Bad sender",
    "552 5.3.4 <a@b.test>: Sender address rejected: Message size exceeds limit",
    "250 2.1.0 Ok",
    "250 2.1.5 Ok",
    "552 5.7.3 <bad@example.test>: Recipient address rejected: Bad recipient indeed",
    "250 2.1.5 Ok",
    "354 End data with <CR><LF>.<CR><LF>",
    "250 2.0.0 Ok: queued",
    "250 2.1.0 Ok",
    "250 2.1.5 Ok",
    "450 4.7.4 <DATA>: Data command rejected: No data now",
    "250 2.0.0 Ok",
    "250 2.1.0 Ok",
    "250 2.1.5 Ok",
    "354 End data with <CR><LF>.<CR><LF>",
    "552 5.3.4 <END-OF-MESSAGE>: End-of-data rejected: Message size exceeds limit",
    "221 2.0.0 Bye",
  ]);
  assert.deepEqual(await printed(served), [
    "Start 127.0.0.2",
    "Size 127.0.0.2",
    "Size client.test",
    "HELO client.test true",
    "MAIL <bad@b.test>",
    "MAIL <a@b.test> SIZE=100",
    "RCPT <x@example.test> after ",
    "RCPT <bad@example.test> after x@example.test",
    "RCPT <y@example.test> after x@example.test",
    "DATA x@example.test,y@example.test",
    "MAIL <>",
    "RCPT <nodata@example.test> after ",
    "DATA nodata@example.test",
    "MAIL <>",
    "RCPT <x@example.test> after ",
    "DATA x@example.test",
    "End",
  ]);
});

postfixTest("policy alone: a client refused at connect is told in the banner and hung up on", async () => {
  await using served = await Served.start({
    scripts: { "SMTPSVR.LUA": TELLING },
    ...ALONE,
    mainCf: everyList,
  });
  for (const [from, banner] of [
    ["127.0.0.5", "521 5.7.1 <unknown[127.0.0.5]>: Client host rejected: Not from there"],
    ["127.0.0.4", "421 4.7.1 <unknown[127.0.0.4]>: Client host rejected: Not now"],
  ] as const) {
    const { client, greeting } = await SmtpClient.connect({ port: served.postfix.port, from });
    assert.equal(greeting.text, banner);
    await client.closed;
  }
  assert.deepEqual(await converse(served, "127.0.0.2", ["HELO plain.test", "MAIL FROM:<a@b.test>"]), [
    "220 mx.example.test ESMTP Postfix",
    "250 mx.example.test",
    "250 2.1.0 Ok",
  ]);
  const refused = await converse(served, "127.0.0.3", ["EHLO bad.test"]);
  assert.equal(refused[1], "550 5.7.0 <bad.test>: Helo command rejected: Bad name indeed");
  const lines = await printed(served);
  assert.ok(lines.includes("HELO plain.test false"), "HELO is told from EHLO");
  assert.equal(lines.filter((line) => line === "End").length, 4);
});

postfixTest(
  "policy alone: lists that ask at RCPT only bring the earlier steps, each once a transaction",
  async () => {
    await using served = await Served.start({
      scripts: { "SMTPSVR.LUA": TELLING },
      ...ALONE,
      mainCf: lateLists,
    });
    const replies = await converse(served, "127.0.0.2", [
      "HELO client.test",
      "MAIL FROM:<bad@b.test>",
      "RCPT TO:<x@example.test>",
      "RCPT TO:<y@example.test>",
      "RSET",
      "MAIL FROM:<a@b.test>",
      "RCPT TO:<x@example.test>",
      "RCPT TO:<y@example.test>",
      "RSET",
      "MAIL FROM:<a@b.test>",
      "RCPT TO:<x@example.test>",
      "QUIT",
    ]);
    assert.equal(replies[2], "250 2.1.0 Ok");
    assert.equal(replies[3], "551 5.7.2 <x@example.test>: Recipient address rejected: Bad sender");
    assert.equal(replies[4], "551 5.7.2 <y@example.test>: Recipient address rejected: Bad sender");
    assert.deepEqual(replies.slice(5), [
      "250 2.0.0 Ok",
      "250 2.1.0 Ok",
      "250 2.1.5 Ok",
      "250 2.1.5 Ok",
      "250 2.0.0 Ok",
      "250 2.1.0 Ok",
      "250 2.1.5 Ok",
      "221 2.0.0 Bye",
    ]);
    assert.deepEqual(await printed(served), [
      "Start 127.0.0.2",
      "Size 127.0.0.2",
      "Size client.test",
      "HELO client.test false",
      "MAIL <bad@b.test>",
      "MAIL <a@b.test>",
      "RCPT <x@example.test> after ",
      "RCPT <y@example.test> after x@example.test",
      "MAIL <a@b.test>",
      "RCPT <x@example.test> after ",
      "End",
    ]);
  },
);

const RELAY_DENIED = (recipient: string) => `554 5.7.1 <${recipient}>: Relay access denied`;

postfixTest(
  "relaying: granted and taken by scripts, left alone for clients that have logged in",
  async () => {
    await using served = await Served.start({
      scripts: { "SMTPSVR.LUA": TELLING },
      ...ALONE,
      // Whatever is left to Postfix is permitted.
      mainCf: (policy) => ({
        ...lateLists(policy),
        smtpd_relay_restrictions: `check_policy_service { ${policy}, policy_context=relay }, check_client_access static:OK, reject_unauth_destination`,
      }),
    });
    const rcpt = async (from: string, ...commands: string[]) => {
      const replies = await converse(served, from, commands);
      return replies.filter((_, n) => commands[n - 1]?.startsWith("RCPT") === true);
    };
    const stranger = [
      "EHLO c.test",
      "MAIL FROM:<a@b.test>",
      "RCPT TO:<x@far.test>",
      "RCPT TO:<grant@far.test>",
    ];
    assert.deepEqual(await rcpt("127.0.0.2", ...stranger, "RCPT TO:<y@far.test>", "QUIT"), [
      RELAY_DENIED("x@far.test"),
      "250 2.1.5 Ok",
      "250 2.1.5 Ok",
    ]);
    // 127.0.0.1 is in mynetworks.
    const local = ["EHLO c.test", "MAIL FROM:<a@b.test>", "RCPT TO:<x@far.test>", "RCPT TO:<take@far.test>"];
    assert.deepEqual(await rcpt("127.0.0.1", ...local, "RCPT TO:<y@example.test>", "QUIT"), [
      "250 2.1.5 Ok",
      RELAY_DENIED("take@far.test"),
      "250 2.1.5 Ok",
    ]);
    const user = ["EHLO c.test", "XCLIENT ADDR=192.0.2.9 PORT=4321 LOGIN=anna", "EHLO c.test"];
    assert.deepEqual(
      await rcpt("127.0.0.1", ...user, "MAIL FROM:<a@b.test>", "RCPT TO:<x@far.test>", "QUIT"),
      ["250 2.1.5 Ok"],
    );
  },
);

postfixTest("AuthenticationRequired and AllowedUsers through the policy service, over TCP", async () => {
  const port = 12_000 + Math.floor(Math.random() * 20_000);
  await using served = await Served.start({
    scripts: { "SMTPSVR.LUA": 'function Start() AuthenticationRequired = true AllowedUsers = "anna" end' },
    ...ALONE,
    policyListen: [`inet:${port}@127.0.0.1`],
    mainCf: () => ({ ...everyList(`inet:127.0.0.1:${port}`), smtpd_client_restrictions: "" }),
  });
  const mail = async (login: string) => {
    const commands = [
      "EHLO c.test",
      `XCLIENT ADDR=192.0.2.9 PORT=4321${login}`,
      "EHLO c.test",
      "MAIL FROM:<a@b.test>",
    ];
    return (await converse(served, "127.0.0.1", commands)).at(-1);
  };
  const rejected = "<a@b.test>: Sender address rejected:";
  assert.equal(await mail(""), `530 5.7.0 ${rejected} Authentication required`);
  assert.equal(await mail(" LOGIN=bert"), `535 5.7.8 ${rejected} This user may not send from here`);
  assert.equal(await mail(" LOGIN=anna"), "250 2.1.0 Ok");
});

const ROUTING = `
actions = {
  filter = "filter smtp:[127.0.0.1]:PORT", redirect = "REDIRECT other@far.test", hold = "HOLD until looked at",
  prepend = "PREPEND X-Route: by script", bcc = "BCC copy@far.test", discard = "DISCARD", none = "DUNNO",
  bad = "FILTER nowhere", worse = "550 no", lines = "PREPEND A: b\\nC: d",
}
function DoRoute(sender, recipient, size, attributes)
  print("ROUTE " .. sender .. " " .. recipient .. " " .. size .. " " .. attributes.protocol_name)
  local _, _, name = string.find(recipient, "^(.*)@")
  return actions[name]
end
`;

postfixTest(
  "DoRoute: each action takes effect, and what Postfix could not carry out is never sent",
  async () => {
    await using served = await Served.start({
      scripts: { "SMTPSVR.LUA": ROUTING },
      ...ALONE,
      mainCf: lateLists,
    });
    const { sink, postfix, postlua } = served;
    postlua.setScripts({ "SMTPSVR.LUA": ROUTING.replace("PORT", String(sink.port)) });
    await postlua.stop();
    await postlua.start();
    const send = async (...names: string[]) => {
      const recipients = names.map((name) => `RCPT TO:<${name}@example.test>`);
      const replies = await converse(served, "127.0.0.2", [
        "EHLO c.test",
        "MAIL FROM:<a@b.test> SIZE=50",
        ...recipients,
        "DATA",
        MESSAGE,
        "QUIT",
      ]);
      const queue = await postfix.settled();
      const messages = sink.messages.splice(0);
      return { replies, queue, messages, to: messages.flatMap(({ recipients: to }) => to).sort() };
    };
    assert.deepEqual((await send("none", "absent")).to, ["absent@example.test", "none@example.test"]);
    assert.deepEqual((await send("redirect")).to, ["other@far.test"]);
    assert.deepEqual((await send("bcc")).to, ["bcc@example.test", "copy@far.test"]);
    const prepended = await send("prepend");
    const routed = prepended.messages[0]?.headers.filter(([name]) => name === "X-Route");
    assert.deepEqual(routed, [["X-Route", " by script"]], "once, though two lists ask");
    const discarded = await send("discard");
    assert.deepEqual(discarded.to, []);
    assert.equal(discarded.replies.at(-2), "250 2.0.0 Ok: queued");
    const held = await send("hold");
    assert.deepEqual([held.to, held.queue.map(({ queue_name }) => queue_name)], [[], ["hold"]]);
    await postfix.run("postsuper", ["-d", "ALL"]);
    assert.deepEqual((await send("filter")).to, ["filter@example.test"]);
    assert.match(postfix.log(), /to=<filter@example\.test>, relay=127\.0\.0\.1\[127\.0\.0\.1\]:\d+/);
    assert.match(
      postfix.log(),
      /<filter@example\.test>: Recipient address triggers FILTER smtp:\[127\.0\.0\.1\]:/,
    );
    for (const bad of ["bad", "worse", "lines"]) {
      const { replies } = await converse(served, "127.0.0.2", [
        "EHLO c.test",
        "MAIL FROM:<a@b.test>",
        `RCPT TO:<${bad}@example.test>`,
      ]).then((all) => ({ replies: all }));
      assert.equal(
        replies.at(-1),
        `451 4.3.0 <${bad}@example.test>: Recipient address rejected: Temporary mail policy problem, try again later`,
      );
    }
    const asked = (await printed(served)).filter((line) => line.startsWith("ROUTE"));
    assert.equal(asked[0], "ROUTE a@b.test none@example.test 50 ESMTP");
    assert.equal(asked.length, 2 + 6 + 3, "once for each RCPT");
    assert.match(postlua.errors(), /DoRoute returned "FILTER nowhere", which needs transport:destination/);
  },
);
