/** Notices through the milter door: ERRORS.LUA's arguments and what each of its answers does, on captured notices. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { simpleParser } from "mailparser";
import { encodeText } from "../../src/bytes.ts";
import { MessageStore } from "../../src/message/store.ts";
import { encodeEdits } from "../../src/milter/edit.ts";
import { seeded } from "../message/helper.ts";
import { mutate } from "../message/mutate.ts";
import { captured, NAMES } from "../notices/fixtures.ts";
import { bytesOf, Inside, type Played } from "./internal.ts";

const NOTICES = NAMES.filter((name) => name !== "submission");
const IDENTITY = `
function ProcessError(itemid, err, conn, sid, subject, fid, format, parameters, target, sender)
  return subject, format, target, sender, false
end`;

/** ERRORS.LUA whose ProcessError returns `results`; the arguments have short names. */
function returning(results: string): Record<string, string> {
  return {
    "ERRORS.LUA": `function ProcessError(item, err, conn, sid, subject, fid, format, parameters, target, sender)
      return ${results}
    end`,
  };
}

async function answered(scripts: Record<string, string>, name = "bounce", config = "") {
  using inside = await Inside.open(scripts, config);
  const played = await inside.play(captured(name));
  return { ...played, inside };
}

const continued = ({ reply }: Played) => assert.deepEqual(reply, { kind: "continue" });
const header = ({ message }: Played, name: string) =>
  message.headers.filter(([field]) => field.toLowerCase() === name).map(([, value]) => value.trim());

/** What makes a report a report (RFC 6522, RFC 3464): found by our eyes and by mailparser's. */
async function assertReport(played: Played, text: string | RegExp): Promise<void> {
  const bytes = bytesOf(played.message);
  assert.match(header(played, "content-type")[0] ?? "", /^multipart\/report; report-type=delivery-status;/);
  const parsed = await simpleParser(bytes, { keepDeliveryStatus: true });
  const shown = (parsed.text ?? "").replace(/\r\n/g, "\n");
  if (typeof text === "string") assert.equal(shown.trimEnd(), text.trimEnd());
  else assert.match(shown, text);
  const types = parsed.attachments.map(({ contentType }) => contentType);
  assert.match(types[0] ?? "", /^message\/(?:global-)?delivery-status$/);
  assert.match(types[1] ?? "", /^(?:message\/rfc822|message\/global|text\/rfc822-headers)$/);
  assert.equal(types.length, 2);
}

test("a script that returns what it was given changes nothing in any notice", async () => {
  using inside = await Inside.open({ "ERRORS.LUA": IDENTITY });
  for (const name of NOTICES) {
    const played = await inside.play(captured(name));
    continued(played);
    assert.deepEqual(played.edits, [], name);
    assert.ok(bytesOf(played.message).equals(captured(name).bytes), name);
  }
  assert.equal(inside.calls.length, NOTICES.length);
  assert.equal(inside.errors, "");
});

const KINDS: [name: string, item: boolean, error: string, connection: boolean, ids: [number, number]][] = [
  ["bounce", true, "550 5.1.1 <unknown@elsewhere.test>: no such user here", false, [101, 201]],
  [
    "bounce-no-host",
    true,
    "unable to look up host host.invalid: Name or service not known",
    true,
    [101, 201],
  ],
  ["bounce-no-connection", true, "connect to 127.0.0.1[127.0.0.1]:1: Connection refused", true, [101, 201]],
  ["delay", true, "451 4.2.1 Greylisted, come back later", false, [102, 202]],
  ["success", true, "250 OK: message queued", false, [103, 203]],
  ["verify", true, "550 5.1.1 <unknown@elsewhere.test>: no such user here", false, [104, 204]],
  ["postmaster-copy", true, "550 5.1.1 <unknown@elsewhere.test>: no such user here", false, [105, 205]],
  ["postmaster-delay", true, "451 4.2.1 Greylisted, come back later", false, [106, 206]],
  ["double-bounce", true, "550 5.1.1 <unknown@elsewhere.test>: no such user here", false, [107, 207]],
  ["server-errors", false, "554 5.7.1 <joe@elsewhere.test>: Relay access denied", false, [108, 208]],
  ["client-errors", false, "500 5.5.1 What do you mean?", false, [109, 209]],
  ["bounce-template", true, "550 5.1.1 <unknown@elsewhere.test>: no such user here", false, [101, 201]],
];

for (const [name, item, error, connection, [subjectId, formatId]] of KINDS) {
  test(`the ten arguments for ${name}`, async () => {
    const { inside } = await answered({ "ERRORS.LUA": IDENTITY }, name);
    const { bytes, recipients } = captured(name);
    const text = bytes.toString("latin1");
    const queueId = /^X-Postfix-Queue-ID: (\w+)/m.exec(text)?.[1] ?? "";
    const [itemId, ...rest] = inside.calls[0]?.args ?? [];
    assert.equal(itemId, item ? queueId : "");
    assert.equal(rest.length, 9);
    const [errorText, connectionError, sid, subject, fid, format, parameters, target, sender] = rest;
    assert.equal(errorText, error);
    assert.equal(connectionError, connection);
    assert.deepEqual([sid, fid], [subjectId, formatId]);
    assert.equal(subject, /^Subject: (.*)\r$/m.exec(text)?.[1]);
    assert.equal((parameters as string[])[2], error);
    assert.equal((parameters as string[])[3], itemId);
    assert.match(format as string, /%3/);
    assert.doesNotMatch(format as string, /\r/);
    assert.equal(target, recipients[0]);
    assert.match(sender as string, /^MAILER-DAEMON@(?:mx\.)?example\.test$/);
  });
}

test("parameters of several recipients follow each other", async () => {
  const { inside } = await answered({ "ERRORS.LUA": IDENTITY }, "bounce-two-recipients");
  const [, , , , , , format, parameters] = inside.calls[0]?.args ?? [];
  const list = parameters as string[];
  assert.equal(list.length, 7);
  assert.deepEqual(
    [list[0], list[1], list[4], list[5]],
    ["full@elsewhere.test", "5.2.2", "unknown1@elsewhere.test", "5.1.1"],
  );
  assert.match(list[2] ?? "", /a telephone 100% of the time$/);
  assert.match(format as string, /<%1>: host [^%]*said: %3 \(in\n.*\n\n<%5>: host [^%]*said: %7 \(in reply/);
});

test("a new subject", async () => {
  const played = await answered(returning('"Not delivered", format, target, sender, false'));
  continued(played);
  assert.deepEqual(header(played, "subject"), ["Not delivered"]);
  assert.equal(
    played.message.body,
    captured("bounce").bytes.toString("latin1").split("\r\n\r\n").slice(1).join("\r\n\r\n"),
  );
});

test("a new subject that is not ASCII, with line breaks in it", async () => {
  const played = await answered(
    returning(`"${encodeText("Unzustellbar: Empfänger")}\\r\\nX-Evil: 1", format`),
  );
  assert.deepEqual(header(played, "x-evil"), []);
  const { subject } = await simpleParser(bytesOf(played.message));
  assert.equal(subject, "Unzustellbar: Empfänger X-Evil: 1");
});

test("a new text, with parameters; every other byte stays", async () => {
  const played = await answered(returning('subject, "To %1: %2, %3 (%4)\\n100%%, %9, %\\n-- end"'));
  continued(played);
  const { bytes, recipients } = captured("bounce");
  const before = bytes.toString("latin1");
  const queueId = /^X-Postfix-Queue-ID: (\w+)/m.exec(before)?.[1] ?? "";
  const text = `To unknown@elsewhere.test: 5.1.1, 550 5.1.1 <unknown@elsewhere.test>: no such user here (${queueId})\r\n100%, %9, %\r\n-- end\r\n`;
  const start = before.indexOf("This is the mail system");
  const end = before.indexOf(`\r\n--${queueId}`, start);
  assert.equal(bytesOf(played.message).toString("latin1"), before.slice(0, start) + text + before.slice(end));
  await assertReport(played, text.replace(/\r\n/g, "\n"));
  assert.deepEqual(played.message.recipients, recipients);
  assert.equal(played.message.sender, "");
});

for (const name of NOTICES) {
  test(`a new text in ${name}, not ASCII`, async () => {
    const words = "Grüße aus Łódź 📮";
    const played = await answered(returning(`subject, "${encodeText(words)}: %1"`), name);
    continued(played);
    const address = (played.inside.calls[0]?.args[7] as string[] | undefined)?.[0] ?? "";
    const text = `${words}: ${Buffer.from(address, "latin1").toString("utf8")}`;
    if (name.endsWith("errors")) {
      const parsed = await simpleParser(bytesOf(played.message));
      assert.equal(parsed.text?.trimEnd(), text);
      assert.deepEqual(header(played, "mime-version"), ["1.0"]);
    } else {
      await assertReport(played, text);
    }
  });
}

test("a text that holds the boundary, NUL, CR and very long lines keeps the report whole", async () => {
  const { bytes } = captured("bounce");
  const boundary = /boundary="([^"]*)"/.exec(bytes.toString("latin1"))?.[1] ?? "";
  const script = `subject, "--${boundary}--\\n\\0x\\ry" .. string.rep("long ", 500)`;
  const played = await answered(returning(script));
  continued(played);
  await assertReport(played, /^--[0-9A-Z]+\.\d+\/mx\.example\.test--\n\0x\ny(?:long ){499}long\s*$/);
  for (const line of played.message.body.split("\r\n")) assert.ok(line.length <= 998);
});

test("a text too big for the message size limit is left out, and the rest still done", async () => {
  const played = await answered(returning('"New", string.rep("0123456789\\n", 1000000), target, sender'));
  continued(played);
  assert.deepEqual(header(played, "subject"), ["New"]);
  assert.equal(played.edits.length, 1);
  assert.match(played.inside.problems.join(), /too big/);
});

test("new targets replace the recipients and the To field", async () => {
  const played = await answered(
    returning('subject, format, "boss@example.test; ann@example.test, <it@example.test>"'),
  );
  continued(played);
  assert.deepEqual([...played.message.recipients].sort(), [
    "ann@example.test",
    "boss@example.test",
    "it@example.test",
  ]);
  assert.match(
    header(played, "to")[0] ?? "",
    /^boss@example\.test,\s+ann@example\.test,\s+it@example\.test$/,
  );
  assert.equal(played.message.sender, "");
  await assertReport(played, /mail system/);
});

test("a new sender changes envelope and From, which keeps its name", async () => {
  const played = await answered(returning('subject, format, target, "help@example.test"'));
  assert.equal(played.message.sender, "help@example.test");
  assert.deepEqual(header(played, "from"), ["Mail Delivery System <help@example.test>"]);
});

test("a new sender with a name of its own", async () => {
  const played = await answered(
    returning(`subject, format, target, '"${encodeText("Große Post")}" <help@example.test>'`),
  );
  assert.equal(played.message.sender, "help@example.test");
  const { from } = await simpleParser(bytesOf(played.message));
  assert.deepEqual(from?.value, [{ address: "help@example.test", name: "Große Post" }]);
});

test("a comment in From becomes the name", async () => {
  const played = await answered(returning('subject, format, target, "help@example.test"'), "bounce-template");
  assert.deepEqual(header(played, "from"), ["Zustelldienst <help@example.test>"]);
});

test("a notice that goes to its new sender keeps the null sender, or it would breed others", async () => {
  const played = await answered(returning('subject, format, "Help@example.test", "help@example.test"'));
  assert.equal(played.message.sender, "");
  assert.deepEqual(header(played, "from"), ["Mail Delivery System <help@example.test>"]);
  assert.deepEqual(played.message.recipients, ["Help@example.test"]);
});

test("a sender without a domain, as VPOP3 has it, and the null sender by name", async () => {
  const daemon = await answered(returning('subject, format, target, "Mailer_Daemon"'));
  assert.equal(daemon.message.sender, "Mailer_Daemon");
  const nobody = await answered(returning('subject, format, target, "<>"'), "postmaster-copy");
  assert.equal(nobody.message.sender, "");
  assert.deepEqual(header(nobody, "from"), ["Mail Delivery System <MAILER-DAEMON@example.test>"]);
});

const SILENT: [what: string, results: string][] = [
  ["nothing", ""],
  ["nils", "nil, nil, nil, nil, nil"],
  ["an empty subject, target and sender", '"", format, "", ""'],
  ["a target of separators", 'subject, format, " ; "'],
];

for (const [what, results] of SILENT) {
  test(`returning ${what} leaves the notice as it was`, async () => {
    const played = await answered(returning(results));
    continued(played);
    assert.deepEqual(played.edits, []);
    assert.equal(played.inside.errors, "");
  });
}

for (const text of ['""', '"  \\n "']) {
  test(`a blank text (${text}) suppresses the notice, with force or without`, async () => {
    for (const force of ["false", "true"]) {
      const played = await answered(returning(`subject, ${text}, target, sender, ${force}`));
      assert.deepEqual(played.reply, { kind: "discard" });
      assert.deepEqual(played.edits, []);
      assert.deepEqual(played.inside.decisions, ["ProcessError discard"]);
    }
  });
}

const FAILING: [what: string, script: string][] = [
  ["raises", 'function ProcessError() error("no") end'],
  [
    "raises at its top level when a notice comes",
    'if SessionID then error("no") end function ProcessError() end',
  ],
  ["never ends", "function ProcessError() while true do end end"],
  ["returns a table as subject", "function ProcessError() return {} end"],
  ["returns a function as text", "function ProcessError() return nil, print end"],
  ["returns a target that is no address", 'function ProcessError() return "x", "y", "a b@c" end'],
  ["returns a sender that is no address", 'function ProcessError() return "x", "y", nil, "a b" end'],
  ["returns a subject too long for a header", 'function ProcessError() return string.rep("x", 100000) end'],
  ["returns text as force", 'function ProcessError() return "x", "y", nil, nil, "yes" end'],
];

for (const [what, script] of FAILING) {
  test(`a script that ${what} leaves the notice as it was and refuses nothing`, async () => {
    for (const setting of ["tempfail", "reject"]) {
      const played = await answered(
        { "ERRORS.LUA": script },
        "bounce",
        `script_error = "${setting}"\n[limits]\ncpu_ms = 100`,
      );
      continued(played);
      assert.deepEqual(played.edits, []);
      assert.notEqual(played.inside.errors, "");
      assert.deepEqual(played.inside.decisions, ["ProcessError unchanged, the script failed"]);
    }
  });
}

test("a script that does not compile leaves notices as they are", async () => {
  const played = await answered({ "ERRORS.LUA": "function ProcessError(" });
  assert.deepEqual(played.reply, { kind: "accept" });
});

test("SMTPSVR.LUA is not asked about notices, whatever it would say", async () => {
  const scripts = {
    "SMTPSVR.LUA": `function Start() return "554 no" end
      function ProcessMessage(from, subject, to, actions) actions.Ignore = true return actions end`,
  };
  for (const more of [{}, { "ERRORS.LUA": IDENTITY }] as Record<string, string>[]) {
    using inside = await Inside.open({ ...scripts, ...more });
    for (const name of NOTICES) {
      const played = await inside.play(captured(name));
      continued(played);
      assert.deepEqual(played.edits, [], name);
    }
    assert.ok(inside.calls.every(({ script }) => script === "ERRORS.LUA"));
  }
});

test("a broken SMTPSVR.LUA does not hold notices up", async () => {
  using inside = await Inside.open({ "SMTPSVR.LUA": "function Start(", "ERRORS.LUA": IDENTITY });
  for (const name of NOTICES) continued(await inside.play(captured(name)));
});

test("repeats within the time are dropped, unless forced; other notices are not", async () => {
  const config = "[errors]\nrepeat_after = 3600";
  using inside = await Inside.open(
    returning('subject, format, target, sender, err == "250 OK: message queued"'),
    config,
  );
  const kind = async (name: string) => (await inside.play(captured(name))).reply.kind;
  assert.equal(await kind("bounce"), "continue");
  assert.equal(await kind("bounce"), "discard");
  assert.equal(await kind("bounce-headers-only"), "discard");
  assert.equal(await kind("bounce-two-recipients"), "continue");
  assert.equal(await kind("postmaster-copy"), "continue");
  assert.equal(await kind("delay"), "continue");
  assert.equal(await kind("delay"), "discard");
  assert.equal(await kind("success"), "continue");
  assert.equal(await kind("success"), "continue");
});

test("repeats are dropped without ERRORS.LUA, too", async () => {
  using inside = await Inside.open({}, "[errors]\nrepeat_after = 3600");
  const kinds = [];
  for (const name of ["bounce", "bounce", "delay"])
    kinds.push((await inside.play(captured(name))).reply.kind);
  assert.deepEqual(kinds, ["continue", "discard", "continue"]);
});

test("without ERRORS.LUA and repeat_after internal mail is waved through at its start", async () => {
  for (const name of NAMES) assert.deepEqual((await answered({}, name)).reply, { kind: "accept" });
});

test("notices broken at random are never refused, and what is edited can be sent", async () => {
  using inside = await Inside.open(
    returning(`subject .. "!", format .. "%1%2%3%4%5", target .. ",x@y.test", "<" .. sender .. ">"`),
  );
  const random = seeded(5);
  const rules = { version: 6, actions: 0x1ff, steps: 0x1fffff };
  let notices = 0;
  for (let n = 0; n < (process.env.POSTLUA_LONG ? 20_000 : 400); n++) {
    const { sender, recipients, bytes } = captured(NOTICES[random(NOTICES.length)] ?? "");
    const raw = MessageStore.fromBytes(mutate(bytes, random)).slice(0);
    const played = await inside.play({ sender, recipients, bytes: raw });
    continued(played);
    encodeEdits(played.edits, rules);
    if (played.edits.length > 0) notices++;
  }
  assert.ok(notices > 100, `${notices} were still notices`);
  assert.deepEqual(
    inside.problems.filter((problem) => problem.startsWith("notice")),
    [],
  );
});

const LATER = `
function ProcessMessage3(component, id, kind, severity, err, conn, tid, title, mid, message, target, sender)
  return RESULTS
end`;

test("ProcessMessage3 of later VPOP3: twelve arguments, the text as it is", async () => {
  const script = LATER.replace("RESULTS", '"New", message .. "100%1\\n", target, sender, false');
  const played = await answered({ "ERRORS.LUA": script });
  const args = played.inside.calls[0]?.args ?? [];
  assert.equal(args.length, 12);
  assert.deepEqual([args[0], args[2], args[3], args[5], args[6], args[8]], [1, 1, 4, false, 101, 201]);
  assert.match(args[9] as string, /<unknown@elsewhere\.test>: host 127\.0\.0\.1.*\n {4}<unknown@elsewhere/);
  assert.deepEqual(header(played, "subject"), ["New"]);
  await assertReport(played, /command\)\n100%1\s*$/);
});

test("ProcessMessage3: an empty target suppresses, an empty text does not", async () => {
  const empty = await answered({ "ERRORS.LUA": LATER.replace("RESULTS", 'title, message, "", sender') });
  assert.deepEqual(empty.reply, { kind: "discard" });
  const blank = await answered({ "ERRORS.LUA": LATER.replace("RESULTS", 'title, "", target, sender') });
  continued(blank);
  assert.deepEqual(blank.edits, []);
});

test("ProcessMessage3 is called only when there is no ProcessError", async () => {
  const { inside } = await answered({ "ERRORS.LUA": `${IDENTITY}\n${LATER.replace("RESULTS", "nil")}` });
  assert.deepEqual(
    inside.calls.map(({ callback }) => callback),
    ["ProcessError"],
  );
});

test("a script sees its own globals afresh in every notice, and the session's names", async () => {
  using inside = await Inside.open({
    "ERRORS.LUA": `count = 0
      function ProcessError() count = count + 1 print(count, QueueID, SessionID ~= "") end`,
  });
  await inside.play(captured("bounce"));
  await inside.play(captured("delay"));
  assert.equal(inside.printed, "1\tINTERNAL1\ttrue\n1\tINTERNAL1\ttrue\n");
});
