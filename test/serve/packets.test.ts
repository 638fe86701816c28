/** What really goes to the MTA at the end of a message: as few packets as say it. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { MilterClient } from "../../src/milter/client.ts";
import { MilterServer } from "../../src/milter/server.ts";
import { milterDoor } from "../../src/serve/milter-door.ts";
import { Inside } from "./internal.ts";

const FIELDS: [name: string, value: string][] = [
  ["Received", " from a"],
  ["Received", " from b\n\tby c"],
  ["From", " x@example.test"],
  ["X-Tag", " 1"],
  ["Subject", " old"],
  ["x-tag", " 2\n folded"],
  ["X-Tag", " 3"],
  ...Array.from({ length: 40 }, (_, n): [string, string] => [`X-Other-${n}`, ` ${n}`]),
];
const BODY = `${"Hello, world. ".repeat(5)}\r\n`;

/** A session from a local client over a socket; what comes after EOM, a packet each. */
async function packets(scripts: Record<string, string>, body = BODY): Promise<string[]> {
  using inside = await Inside.open(scripts);
  const directory = mkdtempSync(join(tmpdir(), "postlua-packets-"));
  const server = new MilterServer(milterDoor(inside.service));
  try {
    const address = `unix:${join(directory, "s")}`;
    await server.listen(address);
    const client = await MilterClient.connect(address);
    await client.negotiate();
    await client.connect({ hostname: "localhost", family: "inet", address: "127.0.0.1", port: 1025 });
    await client.helo("client.test");
    await client.mail("<ann@example.test>");
    for (const name of ["one", "two"]) await client.rcpt(`<${name}@elsewhere.test>`);
    await client.data();
    for (const [name, value] of FIELDS) await client.header(name, value);
    await client.endOfHeaders();
    for (let at = 0; at < body.length; at += 65_535) await client.body(body.slice(at, at + 65_535));
    const { edits, reply } = await client.endOfMessage();
    await client.quit();
    assert.equal(inside.errors, "");
    return [...edits.map(shown), reply.kind];
  } finally {
    await server.stop({ timeoutMs: 1000 });
    rmSync(directory, { recursive: true });
  }
}

function shown(edit: { readonly kind: string }): string {
  const { kind, ...values } = edit as Record<string, unknown>;
  const text = Object.values(values).map((value) => (value instanceof Uint8Array ? value.length : value));
  return [kind, ...text].join(" ").replace(/\s+/g, " ").trim();
}

const processing = (statement: string) => ({
  "SMTPSVR.LUA": `function ProcessMessage(f, s, recipients, actions) ${statement} return actions, "" end`,
});
const modifying = (...modifiers: string[]) =>
  processing(`actions.HeaderModifiers = { ${modifiers.map((line) => JSON.stringify(line)).join(", ")} }`);

const CASES: [what: string, scripts: Record<string, string>, packets: string[]][] = [
  ["nothing changed", processing(""), ["accept"]],
  ["one field of many", modifying("Subject: new"), ["changeHeader Subject 1 new", "accept"]],
  ["a field that has that value already", modifying("Subject: old", "From: x@example.test"), ["accept"]],
  ["changed and changed back", modifying("Subject: new", "Subject: old"), ["accept"]],
  ["added and taken away again", modifying("+X-New: 1", "X-New:"), ["accept"]],
  [
    "a field that is there three times",
    modifying("X-Tag: one"),
    ["changeHeader X-Tag 3", "changeHeader x-tag 2", "changeHeader X-Tag 1 one", "accept"],
  ],
  ["one of three that matches", modifying("#X-Tag: ^2"), ["changeHeader x-tag 2", "accept"]],
  ["a new field", modifying("X-New: 1"), ["addHeader X-New 1", "accept"]],
  ["a field for the top", modifying("-X-New: 1"), ["insertHeader 1 X-New 1", "accept"]],
  [
    "recipients that are there, and one three times",
    processing(`actions.Recipients = { "one@elsewhere.test", "new@x.test", "new@x.test", "<new@x.test>" }`),
    ["addRecipient <new@x.test>", "accept"],
  ],
  [
    "other recipients",
    processing(
      `actions.SendToOriginalRecipients = false actions.Recipients = { "two@elsewhere.test", "new@x.test" }`,
    ),
    ["deleteRecipient <one@elsewhere.test>", "addRecipient <new@x.test>", "accept"],
  ],
  ["a hold", processing(`actions.Hold = "odd"`), ["quarantine odd", "accept"]],
  ["a refusal", processing(`actions.Ignore = true actions.Delete = true`), ["replycode"]],
  [
    "a discard with modifiers",
    processing(`actions.Ignore = true actions.HeaderModifiers = {"X: 1"}`),
    ["discard"],
  ],
  [
    "lines of DoDATAStart",
    { "SMTPSVR.LUA": 'function DoDATAStart() return "", "X-A: 1\\nX-B: 2" end' },
    ["insertHeader 1 X-A 1", "insertHeader 2 X-B 2", "accept"],
  ],
  [
    "parameters as they were",
    { "SMTPSVR.LUA": "function DoMAILFROM(d, f, parameters) return '', parameters end" },
    ["accept"],
  ],
  [
    "a parameter of the sender",
    { "SMTPSVR.LUA": "function DoMAILFROM(d, f, p) p.RET = 'HDRS' return '', p end" },
    ["changeSender <ann@example.test> RET=HDRS", "accept"],
  ],
  ["no signature", { "SIGNATURE.LUA": "function GetSignature() end" }, ["accept"]],
  [
    "a signature in plain text",
    { "SIGNATURE.LUA": "function GetSignature() return 'Joe' end" },
    [`replaceBody ${BODY.length + "Joe\r\n".length}`, "accept"],
  ],
];

for (const [what, scripts, expected] of CASES) {
  test(`packets for ${what}`, async () => {
    const given = await packets(scripts);
    // Postfix treats both alike.
    assert.deepEqual(
      given.map((packet) => (packet === "continue" ? "accept" : packet)),
      expected,
    );
  });
}

test("a signed body leaves in as few packets as the protocol allows", async () => {
  const given = await packets(
    { "SIGNATURE.LUA": "function GetSignature() return 'Joe' end" },
    BODY.repeat(4000),
  );
  const bytes = BODY.length * 4000 + "Joe\r\n".length;
  assert.equal(given.length - 1, Math.ceil(bytes / 65_535));
  assert.ok(given.slice(0, -2).every((packet) => packet === "replaceBody 65535"));
});
