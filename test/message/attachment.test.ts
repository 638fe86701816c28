import assert from "node:assert/strict";
import { test } from "node:test";
import { attachments, decode } from "../../src/message/attachment.ts";
import { structure } from "../../src/message/mime.ts";
import { MessageStore } from "../../src/message/store.ts";
import { file, stream } from "./tnef-writer.ts";

/** The attachments of a multipart with the given parts, as "kind section type name bytes", the kind only when it is not MIME. */
function found(...parts: string[]): string[] {
  const body = parts.map((part) => `--b\n${part}\n`).join("");
  return listed(`Content-Type: multipart/mixed; boundary=b\n\n${body}--b--\n`);
}

function listed(raw: string): string[] {
  const store = MessageStore.fromBytes(Buffer.from(raw, "latin1"));
  return attachments(store, structure(store).parts).map((attachment) => {
    const bytes = Buffer.concat([...decode(store, attachment)]);
    assert.equal(bytes.length, attachment.size);
    const { section, type, mimeType, name } = attachment;
    return `${type === "MIME" ? "" : `${type} `}${section} ${mimeType} "${name}" ${bytes.toString("latin1")}`;
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

const UU = "begin 644 %\n%:&5L;&\\\n`\nend";
const uu = (name: string) => UU.replace("%", name);
const HQX =
  "(This file must be converted; you knew that already.)\n\n" +
  ':"QPZ,Q*TEJ"849K868&$33#3"3d!!!!!f+KSC@aXEj!!N!#3!(G[FQaNSDd!!!:';
const HQX_BYTES = "hello\x90\x90\x90world";
const winmail = stream(file("a.txt", Buffer.from("one")), file("b.bin", Buffer.from("two")));
const tnef = (header: string) =>
  `${header}\nContent-Transfer-Encoding: base64\n\n${winmail.toString("base64").replace(/.{76}/g, "$&\n")}`;
const whole = winmail.toString("latin1");

const KINDS: [what: string, part: string, listed: string[]][] = [
  [
    "uuencode in text",
    `Content-Type: text/plain\n\nHi\n${uu("a.pdf")}\n`,
    ['UUE 2 application/pdf "a.pdf" hello'],
  ],
  [
    "uuencode in a part without header",
    `\n${uu("a.none")}`,
    ['UUE 2 application/octet-stream "a.none" hello'],
  ],
  [
    "two files in a quoted-printable text",
    `Content-Transfer-Encoding: quoted-printable\n\n${uu("a").replace("`", "=60")}\n${uu("b").replace("644", "=\n644")}\n`,
    ['UUE 2 application/octet-stream "a" hello', 'UUE 2 application/octet-stream "b" hello'],
  ],
  [
    "uuencode in a base64 text",
    `Content-Type: text/plain\nContent-Transfer-Encoding: base64\n\n${Buffer.from(uu("a")).toString("base64")}`,
    ['UUE 2 application/octet-stream "a" hello'],
  ],
  [
    "uuencode in attached text is that text's own business",
    `Content-Type: text/plain; name=t.txt\n\n${uu("a")}`,
    [`2 text/plain "t.txt" ${uu("a").replaceAll("\n", "\r\n")}`],
  ],
  [
    "a uuencoded part",
    `Content-Type: image/gif; name=x.gif\nContent-Transfer-Encoding: x-uuencode\n\n${uu("a")}`,
    ['MIMEUUE 2 image/gif "x.gif" hello'],
  ],
  [
    "a uuencoded part without a name of its own",
    `Content-Type: application/x\nContent-Transfer-Encoding: X-UUE\n\n${uu("a.gif")}`,
    ['MIMEUUE 2 application/x "a.gif" hello'],
  ],
  [
    "a part that says uuencoded and is not",
    "Content-Type: image/gif; name=x.gif\nContent-Transfer-Encoding: uuencode\n\nnothing",
    ['2 image/gif "x.gif" nothing'],
  ],
  ["BinHex in text", `\nHi\n${HQX}\n`, [`BINHEX 2 application/octet-stream "in.bin" ${HQX_BYTES}`]],
  [
    "a BinHex part",
    `Content-Type: application/mac-binhex40; name=x\n\n${HQX}\n`,
    [`MIMEBINHEX 2 application/mac-binhex40 "x" ${HQX_BYTES}`],
  ],
  [
    "a BinHex part in base64",
    `Content-Type: application/mac-binhex40\nContent-Transfer-Encoding: base64\n\n${Buffer.from(HQX).toString("base64")}`,
    [`MIMEBINHEX 2 application/mac-binhex40 "in.bin" ${HQX_BYTES}`],
  ],
  [
    "a part that says BinHex and is not",
    "Content-Type: application/mac-binhex40; name=x\n\nnothing",
    ['2 application/mac-binhex40 "x" nothing'],
  ],
  [
    "both in one text",
    `\n${HQX}\n${uu("a")}\n`,
    ['UUE 2 application/octet-stream "a" hello', `BINHEX 2 application/octet-stream "in.bin" ${HQX_BYTES}`],
  ],
  [
    "TNEF by its type",
    tnef("Content-Type: application/ms-tnef; name=x"),
    [
      `2 application/ms-tnef "x" ${whole}`,
      'TNEF 2 text/plain "a.txt" one',
      'TNEF 2 application/octet-stream "b.bin" two',
    ],
  ],
  [
    "TNEF by its name",
    tnef("Content-Type: application/octet-stream; name=WINMAIL.DAT"),
    [
      `2 application/octet-stream "WINMAIL.DAT" ${whole}`,
      'TNEF 2 text/plain "a.txt" one',
      'TNEF 2 application/octet-stream "b.bin" two',
    ],
  ],
  [
    "a winmail.dat that is none",
    "Content-Type: application/ms-tnef; name=winmail.dat\n\nnothing",
    ['2 application/ms-tnef "winmail.dat" nothing'],
  ],
];

for (const [what, part, expected] of KINDS)
  test(`kinds: ${what}`, () => assert.deepEqual(found(part), expected));

test("uuencode in a message without MIME", () => {
  assert.deepEqual(listed(`Subject: x\n\n${uu("a.txt")}\n`), ['UUE 1 text/plain "a.txt" hello']);
});
