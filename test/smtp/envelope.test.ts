import assert from "node:assert/strict";
import { test } from "node:test";
import type { Edit } from "../../src/message/edit.ts";
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

const add = (address: string): Edit => ({ kind: "addRecipient", address, parameters: "" });
const remove = (address: string): Edit => ({ kind: "deleteRecipient", address });
const LEAVING: [name: string, told: [string, boolean | undefined][], edits: Edit[], leaves: boolean][] = [
  ["to ours alone", [["a@ours", false]], [], false],
  [
    "to others, too",
    [
      ["a@ours", false],
      ["b@theirs", true],
    ],
    [],
    true,
  ],
  ["nobody told", [["a@theirs", undefined]], [], true],
  ["nobody told, but it is listed", [["a@Listed", undefined]], [], false],
  ["told otherwise than listed", [["a@listed", true]], [], true],
  [
    "the one outside is removed",
    [
      ["a@ours", false],
      ["b@theirs", true],
    ],
    [remove("b@theirs")],
    false,
  ],
  ["removed and added again", [["b@theirs", true]], [remove("b@theirs"), add("b@theirs")], true],
  ["somebody unknown is added", [["a@ours", false]], [add("c@theirs")], true],
  ["somebody of the same domain is added", [["a@ours", false]], [add("c@OURS")], false],
  ["somebody without a domain is added", [["a@ours", false]], [add("joe")], false],
  ["nobody is left", [["b@theirs", true]], [remove("b@theirs")], false],
];

for (const [name, told, edits, leaves] of LEAVING) {
  test(`mail ${leaves ? "leaves" : "stays"}: ${name}`, () => {
    const made = new Envelope(envelopeAddress(["<s@ours>"]));
    made.recipients.push(...told.map(([address, relayed]) => envelopeAddress([`<${address}>`], relayed)));
    assert.equal(made.leaves(edits, { has: (domain) => ["", "listed"].includes(domain) }), leaves);
  });
}
