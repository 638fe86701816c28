/** The service's log of one session: each line says whom it is about, and what a script says in vain is warned of. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { completeConfig, parseConfig } from "../../src/config/load.ts";
import type { LogFields } from "../../src/log-line.ts";
import { MessageStore } from "../../src/message/store.ts";
import { Service } from "../../src/serve/service.ts";
import { SmtpSession } from "../../src/smtp/session.ts";

type Line = readonly [event: string, fields: LogFields];

async function session(t: TestContext, script: string): Promise<{ session: SmtpSession; lines: Line[] }> {
  const directory = mkdtempSync(join(tmpdir(), "postlua-story-"));
  t.after(() => rmSync(directory, { recursive: true }));
  writeFileSync(join(directory, "SMTPSVR.LUA"), script);
  const text = ["scripts_dir", "data_dir", "log_dir", "save_dir"]
    .map((key) => `${key} = ${JSON.stringify(directory)}\n`)
    .join("");
  const config = await completeConfig(parseConfig(text, "test.toml"), "test.toml");
  const lines: Line[] = [];
  const keep = (event: string, fields: LogFields = {}) => void lines.push([event, fields]);
  const log = { error: keep, warn: keep, info: keep, debug: () => {} };
  const service = new Service(config, [], log, { print: () => {}, error: () => {} });
  await service.load();
  const client = { address: "192.0.2.7", port: 40000, hostname: "client" };
  return { session: new SmtpSession(service, client, "s-1"), lines };
}

test("decisions name the client, its HELO name, the sender and each recipient", async (t) => {
  const { session: one, lines } = await session(
    t,
    `function Start() end
     function DoHELO(name, refuse) return refuse, "" end
     function DoMAILFROM() return "uncoded text" end
     function DoRCPTTO(data, recipient)
       if recipient == "bad@example.com" then return nothing.here end
       if recipient == "no@example.com" then return "550 5.1.1 No" end
     end
     function ProcessMessage(from, subject, recipients, actions) return actions end
     function End() end`,
  );
  await one.start();
  await one.helo("client.example", true);
  await one.mailFrom(["<a@example.org>"], "");
  for (const name of ["bad", "no", "yes"]) await one.rcptTo([`<${name}@example.com>`], undefined);
  const store = MessageStore.fromBytes(Buffer.from("Subject: x\r\n\r\n"));
  await one.message(store, store.size);
  await one.end();

  const told = lines
    .filter(([, { session: id }]) => id === "s-1")
    .map(([event, { callback, about, result }]) =>
      `${event} ${callback} ${about ?? ""} ${result ?? ""}`.trim(),
    );
  assert.deepEqual(told, [
    "decision Start 192.0.2.7 continue",
    "decision DoHELO client.example continue",
    "script DoMAILFROM <a@example.org>",
    "decision DoMAILFROM <a@example.org> continue",
    "script error DoRCPTTO <bad@example.com>",
    "decision DoRCPTTO <bad@example.com> refuse 451 4.3.0 Temporary mail policy problem, try again later",
    "decision DoRCPTTO <no@example.com> refuse 550 5.1.1 No",
    "decision DoRCPTTO <yes@example.com> continue",
    "decision ProcessMessage  accept",
    "decision End  called",
  ]);
});

test("a refusal by a rule names whom it refuses", async (t) => {
  const { session: one, lines } = await session(t, "AuthenticationRequired = true");
  await one.start();
  await one.mailFrom(["<a@example.org>"], "");
  const [, fields] = lines.at(-1) ?? [];
  assert.equal(`${fields?.callback} ${fields?.about}`, "MAIL <a@example.org>");
});

test("entries of actions that mean nothing are warned of, once a session", async (t) => {
  const { session: one, lines } = await session(
    t,
    `function ProcessMessage(from, subject, recipients, actions)
       actions.SendToOriginalRecipient = false
       actions.recipients = {"x@example.com"}
       return actions
     end`,
  );
  await one.start();
  for (const name of ["first", "second"]) {
    await one.mailFrom(["<a@example.org>"], "");
    await one.rcptTo([`<${name}@example.com>`], undefined);
    const store = MessageStore.fromBytes(Buffer.from("Subject: x\r\n\r\n"));
    const { edits } = await one.message(store, store.size);
    assert.deepEqual(edits, []);
  }
  const problems = lines.filter(([event]) => event === "script").map(([, { problem }]) => problem);
  assert.deepEqual(problems, [
    "actions.SendToOriginalRecipient means nothing; is SendToOriginalRecipients meant?",
    "actions.recipients means nothing; is Recipients meant?",
  ]);
});

test("a result of a wrong type names the line of its function", async (t) => {
  const { session: one, lines } = await session(
    t,
    "-- a comment\nfunction DoMAILFROM()\n  return {}\nend\nfunction Start() end",
  );
  await one.start();
  await one.mailFrom(["<a@example.org>"], "");
  const [, error] = lines.find(([event]) => event === "script error") ?? [];
  assert.equal(error?.line, 2);
  assert.match(String(error?.message), /^SMTPSVR\.LUA:2: DoMAILFROM returned a table/);
});
