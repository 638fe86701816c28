import assert from "node:assert/strict";
import { test } from "node:test";
import {
  encodeReply,
  MAX_REPLY_LINE,
  MAX_REPLY_LINES,
  type MilterReply,
  parseReplyText,
  type ReplyCode,
  type ReplyEvent,
} from "../../src/milter/reply.ts";
import { decodeResponse } from "../../src/milter/response.ts";
import { onePacket, raw, testCuts } from "./feed.ts";

function replyCode(code: number, enhanced: string, ...lines: string[]): ReplyCode {
  return { kind: "replycode", code, enhanced, lines };
}

const MESSAGE_EVENTS: readonly ReplyEvent[] = ["mail", "rcpt", "data", "header", "eoh", "body", "eom"];
const EVENTS: readonly ReplyEvent[] = ["connect", "helo", "unknown", ...MESSAGE_EVENTS];

/** Every reply in its bytes on the wire, at an event where nothing stands in its way. */
const WIRE: readonly [reply: MilterReply, event: ReplyEvent, bytes: Buffer][] = [
  [{ kind: "continue" }, "mail", raw("c")],
  [{ kind: "accept" }, "mail", raw("a")],
  [{ kind: "reject" }, "mail", raw("r")],
  [{ kind: "tempfail" }, "mail", raw("t")],
  [{ kind: "discard" }, "mail", raw("d")],
  [{ kind: "skip" }, "body", raw("s")],
  [{ kind: "shutdown" }, "mail", raw("4")],
  [replyCode(550, "5.7.1", "No"), "mail", raw("y", "550 5.7.1 No\0")],
  [replyCode(421, "", "Bye"), "eom", raw("y", "421 Bye\0")],
  [replyCode(599, "5.999.999", ""), "eom", raw("y", "599 5.999.999 \0")],
  [replyCode(450, "4.0.0", "a", "", "c"), "rcpt", raw("y", "450-4.0.0 a\r\n450-4.0.0 \r\n450 4.0.0 c\0")],
  [replyCode(550, "", "a", "b"), "rcpt", raw("y", "550-a\r\n550 b\0")],
  [replyCode(554, "", "gr\xfc\xdfe\t\x01"), "rcpt", raw("y", "554 gr\xfc\xdfe\t\x01\0")],
];

for (const [reply, event, bytes] of WIRE) {
  testCuts(`${JSON.stringify(reply)}`, (cut) => {
    assert.deepEqual(encodeReply(reply, event, 6, true), bytes);
    assert.deepEqual(decodeResponse(onePacket(bytes, cut)), { kind: "reply", reply });
  });
}

test("each % is doubled, for MTAs that use the text as a format", () => {
  const reply = replyCode(550, "5.7.1", "100% of %s", "%%");
  const bytes = raw("y", "550-5.7.1 100%% of %%s\r\n550 5.7.1 %%%%\0");
  assert.deepEqual(encodeReply(reply, "mail", 6, true), bytes);
  assert.deepEqual(decodeResponse({ code: 0x79, data: bytes.subarray(5), offset: 0 }), {
    kind: "reply",
    reply,
  });
});

test("a text that begins with a digit of another class gets the status that libmilter supplies", () => {
  const bytes = encodeReply(replyCode(550, "", "24 hours", "5 days", "x"), "mail", 6, true);
  assert.equal(bytes.toString("latin1", 5), "550-5.0.0 24 hours\r\n550-5 days\r\n550 x\0");
});

test("shutdown becomes 421 in answer to message content, where Postfix would lose the message", () => {
  const packet421 = raw("y", "421 4.3.2 Service shutting down\0");
  for (const event of EVENTS) {
    const content = ["header", "eoh", "body", "eom"].includes(event);
    assert.deepEqual(
      encodeReply({ kind: "shutdown" }, event, 6, true),
      content ? packet421 : raw("4"),
      event,
    );
    assert.deepEqual(encodeReply({ kind: "shutdown" }, event, 2, true), packet421, event);
  }
});

test("connfail is 421 everywhere, since no MTA knows it", () => {
  for (const event of EVENTS) {
    const bytes = encodeReply({ kind: "connfail" }, event, 6, true);
    assert.deepEqual(bytes, raw("y", "421 4.3.2 Service shutting down\0"));
  }
});

test("accept at unknown becomes continue, which Postfix survives", () => {
  for (const event of EVENTS) {
    const bytes = encodeReply({ kind: "accept" }, event, 6, true);
    assert.deepEqual(bytes, event === "unknown" ? raw("c") : raw("a"), event);
  }
});

test("skip becomes continue where it was not negotiated", () => {
  assert.deepEqual(encodeReply({ kind: "skip" }, "body", 4, false), raw("c"));
});

test("discard and skip have no meaning at some events", () => {
  for (const event of EVENTS) {
    const discard = () => encodeReply({ kind: "discard" }, event, 6, true);
    if (MESSAGE_EVENTS.includes(event)) assert.deepEqual(discard(), raw("d"));
    else assert.throws(discard, { code: "ERR_MILTER_REPLY_KIND" }, event);
    const skip = () => encodeReply({ kind: "skip" }, event, 6, true);
    if (["rcpt", "header", "body"].includes(event)) assert.deepEqual(skip(), raw("s"));
    else assert.throws(skip, { code: "ERR_MILTER_REPLY_KIND" }, event);
  }
});

const INVALID: readonly [title: string, reply: unknown, code: string, field: string][] = [
  ["no such kind", { kind: "maybe" }, "ERR_MILTER_REPLY_KIND", "kind"],
  ["a string", "550 no", "ERR_MILTER_REPLY_KIND", "kind"],
  ["code 250", replyCode(250, "", "ok"), "ERR_MILTER_REPLY_CODE", "code"],
  ["code 399", replyCode(399, "", "x"), "ERR_MILTER_REPLY_CODE", "code"],
  ["code 600", replyCode(600, "", "x"), "ERR_MILTER_REPLY_CODE", "code"],
  ["code 550.5", replyCode(550.5, "", "x"), "ERR_MILTER_REPLY_CODE", "code"],
  ["code NaN", replyCode(Number.NaN, "", "x"), "ERR_MILTER_REPLY_CODE", "code"],
  ["status of another class", replyCode(550, "4.7.1", "x"), "ERR_MILTER_REPLY_ENHANCED", "enhanced"],
  ["status without detail", replyCode(550, "5.7", "x"), "ERR_MILTER_REPLY_ENHANCED", "enhanced"],
  ["status with a space", replyCode(550, "5.7.1 ", "x"), "ERR_MILTER_REPLY_ENHANCED", "enhanced"],
  ["status too long", replyCode(550, "5.1000.1", "x"), "ERR_MILTER_REPLY_ENHANCED", "enhanced"],
  ["LF", replyCode(550, "", "a", "b\nc"), "ERR_MILTER_REPLY_TEXT", "lines[1]"],
  ["CR", replyCode(550, "", "a\r"), "ERR_MILTER_REPLY_TEXT", "lines[0]"],
  ["NUL", replyCode(550, "", "a\0b"), "ERR_MILTER_REPLY_TEXT", "lines[0]"],
  ["no byte", replyCode(550, "", "\u20ac"), "ERR_MILTER_REPLY_TEXT", "lines[0]"],
  ["no lines", replyCode(550, ""), "ERR_MILTER_REPLY_TEXT", "lines"],
];

for (const [title, reply, code, field] of INVALID) {
  test(`never sent: ${title}`, () => {
    assert.throws(() => encodeReply(reply as MilterReply, "mail", 6, true), {
      name: "MilterReplyError",
      code,
      field,
    });
  });
}

test("lines and their length are bounded", () => {
  const most = replyCode(
    550,
    "",
    ...Array.from({ length: MAX_REPLY_LINES }, () => "%".repeat(MAX_REPLY_LINE)),
  );
  const bytes = encodeReply(most, "mail", 6, true);
  assert.deepEqual(decodeResponse({ code: 0x79, data: bytes.subarray(5), offset: 0 }), {
    kind: "reply",
    reply: most,
  });
  const long = replyCode(550, "", "x".repeat(MAX_REPLY_LINE + 1));
  assert.throws(() => encodeReply(long, "mail", 6, true), { code: "ERR_MILTER_REPLY_TEXT" });
  const many = replyCode(550, "", ...most.lines, "x");
  assert.throws(() => encodeReply(many, "mail", 6, true), { code: "ERR_MILTER_REPLY_TEXT" });
});

test("texts that Postfix calls malformed are refused by the reader", () => {
  const texts = [
    "",
    "550",
    "55 no",
    "250 ok",
    "5x0 no",
    "550 4.7.1 no",
    "550 24 hours",
    "550-only",
    "550 a\r\n550 b",
  ];
  for (const text of [...texts, "550-a\r\n551 b", "550-a\nb\r\n550 c", "550-a\r\n", "550 a\0b"]) {
    assert.throws(() => parseReplyText(text, 7), { code: "ERR_MILTER_FIELD_VALUE" }, text);
  }
});
