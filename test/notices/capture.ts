/**
 * Makes the fixtures of this directory: lets a real Postfix write its notices
 * and keeps what its cleanup shows a milter, byte for byte, with the envelope.
 * Run it as root when a new Postfix writes them differently:
 *
 *     node test/notices/capture.ts
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { Parameters } from "../../postfix/layout.ts";
import { PrivatePostfix } from "../../postfix/private-instance.ts";
import { Sink, type SinkRefusal } from "../../postfix/sink.ts";
import { SmtpClient } from "../../postfix/smtp-client.ts";
import { MessageStore } from "../../src/message/store.ts";
import { MilterServer } from "../../src/milter/server.ts";

interface Seen {
  readonly sender: string;
  readonly recipients: string[];
  readonly macros: Record<string, string | undefined>;
  readonly client: string;
  readonly bytes: Buffer;
}

const MACROS = ["j", "i", "v", "_", "{daemon_name}", "{client_addr}", "{mail_addr}", "{auth_type}"];

/** One Postfix whose internal mail is shown to `seen`, with everything sent to a sink that refuses as told. */
async function instance(mainCf: Parameters, refuse: (recipient: string) => SinkRefusal | undefined) {
  const seen: Seen[] = [];
  const sink = await Sink.start({ refuse });
  const postfix = PrivatePostfix.create({ sinkPort: sink.port });
  const server = new MilterServer(
    {
      needs: () => ({
        events: ["connect", "helo", "mail", "rcpt", "data", "header", "eoh", "body"],
        quiet: ["header", "eoh", "body"],
        actions: 0,
        macros: { connect: MACROS, mail: MACROS, eom: MACROS },
        leadingSpace: true,
      }),
      open: (context) => {
        let sender = "";
        let client = "";
        const recipients: string[] = [];
        const store = new MessageStore();
        return {
          connect: ({ hostname, address, port }) => {
            client = `${hostname} ${address} ${port}`;
          },
          mail: ([address = ""]) => {
            sender = address;
          },
          rcpt: ([address = ""]) => void recipients.push(address),
          header: (name, value) => store.addHeader(name, value),
          body: (chunk) => store.addBody(chunk),
          endOfMessage: () => {
            store.endOfHeaders();
            const macros = Object.fromEntries(MACROS.map((name) => [name, context.macro(name)]));
            seen.push({ sender, recipients, macros, client, bytes: store.slice(0) });
          },
        };
      },
    },
    { mode: 0o666 },
  );
  const socket = join(postfix.scratch.path, "capture.sock");
  await server.listen(`unix:${socket}`);
  await postfix.postconf({
    non_smtpd_milters: `unix:${socket}`,
    internal_mail_filter_classes: "bounce, notify",
    ...mainCf,
  });
  await postfix.start();
  return {
    postfix,
    seen,
    [Symbol.asyncDispose]: async () => {
      await postfix.remove();
      await server.stop({ timeoutMs: 1_000 });
      await sink.stop();
    },
  };
}

function refuse(recipient: string): SinkRefusal | undefined {
  if (recipient.startsWith("unknown")) return { code: 550, text: `5.1.1 <${recipient}>: no such user here` };
  if (recipient.startsWith("full")) {
    return {
      code: 552,
      text: "5.2.2 The mailbox of this user is full, and has been full for quite some time now; please try to reach the user by other means, such as a telephone 100% of the time",
    };
  }
  if (recipient.startsWith("odd")) return { code: 500, text: "5.5.1 What do you mean?" };
  if (recipient.startsWith("later")) return { code: 451, text: "4.2.1 Greylisted, come back later" };
  return undefined;
}

const envelopes: Record<string, { sender: string; recipients: readonly string[]; hostname: string }> = {};

function keep(name: string, seen: Seen | undefined): void {
  if (seen === undefined) throw new Error(`no message for ${name}`);
  process.stdout.write(
    `${name}: ${seen.client} <${seen.sender}> ${seen.recipients} ${JSON.stringify(seen.macros)}\n`,
  );
  writeFileSync(join(import.meta.dirname, `${name}.eml`), seen.bytes);
  envelopes[name] = { sender: seen.sender, recipients: seen.recipients, hostname: seen.macros.j ?? "" };
}

const MESSAGE =
  "From: Ann <ann@example.test>\nTo: x\nSubject: Offer\nMessage-ID: <1@example.test>\nDate: Mon, 3 Feb 2025 10:00:00 +0000\n\nSome lines\n.dot\n";

async function until(done: () => boolean): Promise<void> {
  for (const end = Date.now() + 10_000; !done() && Date.now() < end; ) await delay(20);
}

async function main(): Promise<void> {
  const notified = { notify_classes: "bounce, 2bounce, delay, policy, protocol, resource, software" };
  const failing = await instance(
    {
      ...notified,
      delay_warning_time: "1s",
      smtp_discard_ehlo_keywords: "dsn",
      transport_maps: "inline:{refused.test=smtp:[127.0.0.1]:1,gone.test=smtp:[host.invalid]}",
    },
    refuse,
  );
  {
    await using run = failing;
    const { postfix, seen } = run;
    const sink = await postfix.parameter("local_transport");
    await postfix.postconf({ relayhost: sink.replace("local:", "") });
    const send = async (
      from: string,
      to: readonly string[],
      options: readonly string[] = [],
      message = MESSAGE,
    ) => {
      seen.length = 0;
      await postfix.run("sendmail", [...options, "-i", "-f", from, ...to], message);
      await postfix.settled();
    };
    const find = (sender: RegExp, subject: RegExp) =>
      seen.find(
        (one) =>
          sender.test(one.sender) &&
          subject.test(/^Subject: .*/m.exec(one.bytes.toString("latin1"))?.[0] ?? ""),
      );

    await send("ann@example.test", ["unknown@elsewhere.test"]);
    keep("submission", seen[0]);
    keep("bounce", find(/^$/, /Undelivered/));
    keep("postmaster-copy", find(/double/, /Postmaster Copy/));
    await send("ann@example.test", ["unknown1@elsewhere.test", "full@elsewhere.test", "good@elsewhere.test"]);
    keep("bounce-two-recipients", find(/^$/, /Undelivered/));
    await send("ann@example.test", ["gone@gone.test"]);
    await postfix.run("postsuper", ["-e", "ALL"]);
    await postfix.flush();
    await postfix.settled();
    keep("bounce-no-host", find(/^$/, /Undelivered/));
    await send("ann@example.test", ["any@refused.test"]);
    await postfix.run("postsuper", ["-e", "ALL"]);
    await postfix.flush();
    await postfix.settled();
    keep("bounce-no-connection", find(/^$/, /Undelivered/));
    await send("unknown@elsewhere.test", ["unknown@elsewhere.test"]);
    keep(
      "double-bounce",
      seen.findLast((one) => one.sender !== "" && one.bytes.includes("-Sender: rfc822; MAILER-DAEMON")),
    );
    await send("ann@example.test", ["later@elsewhere.test"]);
    await delay(2_500);
    await postfix.flush();
    await postfix.settled();
    keep("delay", find(/^$/, /Delayed Mail/));
    keep("postmaster-delay", find(/double/, /Delayed Mail/));
    await postfix.run("postsuper", ["-d", "ALL"]);
    await send("ann@example.test", ["good@elsewhere.test"], ["-N", "success", "-V", "env1"]);
    keep("success", find(/^$/, /Successful/));
    await send("ann@example.test", ["unknown@elsewhere.test"], ["-bv"]);
    keep("verify", find(/^$/, /Delivery Status Report/));
    await send("ann@example.test", ["unknown@elsewhere.test"], ["-N", "failure", "-R", "hdrs"]);
    keep("bounce-headers-only", find(/^$/, /Undelivered/));
    await send(
      "ann@example.test",
      ["unknown@elsewhere.test"],
      [],
      MESSAGE.replace("Some lines", "Gr\xfc\xdfe"),
    );
    keep("bounce-8bit", find(/^$/, /Undelivered/));

    seen.length = 0;
    const { client } = await SmtpClient.connect({ port: postfix.port, from: "127.0.0.2" });
    await client.command("EHLO client.test");
    await client.command("MAIL FROM:<bob@client.test>");
    await client.command("RCPT TO:<joe@elsewhere.test>");
    await client.command("QUIT");
    await client.closed;
    await postfix.settled();
    await until(() => seen.length > 0);
    keep("server-errors", seen[0]);

    seen.length = 0;
    await send("ann@example.test", ["odd@elsewhere.test"]);
    await until(() => find(/double/, /errors from/) !== undefined);
    keep("client-errors", find(/double/, /errors from/));

    seen.length = 0;
    const utf8 = (await SmtpClient.connect({ port: postfix.port })).client;
    await utf8.command("EHLO client.test");
    await utf8.command("MAIL FROM:<bob@example.test> SMTPUTF8");
    await utf8.command("RCPT TO:<unknown-j\xc3\xb6rg@elsewhere.test>");
    await utf8.command("DATA");
    await utf8.message("Subject: h\xc3\xb6\r\n\r\nx\r\n");
    await utf8.command("QUIT");
    await until(() => find(/^$/, /Undelivered/) !== undefined);
    keep("bounce-smtputf8", find(/^$/, /Undelivered/));

    writeFileSync(
      join(postfix.configDirectory, "bounce.cf"),
      "failure_template = <<EOF\nCharset: iso-8859-1\nFrom: MAILER-DAEMON (Zustelldienst)\nSubject: Unzustellbar\nPostmaster-Subject: Kopie: unzustellbar\n\nIhre Nachricht an die Empf\xe4nger unten konnte nicht zugestellt werden.\nEOF\n",
      "latin1",
    );
    await postfix.postconf({ bounce_template_file: join(postfix.configDirectory, "bounce.cf") });
    await send("ann@example.test", ["unknown@elsewhere.test"]);
    keep("bounce-template", find(/^$/, /Unzustellbar/));
  }
  writeFileSync(join(import.meta.dirname, "envelopes.json"), `${JSON.stringify(envelopes, undefined, 2)}\n`);
}

await main();
