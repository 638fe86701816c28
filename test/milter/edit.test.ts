import assert from "node:assert/strict";
import { test } from "node:test";
import { type EditRules, encodeEdits, type MilterEdit } from "../../src/milter/edit.ts";
import type { MilterReplyError } from "../../src/milter/errors.ts";
import { decodeResponse } from "../../src/milter/response.ts";
import { decodeAll, onePacket, raw, testCuts } from "./feed.ts";

/** All that version 6 has, leading spaces kept. */
const ALL: EditRules = { version: 6, actions: 0x1ff, steps: 0x100000 };

const encode = (edit: unknown, rules: EditRules = ALL) =>
  Buffer.concat(encodeEdits([edit as MilterEdit], rules));

/** Every edit in its bytes on the wire. */
const WIRE: readonly [edit: MilterEdit, bytes: Buffer][] = [
  [{ kind: "addHeader", name: "X-A", value: " yes" }, raw("h", "X-A\0 yes\0")],
  [{ kind: "addHeader", name: "X-A", value: "" }, raw("h", "X-A\0\0")],
  [
    { kind: "addHeader", name: "X-A", value: " \xe4\n\tfold\n more" },
    raw("h", "X-A\0 \xe4\n\tfold\n more\0"),
  ],
  [{ kind: "insertHeader", index: 0, name: "X-A", value: " top" }, raw("i", "\0\0\0\0X-A\0 top\0")],
  [{ kind: "insertHeader", index: 258, name: "!~", value: "x" }, raw("i", "\0\0\x01\x02!~\0x\0")],
  [{ kind: "changeHeader", name: "Subject", index: 1, value: " new" }, raw("m", "\0\0\0\x01Subject\0 new\0")],
  [{ kind: "changeHeader", name: "Subject", index: 2, value: "" }, raw("m", "\0\0\0\x02Subject\0\0")],
  [{ kind: "addRecipient", address: "<a@b>", parameters: "" }, raw("+", "<a@b>\0")],
  [
    { kind: "addRecipient", address: "<a@b>", parameters: "NOTIFY=NEVER ORCPT=x" },
    raw("2", "<a@b>\0NOTIFY=NEVER ORCPT=x\0"),
  ],
  [{ kind: "deleteRecipient", address: "<a@b>" }, raw("-", "<a@b>\0")],
  [{ kind: "changeSender", address: "<>", parameters: "" }, raw("e", "<>\0")],
  [{ kind: "changeSender", address: "<a@b>", parameters: "RET=HDRS" }, raw("e", "<a@b>\0RET=HDRS\0")],
  [{ kind: "quarantine", reason: "looks odd" }, raw("q", "looks odd\0")],
  [{ kind: "replaceBody", body: Buffer.from("new\r\n") }, raw("b", "new\r\n")],
  [{ kind: "replaceBody", body: Buffer.alloc(0) }, raw("b")],
];

for (const [edit, bytes] of WIRE) {
  testCuts(JSON.stringify(edit), (cut) => {
    assert.deepEqual(encode(edit), bytes);
    assert.deepEqual(decodeResponse(onePacket(bytes, cut)), { kind: "edit", edit });
  });
}

test("addresses get their <>", () => {
  assert.deepEqual(encode({ kind: "addRecipient", address: "a@b", parameters: "" }), raw("+", "<a@b>\0"));
  assert.deepEqual(encode({ kind: "deleteRecipient", address: "a@b" }), raw("-", "<a@b>\0"));
  assert.deepEqual(encode({ kind: "changeSender", address: "", parameters: "" }), raw("e", "<>\0"));
});

test("edits keep their order", () => {
  const packets = encodeEdits(
    WIRE.slice(0, 14).map(([edit]) => edit),
    ALL,
  );
  assert.deepEqual(Buffer.concat(packets), Buffer.concat(WIRE.slice(0, 14).map(([, bytes]) => bytes)));
});

test("a body leaves in packets of at most 65535 bytes, uncopied", () => {
  for (const [length, sizes] of [
    [1, [1]],
    [65_534, [65_534]],
    [65_535, [65_535]],
    [65_536, [65_535, 1]],
    [131_070, [65_535, 65_535]],
    [200_000, [65_535, 65_535, 65_535, 3_395]],
  ] as const) {
    const body = Buffer.alloc(length, "abcdefg");
    const packets = encodeEdits([{ kind: "replaceBody", body }], ALL);
    const chunks = decodeAll(Buffer.concat(packets), (bytes) => [bytes]).map(({ data }) => data);
    assert.deepEqual(
      chunks.map((chunk) => chunk.length),
      sizes,
    );
    assert.ok(Buffer.concat(chunks).equals(body));
    assert.equal(packets[1]?.buffer, body.buffer);
  }
});

test("where the MTA adds the space after the colon, one is taken off", () => {
  const rules = { ...ALL, steps: 0 };
  assert.deepEqual(encode({ kind: "addHeader", name: "X", value: " yes" }, rules), raw("h", "X\0yes\0"));
  assert.deepEqual(encode({ kind: "addHeader", name: "X", value: "  yes" }, rules), raw("h", "X\0 yes\0"));
  assert.deepEqual(encode({ kind: "addHeader", name: "X", value: "\tyes" }, rules), raw("h", "X\0\tyes\0"));
  const blank = { kind: "changeHeader", name: "X", index: 1, value: " " };
  assert.deepEqual(
    encode(blank, rules),
    raw("m", "\0\0\0\x01X\0 \0"),
    "an empty value would delete the field",
  );
});

test("each edit needs its action", () => {
  const needs: readonly [number, string, MilterEdit][] = [
    [0x01, "SMFIF_ADDHDRS", { kind: "addHeader", name: "X", value: "" }],
    [0x01, "SMFIF_ADDHDRS", { kind: "insertHeader", index: 0, name: "X", value: "" }],
    [0x02, "SMFIF_CHGBODY", { kind: "replaceBody", body: Buffer.alloc(1) }],
    [0x04, "SMFIF_ADDRCPT", { kind: "addRecipient", address: "a@b", parameters: "" }],
    [0x08, "SMFIF_DELRCPT", { kind: "deleteRecipient", address: "a@b" }],
    [0x10, "SMFIF_CHGHDRS", { kind: "changeHeader", name: "X", index: 1, value: "" }],
    [0x20, "SMFIF_QUARANTINE", { kind: "quarantine", reason: "x" }],
    [0x40, "SMFIF_CHGFROM", { kind: "changeSender", address: "a@b", parameters: "" }],
  ];
  for (const [action, name, edit] of needs) {
    assert.ok(encode(edit, { ...ALL, actions: action }).length > 0);
    const without = { ...ALL, actions: 0x1ff & ~action & ~0x80 };
    const message = new RegExp(`${name} is not among the negotiated actions`);
    assert.throws(() => encode(edit, without), {
      code: "ERR_MILTER_EDIT_ACTION",
      field: "edits[0]",
      message,
    });
  }
});

test("what an MTA lacks is replaced by the next best, and reported", () => {
  const reports: string[] = [];
  const onDegraded = (error: MilterReplyError) => reports.push(`${error.code} ${error.message}`);
  const extended = { kind: "addRecipient", address: "a@b", parameters: "NOTIFY=NEVER" };
  assert.deepEqual(encode(extended, { ...ALL, actions: 0x04, onDegraded }), raw("+", "<a@b>\0"));
  const insert = { kind: "insertHeader", index: 1, name: "X", value: "y" };
  assert.deepEqual(encode(insert, { ...ALL, version: 2, onDegraded }), raw("h", "X\0y\0"));
  assert.deepEqual(reports, [
    "ERR_MILTER_DEGRADED edits[0]: sent without NOTIFY=NEVER: no SMFIF_ADDRCPT_PAR",
    "ERR_MILTER_DEGRADED edits[0]: version 2 has no insertHeader; the field is added at the end",
  ]);
  const plain = { kind: "addRecipient", address: "a@b", parameters: "" };
  assert.deepEqual(encode(plain, { ...ALL, actions: 0x80 }), raw("2", "<a@b>\0"));
});

const INVALID: readonly [title: string, edit: unknown, field: string][] = [
  ["no such edit", { kind: "rename" }, "edits[0].kind"],
  ["empty name", { kind: "addHeader", name: "", value: "x" }, "edits[0].name"],
  ["name with colon", { kind: "addHeader", name: "X:", value: "x" }, "edits[0].name"],
  ["name with space", { kind: "addHeader", name: "X Y", value: "x" }, "edits[0].name"],
  ["name with LF", { kind: "insertHeader", index: 0, name: "X\nY", value: "x" }, "edits[0].name"],
  ["8-bit name", { kind: "changeHeader", index: 1, name: "\xe4", value: "x" }, "edits[0].name"],
  ["value with CR", { kind: "addHeader", name: "X", value: "a\r\n b" }, "edits[0].value"],
  ["value with a line of its own", { kind: "addHeader", name: "X", value: "a\nBcc: x" }, "edits[0].value"],
  ["value that ends in LF", { kind: "addHeader", name: "X", value: "a\n" }, "edits[0].value"],
  ["value with NUL", { kind: "changeHeader", name: "X", index: 1, value: "a\0b" }, "edits[0].value"],
  ["value that is no bytes", { kind: "addHeader", name: "X", value: "\u20ac" }, "edits[0].value"],
  ["index -1", { kind: "insertHeader", index: -1, name: "X", value: "" }, "edits[0].index"],
  ["index 0 to change", { kind: "changeHeader", index: 0, name: "X", value: "" }, "edits[0].index"],
  ["index 1.5", { kind: "changeHeader", index: 1.5, name: "X", value: "" }, "edits[0].index"],
  ["index 2^31", { kind: "insertHeader", index: 2 ** 31 - 1, name: "X", value: "" }, "edits[0].index"],
  ["address with CRLF", { kind: "addRecipient", address: "a@b>\r\n", parameters: "" }, "edits[0].address"],
  ["address with NUL", { kind: "deleteRecipient", address: "a\0@b" }, "edits[0].address"],
  [
    "parameters with LF",
    { kind: "changeSender", address: "", parameters: "A=1\nB=2" },
    "edits[0].parameters",
  ],
  ["no reason", { kind: "quarantine", reason: "" }, "edits[0].reason"],
  ["reason with LF", { kind: "quarantine", reason: "a\nb" }, "edits[0].reason"],
];

for (const [title, edit, field] of INVALID) {
  test(`never sent: ${title}`, () => {
    assert.throws(() => encode(edit), { name: "MilterReplyError", code: "ERR_MILTER_EDIT_VALUE", field });
  });
}

test("two bodies are one too many for Postfix", () => {
  const body: MilterEdit = { kind: "replaceBody", body: Buffer.from("x") };
  assert.throws(() => encodeEdits([body, body], ALL), { code: "ERR_MILTER_EDIT_VALUE", field: "edits[1]" });
});
