/** Mail that no one writes and everyone gets: what it looks like to a script, and that none of it is lost. */
import assert from "node:assert/strict";
import { SmtpClient } from "../../postfix/smtp-client.ts";
import { postfixTest, Served } from "./harness.ts";

const LONG = process.env.POSTLUA_LONG !== undefined;

const LOOK = `
function ProcessMessage(mailfrom, subject, recipients, actions, mime, size)
  local last = mime[table.getn(mime)]
  actions.HeaderModifiers = { "X-Seen: " .. size .. " " .. last.End }
  return actions, ""
end
`;

async function send(served: Served, message: string): Promise<string> {
  const { client } = await SmtpClient.connect({ port: served.postfix.port, timeoutMs: 120_000 });
  await client.command("EHLO client.test");
  await client.command("MAIL FROM:<a@client.test>");
  await client.command("RCPT TO:<b@example.test>");
  await client.command("DATA");
  const { text } = await client.message(message);
  await client.command("QUIT");
  return text;
}

/** What the script saw, from the header that it left; the arrived message without our field and the trace. */
function seen(served: Served): { size: number; end: number; rest: string } {
  const [message] = served.sink.messages;
  assert.ok(message !== undefined, "nothing arrived");
  const value = message.headers.find(([name]) => name === "X-Seen")?.[1] ?? "";
  const [size = 0, end = 0] = value.trim().split(" ").map(Number);
  const rest = message.headers
    .filter(([name]) => name !== "X-Seen" && name !== "Received" && name !== "Message-Id")
    .map(([name, text]) => `${name}:${text}\r\n`)
    .join("");
  return { size, end, rest: `${rest}\r\n${message.body}` };
}

const lines = LONG ? 100_000 : 5_000;
const megabytes = LONG ? 50 : 5;
const CASES: [name: string, message: string][] = [
  [`${lines} header lines`, `${"X-Line: 1234567890\r\n".repeat(lines)}Subject: many\r\n\r\nbody\r\n`],
  [
    `a body of ${megabytes} MB`,
    `Subject: big\r\n\r\n${`${"0123456789".repeat(7)}\r\n`.repeat((megabytes << 20) / 72)}`,
  ],
  ["one line of 900 kB", `Subject: long\r\n\r\n${"x".repeat(900_000)}\r\n`],
  ["8-bit and NUL bytes", `Subject: bytes \xe4\r\n\r\n\x00\x01\xfe\xff\x00\r\n`],
  ["no body", "Subject: nothing more\r\n\r\n"],
];

for (const [name, message] of CASES) {
  postfixTest(`${name}: seen whole and delivered whole`, async () => {
    await using served = await Served.start({
      scripts: { "SMTPSVR.LUA": LOOK },
      mainCf: { message_size_limit: "104857600", smtp_line_length_limit: "0" },
    });
    assert.match(await send(served, message), /^250 /);
    await served.postfix.settled(120_000);
    const { size, end, rest } = seen(served);
    assert.equal(rest.length, message.length);
    assert.ok(rest === message, "the message arrived changed");
    // Postfix adds a Message-Id, or none; the script sees what Postfix passes on.
    assert.ok(size >= message.length && size < message.length + 200, `size ${size} for ${message.length}`);
    assert.equal(end, size);
  });
}

postfixTest("an empty message and one without a header are delivered", async () => {
  await using served = await Served.start({ scripts: { "SMTPSVR.LUA": LOOK } });
  assert.match(await send(served, ""), /^250 /);
  assert.match(await send(served, "just text, no header\r\nsecond line\r\n"), /^250 /);
  await served.postfix.settled();
  const bodies = served.sink.messages.map(({ body }) => body).sort();
  assert.deepEqual(bodies, ["", "just text, no header\r\nsecond line\r\n"]);
});

postfixTest("many clients at once keep their sessions apart", async () => {
  const clients = LONG ? 200 : 40;
  await using served = await Served.start({
    scripts: {
      "SMTPSVR.LUA": `
        function DoMAILFROM(data, mailfrom) sender = mailfrom end
        function ProcessMessage(mailfrom, subject, recipients, actions)
          actions.HeaderModifiers = { "X-Sender: " .. sender .. " " .. mailfrom }
          return actions
        end`,
    },
    workers: 2,
    mainCf: { smtpd_client_connection_count_limit: "0", default_process_limit: "250" },
  });
  const send = async (n: number) => {
    const { client } = await SmtpClient.connect({ port: served.postfix.port, timeoutMs: 120_000 });
    await client.command("EHLO client.test");
    for (const part of ["x", "y"]) {
      await client.command(`MAIL FROM:<${part}${n}@client.test>`);
      await client.command("RCPT TO:<b@example.test>");
      await client.command("DATA");
      assert.equal((await client.message(`Subject: ${n}\r\n\r\n`)).code, 250);
    }
    await client.command("QUIT");
  };
  await Promise.all(Array.from({ length: clients }, (_, n) => send(n)));
  await served.postfix.settled(120_000);
  assert.equal(served.sink.messages.length, 2 * clients);
  for (const { sender, headers } of served.sink.messages) {
    assert.equal(headers.find(([name]) => name === "X-Sender")?.[1], ` ${sender} ${sender}`);
  }
});
