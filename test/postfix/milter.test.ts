/** The milter package alone, under a real Postfix: what a small filter sees, and that its edits are carried out. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { PrivatePostfix } from "../../postfix/private-instance.ts";
import { Sink } from "../../postfix/sink.ts";
import { SmtpClient } from "../../postfix/smtp-client.ts";
import type { MilterHandler } from "../../src/milter/filter.ts";
import { SMFIF_ADDHDRS, SMFIF_ADDRCPT, SMFIF_DELRCPT, SMFIF_QUARANTINE } from "../../src/milter/protocol.ts";
import { MilterServer } from "../../src/milter/server.ts";
import { postfixTest } from "./harness.ts";

interface Attached {
  readonly instance: PrivatePostfix;
  readonly sink: Sink;
  readonly problems: string[];
  readonly [Symbol.asyncDispose]: () => Promise<void>;
}

/** A private Postfix with a filter attached by `address`, "unix" or "tcp". */
async function attach(address: "unix" | "tcp", open: () => MilterHandler): Promise<Attached> {
  const sink = await Sink.start();
  const instance = PrivatePostfix.create({ sinkPort: sink.port });
  const problems: string[] = [];
  const server = new MilterServer(
    {
      needs: () => ({
        events: ["connect", "helo", "mail", "rcpt", "data", "header", "eoh", "body", "unknown"],
        quiet: ["header", "eoh", "body"],
        actions: SMFIF_ADDHDRS | SMFIF_ADDRCPT | SMFIF_DELRCPT | SMFIF_QUARANTINE,
        macros: { connect: ["j", "v"], rcpt: ["{rcpt_mailer}"], eom: ["i"] },
        leadingSpace: true,
      }),
      open,
    },
    { mode: 0o666, onProblem: (problem) => problems.push(`${problem.code} ${problem.event}`) },
  );
  const path = join(instance.scratch.path, "filter.sock");
  const listener = await server.listen(address === "unix" ? `unix:${path}` : "inet:0@127.0.0.1");
  const milter = address === "unix" ? `unix:${path}` : `inet:127.0.0.1:${listener.port}`;
  await instance.postconf({ smtpd_milters: milter });
  await instance.start();
  return {
    instance,
    sink,
    problems,
    [Symbol.asyncDispose]: async () => {
      await instance.remove();
      await server.stop({ timeoutMs: 1_000 });
      await sink.stop();
    },
  };
}

for (const address of ["unix", "tcp"] as const) {
  postfixTest(`a filter sees every step of a session and edits the message (${address})`, async () => {
    const seen: string[] = [];
    await using attached = await attach(address, () => ({
      connect: ({ address, family }) => void seen.push(`connect ${family} ${address}`),
      helo: (name) => void seen.push(`helo ${name}`),
      mail: (args) => void seen.push(`mail ${args.join(" ")}`),
      rcpt: (args) => {
        seen.push(`rcpt ${args.join(" ")}`);
        if (!args[0]?.startsWith("<closed@")) return undefined;
        return { kind: "replycode", code: 550, enhanced: "5.7.1", lines: ["100% closed", "for good"] };
      },
      data: () => void seen.push("data"),
      header: (name, value) => void seen.push(`header ${name}:${value.toString("latin1")}`),
      endOfHeaders: () => void seen.push("eoh"),
      body: (chunk) => void seen.push(`body ${chunk.toString("latin1")}`),
      endOfMessage: () => {
        seen.push("eom");
        return {
          edits: [
            { kind: "insertHeader", index: 1, name: "X-Seen", value: " by a filter" },
            { kind: "addRecipient", address: "added@elsewhere.test", parameters: "" },
            { kind: "deleteRecipient", address: "dropped@elsewhere.test" },
          ],
          reply: { kind: "continue" },
        };
      },
      abort: (cause) => void seen.push(`abort ${cause}`),
      unknown: (line) => void seen.push(`unknown ${line}`),
      close: (cause) => void seen.push(`close ${cause}`),
    }));
    const { client } = await SmtpClient.connect({ port: attached.instance.port });
    await client.command("EHLO client.test");
    await client.command("MAIL FROM:<a@client.test> BODY=8BITMIME");
    assert.equal((await client.command("RCPT TO:<kept@elsewhere.test>")).code, 250);
    assert.equal((await client.command("RCPT TO:<dropped@elsewhere.test>")).code, 250);
    assert.deepEqual((await client.command("RCPT TO:<closed@elsewhere.test>")).lines, [
      "550-5.7.1 100% closed",
      "550 5.7.1 for good",
    ]);
    await client.command("DATA");
    assert.equal((await client.message("Subject: hello\r\n\r\nbody \xe9\r\n")).code, 250);
    await client.command("MAIL FROM:<b@client.test>");
    await client.command("RSET");
    await client.command("MAIL FROM:<c@client.test>");
    await client.command("QUIT");
    await client.closed;

    const arrived = await attached.sink.waitFor(() => true);
    assert.deepEqual([...arrived.recipients].sort(), ["added@elsewhere.test", "kept@elsewhere.test"]);
    assert.deepEqual(arrived.headers[1], ["X-Seen", " by a filter"]);
    assert.equal(arrived.body, "body \xe9\r\n");
    assert.deepEqual(seen, [
      "connect inet 127.0.0.1",
      "helo client.test",
      "mail <a@client.test> BODY=8BITMIME",
      "rcpt <kept@elsewhere.test>",
      "rcpt <dropped@elsewhere.test>",
      "rcpt <closed@elsewhere.test>",
      "data",
      "header Subject: hello",
      "eoh",
      "body body \xe9\r\n",
      "eom",
      "abort message",
      "mail <b@client.test>",
      "abort reset",
      "mail <c@client.test>",
      "abort end",
      "close quit",
    ]);
    assert.deepEqual(attached.problems, []);
  });
}

postfixTest("a filter answers unknown commands and holds a message", async () => {
  await using attached = await attach("unix", () => ({
    mail: () => undefined,
    endOfMessage: () => ({
      edits: [{ kind: "quarantine", reason: "looked odd" }],
      reply: { kind: "continue" },
    }),
    unknown: () => ({ kind: "replycode", code: 450, enhanced: "4.5.1", lines: ["Never heard of"] }),
  }));
  const { client } = await SmtpClient.connect({ port: attached.instance.port });
  await client.command("EHLO client.test");
  assert.equal((await client.command("FOO bar")).text, "450 4.5.1 Never heard of");
  await client.command("MAIL FROM:<a@client.test>");
  await client.command("RCPT TO:<b@elsewhere.test>");
  await client.command("DATA");
  assert.equal((await client.message("Subject: hello\r\n\r\n")).code, 250);
  await client.command("QUIT");
  const [held] = await attached.instance.settled();
  assert.equal(held?.queue_name, "hold");
  assert.equal(attached.sink.messages.length, 0);
});
