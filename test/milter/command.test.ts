import assert from "node:assert/strict";
import { test } from "node:test";
import { decodeCommand, encodeCommand, type MilterCommand } from "../../src/milter/command.ts";
import { onePacket, raw, testCuts } from "./feed.ts";

const text = (value: string) => Buffer.from(value, "latin1");

/** Every command in its bytes on the wire. */
const WIRE: readonly [code: string, data: string, command: MilterCommand][] = [
  [
    "O",
    "\0\0\0\x06\0\0\x01\xff\0\x1f\xff\xff",
    { kind: "optneg", version: 6, actions: 0x1ff, steps: 0x1fffff },
  ],
  ["O", "\0\0\0\x02\xff\xff\xff\xff\0\0\0\0", { kind: "optneg", version: 2, actions: 0xffffffff, steps: 0 }],
  ["D", "C", { kind: "macro", stage: 0x43, values: [] }],
  [
    "D",
    "Cj\0mx.test\0{daemon_name}\0\0",
    { kind: "macro", stage: 0x43, values: ["j", "mx.test", "{daemon_name}", ""] },
  ],
  [
    "C",
    "host.test\x004\x9c\x40192.0.2.1\0",
    { kind: "connect", event: { hostname: "host.test", family: "inet", address: "192.0.2.1", port: 40000 } },
  ],
  [
    "C",
    "[2001:db8::1]\x006\0\x192001:db8::1\0",
    {
      kind: "connect",
      event: { hostname: "[2001:db8::1]", family: "inet6", address: "2001:db8::1", port: 25 },
    },
  ],
  [
    "C",
    "localhost\0L\0\0/run/x\0",
    { kind: "connect", event: { hostname: "localhost", family: "unix", address: "/run/x", port: 0 } },
  ],
  [
    "C",
    "unknown\0U",
    { kind: "connect", event: { hostname: "unknown", family: "unknown", address: "", port: 0 } },
  ],
  ["H", "client.example\0", { kind: "helo", name: "client.example" }],
  ["H", "\0", { kind: "helo", name: "" }],
  ["M", "<a@b>\0SIZE=10\0BODY=8BITMIME\0", { kind: "mail", args: ["<a@b>", "SIZE=10", "BODY=8BITMIME"] }],
  ["M", "\0", { kind: "mail", args: [""] }],
  ["R", "<c@d>\0", { kind: "rcpt", args: ["<c@d>"] }],
  ["T", "", { kind: "data" }],
  [
    "L",
    "Subject\0 gr\xfc\xdfe\n\tfold\0",
    { kind: "header", name: text("Subject"), value: text(" gr\xfc\xdfe\n\tfold") },
  ],
  ["L", "X\0\0", { kind: "header", name: text("X"), value: text("") }],
  ["N", "", { kind: "eoh" }],
  ["B", "a\0b\r\n", { kind: "body", chunk: text("a\0b\r\n") }],
  ["B", "", { kind: "body", chunk: text("") }],
  ["E", "", { kind: "eom", chunk: text("") }],
  ["E", "rest", { kind: "eom", chunk: text("rest") }],
  ["U", "FOO a b\0", { kind: "unknown", line: "FOO a b" }],
  ["A", "", { kind: "abort" }],
  ["Q", "", { kind: "quit" }],
  ["K", "", { kind: "quitnc" }],
];

for (const [code, data, command] of WIRE) {
  testCuts(`${code} ${JSON.stringify(data)}`, (cut) => {
    assert.deepEqual(decodeCommand(onePacket(raw(code, data), cut)), command);
    assert.deepEqual(encodeCommand(command), raw(code, data));
  });
}

test("Sendmail's IPv6 prefix is taken off, and bytes behind an unknown family mean nothing", () => {
  const whole = (data: string) => decodeCommand({ code: 0x43, data: text(data), offset: 0 });
  const v6 = { hostname: "h", family: "inet6", address: "2001:db8::1", port: 25 };
  assert.deepEqual(whole("h\x006\0\x19IPv6:2001:db8::1\0"), { kind: "connect", event: v6 });
  const unknown = { hostname: "h", family: "unknown", address: "", port: 0 };
  assert.deepEqual(whole("h\0U\0\0junk"), { kind: "connect", event: unknown });
});

test("options may be followed by what a later version adds", () => {
  const data = text("\0\0\0\x06\0\0\x01\xff\0\x1f\xff\xffmore");
  assert.equal(decodeCommand({ code: 0x4f, data, offset: 0 }).kind, "optneg");
});

/** Offsets count from the packet's first byte, so data begins at 5. */
const BROKEN: readonly [
  title: string,
  code: string,
  data: string,
  error: string,
  field: string,
  at: number,
][] = [
  [
    "options cut short",
    "O",
    "\0\0\0\x06\0\0\x01\xff\0\x1f\xff",
    "ERR_MILTER_FIELD_SHORT",
    "SMFIC_OPTNEG options",
    16,
  ],
  ["no options", "O", "", "ERR_MILTER_FIELD_SHORT", "SMFIC_OPTNEG options", 5],
  ["macros without a stage", "D", "", "ERR_MILTER_FIELD_SHORT", "SMFIC_MACRO stage", 5],
  ["macro without NUL", "D", "Cj\0mx", "ERR_MILTER_FIELD_NUL", "SMFIC_MACRO macros", 10],
  ["macro without value", "D", "Cj\0", "ERR_MILTER_FIELD_SHORT", "SMFIC_MACRO macros", 8],
  ["empty connect", "C", "", "ERR_MILTER_FIELD_SHORT", "SMFIC_CONNECT hostname", 5],
  ["hostname without NUL", "C", "host", "ERR_MILTER_FIELD_NUL", "SMFIC_CONNECT hostname", 9],
  ["no family", "C", "h\0", "ERR_MILTER_FIELD_SHORT", "SMFIC_CONNECT family", 7],
  ["strange family", "C", "h\0X\0\0a\0", "ERR_MILTER_FIELD_VALUE", "SMFIC_CONNECT family", 7],
  ["port cut short", "C", "h\x004\0", "ERR_MILTER_FIELD_SHORT", "SMFIC_CONNECT port", 9],
  ["no address", "C", "h\x004\0\0", "ERR_MILTER_FIELD_SHORT", "SMFIC_CONNECT address", 10],
  ["address without NUL", "C", "h\x004\0\x00192.0.2.1", "ERR_MILTER_FIELD_NUL", "SMFIC_CONNECT address", 19],
  [
    "bytes after the address",
    "C",
    "h\x004\0\x00192.0.2.1\0x",
    "ERR_MILTER_FIELD_EXTRA",
    "SMFIC_CONNECT address",
    20,
  ],
  [
    "an address that is none",
    "C",
    "h\x004\0\x00192.0.2.256\0",
    "ERR_MILTER_FIELD_VALUE",
    "SMFIC_CONNECT address",
    10,
  ],
  [
    "an address of another family",
    "C",
    "h\x006\0\x00192.0.2.1\0",
    "ERR_MILTER_FIELD_VALUE",
    "SMFIC_CONNECT address",
    10,
  ],
  ["empty helo", "H", "", "ERR_MILTER_FIELD_SHORT", "SMFIC_HELO name", 5],
  ["helo without NUL", "H", "name", "ERR_MILTER_FIELD_NUL", "SMFIC_HELO name", 9],
  ["two helo names", "H", "a\0b\0", "ERR_MILTER_FIELD_EXTRA", "SMFIC_HELO name", 7],
  ["empty mail", "M", "", "ERR_MILTER_FIELD_SHORT", "SMFIC_MAIL address", 5],
  ["mail without NUL", "M", "<a@b>", "ERR_MILTER_FIELD_NUL", "SMFIC_MAIL arguments", 10],
  ["parameter without NUL", "R", "<a@b>\0NOTIFY=NEVER", "ERR_MILTER_FIELD_NUL", "SMFIC_RCPT arguments", 23],
  ["empty header", "L", "", "ERR_MILTER_FIELD_SHORT", "SMFIC_HEADER name", 5],
  ["header without value", "L", "Subject\0", "ERR_MILTER_FIELD_SHORT", "SMFIC_HEADER value", 13],
  ["header value without NUL", "L", "Subject\0x", "ERR_MILTER_FIELD_NUL", "SMFIC_HEADER value", 14],
  ["three header strings", "L", "a\0b\0c\0", "ERR_MILTER_FIELD_EXTRA", "SMFIC_HEADER value", 9],
  ["unknown without NUL", "U", "FOO", "ERR_MILTER_FIELD_NUL", "SMFIC_UNKNOWN line", 8],
  ["data with data", "T", "x", "ERR_MILTER_FIELD_EXTRA", "SMFIC_DATA end", 5],
  ["end of headers with data", "N", "\0", "ERR_MILTER_FIELD_EXTRA", "SMFIC_EOH end", 5],
  ["abort with data", "A", "x", "ERR_MILTER_FIELD_EXTRA", "SMFIC_ABORT end", 5],
  ["quit with data", "Q", "x", "ERR_MILTER_FIELD_EXTRA", "SMFIC_QUIT end", 5],
  ["a code nobody defined", "Z", "", "ERR_MILTER_CODE", "code", 4],
];

for (const [title, code, data, error, field, at] of BROKEN) {
  testCuts(title, (cut) => {
    const before = raw("A");
    const decode = () => decodeCommand({ ...onePacket(raw(code, data), cut), offset: before.length });
    assert.throws(decode, { name: "MilterProtocolError", code: error, field, offset: before.length + at });
  });
}
