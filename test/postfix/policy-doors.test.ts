/** Milter and policy service together, under a real Postfix: one session, every callback once, whatever happens. */
import assert from "node:assert/strict";
import { request } from "node:http";
import { SmtpClient } from "../../postfix/smtp-client.ts";
import type { Status } from "../../src/serve/status.ts";
import { postfixTest, Served } from "./harness.ts";
import { converse, everyList, lateLists, MESSAGE, printed, TELLING } from "./policy-script.ts";

const BOTH = { doors: ["milter", "policy"] } as const;

postfixTest(
  "both doors: refusals in the script's own words, each callback once, with all that is known",
  async () => {
    await using served = await Served.start({
      scripts: { "SMTPSVR.LUA": TELLING },
      ...BOTH,
      workers: 2,
      mainCf: everyList,
    });
    const { client, greeting } = await SmtpClient.connect({ port: served.postfix.port, from: "127.0.0.5" });
    assert.equal(greeting.text, "521 5.7.1 <unknown[127.0.0.5]>: Client host rejected: Not from there");
    await client.closed;
    assert.deepEqual(
      await converse(served, "127.0.0.2", [
        "HELO client.test",
        "MAIL FROM:<bad@b.test>",
        "MAIL FROM:<a@b.test> SIZE=100 RET=HDRS",
        "RCPT TO:<x@example.test> NOTIFY=NEVER",
        "RCPT TO:<bad@example.test>",
        "RCPT TO:<y@far.test>",
        "RCPT TO:<grant@far.test>",
        "DATA",
        MESSAGE,
        "MAIL FROM:<>",
        "RCPT TO:<nodata@example.test>",
        "DATA",
        "RSET",
        "MAIL FROM:<>",
        "RCPT TO:<x@example.test>",
        "RCPT TO:<x@example.test>",
        "QUIT",
      ]),
      [
        "220 mx.example.test ESMTP Postfix",
        "250 mx.example.test",
        "551 5.7.2 Bad sender",
        "250 2.1.0 Ok",
        "250 2.1.5 Ok",
        "552-5.7.3 Bad recipient|552 5.7.3 indeed",
        "554 5.7.1 <y@far.test>: Relay access denied",
        "250 2.1.5 Ok",
        "354 End data with <CR><LF>.<CR><LF>",
        "250 2.0.0 Ok: queued",
        "250 2.1.0 Ok",
        "250 2.1.5 Ok",
        "450 4.7.4 No data now",
        "250 2.0.0 Ok",
        "250 2.1.0 Ok",
        "250 2.1.5 Ok",
        "250 2.1.5 Ok",
        "221 2.0.0 Bye",
      ],
    );
    assert.deepEqual(await printed(served), [
      "Start 127.0.0.5",
      "End",
      "Start 127.0.0.2",
      "Size 127.0.0.2",
      "Size client.test",
      "HELO client.test false",
      "MAIL <bad@b.test>",
      "MAIL <a@b.test> SIZE=100 RET=HDRS",
      "RCPT <x@example.test> after ",
      "RCPT <bad@example.test> after x@example.test",
      "RCPT <y@far.test> after x@example.test",
      "RCPT <grant@far.test> after x@example.test",
      "DATA x@example.test,grant@far.test",
      "MESSAGE x@example.test,grant@far.test",
      "MAIL <>",
      "RCPT <nodata@example.test> after ",
      "DATA nodata@example.test",
      "MAIL <>",
      "RCPT <x@example.test> after ",
      "RCPT <x@example.test> after x@example.test",
      "QUIT",
      "End",
    ]);
  },
);

postfixTest("both doors: a script that neither routes nor grants has RCPT with its parameters", async () => {
  const script = TELLING.replaceAll("LocalClientAddress", "other");
  await using served = await Served.start({ scripts: { "SMTPSVR.LUA": script }, ...BOTH, mainCf: lateLists });
  await converse(served, "127.0.0.2", [
    "EHLO c.test",
    "MAIL FROM:<a@b.test>",
    "RCPT TO:<x@example.test> NOTIFY=NEVER",
    "QUIT",
  ]);
  assert.deepEqual(await printed(served), [
    "Start 127.0.0.2",
    "Size 127.0.0.2",
    "Size c.test",
    "HELO c.test true",
    "MAIL <a@b.test>",
    "RCPT <x@example.test> NOTIFY=NEVER after ",
    "QUIT",
    "End",
  ]);
});

/** What each callback has been called for in this transaction goes into the message. */
const COUNTING = `
calls = { Start = 0, HELO = 0, MAIL = 0, RCPT = 0, Route = 0 }
local function count(name) calls[name] = calls[name] + 1 end
function Start() count("Start") end
function DoHELO() count("HELO") end
function DoMAILFROM(data, sender)
  count("MAIL")
  calls.RCPT = 0
  calls.Route = 0
  if sender == "slow@b.test" then os.sleep(2500) end
end
function DoRCPTTO(data, recipient)
  count("RCPT")
  if string.find(recipient, "@far%.test$") then LocalClientAddress = true end
end
function DoRoute() count("Route") end
function DoDATAStart(recipients)
  local text = "X-Calls:"
  table.foreachi({ "Start", "HELO", "MAIL", "RCPT", "Route" }, function(_, name)
    text = text .. " " .. name .. "=" .. calls[name]
  end)
  return "", text .. " of " .. table.concat(recipients, ",")
end
function ProcessMessage(_, _, recipients) return { HeaderModifiers = { "X-To: " .. table.concat(recipients, ",") } } end
function End() print("End " .. SessionID) end
`;

interface Sent {
  readonly id: string;
  /** Which message of its session it is. */
  readonly nth: number;
}

/** Sends messages of three recipients, one of them unknown to Postfix, until all are taken; what fails is tried again. */
async function load(
  served: Served,
  total: number,
  clients: number,
  progress?: (sent: number) => void,
): Promise<Sent[]> {
  const sent: Sent[] = [];
  let next = 0;
  const session = async (from: string) => {
    while (next < total) {
      let client: SmtpClient | undefined;
      let id = "";
      try {
        ({ client } = await SmtpClient.connect({ port: served.postfix.port, from }));
        await client.command("EHLO client.test");
        for (let nth = 1; nth <= 5 && next < total; nth++) {
          id = String(next++);
          const commands = [
            `MAIL FROM:<a@b.test>`,
            `RCPT TO:<${id}@example.test>`,
            "RCPT TO:<nobody@mx.example.test>",
            `RCPT TO:<${id}@far.test>`,
            "DATA",
          ];
          const codes: number[] = [];
          for (const command of commands) codes.push((await client.command(command)).code);
          codes.push((await client.message(`Subject: ${id}\r\n\r\nhi\r\n`)).code);
          if (codes.join(" ") !== "250 250 554 250 354 250") throw new Error(codes.join(" "));
          sent.push({ id, nth });
          id = "";
          progress?.(sent.length);
        }
        await client.command("QUIT");
      } catch (error) {
        if (process.env.POSTLUA_SHOW !== undefined) console.error(String(error));
        // Try this one again, like any client.
        if (id !== "") repeat.push(id);
      } finally {
        client?.close();
      }
    }
  };
  const repeat: string[] = [];
  await Promise.all(Array.from({ length: clients }, (_, n) => session(`127.0.1.${n + 1}`)));
  for (const id of repeat) {
    const replies = await converse(served, "127.0.1.99", [
      "EHLO client.test",
      "MAIL FROM:<a@b.test>",
      `RCPT TO:<${id}@example.test>`,
      "RCPT TO:<nobody@mx.example.test>",
      `RCPT TO:<${id}@far.test>`,
      "DATA",
      `Subject: ${id}\r\n\r\nhi\r\n`,
      "QUIT",
    ]);
    assert.equal(replies.at(-2), "250 2.0.0 Ok: queued");
    sent.push({ id, nth: 1 });
  }
  return sent;
}

const BLOCKED = (policy: string) => ({
  ...everyList(policy),
  // Refused behind the policy service's back, after it was asked.
  smtpd_recipient_restrictions: `check_policy_service ${policy}, check_recipient_access inline:{mx.example.test=REJECT}`,
  smtpd_client_connection_count_limit: "0",
});

/** Every message arrived, and its header says that each callback ran once for each step. */
async function verify(served: Served, sent: readonly Sent[]): Promise<void> {
  await served.postfix.settled();
  const nths = new Map(sent.map(({ id, nth }) => [id, nth]));
  const wrong: string[] = [];
  const arrived = new Map<string, number>();
  for (const { headers, recipients } of served.sink.messages) {
    const of = (wanted: string) => headers.find(([name]) => name === wanted)?.[1].trim() ?? "";
    const id = of("Subject");
    arrived.set(id, (arrived.get(id) ?? 0) + recipients.length);
    const to = `${id}@example.test,${id}@far.test`;
    const calls = `Start=1 HELO=1 MAIL=${nths.get(id)} RCPT=3 Route=3 of ${to}`;
    if (of("X-Calls") !== calls || of("X-To") !== to)
      wrong.push(`${id}: ${of("X-Calls")} to ${of("X-To")}, expected ${calls}`);
  }
  assert.deepEqual(wrong.slice(0, 5), []);
  assert.deepEqual(
    [...nths.keys()].filter((id) => arrived.get(id) !== 2),
    [],
  );
}

postfixTest("both doors under load, over workers: every callback once for every message", async (t) => {
  await using served = await Served.start({
    scripts: { "SMTPSVR.LUA": COUNTING },
    ...BOTH,
    workers: 3,
    mainCf: BLOCKED,
  });
  const since = performance.now();
  const sent = await load(served, process.env.POSTLUA_LONG === undefined ? 150 : 1_000, 10);
  t.diagnostic(
    `${sent.length} messages, ${Math.round((sent.length / (performance.now() - since)) * 1000)} a second`,
  );
  await verify(served, sent);
  const ends = (await printed(served)).filter((line) => line.startsWith("End"));
  assert.equal(new Set(ends).size, ends.length, "End once a session");
});

function ask(served: Served): Promise<Status> {
  return new Promise((resolve, reject) => {
    const sent = request({ socketPath: served.postlua.control, path: "/status" }, (response) => {
      let text = "";
      response.on("data", (chunk) => {
        text += chunk;
      });
      response.on("end", () => resolve(JSON.parse(text) as Status));
    });
    sent.on("error", reject);
    sent.end();
  });
}

postfixTest(
  "a worker killed in the middle: nothing lost, nothing hangs, callbacks once for what is tried again",
  async () => {
    await using served = await Served.start({
      scripts: { "SMTPSVR.LUA": COUNTING },
      ...BOTH,
      workers: 2,
      mainCf: BLOCKED,
    });
    let killed: Promise<void> | undefined;
    const sent = await load(served, 120, 8, (count) => {
      if (count < 40 || killed !== undefined) return;
      killed = ask(served).then(({ workers }) => {
        const [worker] = workers;
        assert.ok(worker !== undefined);
        process.kill(worker.pid, "SIGKILL");
      });
    });
    await killed;
    assert.ok(served.postlua.lines.some(({ event }) => event === "worker died"));
    assert.equal(sent.length, 120);
    await verify(served, sent);
  },
);

postfixTest("policy alone, a worker killed: its client is told 421 and comes back to another", async () => {
  await using served = await Served.start({
    scripts: { "SMTPSVR.LUA": TELLING },
    doors: ["policy"],
    mainCf: everyList,
  });
  const { client } = await SmtpClient.connect({ port: served.postfix.port, from: "127.0.0.2" });
  await client.command("EHLO client.test");
  const [worker] = (await ask(served)).workers;
  process.kill(worker?.pid ?? 0, "SIGKILL");
  await served.postlua.waitFor(({ event }) => event === "worker died");
  assert.equal(
    (await client.command("MAIL FROM:<a@b.test>")).text,
    "421 4.3.0 <a@b.test>: Sender address rejected: Temporary mail policy problem, try again later",
  );
  await client.closed;
  const again = await converse(served, "127.0.0.2", ["EHLO client.test", "MAIL FROM:<a@b.test>", "QUIT"]);
  assert.equal(again.at(-2), "250 2.1.0 Ok");
});

postfixTest(
  "smtpd's policy connections are lost in the middle of a session: it goes on where it was",
  async () => {
    await using served = await Served.start({
      scripts: { "SMTPSVR.LUA": COUNTING },
      ...BOTH,
      workers: 2,
      mainCf: everyList,
      policyConfig: "idle_timeout_s = 1\n",
      config: 'log_level = "debug"\n',
    });
    // DoMAILFROM takes longer than a silent policy connection lives.
    const replies = await converse(served, "127.0.0.2", [
      "EHLO c.test",
      "MAIL FROM:<slow@b.test>",
      "RCPT TO:<x@far.test>",
      "DATA",
      MESSAGE,
      "QUIT",
    ]);
    assert.equal(replies.at(-2), "250 2.0.0 Ok: queued");
    await served.postfix.settled();
    const calls = served.sink.messages[0]?.headers.find(([name]) => name === "X-Calls")?.[1];
    assert.equal(calls, " Start=1 HELO=1 MAIL=1 RCPT=1 Route=1 of x@far.test");
    assert.ok(served.postlua.lines.some(({ event }) => event === "policy connection closed"));
  },
);
