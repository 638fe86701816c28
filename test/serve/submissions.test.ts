/** Mail handed to sendmail(1), through the milter door: one SMTP session of SMTPSVR.LUA, decided at the end of the message. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { milterDoor } from "../../src/serve/milter-door.ts";
import { captured } from "../notices/fixtures.ts";
import { Inside, type InternalMessage, type Played } from "./internal.ts";

const { bytes } = captured("submission");
const MAIL: InternalMessage = {
  sender: "ann@example.test",
  recipients: ["bob@example.test", "cy@elsewhere.test"],
  bytes,
};

async function submitted(script: string, mail = MAIL, config = ""): Promise<Played & { inside: Inside }> {
  using inside = await Inside.open({ "SMTPSVR.LUA": script }, config);
  return { ...(await inside.play(mail)), inside };
}

const reply = (code: number, enhanced: string, ...lines: string[]) => ({
  kind: "replycode",
  code,
  enhanced,
  lines,
});

test("Start to ProcessMessage and End, as in a session, and nobody says QUIT", async () => {
  const names = ["Start", "GetMaxMessageSize", "DoHELO", "DoMAILFROM", "DoRCPTTO", "DoDATAStart"];
  const more = ["ProcessMessage", "DoQUIT", "DoRSET", "End"];
  const script = [...names, ...more].map((name) => `function ${name}() end`).join("\n");
  const { inside, edits, ...played } = await submitted(script);
  assert.deepEqual(played.reply, { kind: "continue" });
  assert.deepEqual(edits, []);
  assert.deepEqual(
    inside.calls.map(({ callback }) => callback),
    [
      ...["Start", "GetMaxMessageSize", "GetMaxMessageSize", "DoHELO", "DoMAILFROM"],
      ...["DoRCPTTO", "DoRCPTTO", "DoDATAStart", "ProcessMessage", "End"],
    ],
  );
});

test("what the callbacks are told", async () => {
  const { inside } = await submitted(`
    function Start() print(IPAddress, Submission, LocalClientAddress, ValidClientAddress, AuthUser, QueueID) end
    function DoHELO(host, refuse, extended) print(host, refuse, extended) end
    function DoMAILFROM(data, from) print(data, from) end
    function DoRCPTTO(data, to, parameters, list) print(data, to, table.getn(list)) end
    function ProcessMessage(from, subject, to, actions, mime, size, attachments)
      print(from, subject, table.concat(to, " "), table.getn(mime), size == ${bytes.length})
    end`);
  assert.equal(
    inside.printed,
    [
      "127.0.0.1\tsendmail\ttrue\ttrue\t\tINTERNAL1",
      "localhost\tfalse\ttrue",
      "<ann@example.test>\tann@example.test",
      "<bob@example.test>\tbob@example.test\t0",
      "<cy@elsewhere.test>\tcy@elsewhere.test\t1",
      "ann@example.test\tOffer\tbob@example.test cy@elsewhere.test\t1\ttrue",
      "",
    ].join("\n"),
  );
});

test("ProcessMessage's edits are carried out", async () => {
  const { message } = await submitted(`
    function DoDATAStart() return "", "X-Top: 1" end
    function ProcessMessage(from, subject, to, actions)
      actions.HeaderModifiers = { "Subject: " .. subject .. " (seen)", "X-End: 1" }
      actions.SendToOriginalRecipients = false
      actions.Recipients = { "bob@example.test", "dan@example.test" }
      return actions
    end`);
  assert.deepEqual(message.headers[0], ["X-Top", " 1"]);
  assert.deepEqual(message.headers.at(-1), ["X-End", " 1"]);
  assert.ok(message.headers.some(([name, value]) => name === "Subject" && value === " Offer (seen)"));
  assert.deepEqual([...message.recipients].sort(), ["bob@example.test", "dan@example.test"]);
});

const REFUSING: [step: string, script: string, called: number][] = [
  ["Start", 'function Start() return "554 5.7.1 no" end', 1],
  ["DoHELO", 'function DoHELO() return false, "554 5.7.1 no" end', 1],
  ["DoMAILFROM", 'function DoMAILFROM() return "554 5.7.1 no" end', 1],
  ["DoRCPTTO", 'function DoRCPTTO(d, to) if to == "cy@elsewhere.test" then return "554 5.7.1 no" end end', 2],
  ["DoDATAStart", 'function DoDATAStart() return "554 5.7.1 no" end', 1],
  [
    "ProcessMessage",
    'function ProcessMessage(f, s, r, a) a.Ignore = true a.Delete = true a.Reason = "554 5.7.1 no" return a end',
    1,
  ],
];

for (const [step, script, called] of REFUSING) {
  test(`a refusal by ${step} is the reply to the end of the message`, async () => {
    const { inside, edits, ...played } = await submitted(script);
    assert.deepEqual(played.reply, reply(554, "5.7.1", "no"));
    assert.deepEqual(edits, []);
    assert.equal(inside.calls.length, called);
  });
}

test("4xx stays 4xx, and a script that fails is the script_error setting", async () => {
  const later = await submitted('function DoRCPTTO() return "451 4.7.1 later" end');
  assert.deepEqual(later.reply, reply(451, "4.7.1", "later"));
  const failing = 'function DoMAILFROM() error("no") end';
  const kinds = [];
  for (const setting of ["tempfail", "accept", "reject"]) {
    const { reply } = await submitted(failing, MAIL, `script_error = "${setting}"`);
    kinds.push(reply.kind === "replycode" ? reply.code : reply.kind);
  }
  assert.deepEqual(kinds, [451, "continue", 554]);
});

test("a discard", async () => {
  const played = await submitted("function ProcessMessage(f, s, r, a) a.Ignore = true return a end");
  assert.deepEqual(played.reply, { kind: "discard" });
});

test("a size limit of the script holds for submissions, too", async () => {
  const played = await submitted("function GetMaxMessageSize() return 20 end");
  assert.equal(played.reply.kind === "replycode" && played.reply.code, 552);
});

test("what asks for a login or an address is not asked of mail that has no client", async () => {
  const script = "function Start() AuthenticationRequired = true AllowedUsers = 'joe' end";
  const config = `client_networks = ["192.0.2.0/24"]
    [[clients]]
    network = "127.0.0.0/8"
    authentication_required = true`;
  assert.deepEqual((await submitted(script, MAIL, config)).reply, { kind: "continue" });
  const invalid = await submitted("function Start() ValidClientAddress = false end", MAIL, config);
  assert.equal(invalid.reply.kind === "replycode" && invalid.reply.code, 554);
});

test("mail with the null sender that is no notice of Postfix's goes through the session", async () => {
  const vacation = Buffer.from(
    "From: ann@example.test\r\nSubject: I am away\r\nContent-Type: multipart/report; boundary=x\r\n\r\n--x\r\n\r\nAway\r\n--x--\r\n",
  );
  for (const sender of ["", "double-bounce@mx.example.test"]) {
    const played = await submitted('function ProcessMessage(from) print("[" .. from .. "]") end', {
      ...MAIL,
      sender,
      bytes: vacation,
    });
    assert.equal(played.inside.printed, `[${sender}]\n`);
  }
});

test("mail that may be a notice is not asked about where its content is not collected", async () => {
  const { reply, inside } = await submitted('function DoMAILFROM() return "554 no" end', captured("bounce"));
  assert.deepEqual(reply, { kind: "continue" });
  assert.deepEqual(inside.calls, []);
});

test("with nothing but ERRORS.LUA clients of the network are let go at CONNECT, and submissions stay as they are", async () => {
  using inside = await Inside.open({ "ERRORS.LUA": "function ProcessError() end" });
  const door = milterDoor(inside.service);
  const context = { id: "1", transport: "unix", version: 6, actions: 0x1ff, steps: 0 } as const;
  const handler = door.open({ ...context, macro: () => undefined });
  const client = { hostname: "c.test", family: "inet", address: "192.0.2.1", port: 1025 } as const;
  assert.deepEqual(await handler.connect?.(client), { kind: "accept" });
  assert.deepEqual((await inside.play(MAIL)).reply, { kind: "continue" });
  assert.deepEqual(inside.calls, []);
});

test("a client of the network is no submission", async () => {
  using inside = await Inside.open({ "SMTPSVR.LUA": "function Start() print(Submission) end" });
  const { service } = inside;
  assert.equal(
    service.rules.globals({ address: "127.0.0.1", port: 1025, hostname: "x" }, "1").Submission,
    "smtp",
  );
});
