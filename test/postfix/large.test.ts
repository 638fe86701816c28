/** Large messages through a real Postfix: kept in files, read in parts, and what happens where there is no room. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { SmtpClient } from "../../postfix/smtp-client.ts";
import { postfixTest, Served } from "./harness.ts";

const LINE = "UG9zdGZpeCBhbmQgTHVhIHNjcmlwdHMgZ28gdG9nZXRoZXIgd2VsbCBpbiBhIG1haWwgc2VydmVy";
const file = (bytes: number) => `${LINE.slice(0, 76)}\r\n`.repeat(bytes / 78);

/** A text and an attached file of about `bytes` bytes. */
function message(subject: string, bytes: number): string {
  return (
    `Subject: ${subject}\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nHello\r\n` +
    `--b\r\nContent-Type: application/pdf; name=a.pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n${file(bytes)}\r\n--b--\r\n`
  );
}

async function send(served: Served, recipient: string, text: string): Promise<string> {
  const { client } = await SmtpClient.connect({ port: served.postfix.port });
  await client.command("EHLO client.test");
  await client.command("MAIL FROM:<ann@example.test>");
  await client.command(`RCPT TO:<${recipient}>`);
  await client.command("DATA");
  const reply = await client.message(text);
  await client.command("QUIT");
  return reply.text;
}

const SCRIPTS = {
  "SMTPSVR.LUA": `
function ProcessMessage(f, subject, recipients, actions, mime, size, attachments)
  local part = VPOP3.GetMessagePart(mime[3].Path)
  VPOP3.MessageSeek(size - 7)
  local count, last = VPOP3.GetMessageLine(1)
  print(subject .. " " .. size .. " " .. string.len(part) .. " " .. attachments[1].Size .. " " .. last)
  print(VPOP3.SaveAttachment(1, subject))
  return actions, ""
end`,
  "SIGNATURE.LUA": 'function GetSignature() return "-- Ann" end',
};

const LIMITS = { message_size_limit: "0" };
const digest = (bytes: string | Buffer) => createHash("sha256").update(bytes).digest("hex");

postfixTest(
  "20 messages of 2 MB at a time, each past its limit: listed, saved, signed, delivered whole",
  async () => {
    await using served = await Served.start({
      scripts: SCRIPTS,
      config: "[messages]\nspill_above_bytes = 100000",
      mainCf: LIMITS,
    });
    const names = Array.from({ length: 20 }, (_, n) => `large${n}`);
    const text = (name: string) => message(name, 2_000_000);
    const replies = await Promise.all(
      names.map((name) => send(served, `${name}@elsewhere.test`, text(name))),
    );
    for (const reply of replies) assert.match(reply, /^250 /);
    const saved = Buffer.from(file(2_000_000), "base64");
    for (const name of names) {
      const { body } = await served.sink.waitFor(
        ({ recipients }) => recipients[0] === `${name}@elsewhere.test`,
      );
      const sent = text(name).slice(text(name).indexOf("--b"));
      assert.equal(digest(body), digest(sent.replace("Hello\r\n", "Hello\r\n-- Ann\r\n")), name);
      assert.equal(digest(readFileSync(served.postlua.dataPath(`saved/${name}`))), digest(saved), name);
    }
    await served.postlua.stop();
    const printed = served.postlua.printed().split("\n");
    const sent = text("large0");
    const part = sent.slice(sent.lastIndexOf("Content-Type"), sent.lastIndexOf("\r\n--b"));
    assert.ok(printed.includes(`large0 ${sent.length} ${part.length} ${saved.length} --b--\r`), printed[0]);
    assert.equal(printed.filter((line) => line === "true").length, names.length);
    assert.equal(served.postlua.errors(), "");
    // Nothing lies in the directory of the files, the saved ones apart.
    assert.deepEqual(readdirSync(served.postlua.dataPath("")), ["saved"]);
  },
);

postfixTest(
  "where no file can be made, messages stay in memory; one that has no room is to come again",
  async () => {
    await using served = await Served.start({
      scripts: SCRIPTS,
      config:
        '[messages]\nspill_above_bytes = 100000\nspill_dir = "/proc"\n\n[limits]\nworker_memory_mb = 384',
      mainCf: LIMITS,
    });
    assert.match(await send(served, "small@elsewhere.test", message("small", 2_000_000)), /^250 /);
    const warned = await served.postlua.waitFor(({ event }) => event === "message kept in memory");
    assert.equal(warned.level, "warn");
    assert.match(String(warned.queue), /^[0-9A-Za-z]+$/);
    // An eighth of 384 MB is what messages may take in memory.
    const reply = await send(served, "big@elsewhere.test", message("big", 60_000_000));
    assert.equal(reply, "452 4.3.1 Insufficient system storage");
    const lost = await served.postlua.waitFor(({ event }) => event === "message not kept");
    assert.equal(lost.level, "error");
    // Its memory is free again.
    assert.match(await send(served, "after@elsewhere.test", message("after", 2_000_000)), /^250 /);
    await served.sink.waitFor(({ recipients }) => recipients[0] === "after@elsewhere.test");
    assert.equal(
      served.sink.messages.filter(({ recipients }) => recipients[0] === "big@elsewhere.test").length,
      0,
    );
  },
);
