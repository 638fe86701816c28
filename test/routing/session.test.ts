/** Routing as a step of a session, with a real store: what the edits are, and what happens when something fails. */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { fromBytes } from "../../src/bytes.ts";
import { Place } from "./place.ts";

const AWAY = { Forwards: "away@elsewhere.test", SendToNormalRecipient: "no" };

test("recipients as ProcessMessage left them are routed, its other edits stay", async () => {
  await using place = await Place.open({
    "SMTPSVR.LUA": `function ProcessMessage(from, subject, recipients, actions)
      actions.HeaderModifiers = { "X-Seen: yes" }
      actions.SendToOriginalRecipients = false
      actions.Recipients = { "joe@users.test", "guest@elsewhere.test" }
      return actions
    end`,
  });
  await place.user("joe", AWAY);
  const { edits, changes } = await place.send({ to: ["<nobody@users.test>", "<joe@users.test>"] });
  assert.deepEqual(changes, [
    "-nobody@users.test",
    "-joe@users.test",
    "+guest@elsewhere.test",
    "+away@elsewhere.test",
  ]);
  assert.equal(edits.find(({ kind }) => kind === "addHeader")?.kind, "addHeader");
});

test("a refusal of ProcessMessage is not routed, and nobody is asked", async () => {
  await using place = await Place.open({
    "SMTPSVR.LUA": `function ProcessMessage(from, subject, recipients, actions)
      actions.Ignore, actions.Delete = true, true
      return actions
    end`,
    "USER_REDIRECT.LUA": `error("asked")`,
  });
  await place.user("joe", AWAY);
  const { verdict } = await place.send({ to: ["<joe@users.test>"] });
  assert.equal(verdict.kind === "refuse" && verdict.reply.code, 554);
});

test("each spelling that was typed is taken away; parameters go along", async () => {
  await using place = await Place.open();
  await place.user("joe", AWAY);
  const { changes } = await place.send({
    to: ["<JOE@users.test> NOTIFY=NEVER", "<joe@Users.Test>", "<x@y.test>"],
  });
  assert.deepEqual(changes, ["-JOE@users.test", "-joe@Users.Test", "+away@elsewhere.test NOTIFY=NEVER"]);
});

test("new parameters of DoRCPTTO stay with those who stay, and go with those who go", async () => {
  await using place = await Place.open({
    "SMTPSVR.LUA": `function DoRCPTTO(data, recipient, parameters) return "", { NOTIFY = "NEVER" } end`,
  });
  await place.user("joe", AWAY);
  await place.user("plain");
  const { changes } = await place.send({ to: ["<joe@users.test>", "<plain@users.test>"] });
  assert.deepEqual(changes, [
    "-joe@users.test",
    "-plain@users.test",
    "+plain@users.test NOTIFY=NEVER",
    "+away@elsewhere.test NOTIFY=NEVER",
  ]);
});

test("a store that cannot answer makes the message wait", async () => {
  await using place = await Place.open();
  await place.user("joe", AWAY);
  await place.directory.store.close();
  const { verdict, changes } = await place.send({ to: ["<joe@users.test>"] });
  assert.deepEqual(verdict, {
    kind: "refuse",
    reply: { code: 451, enhanced: "4.3.0", lines: ["Temporary lookup failure, try again later"] },
  });
  assert.deepEqual(changes, []);
  assert.match(place.decisions.join("\n"), /^routing: refuse 451 .*sqlite:/m);
});

test("script_error decides about the whole message; with accept the others are routed", async () => {
  const script = { "USER_REDIRECT.LUA": `if User == "bad" then local x = nil + 1 end` };
  for (const [setting, code] of [
    ["tempfail", 451],
    ["reject", 554],
  ] as const) {
    await using place = await Place.open(script, `script_error = "${setting}"`);
    await place.user("bad");
    await place.user("joe", AWAY);
    const { verdict, edits } = await place.send({ to: ["<joe@users.test>", "<bad@users.test>"] });
    assert.equal(verdict.kind === "refuse" && verdict.reply.code, code);
    assert.deepEqual(edits, []);
  }
  await using place = await Place.open(script, `script_error = "accept"`);
  await place.user("bad", AWAY);
  await place.user("joe", AWAY);
  const { changes } = await place.send({ to: ["<joe@users.test>", "<bad@users.test>"] });
  assert.deepEqual(changes, ["-joe@users.test", "+away@elsewhere.test"]);
});

test("a global script that does not chain hears nothing of users' own; one that does can live with their mistakes", async () => {
  await using lonely = await Place.open({
    "USER_REDIRECT.LUA": "",
    "users/joe/USER_REDIRECT.LUA": `error("never")`,
  });
  await lonely.user("joe");
  assert.equal((await lonely.send({ to: ["<joe@users.test>"] })).verdict.kind, "continue");
  await using tolerant = await Place.open({
    "USER_REDIRECT.LUA": `local fine, why = pcall(VPOP3.RunUserScript)
      function MainDoRouting() return tostring(fine) .. " " .. tostring(why) end`,
    "users/JOE/User_Redirect.Lua": `error("mine is broken")`,
  });
  await tolerant.user("Joe");
  await tolerant.user("ann");
  assert.equal(
    (await tolerant.send({ to: ["<joe@users.test>", "<ann@users.test>"] })).verdict.kind,
    "continue",
  );
  assert.deepEqual(tolerant.decisions, [
    "MainDoRouting: Joe: as it was false users/Joe/USER_REDIRECT.LUA:1: mine is broken",
    "MainDoRouting: ann: as it was true false",
  ]);
});

test("a user's script sees what the one for all users has decided, and decides last", async () => {
  await using place = await Place.open({
    "USER_REDIRECT.LUA": `Forwards, UseForwards = "all@elsewhere.test", true
      BigRedirect = { Target = "big@elsewhere.test", Threshold = 0, Copy = true, Bigger = true }
      VPOP3.RunUserScript()
      Assistants = Forwards .. "-seen"`,
    "users/joe/USER_REDIRECT.LUA": `Forwards = User .. "." .. string.gsub(Forwards, "@.*", "") .. "@elsewhere.test"
      BigRedirect.Target = nil
      Secret = 1`,
  });
  await place.user("joe");
  const { changes } = await place.send({ to: ["<joe@users.test>"] });
  assert.deepEqual(changes, ["+joe.all@elsewhere.test-seen", "+joe.all@elsewhere.test"]);
});

test("a setting that is no UTF-8 in an address, and names beyond ASCII", async () => {
  await using place = await Place.open({
    "USER_REDIRECT.LUA": `if User == "joe" then Forwards, UseForwards = "\\255\\254@elsewhere.test; j\\195\\188rgen", true end`,
  });
  await place.user("joe");
  await place.user("jürgen");
  const { changes } = await place.send({ to: ["<joe@users.test>"] });
  assert.deepEqual(changes, ["+j\xc3\xbcrgen@users.test"]);
  assert.match(place.decisions.join("\n"), /there is nobody at/);
});

test("a chain of users who pass mail on, and a circle of them", async () => {
  await using place = await Place.open();
  for (let n = 0; n < 20; n++) {
    await place.user(`line${n}`, {
      Forwards: n === 19 ? "end@elsewhere.test" : `line${n + 1}`,
      SendToNormalRecipient: "no",
    });
    await place.user(`ring${n}`, { Forwards: `ring${(n + 1) % 20}`, SendToNormalRecipient: "no" });
  }
  assert.deepEqual((await place.send({ to: ["<line0@users.test>"] })).changes, [
    "-line0@users.test",
    "+end@elsewhere.test",
  ]);
  assert.deepEqual((await place.send({ to: ["<ring0@users.test>"] })).changes, []);
  assert.match(place.warnings.join("\n"), /the forwarding of ring0 leads back and reaches nobody/);
});

test("a file of a script that appears later is used at once by what reads the disk", async () => {
  await using place = await Place.open({ "users/joe/readme.txt": "no script" });
  await place.user("joe");
  assert.deepEqual((await place.send({ to: ["<joe@users.test>"] })).changes, []);
  const path = join(place.scratch.path, "scripts/users/joe/USER_REDIRECT.LUA");
  writeFileSync(path, `Assistants = "helper@elsewhere.test"`);
  assert.deepEqual((await place.send({ to: ["<joe@users.test>"] })).changes, ["+helper@elsewhere.test"]);
});

test("a user's script that never ends is stopped, whatever the script for all users makes of it", async () => {
  await using place = await Place.open(
    {
      "USER_REDIRECT.LUA": `function MainDoRouting() return tostring(pcall(VPOP3.RunUserScript)) end`,
      "users/joe/USER_REDIRECT.LUA": `local n = 0 while true do n = n + 1 pcall(string.rep, "x", 10) end`,
      "users/ann/USER_REDIRECT.LUA": `os.sleep(60000)`,
    },
    "limits.cpu_ms = 200\nlimits.message_wall_ms = 1000",
  );
  await place.user("joe", AWAY);
  await place.user("ann");
  const { verdict, changes } = await place.send({ to: ["<joe@users.test>"] });
  assert.equal(verdict.kind, "continue");
  assert.deepEqual(changes, ["-joe@users.test", "+away@elsewhere.test"]);
  assert.match(place.decisions.join("\n"), /^MainDoRouting: joe: sent to away@elsewhere\.test false/);
  const late = await place.send({ to: ["<ann@users.test>"] });
  assert.equal(late.verdict.kind === "refuse" && late.verdict.reply.code, 451);
});

test("what is stored for a signature, in the formats of the message", async () => {
  await using place = await Place.open();
  await place.user("joe", { Signature: "Joe & <Co>\nSales" });
  await place.user("ann", { HTMLSignature: "<b>Ann</b>", Signature: "<blank>" });
  await place.store.setSetting("signature", "Everybody", { create: true });
  const header = "MIME-Version: 1.0\r\nContent-Type: text/html\r\n";
  const body = async (from: string, html: boolean) => {
    const mail = { from: `<${from}>`, to: ["<x@elsewhere.test>"], ...(html ? { header } : {}) };
    const { edits } = await place.send(mail);
    const edit = edits.find(({ kind }) => kind === "replaceBody");
    return edit?.kind === "replaceBody" ? fromBytes(edit.body) : "";
  };
  assert.equal(await body("joe@users.test", false), "Hello\r\nJoe & <Co>\r\nSales\r\n");
  assert.equal(await body("Joe@Users.Test", true), "Hello\r\n<p>Joe &amp; &lt;Co&gt;<br>\r\nSales</p>\r\n");
  assert.equal(await body("ann@users.test", true), "Hello\r\n<b>Ann</b>\r\n");
  assert.equal(await body("ann@users.test", false), "");
  assert.equal(await body("stranger@other.test", false), "Hello\r\nEverybody\r\n");
  assert.equal(await body("", false), "");
});

test("a declared default holds for every user who has no setting of that name", async () => {
  await using place = await Place.open();
  const define = (name: string, fallback: string) => ({ name, title: name, type: "string", fallback });
  await place.store.define([define("assistants", "helper@elsewhere.test"), define("BigRedirect.Target", "")]);
  await place.user("joe");
  await place.user("ann", { ASSISTANTS: "other@elsewhere.test" });
  const { changes } = await place.send({ to: ["<joe@users.test>", "<ann@users.test>"] });
  assert.deepEqual(changes, ["+helper@elsewhere.test", "+other@elsewhere.test"]);
});
