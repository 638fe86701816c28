import assert from "node:assert/strict";
import { test } from "node:test";
import { Envelope, envelopeAddress, parameterEdits } from "../../src/smtp/envelope.ts";

const ADDRESSES: [args: string[], address: string, parameters: [string, string][]][] = [
  [["<a@example.com>"], "a@example.com", []],
  [["<>"], "", []],
  [["a@example.com"], "a@example.com", []],
  [
    ["<a@b>", "SIZE=100", "body=8BITMIME", "SMTPUTF8"],
    "a@b",
    [
      ["SIZE", "100"],
      ["BODY", "8BITMIME"],
      ["SMTPUTF8", ""],
    ],
  ],
  [["<a@b>", "ENVID=x=y"], "a@b", [["ENVID", "x=y"]]],
  [['<"a b"@c>'], '"a b"@c', []],
  [[], "", []],
];

for (const [args, address, parameters] of ADDRESSES) {
  test(`address of ${JSON.stringify(args)}`, () => {
    const read = envelopeAddress(args);
    assert.equal(read.address, address);
    assert.deepEqual([...read.parameters], parameters);
    assert.equal(read.data, args.join(" "));
  });
}

function envelope(): Envelope {
  const made = new Envelope(envelopeAddress(["<s@x>", "SIZE=10", "RET=HDRS"]));
  made.recipients.push(envelopeAddress(["<r1@x>", "NOTIFY=NEVER"]), envelopeAddress(["<r2@x>"]));
  return made;
}

const ALL = () => true;

test("parameters that the script left alone make no edits", () => {
  const same = envelope();
  same.sender.changed = new Map(same.sender.parameters);
  assert.deepEqual(parameterEdits(same, ALL), { edits: [], unserved: [] });
});

test("new RET and ENVID change the sender, others are named", () => {
  const changed = envelope();
  changed.sender.changed = new Map([
    ["RET", "FULL"],
    ["ENVID", "q1"],
    ["BODY", "7BIT"],
  ]);
  assert.deepEqual(parameterEdits(changed, ALL), {
    edits: [{ kind: "changeSender", address: "s@x", parameters: "RET=FULL ENVID=q1" }],
    unserved: ["MAIL SIZE", "MAIL BODY"],
  });
});

test("new NOTIFY and ORCPT replace the recipient, unless it is gone", () => {
  const changed = envelope();
  changed.recipients[0]!.changed = new Map([["NOTIFY", "FAILURE"]]);
  changed.recipients[1]!.changed = new Map([["ORCPT", "rfc822;o@x"]]);
  assert.deepEqual(parameterEdits(changed, (address) => address !== "r2@x").edits, [
    { kind: "deleteRecipient", address: "r1@x" },
    { kind: "addRecipient", address: "r1@x", parameters: "NOTIFY=FAILURE" },
  ]);
});

test("a parameter value that could break the command is left out", () => {
  const changed = envelope();
  changed.sender.changed = new Map([
    ["SIZE", "10"],
    ["RET", "HDRS"],
    ["ENVID", "a b\r\nRCPT"],
  ]);
  assert.deepEqual(parameterEdits(changed, ALL).edits, [
    { kind: "changeSender", address: "s@x", parameters: "RET=HDRS" },
  ]);
});
