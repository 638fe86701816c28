import assert from "node:assert/strict";
import { test } from "node:test";
import { encodeText } from "../../src/bytes.ts";
import { decodedSubject, decodeHeaderText, structuredValue } from "../../src/message/header-text.ts";
import { HeaderFields } from "../../src/message/headers.ts";
import { seeded } from "./helper.ts";

const readable = (byteString: string) => Buffer.from(byteString, "latin1").toString("utf8");

/** Raw values are byte strings; results are compared as text. */
const TEXTS: [what: string, raw: string, text: string][] = [
  ["plain text", "hello world", "hello world"],
  ["a fold", "hello\r\n world", "hello world"],
  ["a fold with bare LF", "hello\n world ", "hello world"],
  ["an encoded word", "=?utf-8?Q?gr=C3=BCn?=", "grün"],
  ["a word in base64", "=?UTF-8?b?Z3LDvG4=?= x", "grün x"],
  ["two words, the space between them gone", "=?utf-8?Q?a?=\r\n =?utf-8?Q?b?= c", "ab c"],
  ["a character cut by two words", "=?utf-8?Q?a=C3?= =?utf-8?Q?=BC?=", "aü"],
  ["Latin-1", "=?iso-8859-1?Q?gr=FCn?=", "grün"],
  ["Japanese", "=?iso-2022-jp?B?GyRCRnxLXBsoQg==?=", "日本"],
  ["a language tag", "=?utf-8*de?Q?gr=C3=BCn?=", "grün"],
  ["an unknown charset, read as UTF-8", "=?x-none?Q?gr=C3=BCn?=", "grün"],
  ["a word that is cut off", "=?utf-8?Q?gr", "=?utf-8?Q?gr"],
  ["raw UTF-8", encodeText("grün"), "grün"],
  ["raw windows-1252", "gr\xfcn \x80", "grün €"],
  ["a line break hidden in a word", "=?utf-8?Q?a=0D=0ABcc:_b?=", "a Bcc: b"],
  ["NUL hidden in a word", "=?utf-8?Q?a=00b?=", "a b"],
];

for (const [what, raw, text] of TEXTS) {
  test(`header text: ${what}`, () => assert.equal(readable(decodeHeaderText(raw)), text));
}

test("the subject is the first one, or nothing", () => {
  const { headers } = HeaderFields.parse(
    Buffer.from("SUBJECT: =?utf-8?Q?=E2=82=AC?=\r\n 1\r\nSubject: b\r\n\r\n"),
  );
  assert.equal(readable(decodedSubject(headers)), "€ 1");
  assert.equal(decodedSubject(new HeaderFields()), "");
});

const NAMES: [what: string, raw: string, name: string][] = [
  ["a token", "a/b; name=x.txt", "x.txt"],
  ["a quoted string", 'a/b; name="x y\\".txt"', 'x y".txt'],
  ["nothing", "a/b; charset=x", ""],
  ["an odd case and spaces", 'a/b ;NAME = "x.txt" ', "x.txt"],
  ["RFC 2231", "a/b; name*=utf-8''gr%c3%bcn.txt", "grün.txt"],
  ["RFC 2231 in pieces", "a/b; name*1=\"b c\"; name*0*=iso-8859-1'en'gr%fcn; name*2*=%fc", "grünb cü"],
  ["RFC 2231 over the plain one", "a/b; name=plain.txt; name*=utf-8''%c3%bc.txt", "ü.txt"],
  ["RFC 2047 in quotes", 'a/b; name="=?utf-8?Q?gr=C3=BCn?=.txt"', "grün.txt"],
  ["RFC 2047 over two lines", 'a/b; name="=?utf-8?Q?gr=C3?=\r\n =?utf-8?Q?=BCn?="', "grün"],
  [
    "RFC 2047 text inside RFC 2231, which stays",
    "a/b; name*=utf-8''%3D%3Futf-8%3FQ%3Fa%3F%3D",
    "=?utf-8?Q?a?=",
  ],
  ["raw UTF-8", `a/b; name="${encodeText("grün")}.txt"`, "grün.txt"],
  ["raw Latin-1", 'a/b; name="gr\xfcn.txt"', "grün.txt"],
  ["an unknown charset", "a/b; name*=x-none''gr%c3%bcn", "grün"],
  ["a line break hidden in it", "a/b; name*=utf-8''a%0d%0ab", "a b"],
  ["comments", "a/b (x); (y) name=x.txt (z)", "x.txt"],
  ["a name given twice", "a/b; name=first; name=second", "first"],
  ["an open quote", 'a/b; name="x.txt', "x.txt"],
];

for (const [what, raw, name] of NAMES) {
  test(`file name: ${what}`, () => assert.equal(readable(structuredValue(raw).decoded("name")), name));
}

test("a structured value is lower case; parameters that no byte of is text come back as bytes", () => {
  const parsed = structuredValue(`Multipart/MIXED; boundary="${encodeText("ü")}=_B"; __proto__=x`);
  assert.equal(parsed.value, "multipart/mixed");
  assert.equal(parsed.raw("boundary"), `${encodeText("ü")}=_B`);
  assert.equal(structuredValue("a/b; boundary=\xfc").raw("boundary"), "\xfc");
  assert.equal(parsed.raw("constructor"), "");
});

test("random bytes never throw, and long hostile values take no more than linear time", () => {
  const random = seeded(3);
  const bits = [
    "=?",
    "?=",
    "utf-8?Q?",
    "?B?",
    "=C3",
    ";",
    "name",
    "*0*=",
    "*1=",
    "'",
    '"',
    "\\",
    "(",
    ")",
    "%41",
    " ",
    "\r\n ",
    "\xff",
    "\0",
  ];
  for (let i = 0; i < 3000; i++) {
    const raw = Array.from({ length: random(30) }, () => bits[random(bits.length)]).join("");
    for (const text of [decodeHeaderText(raw), structuredValue(raw).decoded("name")]) {
      assert.match(text, /^[^\r\n\0]*$/);
      assert.match(text, /^[\x00-\xff]*$/, "a byte string");
    }
  }
  for (const bit of bits) {
    const raw = `a/b; name=${bit.repeat(200_000 / bit.length)}`;
    decodeHeaderText(raw);
    structuredValue(raw).decoded("name");
  }
});
