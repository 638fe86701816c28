/**
 * Odd messages, hundreds of them, sent twice through one Postfix: with postlua
 * and without. What arrives must be the same but for what was asked for; only
 * Postfix's own Received field, IDs and dates differ.
 */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import type { SinkMessage } from "../../postfix/sink.ts";
import { SmtpClient } from "../../postfix/smtp-client.ts";
import { fromBytes, toBytes } from "../../src/bytes.ts";
import { generate, seeded } from "../message/helper.ts";
import { letter } from "../message/letters.ts";
import { mutate } from "../message/mutate.ts";
import { sign } from "../message/signature-helper.ts";
import { postfixTest, Served } from "./harness.ts";

const LONG = process.env.POSTLUA_LONG !== undefined;
const MESSAGES = new URL("../messages/", import.meta.url);
/** A client that Postfix shows to no milter. */
const UNSEEN = "127.0.0.3";
const SEEN = "127.0.0.1";

const files = readdirSync(MESSAGES)
  .filter((name) => name.endsWith(".eml"))
  .map((name) => readFileSync(new URL(name, MESSAGES)));

const SMALL: string[] = [
  "",
  "\r\n",
  "Subject: x",
  "no header at all",
  "\r\nbody\r\n\r\n\r\n",
  "Subject: ends without a line end\r\n\r\nx",
  "Subject: dots\r\n\r\n.\r\n..\r\n.x\r\n",
  "Subject: bare LF\n\nline\nline\n.\n..\nend\n",
  "Subject: bare CR\r\n\r\na\rb\r\r\nc\r\n",
  "Subject: NUL\r\n\r\n\0a\0\0\r\n\0\r\n",
  `Subject: all bytes\r\n\r\n${Array.from({ length: 256 }, (_, i) => String.fromCharCode(i)).join("")}\r\n`,
  "Subject: \xe4\xff\r\nX-\xe4: 1\r\n\r\n\xe4\r\n",
  "Subject : space\r\nX-Empty:\r\nX-Fold:\r\n \r\n\t x\r\n\r\n  x  \r\n\t\r\n",
  "From me Mon Jan  1\r\nSubject: mbox\r\n\r\nFrom me\r\n>From me\r\n",
  "Subject: many\r\nSubject: many\r\nX-A: 1\r\nx-a: 1\r\n\r\n",
  `Subject: long lines\r\nX-Long: ${"x".repeat(5000)}\r\n\r\n${"y".repeat(5000)}\r\n${"z ".repeat(3000)}\r\n`,
  "Message-Id: <a@b>\r\nDate: Mon, 1 Jan 2024 00:00:00 +0000\r\nFrom: a@b\r\n\r\nx\r\n",
];

/** The same for every run. */
function oddMessages(): Buffer[] {
  const made = Array.from({ length: LONG ? 1500 : 160 }, (_, seed) => {
    const random = seeded(seed + 1);
    const raw = [
      () => letter(random).raw,
      () => generate(random, random(2) === 0 ? "\n" : "\r\n").raw,
      () => mutate(letter(random).raw, random),
      () => mutate(files[random(files.length)]!, random),
    ][seed % 4]!();
    return raw;
  });
  return [...SMALL.map(toBytes), ...files, ...made];
}

/** Sends every message from `client` and returns what arrived, by position. */
async function deliver(served: Served, client: string, messages: readonly Buffer[]): Promise<SinkMessage[]> {
  const at = (n: number) => `m${n}.${client}@elsewhere.test`;
  const sessions = 4;
  const send = async (first: number) => {
    const { client: smtp } = await SmtpClient.connect({
      port: served.postfix.port,
      from: client,
      timeoutMs: 60_000,
    });
    await smtp.command("EHLO client.test");
    for (let n = first; n < messages.length; n += sessions) {
      await smtp.command("MAIL FROM:<sender@client.test>");
      assert.equal((await smtp.command(`RCPT TO:<${at(n)}>`)).code, 250);
      await smtp.command("DATA");
      const { text } = await smtp.message(fromBytes(messages[n]!));
      assert.match(text, /^250 /, `message ${n}: ${JSON.stringify(fromBytes(messages[n]!))}`);
    }
    await smtp.command("QUIT");
  };
  await Promise.all(Array.from({ length: sessions }, (_, first) => send(first)));
  assert.deepEqual(await served.postfix.settled(120_000), []);
  const arrived = new Map(served.sink.messages.map((message) => [message.recipients[0], message]));
  return messages.map((_, n) => arrived.get(at(n))!);
}

/** Without what Postfix itself wrote and writes differently each time. `sent` tells what is not its own. */
function comparable(arrived: string, queueId: string, sent: Buffer): string {
  const blank = arrived.indexOf("\r\n\r\n");
  const end = blank < 0 ? arrived.length : blank + 2;
  let header = arrived.slice(0, end).replace(/^Received:.*\r\n(?:[ \t].*\r\n)*/, "");
  header = header.replace(new RegExp(`^Message-Id: <\\d+\\.${queueId}@.*>\\r\\n`, "mi"), "");
  if (!/^date:/im.test(fromBytes(sent))) header = header.replace(/^Date: .*\r\n/m, "");
  return header + arrived.slice(end);
}

async function serve(scripts: Readonly<Record<string, string>>): Promise<Served> {
  return Served.start({
    scripts,
    mainCf: {
      mynetworks: "127.0.0.0/8",
      smtpd_milter_maps: `inline:{${UNSEEN}=DISABLE}`,
      smtp_line_length_limit: "0",
      message_size_limit: "0",
    },
  });
}

const READ_EVERYTHING = `
function Start() end
function DoHELO() end
function DoMAILFROM(data, mailfrom, parameters) return "", parameters end
function DoRCPTTO(data, recipient, parameters, recipients) return "", parameters end
function DoDATAStart(recipients) return "", {} end
function ProcessMessage(mailfrom, subject, recipients, actions, mime, size, attachments)
  for i = 1, table.getn(mime) do VPOP3.GetMessagePart(mime[i].Path) end
  while VPOP3.GetMessageLine(50) > 0 do end
  return actions, ""
end
`;

postfixTest("read by scripts and changed by none: every byte arrives as without postlua", async () => {
  await using served = await serve({
    "SMTPSVR.LUA": READ_EVERYTHING,
    "SIGNATURE.LUA": "function GetSignature() return '' end",
  });
  const messages = oddMessages();
  const seen = await deliver(served, SEEN, messages);
  const unseen = await deliver(served, UNSEEN, messages);
  for (const [n, message] of messages.entries()) {
    const bytes = ({ bytes, queueId }: SinkMessage) => comparable(fromBytes(bytes), queueId, message);
    assert.equal(bytes(seen[n]!), bytes(unseen[n]!), `message ${n}`);
  }
  const asked = served.postlua.decisions.filter(({ callback }) => callback === "ProcessMessage");
  assert.equal(asked.length, messages.length);
  assert.ok(asked.every(({ result }) => result === "accept"));
  assert.equal(served.postlua.errors(), "");
});

/** A message that has only a header goes without a blank line, until it gets a body. */
function separated(bytes: Buffer): Buffer {
  return bytes.includes("\r\n\r\n") ? bytes : Buffer.concat([bytes, Buffer.from("\r\n")]);
}

const PLAIN = "-- \nJoe Doe, Größe 10 €";
const HTML = "<p>Joe <b>Doe</b>, Größe 10 €</p>";

postfixTest("signed and tagged: every other byte arrives as without postlua", async () => {
  await using served = await serve({
    "SMTPSVR.LUA": `function ProcessMessage(mailfrom, subject, recipients, actions)
      actions.HeaderModifiers = { "+X-Tag: 1" }
      return actions
    end`,
    "SIGNATURE.LUA": fromBytes(
      Buffer.from(`function GetSignature(format)
        if format == "HTML" then return ${JSON.stringify(HTML)} end
        return ${JSON.stringify(PLAIN)}
      end`),
    ),
  });
  const messages = oddMessages();
  const seen = await deliver(served, SEEN, messages);
  const unseen = await deliver(served, UNSEEN, messages);
  let signed = 0;
  for (const [n, message] of messages.entries()) {
    const { raw, result } = sign(separated(unseen[n]!.bytes), { plain: PLAIN, html: HTML });
    if (result.changed.length > 0) signed++;
    const wanted = comparable(
      result.changed.length > 0 ? fromBytes(raw) : fromBytes(unseen[n]!.bytes),
      unseen[n]!.queueId,
      message,
    );
    const got = comparable(fromBytes(seen[n]!.bytes), seen[n]!.queueId, message);
    assert.ok(got.includes("X-Tag: 1\r\n"), `message ${n}`);
    assert.equal(got.replace("X-Tag: 1\r\n", ""), wanted, `message ${n}`);
  }
  assert.ok(signed > messages.length / 3, `${signed} of ${messages.length} were signed`);
  assert.equal(served.postlua.errors(), "");
});
