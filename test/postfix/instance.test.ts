import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { PrivatePostfix } from "../../postfix/private-instance.ts";
import { Scratch } from "../../postfix/scratch.ts";
import { Sink } from "../../postfix/sink.ts";
import { SmtpClient } from "../../postfix/smtp-client.ts";
import { postfixTest } from "./harness.ts";

/** Command lines of running processes that mention `text`. */
function processesOf(text: string): string[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, "latin1");
      } catch {
        return "";
      }
    })
    .filter((line) => line.includes(text));
}

/** Killed processes take a moment to go. */
async function assertGone(directory: string): Promise<void> {
  assert.equal(existsSync(directory), false);
  for (const end = Date.now() + 10_000; processesOf(directory).length > 0; ) {
    assert.ok(Date.now() < end, processesOf(directory).join("\n"));
    await delay(5);
  }
}

async function send(port: number, recipient: string, message: string, from?: string): Promise<string> {
  const { client } = await SmtpClient.connect({ port, ...(from === undefined ? {} : { from }) });
  await client.command("EHLO client.test");
  await client.command("MAIL FROM:<sender@client.test>");
  const answer = await client.command(`RCPT TO:<${recipient}>`);
  if (answer.code !== 250) {
    client.close();
    return answer.text;
  }
  await client.command("DATA");
  const { text } = await client.message(message);
  await client.command("QUIT");
  await client.closed;
  return text;
}

postfixTest("an instance starts, stops, starts again with its queue, and leaves nothing behind", async () => {
  await using instance = await PrivatePostfix.start();
  const directory = instance.scratch.path;
  assert.match(await send(instance.port, "someone@elsewhere.test", "Subject: kept\r\n\r\nx\r\n"), /^250 /);
  const [waiting] = await instance.settled();
  assert.match(waiting?.recipients[0]?.delay_reason ?? "", /Connection refused/);

  await instance.stop();
  await assert.rejects(SmtpClient.connect({ port: instance.port }), /ECONNREFUSED/);
  await instance.start();
  assert.deepEqual(
    (await instance.queue()).map(({ queue_id }) => queue_id),
    [waiting?.queue_id],
  );

  await instance.remove();
  await assertGone(directory);
});

postfixTest("two instances at once do not meet", async () => {
  await using sink = await Sink.start();
  await using one = await PrivatePostfix.start({ sinkPort: sink.port });
  await using two = await PrivatePostfix.start();
  assert.notEqual(one.port, two.port);
  await send(one.port, "a@elsewhere.test", "Subject: one\r\n\r\n");
  await send(two.port, "b@elsewhere.test", "Subject: two\r\n\r\n");
  await sink.waitFor(({ recipients }) => recipients[0] === "a@elsewhere.test");
  assert.deepEqual(await one.settled(), []);
  assert.equal((await two.settled()).length, 1);
  assert.equal(sink.messages.length, 1);
});

postfixTest("a message reaches the sink byte for byte, with its envelope", async () => {
  await using sink = await Sink.start();
  await using instance = await PrivatePostfix.start({ sinkPort: sink.port });
  const message =
    "Date: Mon, 1 Jan 2007 00:00:00 +0000\r\nSubject: x\r\n\tfolded\r\n\r\n.\r\n..two\r\n\x00\xff \r\nend\r\n";
  assert.match(await send(instance.port, "User@Example.test", message), /^250 2\.0\.0 Ok: queued as \w+$/);
  const arrived = await sink.waitFor(() => true);
  assert.equal(arrived.sender, "sender@client.test");
  assert.deepEqual(arrived.recipients, ["User@Example.test"]);
  assert.match(arrived.queueId, /^[0-9A-F]{8,}$/);
  assert.deepEqual(arrived.headers.at(-1), ["Subject", " x\n\tfolded"]);
  assert.equal(arrived.body, ".\r\n..two\r\n\x00\xff \r\nend\r\n");
});

postfixTest("only the loopback's first address may relay", async () => {
  await using instance = await PrivatePostfix.start();
  const refused = await send(instance.port, "x@elsewhere.test", "", "127.0.0.2");
  assert.equal(refused, "554 5.7.1 <x@elsewhere.test>: Relay access denied");
});

postfixTest("the sink refuses and defers recipients; bounces and the queue show it", async () => {
  let busy = true;
  await using sink = await Sink.start({
    refuse: (recipient) => {
      if (recipient.startsWith("nobody@")) return { code: 550, text: "5.1.1 No such user" };
      return busy && recipient.startsWith("busy@") ? { code: 451, text: "4.2.1 Later" } : undefined;
    },
  });
  await using instance = await PrivatePostfix.start({ sinkPort: sink.port });
  await send(instance.port, "nobody@elsewhere.test", "Subject: 1\r\n\r\n");
  const bounce = await sink.waitFor(({ sender }) => sender === "");
  assert.match(bounce.body, /550 5\.1\.1 No such user/);

  await send(instance.port, "busy@elsewhere.test", "Subject: 2\r\n\r\n");
  const [deferred] = await instance.settled();
  assert.match(deferred?.recipients[0]?.delay_reason ?? "", /451 4\.2\.1 Later/);
  busy = false;
  await instance.flush();
  await sink.waitFor(({ recipients }) => recipients[0] === "busy@elsewhere.test");
  assert.deepEqual(await instance.settled(), []);
});

postfixTest("postconf changes take effect at the next client", async () => {
  await using instance = await PrivatePostfix.start({ mainCf: { message_size_limit: "5000" } });
  assert.equal(await instance.parameter("message_size_limit"), "5000");
  await instance.postconf({ message_size_limit: "7000", smtpd_banner: "$myhostname changed" });
  const { client, greeting } = await SmtpClient.connect({ port: instance.port });
  assert.equal(greeting.text, "220 mx.example.test changed");
  assert.ok((await client.command("EHLO client.test")).lines.includes("250-SIZE 7000"));
  client.close();
});

postfixTest("a taken port is told in words, the listener's own and one of masterCf", async () => {
  const occupant = createServer().listen(0, "127.0.0.1");
  await once(occupant, "listening");
  const { port } = occupant.address() as { port: number };
  await assert.rejects(PrivatePostfix.start({ smtpPort: port }), {
    message: `port ${port} of 127.0.0.1 is taken by another program`,
  });
  const masterCf = { [`127.0.0.1:${port}/inet`]: "n - n - - smtpd" };
  await assert.rejects(PrivatePostfix.start({ masterCf }), /wrong value or a port that is taken in mainCf/);
  occupant.close();
});

postfixTest("the system's Postfix configuration is left alone", async () => {
  const list = () =>
    existsSync("/etc/postfix")
      ? readdirSync("/etc/postfix").map((name) => `${name} ${statSync(join("/etc/postfix", name)).mtimeMs}`)
      : [];
  const before = list();
  await using instance = await PrivatePostfix.start();
  await send(instance.port, "a@elsewhere.test", "Subject: x\r\n\r\n");
  await instance.settled();
  assert.deepEqual(list(), before);
});

/** A process of its own that runs an instance; resolves with the instance's directory once it is up. */
async function otherProcess(): Promise<{ child: ChildProcess; directory: string }> {
  const source = `
    import { PrivatePostfix } from ${JSON.stringify(join(import.meta.dirname, "../../postfix/private-instance.ts"))};
    const instance = await PrivatePostfix.start();
    console.log(instance.scratch.path);
    process.stdin.on("data", () => process.exit(7)).resume();`;
  const child = spawn(process.execPath, ["--input-type=module-typescript", "--eval", source], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  const [path] = await once(child.stdout, "data");
  return { child, directory: String(path).trim() };
}

for (const signal of ["SIGTERM", "SIGINT"] as const) {
  postfixTest(`${signal} cleans up and still ends the process by ${signal}`, async () => {
    const { child, directory } = await otherProcess();
    assert.notEqual(processesOf(directory).length, 0);
    child.kill(signal);
    assert.deepEqual(await once(child, "exit"), [null, signal]);
    await assertGone(directory);
  });
}

postfixTest("process.exit cleans up", async () => {
  const { child, directory } = await otherProcess();
  child.stdin?.write("go\n");
  assert.deepEqual(await once(child, "exit"), [7, null]);
  await assertGone(directory);
});

postfixTest("what a killed run left is cleared by the next one", async () => {
  const { child, directory } = await otherProcess();
  child.kill("SIGKILL");
  await once(child, "exit");
  assert.equal(existsSync(directory), true);
  assert.notEqual(processesOf(directory).length, 0);
  Scratch.create().remove();
  await assertGone(directory);
});
