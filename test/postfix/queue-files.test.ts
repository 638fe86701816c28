/** Queue files of every shape that Postfix makes: the parser sees in them what postcat sees. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import type { TestContext } from "node:test";
import { PrivatePostfix } from "../../postfix/private-instance.ts";
import { Sink } from "../../postfix/sink.ts";
import { fromBytes } from "../../src/bytes.ts";
import type { MilterEdit } from "../../src/milter/edit.ts";
import type { MilterFilter } from "../../src/milter/filter.ts";
import { MilterServer } from "../../src/milter/server.ts";
import { type Found, QueueScanner } from "../../src/queue/scan.ts";
import { type Mail, ourEnvelope, ourHeader, postcatEnvelope, send } from "../queue/harness.ts";
import { postfixTest } from "./harness.ts";

/** How many more messages of random shape. */
const RANDOM = process.env.POSTLUA_LONG === undefined ? 60 : 600;

const EDITS: Readonly<Record<string, readonly MilterEdit[]>> = {
  "edit: added": [
    { kind: "addHeader", name: "X-Added", value: " one" },
    { kind: "insertHeader", index: 0, name: "X-First", value: " two" },
    { kind: "insertHeader", index: 1, name: "X-Second", value: " three\n folded" },
  ],
  "edit: longer": [{ kind: "changeHeader", index: 1, name: "X-Own", value: ` ${"long ".repeat(900)}` }],
  "edit: shorter": [{ kind: "changeHeader", index: 1, name: "X-Own", value: " s" }],
  "edit: removed": [{ kind: "changeHeader", index: 1, name: "X-Own", value: "" }],
  "edit: recipients": [
    { kind: "addRecipient", address: "<added@remote.test>", parameters: "" },
    { kind: "addRecipient", address: "<more@remote.test>", parameters: "" },
    { kind: "deleteRecipient", address: "<b@remote.test>" },
  ],
  "edit: sender": [
    {
      kind: "changeSender",
      address: "<a-much-longer-sender-than-before@elsewhere.example.test>",
      parameters: "",
    },
  ],
  "edit: body": [{ kind: "replaceBody", body: Buffer.from("another body\r\n".repeat(400)) }],
  "edit: all": [
    { kind: "changeHeader", index: 1, name: "Subject", value: " changed" },
    { kind: "changeHeader", index: 1, name: "X-Own", value: "" },
    { kind: "addHeader", name: "X-Last", value: " last" },
    { kind: "addRecipient", address: "<added@remote.test>", parameters: "" },
    { kind: "changeSender", address: "<>", parameters: "" },
    { kind: "replaceBody", body: Buffer.from("x") },
  ],
};

const editor: MilterFilter = {
  needs: () => ({ events: ["header"], quiet: [], actions: 0x1ff, leadingSpace: true }),
  open: () => {
    let subject = "";
    return {
      header: (name, value) => {
        if (fromBytes(name).toLowerCase() === "subject") subject = fromBytes(value).trim();
      },
      endOfMessage: () => ({ edits: EDITS[subject] ?? [], reply: { kind: "continue" } }),
    };
  },
};

const TO = ["<a@remote.test>"];
const FIXED: readonly Mail[] = [
  { to: TO, message: "Subject: plain\n\nbody\n" },
  { to: TO, message: "" },
  { to: TO, message: "\n" },
  { to: TO, message: "\nbody: without header\n" },
  { to: TO, message: "no header at all\nSubject: no\n" },
  { to: TO, message: " begins with a space\n\nbody\n" },
  { to: TO, message: "Subject: no body, no empty line\n" },
  { to: TO, message: "Subject: header: only\nX-Colon:\nX-Space :  x \n\n" },
  {
    to: TO,
    message: `Subject: long\nX-Long: ${"x".repeat(5_000)}\nX-Folds:${"\n 0123456789".repeat(300)}\n\nb\n`,
  },
  { to: TO, message: `${"X-Many: header\n".repeat(900)}\nb\n` },
  { to: TO, message: "Subject: \xe4\xf6\xfc \xff\nX-\xe4: not a name\n\n\x80\n" },
  { to: TO, message: `Subject: big\n\n${"0123456789abcdef\n".repeat(20_000)}` },
  { to: TO, message: "From mbox@line Mon Jan  1 00:00:00 2001\nSubject: mbox\n\nb\n" },
  {
    to: ["<a@remote.test>", "<b@remote.test>", "<c@done.test>", "<d@done.test>"],
    message: "Subject: partly\n\nb\n",
  },
  {
    parameters: "RET=HDRS ENVID=id-1",
    to: ["<a@remote.test> NOTIFY=NEVER", "<b@remote.test> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;b+40x.test"],
    message: "Subject: dsn\n\nb\n",
  },
  { parameters: "RET=FULL", from: "<>", to: TO, message: "Subject: null sender\n\nb\n" },
  { parameters: "SMTPUTF8", to: ["<\xc3\xa4@remote.test>"], message: "Subject: \xc3\xa4\n\nb\n" },
  { to: ['<"quoted part"@remote.test>', "<a%b@remote.test>"], message: "Subject: quoted\n\nb\n" },
  { to: ["<x@filter.test>", "<b@remote.test>"], message: "Subject: filtered\n\nb\n" },
  { to: ["<x@redirect.test>", "<b@remote.test>"], message: "Subject: redirected\n\nb\n" },
  { to: ["<x@bcc.test>"], message: "Subject: copied\n\nb\n" },
  { to: ["<x@hold.test>"], message: "Subject: held\n\nb\n" },
  { from: "<back@remote.test>", to: ["<bounce@done.test>"], message: "Subject: bounces\n\nb\n" },
  {
    from: "<back@remote.test>",
    to: ["<bounce@done.test>", "<a@remote.test>"],
    message: "Subject: half\n\nb\n",
  },
  ...Object.keys(EDITS).map((subject) => ({
    to: ["<a@remote.test>", "<b@remote.test>", "<c@remote.test>"],
    message: `Subject: ${subject}\nX-Own: some value\nX-After: after\n\nbody\nof two lines\n`,
  })),
];

function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state * 1_103_515_245 + 12_345) % 2_147_483_648;
    return state / 2_147_483_648;
  };
}

function randomMail(seed: number): Mail {
  const next = random(seed);
  const below = (limit: number) => Math.floor(next() * limit);
  const text = (length: number) =>
    Array.from({ length }, () => String.fromCharCode(next() < 0.9 ? 32 + below(95) : 128 + below(128))).join(
      "",
    );
  const fields = Array.from({ length: below(12) }, () => {
    const folds = Array.from({ length: below(4) }, () => `\n${next() < 0.5 ? " " : "\t"}${text(below(90))}`);
    return `X-${below(99)}: ${text(below(next() < 0.05 ? 9_000 : 80))}${folds.join("")}\n`;
  });
  const subjects = Object.keys(EDITS);
  const subject = next() < 0.3 ? (subjects[below(subjects.length)] ?? "") : text(20);
  const to = Array.from(
    { length: 1 + below(9) },
    (_, i) => `<r${i}@${next() < 0.8 ? "remote" : "done"}.test>`,
  );
  const body = Array.from({ length: below(60) }, () => `${text(below(200))}\n`).join("");
  return {
    from: `<s${seed}@example.test>`,
    to: [...to, "<last@remote.test>"],
    message: `Subject: ${subject}\nX-Own: o\n${fields.join("")}\n${body}`,
  };
}

async function fill(postfix: PrivatePostfix): Promise<void> {
  const bodies = FIXED.map(({ message }) => message);
  assert.equal(new Set(bodies).size, bodies.length);
  await send(postfix.port, FIXED);
  await send(
    postfix.port,
    Array.from({ length: RANDOM }, (_, i) => randomMail(i + 1)),
  );
  await send(
    postfix.port,
    [{ to: TO, message: "Subject: forwarded\n\nb\n" }],
    [
      "XFORWARD NAME=origin.example ADDR=192.0.2.7 PORT=1234 PROTO=ESMTP HELO=helo.example IDENT=Q1 SOURCE=REMOTE",
    ],
  );
  await send(
    postfix.port,
    [{ parameters: "AUTH=author@example.test", to: TO, message: "Subject: logged in\n\nb\n" }],
    ["XCLIENT NAME=client.example ADDR=192.0.2.8 LOGIN=user-1", "EHLO again.test"],
  );
  await postfix.run(
    "sendmail",
    ["-F", "Full Name", "-f", "a@example.test", "-V+=", "v@remote.test"],
    "Subject: verp\n\nb\n",
  );
  await postfix.run(
    "sendmail",
    ["-t", "-i"],
    "To: t@remote.test, u@done.test\nSubject: from header\n\nb\n.\n",
  );
  await postfix.run("sendmail", ["-f", "", "-N", "never", "n@remote.test"], "b\n");
}

/** Everything that is in the queue, as the scanner finds it. */
async function everything(scanner: QueueScanner, problems: string[]): Promise<Map<string, Found>> {
  const all = new Map<string, Found>();
  const { unreadable } = await scanner.scan({
    onBatch: ({ found }) => {
      for (const one of found) all.set(one.file.id, one);
    },
  });
  problems.push(...unreadable.map(({ problem }) => problem));
  return all;
}

async function compare(postfix: PrivatePostfix, { path, file }: Found): Promise<void> {
  const shown = await postfix.run("postcat", ["-eh", path]);
  const [, before = "", header = "", after = ""] =
    /^\*\*\* ENVELOPE RECORDS .*? \*\*\*\n([\s\S]*?)\*\*\* MESSAGE CONTENTS .*? \*\*\*\n([\s\S]*)\*\*\* HEADER EXTRACTED .*? \*\*\*\n([\s\S]*)$/.exec(
      shown,
    ) ?? [];
  assert.deepEqual(ourEnvelope(file), postcatEnvelope(before + after), path);
  assert.equal(ourHeader(file), header, path);
  const [, sizes = ""] = /^message_size: +(.*)$/m.exec(before) ?? [];
  assert.equal(file.size, Number(sizes.split(/ +/)[4]), path);
  const time = (name: string) => {
    const [, text = ""] = new RegExp(`^${name}: (.*)$`, "m").exec(before) ?? [];
    return text === "" ? 0 : Date.parse(text) / 1000;
  };
  assert.equal(file.arrivalTime, time("message_arrival_time"), path);
  assert.equal(file.createTime, time("create_time") || file.arrivalTime, path);
  assert.equal(file.warnTime, time("warning_message_time"), path);
  assert.ok(file.headerComplete);
  // Asked for the body alone, postcat takes the second half of a very long header line for its beginning.
  const content = await postfix.run("postcat", ["-hb", path]);
  assert.ok(content.startsWith(header), path);
  const [first = ""] = content.slice(header.length).split("\n");
  const bytes = readFileSync(path, "latin1");
  const type = bytes[file.bodyOffset] ?? "";
  assert.ok("NLX".includes(type), `${path}: ${JSON.stringify(type)} at the body's offset ${file.bodyOffset}`);
  if (type === "N" && first.length < 128) {
    const start = file.bodyOffset + 2;
    assert.equal(bytes.slice(start, start + bytes.charCodeAt(file.bodyOffset + 1)), first, path);
  }
}

async function compareAll(postfix: PrivatePostfix, all: ReadonlyMap<string, Found>): Promise<void> {
  const rest = [...all.values()];
  const work = async () => {
    for (let one = rest.pop(); one !== undefined; one = rest.pop()) await compare(postfix, one);
  };
  await Promise.all([work(), work(), work()]);
}

async function check(context: TestContext, longIds: boolean): Promise<void> {
  await using sink = await Sink.start({
    refuse: (address) => (address.startsWith("bounce") ? { code: 550, text: "5.1.1 no" } : undefined),
  });
  const milter = new MilterServer(editor);
  const listener = await milter.listen("inet:0@127.0.0.1");
  context.after(() => milter.stop({ timeoutMs: 1000 }));
  const rules = [
    "{ filter.test = FILTER smtp:[127.0.0.1]:1 }",
    "{ redirect.test = REDIRECT elsewhere@remote.test }",
    "{ bcc.test = BCC copy@remote.test }",
    "{ hold.test = HOLD }",
  ];
  await using postfix = await PrivatePostfix.start({
    milter: `inet:127.0.0.1:${listener.port}`,
    mainCf: {
      defer_transports: "smtp",
      delay_warning_time: "4h",
      enable_long_queue_ids: longIds ? "yes" : "no",
      hash_queue_names: longIds ? "deferred, defer, incoming" : "deferred, defer",
      hash_queue_depth: longIds ? "2" : "1",
      transport_maps: `inline:{ done.test=relay:[127.0.0.1]:${sink.port} }`,
      smtpd_recipient_restrictions: `check_recipient_access inline:{ ${rules.join(" ")} }`,
      smtpd_authorized_xforward_hosts: "127.0.0.1",
      smtpd_authorized_xclient_hosts: "127.0.0.1",
      smtputf8_enable: "yes",
      mynetworks: "127.0.0.1, 192.0.2.0/24",
    },
  });
  await fill(postfix);
  const entries = await postfix.settled();
  const scanner = new QueueScanner(postfix.places.queue);
  const problems: string[] = [];
  const all = await everything(scanner, problems);
  assert.deepEqual(problems, []);
  assert.ok(all.size >= RANDOM + FIXED.length, `${all.size} messages`);
  assert.deepEqual([...all.keys()].sort(), entries.map(({ queue_id }) => queue_id).sort());
  await compareAll(postfix, all);
  // Every kind of thing was there to be compared.
  const files = [...all.values()].map(({ file }) => file);
  const some = (what: string, has: (file: Found["file"]) => boolean) =>
    assert.ok(files.some(has), `no file with ${what}`);
  some("a recipient that is done", ({ recipients }) => recipients.some(({ state }) => state === "done"));
  some("a cancelled recipient", ({ recipients }) => recipients.some(({ state }) => state === "cancelled"));
  some("a filter", ({ filter }) => filter === "smtp:[127.0.0.1]:1");
  some("a redirect", ({ redirect }) => redirect === "elsewhere@remote.test");
  some("VERP", ({ verp }) => verp === "+=");
  some("SASL", ({ attributes }) => attributes.sasl_username === "user-1");
  some("XFORWARD", ({ attributes }) => attributes.log_client_address === "192.0.2.7");
  some("a bounce", ({ sender, header }) => sender === "" && header.includes("multipart/report"));
  some("an ENVID", ({ envelopeId, dsnReturn }) => envelopeId === "id-1" && dsnReturn === 2);
  some("an added recipient", ({ recipients }) =>
    recipients.some(({ address }) => address === "added@remote.test"),
  );
  // Requeued mail has other records; expired mail another mode.
  const [first = "", second = "", third = ""] = entries
    .filter(({ queue_name }) => queue_name === "deferred")
    .map(({ queue_id }) => queue_id);
  await postfix.run("postsuper", ["-e", first]);
  await postfix.run("postsuper", ["-h", second]);
  const after = postfix.logSize();
  await postfix.run("postsuper", ["-r", third]);
  await postfix.run("postkick", ["public", "pickup", "W"]);
  await postfix.waitFor(/status=deferred/, { after });
  await postfix.settled();
  const again = await everything(scanner, problems);
  assert.deepEqual(problems, []);
  assert.equal(again.size, 1, "the requeued message has another ID and is the only one that is new");
  await compareAll(postfix, again);
  assert.equal(scanner.read(first)?.file.expire, true);
  assert.equal(scanner.read(second)?.queue, "hold");
  assert.equal(scanner.read(third), undefined);
}

postfixTest("short queue IDs: the parser and postcat agree", (context) => check(context, false));
postfixTest("long queue IDs, hashed two deep: the parser and postcat agree", (context) =>
  check(context, true),
);
