/** A text replaced in messages of many kinds: mailparser reads the new one, and every other byte is what it was. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { simpleParser } from "mailparser";
import { structure } from "../../src/message/mime.ts";
import { replaceText, textOf } from "../../src/message/replace-text.ts";
import { MessageStore } from "../../src/message/store.ts";
import { textPart } from "../../src/message/text-part.ts";
import { applyEdits } from "../smtp/apply-edits.ts";

const ASCII = "New text\nof two lines\n";
const UMLAUTS = "Grüße, Müller\n";
const EVERYTHING = "Łódź 📮 Grüße\n";

type Written = readonly [charset: string, encoding: string];

/** How a text is written, what it says, and how it is written when the new text is there. */
const CASES: [type: string, encoding: string, body: string, old: string, text: string, now: Written][] = [
  ["", "", "old", "old", ASCII, ["", ""]],
  ["text/plain", "", "old", "old", UMLAUTS, ["utf-8", "quoted-printable"]],
  ["text/plain; charset=us-ascii", "7bit", "old", "old", ASCII, ["us-ascii", "7bit"]],
  ["text/plain; charset=us-ascii", "7bit", "old", "old", EVERYTHING, ["utf-8", "quoted-printable"]],
  ["text/plain; charset=utf-8", "8bit", "\xc3\xa4", "ä", EVERYTHING, ["utf-8", "8bit"]],
  ["text/plain; charset=iso-8859-1", "8bit", "\xe4", "ä", UMLAUTS, ["iso-8859-1", "8bit"]],
  ["text/plain; charset=iso-8859-1", "8bit", "\xe4", "ä", EVERYTHING, ["utf-8", "8bit"]],
  ["text/plain; charset=utf-8", "quoted-printable", "=C3=A4", "ä", EVERYTHING, ["utf-8", "quoted-printable"]],
  ["text/plain; charset=utf-8", "base64", "w6Q=", "ä", EVERYTHING, ["utf-8", "base64"]],
  ["text/plain; charset=koi8-r", "8bit", "\xc1", "а", "привет\n", ["koi8-r", "8bit"]],
  ["text/plain; charset=utf-8; format=flowed", "7bit", "old", "old", UMLAUTS, ["utf-8", "quoted-printable"]],
  [
    "text/plain; charset=utf-8",
    "7bit",
    "old",
    "old",
    `${"long ".repeat(300)}\n`,
    ["utf-8", "quoted-printable"],
  ],
  ["text/plain; charset=utf-8", "8bit", "old", "old", "--b--\n--b\n", ["utf-8", "quoted-printable"]],
  ["text/plain; charset=utf-8", "8bit", "old", "old", "nul \0 here\n", ["utf-8", "quoted-printable"]],
];

const HEAD = "From: a@b.test\r\nSubject: x\r\nX-Odd:  \r\n kept\r\n";

function fields(type: string, encoding: string): string {
  return `${type === "" ? "" : `Content-Type: ${type}\r\n`}${encoding === "" ? "" : `Content-Transfer-Encoding: ${encoding}\r\n`}`;
}

function replaced(message: string, path: string, text: string) {
  const store = MessageStore.fromBytes(Buffer.from(message, "latin1"), { verbatim: true });
  const { parts } = structure(store);
  const part = textPart(store, parts, parts.find((one) => one.path === path)!);
  assert.ok(!("why" in part));
  const edits = replaceText(store, part, text);
  assert.ok(edits !== undefined);
  const { headers, body } = applyEdits(store, "", [], edits);
  const lines = headers.map(([name, value]) => `${name}:${value}\r\n`).join("");
  return { old: textOf(part), bytes: Buffer.from(`${lines}\r\n${body}`, "latin1") };
}

for (const [type, encoding, body, old, text, [charset, how]] of CASES) {
  const what = `${type || "no type"}, ${encoding || "no encoding"}: ${JSON.stringify(text.slice(0, 20))}`;
  const part = `${fields(type, encoding)}\r\n${body}`;
  const around = [
    "X-Part: 1\r\n",
    "\r\n--b\r\nContent-Type: image/png\r\n\r\n\xff\xfe\0png\r\n--b--\r\nepilogue",
  ] as const;

  test(`in a multipart: ${what}`, async () => {
    const start = `${HEAD}MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\nprologue\r\n--b\r\n`;
    const given = replaced(`${start}${around[0]}${part}${around[1]}`, "1", text);
    assert.equal(given.old, old);
    const after = given.bytes.toString("latin1");
    assert.ok(after.startsWith(start + around[0]));
    assert.ok(after.endsWith(around[1]));
    const header = after.slice(start.length, after.indexOf("\r\n\r\n", start.length));
    assert.equal(/charset=([\w-]+)/.exec(header)?.[1] ?? "", charset);
    assert.equal(/Transfer-Encoding: (\S+)/.exec(header)?.[1] ?? "", how);
    const { text: read = "", attachments } = await simpleParser(given.bytes);
    assert.equal(read.replace(/\n$/, ""), text.replace(/\n$/, ""));
    assert.equal(attachments.length, 1);
  });

  test(`as the whole message: ${what}`, async () => {
    const given = replaced(`${HEAD}${part}\r\n`, "1", text);
    const after = given.bytes.toString("latin1");
    assert.ok(after.startsWith(HEAD));
    // Here a line like a delimiter delimits nothing.
    const written = text.startsWith("--b") ? "8bit" : how;
    const changed = charset !== (/charset=([\w-]+)/.exec(type)?.[1] ?? "") || written !== encoding;
    assert.equal(/^MIME-Version: 1\.0\r$/m.test(after), changed);
    assert.equal(/Transfer-Encoding: (\S+)/.exec(after)?.[1] ?? "", written);
    const { text: read = "" } = await simpleParser(given.bytes);
    assert.equal(read.replace(/\n$/, ""), text.replace(/\n$/, ""));
  });
}

test("line ends of any kind become CRLF", () => {
  const { bytes } = replaced(`${HEAD}\r\nold\r\n`, "1", "a\nb\r\nc\rd");
  assert.ok(bytes.toString("latin1").endsWith("\r\n\r\na\r\nb\r\nc\r\nd"));
});

test("text that is not what its charset says is read as windows-1252", () => {
  const { old } = replaced(`${HEAD}${fields("text/plain; charset=utf-8", "8bit")}\r\n\xe4\x80\r\n`, "1", "x");
  assert.equal(old, "ä€\r\n");
});
