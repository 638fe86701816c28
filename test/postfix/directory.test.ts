/** Scripts of the running service ask the store and Postfix's tables while mail comes in. */
import assert from "node:assert/strict";
import { rmSync, writeFileSync } from "node:fs";
import { SmtpClient } from "../../postfix/smtp-client.ts";
import { settingsPath } from "../../src/config/database.ts";
import { openStore } from "../../src/directory/open.ts";
import { storeConfig } from "../directory/backends.ts";
import { postfixTest, Served } from "./harness.ts";

const SCRIPT = `
function DoRCPTTO(data, recipient)
  local _, limit = VPOP3.GetSetting("Limit")
  local names = {}
  for _, row in ipairs(VPOP3.ExpandAddress(recipient, -1)) do table.insert(names, row.Name) end
  local user = names[1] and VPOP3.GetUserSetting(names[1], "Mood")
  return "550 5.7.1 " .. table.concat(names, ",") .. " limit=" .. tostring(limit) .. " mood=" .. tostring(user)
end`;

async function answers(port: number, recipients: readonly string[]): Promise<string[]> {
  const { client } = await SmtpClient.connect({ port });
  await client.command("EHLO client.test");
  await client.command("MAIL FROM:<a@sender.test>");
  const texts: string[] = [];
  for (const recipient of recipients) texts.push((await client.command(`RCPT TO:<${recipient}>`)).text);
  await client.command("QUIT");
  return texts;
}

postfixTest("a script's settings and expansions follow the store and the tables", async () => {
  await using served = await Served.start({ scripts: { "SMTPSVR.LUA": SCRIPT } });
  const store = await openStore(storeConfig({ database: `sqlite:${served.postlua.store}` }));
  try {
    await store.addUser({ name: "joe", addresses: ["joe@example.test"] });
    await store.setSetting("Limit", "10", { create: true });
    await store.setUserSetting("joe", "Mood", "good", { create: true });
    const { postfix } = served;
    const ask = async (...recipients: string[]) => answers(postfix.port, recipients);
    assert.deepEqual(await ask("joe@example.test", "far@default.test"), [
      "550 5.7.1 joe limit=10 mood=good",
      "550 5.7.1 far@default.test limit=10 mood=nil",
    ]);
    await store.setSetting("Limit", "20");
    await store.setUserSetting("joe", "Mood", "bad");
    await store.addUser({ name: "ann", addresses: ["ann@example.test"] });
    const table = postfix.writeTable("virtual", "both@example.test joe@example.test, ann@example.test\n");
    await postfix.run("postmap", [`hash:${table}`]);
    await postfix.postconf({ virtual_alias_maps: `hash:${table}` });
    assert.deepEqual(await ask("both@example.test", "ann@example.test"), [
      "550 5.7.1 joe,ann limit=20 mood=bad",
      "550 5.7.1 ann limit=20 mood=nil",
    ]);
  } finally {
    await store.close();
  }
});

postfixTest("a service whose store is broken serves mail; a script that needs it tempfails", async () => {
  const script = `
    function DoRCPTTO(data, recipient)
      if recipient == "ask@example.test" then VPOP3.GetSetting("Limit") end
    end`;
  await using served = await Served.start({ scripts: { "SMTPSVR.LUA": script } });
  for (const file of [served.postlua.store, settingsPath(served.postlua.store)]) {
    for (const journal of ["-journal", "-wal", "-shm"]) rmSync(file + journal, { force: true });
    writeFileSync(file, "This is no database. ".repeat(1_000));
  }
  const [other, ask, again] = await answers(served.postfix.port, [
    "joe@example.test",
    "ask@example.test",
    "ask@example.test",
  ]);
  assert.match(other ?? "", /^250 /);
  assert.match(ask ?? "", /^451 4\.3\.0 /);
  assert.match(again ?? "", /^451 4\.3\.0 /);
  const lines = served.postlua.lines.filter(({ event, level }) => event === "store" && level === "error");
  assert.equal(lines.length, 1);
  assert.match(String(lines[0]?.problem), /store/);
});
