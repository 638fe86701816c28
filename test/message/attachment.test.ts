import assert from "node:assert/strict";
import { test } from "node:test";
import { attachments, decode } from "../../src/message/attachment.ts";
import { structure } from "../../src/message/mime.ts";
import { MessageStore } from "../../src/message/store.ts";

/** The attachments of a multipart with the given parts, as "section type name size text". */
function found(...parts: string[]): string[] {
  const body = parts.map((part) => `--b\n${part}\n`).join("");
  return listed(`Content-Type: multipart/mixed; boundary=b\n\n${body}--b--\n`);
}

function listed(raw: string): string[] {
  const store = MessageStore.fromBytes(Buffer.from(raw, "latin1"));
  return attachments(store, structure(store).parts).map((attachment) => {
    assert.equal(attachment.type, "MIME");
    const bytes = Buffer.concat([...decode(store, attachment)]);
    assert.equal(bytes.length, attachment.size);
    const { section, mimeType, name } = attachment;
    return `${section} ${mimeType} "${name}" ${bytes.toString("latin1")}`;
  });
}

const CASES: [what: string, part: string, listed: string[]][] = [
  ["plain text is none", "Content-Type: text/plain\n\nx", []],
  ["html is none", "Content-Type: text/html\n\nx", []],
  ["no header at all is none", "\nx", []],
  ["inline text is none", "Content-Disposition: inline\n\nx", []],
  ["text with a name", "Content-Type: text/plain; name=a.txt\n\nx", ['2 text/plain "a.txt" x']],
  [
    "inline text with a file name",
    "Content-Disposition: inline; filename=a.txt\n\nx",
    ['2 text/plain "a.txt" x'],
  ],
  ["text that is attached", "Content-Disposition: Attachment\n\nx", ['2 text/plain "" x']],
  ["a picture", "Content-Type: image/gif\n\nx", ['2 image/gif "" x']],
  ["an inline picture", "Content-Type: image/gif\nContent-Disposition: inline\n\nx", ['2 image/gif "" x']],
  [
    "the file name of the disposition comes before that of the type",
    "Content-Type: a/b; name=type.x\nContent-Disposition: attachment; filename=disposition.x\n\nx",
    ['2 a/b "disposition.x" x'],
  ],
  ["base64", "Content-Type: a/b\nContent-Transfer-Encoding: base64\n\nQUJD\nRA==\n", ['2 a/b "" ABCD']],
  [
    "quoted-printable",
    "Content-Type: a/b\nContent-Transfer-Encoding: Quoted-Printable\n\n=41=\nB",
    ['2 a/b "" AB'],
  ],
  ["an empty one", "Content-Type: a/b\nContent-Transfer-Encoding: base64\n\n", ['2 a/b "" ']],
];

for (const [what, part, expected] of CASES)
  test(`attachments: ${what}`, () => assert.deepEqual(found(part), expected));

test("sections count every part of the structure; an attached message and what is in it are both listed", () => {
  const message = "Content-Type: message/rfc822\n\nContent-Type: a/b; name=in.x\n\nin";
  assert.deepEqual(found("\ntext", message, "Content-Type: a/b; name=last.x\n\nlast"), [
    '3 message/rfc822 "" Content-Type: a/b; name=in.x\r\n\r\nin',
    '4 a/b "in.x" in',
    '5 a/b "last.x" last',
  ]);
});

test("a message that is nothing but an attachment, and one that has none", () => {
  assert.deepEqual(listed("Content-Type: application/pdf; name=a.pdf\n\nx"), [
    '1 application/pdf "a.pdf" x\r\n',
  ]);
  assert.deepEqual(listed("Subject: x\n\nbody\n"), []);
  assert.deepEqual(listed(""), []);
});

test("a multipart is no attachment, named or not, with or without parts", () => {
  assert.deepEqual(found("Content-Type: multipart/mixed; name=x; boundary=in\n\n--in\n\ntext\n--in--"), []);
  assert.deepEqual(found("Content-Type: multipart/mixed; name=x\n\ntext"), []);
});
