/** Postfix's notices told from other mail, and read: captured ones, and mail that only looks like one. */
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  isNoticeSender,
  type NoticeKind,
  type NoticeRecipient,
  readNotice,
} from "../../src/message/notice.ts";
import { MessageStore } from "../../src/message/store.ts";
import { captured, NAMES } from "../notices/fixtures.ts";

const UNKNOWN: NoticeRecipient = {
  address: "unknown@elsewhere.test",
  status: "5.1.1",
  diagnostic: "550 5.1.1 <unknown@elsewhere.test>: no such user here",
  remote: true,
};
const LATER = {
  address: "later@elsewhere.test",
  status: "4.2.1",
  diagnostic: "451 4.2.1 Greylisted, come back later",
  remote: true,
};

const READ: [name: string, kind: NoticeKind, recipients: Partial<NoticeRecipient>[]][] = [
  ["bounce", "bounce", [UNKNOWN]],
  ["bounce-headers-only", "bounce", [UNKNOWN]],
  ["bounce-8bit", "bounce", [UNKNOWN]],
  ["bounce-template", "bounce", [UNKNOWN]],
  [
    "bounce-two-recipients",
    "bounce",
    [
      { address: "full@elsewhere.test", status: "5.2.2", remote: true },
      { address: "unknown1@elsewhere.test", status: "5.1.1", remote: true },
    ],
  ],
  [
    "bounce-smtputf8",
    "bounce",
    [
      {
        address: "unknown-j\xc3\xb6rg@elsewhere.test",
        diagnostic: "550 5.1.1 <unknown-j\xc3\xb6rg@elsewhere.test>: no such user here",
      },
    ],
  ],
  ["bounce-no-host", "bounce", [{ status: "5.4.4", remote: false }]],
  ["bounce-no-connection", "bounce", [{ status: "4.4.1", remote: false }]],
  ["delay", "delay", [LATER]],
  ["success", "success", [{ status: "2.0.0", diagnostic: "250 OK: message queued" }]],
  ["verify", "verify", [UNKNOWN]],
  ["postmaster-copy", "bounce copy", [UNKNOWN]],
  ["postmaster-delay", "delay copy", [LATER]],
  ["double-bounce", "double bounce", [UNKNOWN]],
  ["server-errors", "server session", [{ address: "unknown[127.0.0.2]", status: "5.7.1", remote: false }]],
  ["client-errors", "client session", [{ status: "5.5.1", diagnostic: "500 5.5.1 What do you mean?" }]],
];

for (const [name, kind, recipients] of READ) {
  test(`${name} is a ${kind}`, () => {
    const { store, sender, bytes } = captured(name);
    assert.ok(isNoticeSender(sender, "double-bounce"));
    const notice = readNotice(store, sender);
    assert.equal(notice?.kind, kind);
    const text = bytes.toString("latin1");
    assert.equal(notice.queueId, /^X-Postfix-Queue-ID: (\w+)/m.exec(text)?.[1] ?? "");
    assert.equal(notice.recipients.length, recipients.length);
    for (const [n, wanted] of recipients.entries())
      assert.partialDeepStrictEqual(notice.recipients[n], wanted);
    assert.doesNotMatch(notice.text, /\r|Content-Type|Reporting-MTA/);
  });
}

test("every captured notice is in the table above", () => {
  assert.deepEqual(NAMES.filter((name) => name !== "submission").sort(), READ.map(([name]) => name).sort());
});

const SENDERS: [sender: string, is: boolean][] = [
  ["", true],
  ["double-bounce@mx.example.test", true],
  ["Double-Bounce@elsewhere.test", true],
  ["double-bounce", true],
  ["x-double-bounce@mx.example.test", false],
  ["double-bounce.x@mx.example.test", false],
  ["MAILER-DAEMON@mx.example.test", false],
];

for (const [sender, is] of SENDERS) {
  test(`<${sender}> ${is ? "may" : "cannot"} be the sender of a notice`, () => {
    assert.equal(isNoticeSender(sender, "double-bounce"), is);
  });
}

const bounce = captured("bounce").bytes.toString("latin1");
const transcript = captured("server-errors").bytes.toString("latin1");
const DOUBLE = "double-bounce@mx.example.test";

/** What makes a real notice no notice any more. */
const SPOILT: [what: string, sender: string, message: string][] = [
  ["a boundary of another queue ID", "", bounce.replaceAll(/[0-9A-Z]+(\.\d+\/mx)/g, "ABCDEF$1")],
  ["no queue ID", "", bounce.replace("X-Postfix-Queue-ID", "X-Postfix-Other")],
  ["an empty queue ID", "", bounce.replace(/(X-Postfix-Queue-ID:) .*/, "$1 ")],
  ["no recipient", "", bounce.replace("Final-Recipient", "X-Recipient")],
  ["no delivery status", "", bounce.replace("message/delivery-status", "text/plain")],
  ["another multipart", "", bounce.replace("multipart/report", "multipart/mixed")],
  [
    "its parts in another order",
    "",
    bounce.replace("text/plain", "message/x").replace("message/delivery", "text/plain; x="),
  ],
  ["a transcript from the null sender", "", transcript],
  ["a transcript with another subject", DOUBLE, transcript.replace("errors from", "greetings from")],
  ["a transcript by somebody else", DOUBLE, transcript.replace("<MAILER-DAEMON@", "<joe@")],
  [
    "a transcript that is HTML in a multipart",
    DOUBLE,
    `Content-Type: multipart/mixed; boundary=b\r\n${transcript}`,
  ],
  ["an empty message", "", ""],
  ["no body", "", bounce.slice(0, bounce.indexOf("\r\n\r\n") + 2)],
];

for (const [what, sender, message] of SPOILT) {
  test(`no notice: ${what}`, () => {
    const store = MessageStore.fromBytes(Buffer.from(message, "latin1"));
    assert.equal(readNotice(store, sender), undefined);
  });
}

test("another mail_name does not matter", () => {
  const other = bounce.replaceAll("X-Postfix-", "X-My-Mailer-");
  assert.equal(readNotice(MessageStore.fromBytes(Buffer.from(other, "latin1")), "")?.kind, "bounce");
});

test("a transcript without a refusal gives the reason why the session ended", () => {
  const lost = transcript
    .replace(/^ Out: 554.*\r\n/m, "")
    .replace("\r\n\r\n\r\nFor", "\r\n\r\nSession aborted, reason: lost connection\r\n\r\nFor");
  const notice = readNotice(MessageStore.fromBytes(Buffer.from(lost, "latin1")), DOUBLE);
  assert.deepEqual(notice?.recipients[0], {
    address: "unknown[127.0.0.2]",
    status: "",
    diagnostic: "lost connection",
    remote: false,
  });
});

test("a refusal of several wrapped lines in a transcript", () => {
  const long = transcript.replace("Relay access denied", "Relay access\r\n     denied for\r\n     good");
  const notice = readNotice(MessageStore.fromBytes(Buffer.from(long, "latin1")), DOUBLE);
  assert.equal(
    notice?.recipients[0]?.diagnostic,
    "554 5.7.1 <joe@elsewhere.test>: Relay access denied for good",
  );
});
