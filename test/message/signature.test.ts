/** Signatures in messages of every kind: what must come of each, byte for byte. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { simpleParser } from "mailparser";
import { partsOf, sign } from "./signature-helper.ts";

const SIGNATURES = { plain: "-- \nJoe Doe\nSales", html: "<p>Joe <b>Doe</b><br>Sales</p>" };
const UMLAUT = { plain: "Grüße\nJoe", html: "<p>Grüße<br>Joe</p>" };

/** CRLF for every line; bytes are those of Latin-1 characters. */
const message = (text: string) => Buffer.from(text.replaceAll("\n", "\r\n"), "latin1");

interface Case {
  readonly name: string;
  readonly message: string;
  readonly signatures?: { readonly plain?: string; readonly html?: string };
  readonly position?: "above_quote";
  /** The whole message afterwards. */
  readonly becomes: string;
}

const CASES: Case[] = [
  {
    name: "plain text gets just the signature",
    message: "Subject: x\n\nHello\n",
    becomes: "Subject: x\n\nHello\n-- \nJoe Doe\nSales\n",
  },
  {
    name: "text without a last line end",
    message: `Content-Type: multipart/mixed; boundary=b\n\n--b\n\nHello\n--b--\n`,
    becomes: `Content-Type: multipart/mixed; boundary=b\n\n--b\n\nHello\n-- \nJoe Doe\nSales\n--b--\n`,
  },
  {
    name: "an empty text",
    message: "Subject: x\n\n",
    becomes: "Subject: x\n\n-- \nJoe Doe\nSales\n",
  },
  {
    name: "both forms of multipart/alternative, whatever they are nested in",
    message:
      "Content-Type: multipart/mixed; boundary=a\n\n--a\nContent-Type: multipart/alternative; boundary=b\n\n" +
      "--b\nContent-Type: text/plain\n\nHello\n--b\nContent-Type: multipart/related; boundary=c\n\n" +
      "--c\nContent-Type: text/html\n\n<html><body>Hello\n</body></html>\n" +
      "--c\nContent-Type: image/png\nContent-ID: <i>\n\npng\n--c--\n--b--\n" +
      "--a\nContent-Type: text/plain; name=a.txt\n\nfile\n--a--\n",
    becomes:
      "Content-Type: multipart/mixed; boundary=a\n\n--a\nContent-Type: multipart/alternative; boundary=b\n\n" +
      "--b\nContent-Type: text/plain\n\nHello\n-- \nJoe Doe\nSales\n" +
      "--b\nContent-Type: multipart/related; boundary=c\n\n" +
      "--c\nContent-Type: text/html\n\n<html><body>Hello\n<p>Joe <b>Doe</b><br>Sales</p>\n</body></html>\n" +
      "--c\nContent-Type: image/png\nContent-ID: <i>\n\npng\n--c--\n--b--\n" +
      "--a\nContent-Type: text/plain; name=a.txt\n\nfile\n--a--\n",
  },
  {
    name: "the first text of multipart/mixed that is no attachment",
    message:
      "Content-Type: multipart/mixed; boundary=a\n\n--a\nContent-Disposition: attachment\n\nfile\n" +
      "--a\n\nHello\n--a\nContent-Type: text/plain\n\nmore\n--a--\n",
    becomes:
      "Content-Type: multipart/mixed; boundary=a\n\n--a\nContent-Disposition: attachment\n\nfile\n" +
      "--a\n\nHello\n-- \nJoe Doe\nSales\n--a\nContent-Type: text/plain\n\nmore\n--a--\n",
  },
  {
    name: "an invitation: the calendar is no text",
    message:
      "Content-Type: multipart/alternative; boundary=a\n\n--a\n\nCome\n" +
      "--a\nContent-Type: text/calendar; method=REQUEST\n\nBEGIN:VCALENDAR\n--a--\n",
    becomes:
      "Content-Type: multipart/alternative; boundary=a\n\n--a\n\nCome\n-- \nJoe Doe\nSales\n" +
      "--a\nContent-Type: text/calendar; method=REQUEST\n\nBEGIN:VCALENDAR\n--a--\n",
  },
  {
    name: "HTML: before the last tag that closes the body, in any case",
    message: "Content-Type: text/html\n\n<!-- </BODY> --><BODY>Hello</Body  >\n</HTML>\n",
    becomes:
      "Content-Type: text/html\n\n<!-- </BODY> --><BODY>Hello\n<p>Joe <b>Doe</b><br>Sales</p>\n</Body  >\n</HTML>\n",
  },
  {
    name: "HTML without body: before the tag that closes the document",
    message: "Content-Type: text/html\n\n<html>Hello\n</html>\n",
    becomes: "Content-Type: text/html\n\n<html>Hello\n<p>Joe <b>Doe</b><br>Sales</p>\n</html>\n",
  },
  {
    name: "HTML without closing tags: at the end",
    message: "Content-Type: text/html\n\n<p>Hello\n",
    becomes: "Content-Type: text/html\n\n<p>Hello\n<p>Joe <b>Doe</b><br>Sales</p>\n",
  },
  {
    name: "quoted-printable stays that",
    message:
      "Content-Type: text/plain; charset=iso-8859-1\nContent-Transfer-Encoding: quoted-printable\n\nGr=FC=DFe=\n, a=3Db \n",
    signatures: UMLAUT,
    becomes:
      "Content-Type: text/plain; charset=iso-8859-1\nContent-Transfer-Encoding: quoted-printable\n\nGr=FC=DFe, a=3Db\nGr=FC=DFe\nJoe\n",
  },
  {
    name: "base64 stays that",
    message: "Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: base64\n\nw7zDvMO8DQo=\n",
    signatures: UMLAUT,
    becomes:
      "Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: base64\n\nw7zDvMO8DQpHcsO8w59lDQpKb2UNCg==\n",
  },
  {
    name: "8-bit text takes 8-bit characters of its charset",
    message: "Content-Type: text/plain; charset=iso-8859-1\nContent-Transfer-Encoding: 8bit\n\nHello\n",
    signatures: UMLAUT,
    becomes:
      "Content-Type: text/plain; charset=iso-8859-1\nContent-Transfer-Encoding: 8bit\n\nHello\nGr\xfc\xdfe\nJoe\n",
  },
  {
    name: "7-bit text becomes quoted-printable, in the charset that it named",
    message:
      'Content-Type: text/plain; format=fixed;\n\tCharset="ISO-8859-1" (Latin 1)\nContent-Transfer-Encoding: 7bit\n\na=b \n',
    signatures: UMLAUT,
    becomes:
      'Content-Type: text/plain; format=fixed;\n\tCharset="ISO-8859-1" (Latin 1)\nContent-Transfer-Encoding: quoted-printable\nMIME-Version: 1.0\n\na=3Db=20\nGr=FC=DFe\nJoe\n',
  },
  {
    name: "text that names no charset becomes UTF-8 when it must",
    message: "Subject: x\n\nHello\n",
    signatures: UMLAUT,
    becomes:
      "Subject: x\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\nMIME-Version: 1.0\n\nHello\nGr=C3=BC=C3=9Fe\nJoe\n",
  },
  {
    name: "a charset without the character: UTF-8, and only the charset changes in the header",
    message:
      'MIME-Version: 1.0\nContent-Type: text/plain;\n format=flowed; x="; charset=a"; charset=iso-8859-1;\n\tdelsp=yes\n' +
      "Content-Transfer-Encoding: 8bit\n\nGr\xfc\xdfe\n",
    signatures: { plain: "Джо" },
    becomes:
      'MIME-Version: 1.0\nContent-Type: text/plain;\n format=flowed; x="; charset=a"; charset=utf-8;\n\tdelsp=yes\n' +
      "Content-Transfer-Encoding: quoted-printable\n\nGr=C3=BC=C3=9Fe\n=D0=94=D0=B6=D0=BE\n",
  },
  {
    name: "a part's header gets the fields it lacks",
    message: "Content-Type: multipart/mixed; boundary=b\n\n--b\n\nHello\n--b--\n",
    signatures: UMLAUT,
    becomes:
      "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/plain; charset=utf-8\n" +
      "Content-Transfer-Encoding: quoted-printable\n\nHello\nGr=C3=BC=C3=9Fe\nJoe\n--b--\n",
  },
  {
    name: "a part's header keeps all other fields, their order and folds",
    message:
      "Content-Type: multipart/mixed; boundary=b\n\n--b\nX-One: 1\nContent-transfer-encoding:\n 7BIT\nX-Two: 2\n\t3\n" +
      'content-type: Text/Plain; charset="us-ascii"\nX-Three: 3\n\nHello\n--b--\n',
    signatures: UMLAUT,
    becomes:
      "Content-Type: multipart/mixed; boundary=b\n\n--b\nX-One: 1\nContent-transfer-encoding: quoted-printable\nX-Two: 2\n\t3\n" +
      "content-type: Text/Plain; charset=utf-8\nX-Three: 3\n\nHello\nGr=C3=BC=C3=9Fe\nJoe\n--b--\n",
  },
  {
    name: "7-bit HTML stays that: characters become references",
    message: "Content-Type: text/html; charset=us-ascii\n\n<p>Hello</p>\n",
    signatures: { html: "<p>Grüße €</p>" },
    becomes: "Content-Type: text/html; charset=us-ascii\n\n<p>Hello</p>\n<p>Gr&#252;&#223;e &#8364;</p>\n",
  },
  {
    name: "8-bit HTML: references for what the charset lacks",
    message: "Content-Type: text/html; charset=iso-8859-1\nContent-Transfer-Encoding: 8bit\n\n<p>\xfc</p>\n",
    signatures: { html: "<p>Grüße €</p>" },
    becomes:
      "Content-Type: text/html; charset=iso-8859-1\nContent-Transfer-Encoding: 8bit\n\n<p>\xfc</p>\n<p>Gr\xfc\xdfe &#8364;</p>\n",
  },
  {
    name: "a line too long for mail is encoded",
    message: "Content-Type: text/html\n\n<p>Hello</p>\n",
    signatures: { html: `<p>${"x".repeat(1000)}</p>` },
    becomes: `Content-Type: text/html\nContent-Transfer-Encoding: quoted-printable\nMIME-Version: 1.0\n\n<p>Hello</p>\n<p>${"x".repeat(72)}=\n${`${"x".repeat(75)}=\n`.repeat(12)}${"x".repeat(28)}</p>\n`,
  },
  {
    name: "a line that would be a delimiter is encoded",
    message: "Content-Type: multipart/mixed; boundary=b\n\n--b\n\nHello\n--b--\n",
    signatures: { plain: "--b\nJoe" },
    becomes:
      "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Transfer-Encoding: quoted-printable\n\nHello\n=2D-b\nJoe\n--b--\n",
  },
  {
    name: "flowed text: fixed lines, stuffed where need be",
    message: "Content-Type: text/plain; format=flowed\n\nHello \nthere\n",
    signatures: { plain: "-- \nJoe \n > x\nFrom here\n>y" },
    becomes: "Content-Type: text/plain; format=flowed\n\nHello \nthere\n-- \nJoe\n  > x\n From here\n >y\n",
  },
  {
    name: "flowed text whose last line goes on is ended first",
    message: "Content-Type: text/plain; format=Flowed; delsp=yes\n\nHello \n",
    becomes: "Content-Type: text/plain; format=Flowed; delsp=yes\n\nHello \n\n-- \nJoe Doe\nSales\n",
  },
  {
    name: "flowed text that ends in a delimiter has no line that goes on",
    message: "Content-Type: text/plain; format=flowed\n\nHello\n-- \n",
    signatures: { plain: "Joe" },
    becomes: "Content-Type: text/plain; format=flowed\n\nHello\n-- \nJoe\n",
  },
  {
    name: "Windows-1252 from an old script, control characters and line ends",
    message: "Content-Type: text/plain; charset=windows-1252\nContent-Transfer-Encoding: 8bit\n\nHello\n",
    signatures: { plain: "a\rb\r\nc\0\x1b\td\n\n" },
    becomes:
      "Content-Type: text/plain; charset=windows-1252\nContent-Transfer-Encoding: 8bit\n\nHello\na\nb\nc\td\n\n",
  },
  {
    name: "8-bit text that names no charset takes ASCII",
    message: "Subject: x\n\nGr\xfc\xdfe\n",
    becomes: "Subject: x\n\nGr\xfc\xdfe\n-- \nJoe Doe\nSales\n",
  },
  {
    name: "above a quotation with its introduction",
    message:
      "Subject: x\n\nYes.\n\nOn Monday, 3 March, Ann\n<ann@example.org> wrote:\n> Well?\n>\n\n> Ann\n\n",
    position: "above_quote",
    becomes:
      "Subject: x\n\nYes.\n\n-- \nJoe Doe\nSales\n\nOn Monday, 3 March, Ann\n<ann@example.org> wrote:\n> Well?\n>\n\n> Ann\n\n",
  },
  {
    name: "above a quotation: its introduction and no other lines",
    message: "Subject: x\n\nThanks!\nAm 3. März schrieb Ann:\n> Well?\n".replace("ä", "\xe4"),
    position: "above_quote",
    becomes: "Subject: x\n\nThanks!\n-- \nJoe Doe\nSales\n\nAm 3. M\xe4rz schrieb Ann:\n> Well?\n",
  },
  {
    name: "above a quotation that the author introduces",
    message: "Subject: x\n\nYou said:\n> Well?\n",
    position: "above_quote",
    becomes: "Subject: x\n\nYou said:\n-- \nJoe Doe\nSales\n\n> Well?\n",
  },
  {
    name: "above an original message as Outlook quotes it",
    message: "Subject: x\n\nYes.\n\n-----Ursprüngliche Nachricht-----\nVon: Ann\n\nWell?\n".replace(
      "ü",
      "\xfc",
    ),
    position: "above_quote",
    becomes:
      "Subject: x\n\nYes.\n\n-- \nJoe Doe\nSales\n\n-----Urspr\xfcngliche Nachricht-----\nVon: Ann\n\nWell?\n",
  },
  {
    name: "above a rule with a header below it",
    message: `Subject: x\n\nYes.\n${"_".repeat(32)}\nDe : Ann <ann@example.org>\nObjet : x\n\nWell?\n`,
    position: "above_quote",
    becomes: `Subject: x\n\nYes.\n-- \nJoe Doe\nSales\n\n${"_".repeat(32)}\nDe : Ann <ann@example.org>\nObjet : x\n\nWell?\n`,
  },
  {
    name: "answers between the lines: at the end",
    message: "Subject: x\n\n> One?\nYes.\n> Two?\nNo.\n",
    position: "above_quote",
    becomes: "Subject: x\n\n> One?\nYes.\n> Two?\nNo.\n-- \nJoe Doe\nSales\n",
  },
  {
    name: "HTML above a quotation",
    message:
      'Content-Type: text/html\n\n<body><div>Yes</div><br><div class="gmail_quote"><div>Ann wrote:</div><blockquote class="gmail_quote">Well?</blockquote></div></body>\n',
    position: "above_quote",
    becomes:
      'Content-Type: text/html\n\n<body><div>Yes</div><br>\n<p>Joe <b>Doe</b><br>Sales</p>\n<div class="gmail_quote"><div>Ann wrote:</div><blockquote class="gmail_quote">Well?</blockquote></div></body>\n',
  },
  {
    name: "HTML with the answer below the quotation: at the end",
    message:
      'Content-Type: text/html\n\n<body><div class="moz-cite-prefix">Ann wrote:</div><blockquote type="cite"><div>Well?</div></blockquote><p>Yes</p></body>\n',
    position: "above_quote",
    becomes:
      'Content-Type: text/html\n\n<body><div class="moz-cite-prefix">Ann wrote:</div><blockquote type="cite"><div>Well?</div></blockquote><p>Yes</p>\n<p>Joe <b>Doe</b><br>Sales</p>\n</body>\n',
  },
  {
    name: "HTML with its introduction, quotations in each other and nothing but space below",
    message:
      'Content-Type: text/html; charset=utf-8\n\n<p>Yes</p><DIV class=moz-cite-prefix>Ann wrote:<br></DIV><Blockquote cite="mid:x"><blockquote>Hm</blockquote> Well?</Blockquote>\n<p><!-- x -->&nbsp;\xc2\xa0<style>p {}</style></p></body>\n',
    position: "above_quote",
    becomes:
      'Content-Type: text/html; charset=utf-8\n\n<p>Yes</p>\n<p>Joe <b>Doe</b><br>Sales</p>\n<DIV class=moz-cite-prefix>Ann wrote:<br></DIV><Blockquote cite="mid:x"><blockquote>Hm</blockquote> Well?</Blockquote>\n<p><!-- x -->&nbsp;\xc2\xa0<style>p {}</style></p></body>\n',
  },
  {
    name: "HTML as Outlook quotes: everything below is quoted",
    message:
      'Content-Type: text/html\n\n<body><p>Yes</p><div id="divRplyFwdMsg">From: Ann</div><p>Well?</p></body>\n',
    position: "above_quote",
    becomes:
      'Content-Type: text/html\n\n<body><p>Yes</p>\n<p>Joe <b>Doe</b><br>Sales</p>\n<div id="divRplyFwdMsg">From: Ann</div><p>Well?</p></body>\n',
  },
  {
    name: "HTML indented by its author is no quotation",
    message: "Content-Type: text/html\n\n<body><blockquote style='margin:0'>Yes</blockquote></body>\n",
    position: "above_quote",
    becomes:
      "Content-Type: text/html\n\n<body><blockquote style='margin:0'>Yes</blockquote>\n<p>Joe <b>Doe</b><br>Sales</p>\n</body>\n",
  },
];

for (const { name, message: before, signatures = SIGNATURES, position = "end", becomes } of CASES) {
  test(name, () => {
    const { raw } = sign(message(before), signatures, { position });
    assert.equal(raw.toString("latin1"), message(becomes).toString("latin1"));
    const again = sign(raw, signatures, { position });
    assert.deepEqual(again.result.edits, [], "a second time");
  });
}

const PGP = "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\nHello\n-----BEGIN PGP SIGNATURE-----\n";
const LEFT: [name: string, message: string, why: RegExp, signatures?: Case["signatures"]][] = [
  [
    "multipart/signed",
    "Content-Type: multipart/signed; boundary=b\n\n--b\n\nHello\n--b--\n",
    /multipart\/signed/,
  ],
  [
    "something signed inside",
    "Content-Type: multipart/mixed; boundary=a\n\n--a\n\nHello\n--a\nContent-Type: multipart/signed; boundary=b\n\n--b\n\nx\n--b--\n--a--\n",
    /multipart\/signed/,
  ],
  ["multipart/encrypted", "Content-Type: multipart/encrypted; boundary=b\n\n--b\n\nx\n--b--\n", /encrypted/],
  ["S/MIME", "Content-Type: application/pkcs7-mime; smime-type=signed-data\n\nx\n", /pkcs7-mime/],
  [
    "S/MIME by its name",
    'Content-Type: application/octet-stream\nContent-Disposition: attachment; filename="smime.p7m"\n\nx\n',
    /signed or encrypted/,
  ],
  ["OpenPGP in the text", `Subject: x\n\n${PGP}`, /OpenPGP/],
  ["OpenPGP in HTML", `Content-Type: text/html\n\n<pre>${PGP}</pre>\n`, /OpenPGP/],
  [
    "OpenPGP in encoded text",
    `Content-Transfer-Encoding: base64\n\n${Buffer.from(PGP.replaceAll("\n", "\r\n")).toString("base64")}\n`,
    /OpenPGP/,
  ],
  ["DKIM", "DKIM-Signature: v=1\n\nHello\n", /DKIM-Signature/],
  ["ARC", "ARC-Message-Signature: i=1\n\nHello\n", /ARC-Message-Signature/],
  ["a report", "Content-Type: multipart/report; boundary=b\n\n--b\n\nHello\n--b--\n", /report/],
  ["an attachment alone", "Content-Disposition: attachment; filename=a.txt\n\nHello\n", /no body text/],
  ["a picture", "Content-Type: image/png\n\nHello\n", /no body text/],
  ["a message", "Content-Type: message/rfc822\n\nSubject: x\n\nHello\n", /no body text/],
  [
    "a digest",
    "Content-Type: multipart/digest; boundary=b\n\n--b\n\nSubject: x\n\nHello\n--b--\n",
    /no body text/,
  ],
  ["a calendar", "Content-Type: text/calendar\n\nBEGIN:VCALENDAR\n", /no body text/],
  ["an unknown charset", "Content-Type: text/plain; charset=x-klingon\n\nHello\n", /charset x-klingon/],
  ["UTF-7", "Content-Type: text/plain; charset=utf-7\n\nHello\n", /charset utf-7/],
  [
    "UTF-16",
    "Content-Type: text/plain; charset=utf-16\nContent-Transfer-Encoding: base64\n\nAGEA\n",
    /utf-16/,
  ],
  ["bytes that are no UTF-8", "Content-Type: text/plain; charset=utf-8\n\nGr\xfc\xdfe\n", /not valid utf-8/],
  [
    "a cut character at the very end",
    "Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: base64\n\nw7zD\n",
    /not valid utf-8/,
  ],
  ["8-bit text without charset, 8-bit signature", "Subject: x\n\nGr\xfc\xdfe\n", /names no charset/, UMLAUT],
  ["an unknown encoding", "Content-Transfer-Encoding: x-own\n\nHello\n", /encoding x-own/],
  ["broken base64", "Content-Transfer-Encoding: base64\n\nSGVsbG8=\n--\nadded below\n", /base64 is broken/],
  ["two types", "Content-Type: text/plain\nContent-Type: text/html\n\nHello\n", /more than one Content-Type/],
  ["nonsense for a type", "Content-Type: text;plain\n\nHello\n", /makes no sense/],
  ["a checksum", "Content-MD5: Q2hlY2sgSW50ZWdyaXR5IQ==\n\nHello\n", /Content-MD5/],
  [
    "a part whose header does not end",
    "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/plain\n--b--\n",
    /no blank line/,
  ],
];

for (const [name, before, why, signatures = SIGNATURES] of LEFT) {
  test(`left alone: ${name}`, () => {
    const { result } = sign(message(before), signatures);
    assert.deepEqual(result.edits, []);
    assert.deepEqual(result.changed, []);
    assert.equal(result.left.length, 1);
    assert.match(result.left[0]!.why, why);
  });
}

test("an attached message that is signed keeps nobody from signing the letter", () => {
  const attached =
    "--b\nContent-Type: message/rfc822\n\nContent-Type: multipart/signed; boundary=c\n\n--c\n\nx\n--c--\n";
  const raw = message(`Content-Type: multipart/mixed; boundary=b\n\n--b\n\nHello\n${attached}--b--\n`);
  const { raw: after, result } = sign(raw, SIGNATURES);
  assert.deepEqual(result.changed, [{ path: "1", how: "" }]);
  assert.ok(after.includes(message(attached)));
});

test("quoted OpenPGP is nobody's signature", () => {
  const { result } = sign(message(`Subject: x\n\nYes.\n> ${PGP.replaceAll("\n", "\n> ")}\n`), SIGNATURES);
  assert.equal(result.changed.length, 1);
});

test("one text of two can take it: the other is reported", () => {
  const raw = message(
    "Content-Type: multipart/alternative; boundary=b\n\n--b\nContent-Type: text/plain; charset=x-own\n\nHello\n" +
      "--b\nContent-Type: text/html\n\n<p>Hello</p>\n--b--\n",
  );
  const { result } = sign(raw, SIGNATURES);
  assert.deepEqual(result.changed, [{ path: "2", how: "" }]);
  assert.deepEqual(result.left, [{ path: "1", why: "its charset x-own is unknown" }]);
});

test("only the format that there is a signature for", () => {
  const raw = message(
    "Content-Type: multipart/alternative; boundary=b\n\n--b\n\nHello\n--b\nContent-Type: text/html\n\n<p>Hello</p>\n--b--\n",
  );
  assert.deepEqual(sign(raw, { html: "<p>Joe</p>" }).result.changed, [{ path: "2", how: "" }]);
  assert.deepEqual(sign(raw, { plain: "Joe", html: " \n" }).result.changed, [{ path: "1", how: "" }]);
  assert.deepEqual(sign(raw, {}).result, { edits: [], changed: [], left: [] });
});

test("a message that would become too large keeps its size", () => {
  const raw = message("Subject: x\n\nHello\n");
  const size = raw.length + "-- \r\nJoe Doe\r\nSales\r\n".length;
  assert.equal(sign(raw, SIGNATURES, { maxBytes: size }).result.changed.length, 1);
  const { result } = sign(raw, SIGNATURES, { maxBytes: size - 1 });
  assert.deepEqual(result, {
    edits: [],
    changed: [],
    left: [{ path: "", why: "the message would become too large" }],
  });
});

const CARRIED: [name: string, message: string, signatures: Case["signatures"], carried: boolean][] = [
  ["as it was", "Subject: x\n\nHello\n-- \nJoe Doe\nSales\n", SIGNATURES, true],
  ["quoted", "Subject: x\n\nYes\n> > Hello\n> > --\n> > Joe   Doe\n> > Sales\n", SIGNATURES, true],
  ["wrapped anew", "Subject: x\n\nYes\n> --\n> Joe\n> Doe Sales\n", SIGNATURES, true],
  ["with words before it", "Subject: x\n\nYes, -- Joe Doe Sales\n", SIGNATURES, false],
  ["with words behind it", "Subject: x\n\n--\nJoe Doe\nSalesman\n", SIGNATURES, false],
  ["half of it", "Subject: x\n\n--\nJoe Doe\n", SIGNATURES, false],
  [
    "HTML quoted by a program that writes it its own way",
    "Content-Type: text/html\n\n<blockquote>Hello<P class=x>Joe <SPAN>Doe</SPAN><BR/>\nSales</P></blockquote>\n",
    SIGNATURES,
    true,
  ],
  [
    "HTML with other entities",
    "Content-Type: text/html; charset=iso-8859-1\n\n<p>Gr&uuml;&#xDF;e<br>Joe&nbsp;</p>\n",
    UMLAUT,
    true,
  ],
  [
    "HTML, in a comment only",
    "Content-Type: text/html\n\n<p>Hello</p><!--<p>Joe Doe<br>Sales</p>-->\n",
    SIGNATURES,
    false,
  ],
  [
    "another charset",
    "Content-Type: text/plain; charset=iso-8859-1\n\nYes\n> Gr\xfc\xdfe\n> Joe\n",
    UMLAUT,
    true,
  ],
  [
    "a picture",
    'Content-Type: text/html\n\n<p>Hello<img src="cid:logo"></p>\n',
    { html: '<img src="cid:logo">' },
    true,
  ],
  [
    "another picture",
    'Content-Type: text/html\n\n<p>Hello<img src="cid:photo"></p>\n',
    { html: '<img src="cid:logo">' },
    false,
  ],
];

for (const [name, before, signatures = {}, carried] of CARRIED) {
  test(`${carried ? "carried already" : "not carried"}: ${name}`, () => {
    const { result } = sign(message(before), signatures);
    assert.equal(result.changed.length, carried ? 0 : 1);
    if (carried) assert.match(result.left[0]!.why, /already/);
  });
}

const CHARSETS: [charset: string, text: string, signature: string, after: string][] = [
  ["iso-8859-1", "é", "Zoë", "iso-8859-1"],
  ["iso-8859-1", "é", "10 €", "utf-8"],
  ["iso-8859-15", "é", "10 €", "iso-8859-15"],
  ["windows-1252", "“é”", "10 €", "windows-1252"],
  ["koi8-r", "Привет", "Джо", "koi8-r"],
  ["windows-1251", "Привет", "Zoë", "utf-8"],
  ["iso-2022-jp", "こんにちは", "Joe", "iso-2022-jp"],
  ["iso-2022-jp", "こんにちは", "山田", "utf-8"],
  ["shift_jis", "こんにちは", "山田", "shift_jis"],
  ["euc-jp", "こんにちは", "山田", "euc-jp"],
  ["gb2312", "你好", "王", "gb2312"],
  ["big5", "你好", "王", "big5"],
  ["euc-kr", "안녕", "김", "euc-kr"],
  ["utf-8", "🙂", "山田 🙂", "utf-8"],
];

for (const [charset, text, signature, after] of CHARSETS) {
  for (const encoding of ["8bit", "quoted-printable", "base64"] as const) {
    test(`${charset} in ${encoding} with ${signature}`, async () => {
      const iconv = (await import("iconv-lite")).default;
      const japanese = Buffer.from("\x1b$B$3$s$K$A$O\x1b(B\r\n", "latin1");
      const bytes = charset === "iso-2022-jp" ? japanese : iconv.encode(`${text}\r\n`, charset);
      const body = {
        "8bit": () => bytes.toString("latin1"),
        base64: () => `${bytes.toString("base64")}\r\n`,
        "quoted-printable": () =>
          bytes
            .toString("latin1")
            .replace(
              /[^\r\n -<>-~]/g,
              (c) => `=${c.charCodeAt(0).toString(16).padStart(2, "0").toUpperCase()}`,
            ),
      }[encoding]();
      const head = `MIME-Version: 1.0\r\nContent-Type: text/plain; charset=${charset}\r\nContent-Transfer-Encoding: ${encoding}\r\n\r\n`;
      const { raw } = sign(Buffer.from(head + body, "latin1"), { plain: signature });
      const seen = partsOf(raw).get("1")!;
      assert.equal(seen.text, `${text}\r\n${signature}\r\n`);
      assert.equal(seen.part.charset, after);
      const parsed = await simpleParser(raw);
      assert.equal(parsed.text?.trim(), `${text}\n${signature}`);
      assert.deepEqual(sign(raw, { plain: signature }).result.edits, []);
    });
  }
}
