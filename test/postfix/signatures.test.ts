/** Signatures on real mail: as its reader sees them, and beside whatever else a mail server does with a message. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { simpleParser } from "mailparser";
import type { SinkMessage } from "../../postfix/sink.ts";
import { SmtpClient } from "../../postfix/smtp-client.ts";
import { fromBytes } from "../../src/bytes.ts";
import { SMFIF_ADDHDRS } from "../../src/milter/protocol.ts";
import { MilterServer } from "../../src/milter/server.ts";
import { postfixTest, Served } from "./harness.ts";

const SCRIPT = fromBytes(
  Buffer.from(`
function GetSignature(format, authuser, sender)
  if format == "HTML" then return "<p>Zoë Doe, 10 €</p>" end
  return "Zoë Doe, 10 €"
end`),
);

async function send(served: Served, recipient: string, message: string, from?: string): Promise<string> {
  const { client } = await SmtpClient.connect({
    port: served.postfix.port,
    ...(from === undefined ? {} : { from }),
  });
  await client.command("EHLO client.test");
  await client.command("MAIL FROM:<zoe@example.test>");
  await client.command(`RCPT TO:<${recipient}>`);
  await client.command("DATA");
  const { text } = await client.message(message.replace(/\r?\n/g, "\r\n"));
  await client.command("QUIT");
  return text;
}

const arrived = (served: Served, recipient: string): Promise<SinkMessage> =>
  served.sink.waitFor(({ recipients }) => recipients.includes(recipient));

const base64 = (text: string) => `${Buffer.from(text).toString("base64").replace(/.{76}/g, "$&\n")}\n`;

interface Read {
  readonly name: string;
  readonly message: string;
  readonly text?: string;
  readonly html?: string;
  readonly type?: string;
}

const READ: Read[] = [
  {
    name: "plain",
    message: "Subject: x\n\nHello\n",
    text: "Hello\nZoë Doe, 10 €\n",
    type: "text/plain; charset=utf-8",
  },
  {
    name: "html",
    message: "Content-Type: text/html\n\n<html><body>Hello</body></html>\n",
    html: "<html><body>Hello\n<p>Zo&#235; Doe, 10 &#8364;</p>\n</body></html>\n",
    type: "text/html",
  },
  {
    name: "both",
    message:
      "Content-Type: multipart/alternative; boundary=b\n\n--b\nContent-Type: text/plain; charset=iso-8859-1\n" +
      "Content-Transfer-Encoding: 8bit\n\nGr\xfc\xdfe\n--b\nContent-Type: text/html; charset=utf-8\n" +
      `Content-Transfer-Encoding: base64\n\n${base64("<p>Grüße</p></BODY>\r\n")}--b--\n`,
    text: "Grüße\nZoë Doe, 10 €\n",
    html: "<p>Grüße</p>\n<p>Zoë Doe, 10 €</p>\n</BODY>\n",
    type: "multipart/alternative; boundary=b",
  },
  {
    name: "base64",
    message: `Content-Type: text/plain; charset=windows-1252\nContent-Transfer-Encoding: base64\n\n${base64("Hello\r\n")}`,
    text: "Hello\nZoë Doe, 10 €\n",
    type: "text/plain; charset=windows-1252",
  },
  {
    name: "quoted-printable",
    message:
      "Content-Type: text/plain; charset=iso-8859-15\nContent-Transfer-Encoding: quoted-printable\n\nGr=FC=DFe, a=3D=\nb\n",
    text: "Grüße, a=b\nZoë Doe, 10 €\n",
    type: "text/plain; charset=iso-8859-15",
  },
  {
    name: "switched",
    message:
      "Content-Type: text/plain; charset=koi8-r; x=y\nContent-Transfer-Encoding: 8bit\n\n\xf0\xd2\xc9\xd7\xc5\xd4\n",
    text: "Привет\nZoë Doe, 10 €\n",
    type: "text/plain; charset=utf-8; x=y",
  },
];

postfixTest("what a reader sees of signed mail", async () => {
  await using served = await Served.start({ scripts: { "SIGNATURE.LUA": SCRIPT } });
  for (const { name, message, text, html, type } of READ) {
    const to = `${name}@elsewhere.test`;
    assert.match(await send(served, to, message), /^250 /);
    const { bytes, headers } = await arrived(served, to);
    const parsed = await simpleParser(bytes);
    if (text !== undefined) assert.equal(parsed.text?.trimEnd(), text.trimEnd(), name);
    if (html !== undefined)
      assert.equal((parsed.html || "").replaceAll("\r\n", "\n").trimEnd(), html.trimEnd(), name);
    assert.equal(headers.find(([field]) => /^content-type$/i.test(field))?.[1].trim(), type, name);
  }
  assert.equal(
    served.postlua.decisions.filter(({ result }) => /^put into/.test(String(result))).length,
    READ.length,
  );
});

postfixTest("mail from outside and mail that stays inside is not even read", async () => {
  await using served = await Served.start({ scripts: { "SIGNATURE.LUA": SCRIPT } });
  const message = "Subject: x\n\nHello\n";
  await send(served, "incoming@example.test", message, "127.0.0.2");
  await send(served, "internal@mx.example.test", message);
  for (const to of ["incoming@example.test", "internal@mx.example.test"]) {
    assert.equal((await arrived(served, to)).body, "Hello\r\n");
  }
  assert.deepEqual(served.postlua.decisions, []);
});

postfixTest("attachments keep lines, bytes and white space that no text has", async () => {
  await using served = await Served.start({
    scripts: { "SIGNATURE.LUA": SCRIPT },
    mainCf: { message_size_limit: "0", smtp_line_length_limit: "0" },
  });
  const odd = `\0\x01 \t\r\n${"x".repeat(900_000)}\r\n\xff\xfe\r\n.\r\n..\r\n \r\n${"y".repeat(65_535)} \r\n`;
  const message =
    `Content-Type: multipart/mixed; boundary=b\r\n\r\npreamble\r\n--b\r\n\r\nHello\r\n--b\r\n` +
    `Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: binary\r\n\r\n${odd}\r\n--b--\r\nepilogue\r\n`;
  const { client } = await SmtpClient.connect({ port: served.postfix.port });
  await client.command("EHLO client.test");
  await client.command("MAIL FROM:<zoe@example.test>");
  await client.command("RCPT TO:<odd@elsewhere.test>");
  await client.command("DATA");
  assert.match((await client.message(message)).text, /^250 /);
  await client.command("QUIT");
  const { body } = await arrived(served, "odd@elsewhere.test");
  const [before, after] = message.slice(message.indexOf("preamble")).split("\r\nHello");
  assert.ok(
    body.startsWith("preamble\r\n--b\r\nContent-Type: text/plain; charset=utf-8\r\n"),
    body.slice(0, 200),
  );
  assert.ok(
    before !== undefined && after !== undefined && body.endsWith(after),
    "the attachment has changed",
  );
});

postfixTest("a message close to the size limit goes out without a signature", async () => {
  await using served = await Served.start({
    scripts: { "SIGNATURE.LUA": `function GetSignature() return string.rep("x", 900) end` },
    mainCf: { message_size_limit: "100000" },
  });
  const lines = (bytes: number) => "123456789 123456789 123456789 12345678\n".repeat(bytes / 40);
  for (const kilobytes of [80, 90, 95, 97, 98, 99]) {
    const to = `k${kilobytes}@elsewhere.test`;
    assert.match(await send(served, to, `Subject: x\n\n${lines(kilobytes * 1000)}`), /^250 /);
    const { body } = await arrived(served, to);
    assert.equal(body.includes("xxx"), kilobytes < 95, to);
  }
  await served.postlua.waitFor(({ detail }) => detail === "the message would become too large");
});

/** A milter that signs what it sees, as far as postlua can tell, and keeps it. */
async function signer(served: Served): Promise<{ address: string; seen: string[]; server: MilterServer }> {
  const seen: string[] = [];
  const server = new MilterServer(
    {
      needs: () => ({
        events: ["body"],
        quiet: ["body"],
        actions: SMFIF_ADDHDRS,
        leadingSpace: true,
      }),
      open: () => {
        let body = "";
        return {
          body: (chunk) => {
            body += fromBytes(chunk);
          },
          endOfMessage: () => {
            seen.push(body);
            const header = { kind: "insertHeader", index: 1, name: "DKIM-Signature", value: " v=1" } as const;
            return { edits: [header], reply: { kind: "continue" } };
          },
        };
      },
    },
    { mode: 0o666, onProblem: ({ error }) => assert.fail(error) },
  );
  const address = `unix:${join(served.postfix.scratch.path, "signer.sock")}`;
  await server.listen(address);
  return { address, seen, server };
}

postfixTest("what signs mail comes after postlua; where it comes first the mail is left alone", async () => {
  await using served = await Served.start({
    scripts: { "SIGNATURE.LUA": `function GetSignature() return "Zoe" end` },
  });
  const { address, seen, server } = await signer(served);
  try {
    const { milter } = served.postlua;
    const message = "Subject: x\n\nHello\n";
    await served.postfix.postconf({ smtpd_milters: `${milter} ${address}` });
    await send(served, "after@elsewhere.test", message);
    assert.equal((await arrived(served, "after@elsewhere.test")).body, "Hello\r\nZoe\r\n");
    await served.postfix.postconf({ smtpd_milters: `${address} ${milter}` });
    await send(served, "before@elsewhere.test", message);
    assert.equal((await arrived(served, "before@elsewhere.test")).body, "Hello\r\n");
    assert.deepEqual(seen, ["Hello\r\nZoe\r\n", "Hello\r\n"]);
    await served.postlua.waitFor(({ detail }) => detail === "the message has a DKIM-Signature");
  } finally {
    await served.postfix.stop();
    await server.stop({ timeoutMs: 1_000 });
  }
});

postfixTest("mail from sendmail(1) is signed when it goes out, not when it stays", async () => {
  await using served = await Served.start({
    scripts: { "SIGNATURE.LUA": `function GetSignature() return "Zoe" end` },
    internal: true,
  });
  const submit = (to: string) =>
    served.postfix.run("sendmail", ["-f", "zoe@example.test", to], "Subject: x\n\nHello\n");
  await submit("out@elsewhere.test");
  await submit("cron@example.test");
  assert.equal((await arrived(served, "out@elsewhere.test")).body, "Hello\r\nZoe\r\n");
  assert.equal((await arrived(served, "cron@example.test")).body, "Hello\r\n");
});
