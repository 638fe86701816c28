/**
 * MB/s of putting a signature into generated messages that are in a store,
 * their structure read anew each time: plain text, texts that have to be
 * written anew, replies that carry it, a large attachment beside the text; and
 * the peak memory of a 50 MB message with one.
 *
 *   node test/bench/signature.ts
 */
import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { structure } from "../../src/message/mime.ts";
import { insertSignature, planSignature } from "../../src/message/signature.ts";
import { MessageStore } from "../../src/message/store.ts";

const ROUNDS = 5;
const ASCII = {
  PLAIN: "-- \nJoe Doe\nSales, Example Ltd",
  HTML: "<p>Joe <b>Doe</b><br>Sales, Example Ltd</p>",
};
const UMLAUT = { PLAIN: "-- \nJ\xc3\xbcrgen\nSales", HTML: "<p>J\xc3\xbcrgen<br>Sales</p>" };

const HEADER = `From: a@example.org\r\nSubject: x\r\nMIME-Version: 1.0\r\n`;
const plain = (bytes: number) =>
  "The quick brown fox jumps over the lazy dog, -- and so on.\r\n".repeat(bytes / 60);
const html = (bytes: number) =>
  `<html><body>${"<p>The quick <b>brown</b> fox jumps over the lazy dog</p>\r\n".repeat(bytes / 59)}</body></html>\r\n`;
const base64 = (text: string) =>
  Buffer.from(text)
    .toString("base64")
    .replace(/.{76}(?=.)/g, "$&\r\n");
const alternative = (bytes: number) =>
  `${HEADER}Content-Type: multipart/alternative; boundary=b\r\n\r\n--b\r\n\r\n${plain(bytes / 2)}\r\n--b\r\nContent-Type: text/html\r\n\r\n${html(bytes / 2)}\r\n--b--\r\n`;
const file = (bytes: number) =>
  `--b\r\nContent-Type: application/pdf; name=a.pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n${`${"QUJD".repeat(19)}\r\n`.repeat(bytes / 78)}`;
const withFile = (bytes: number) =>
  `${HEADER}Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n${plain(3000)}${file(bytes)}--b--\r\n`;
const encoded = (encoding: string, text: string) =>
  `${HEADER}Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: ${encoding}\r\n\r\n${text}\r\n`;

const CASES: [what: string, message: () => string, signatures: typeof ASCII, signed: boolean][] = [
  ["plain text, 4 KB", () => `${HEADER}\r\n${plain(4000)}`, ASCII, true],
  ["plain text, 1 MB", () => `${HEADER}\r\n${plain(1_000_000)}`, ASCII, true],
  ["plain text and HTML, 100 KB", () => alternative(100_000), ASCII, true],
  ["text and a 10 MB file", () => withFile(10_000_000), ASCII, true],
  ["7-bit text that becomes quoted-printable, 1 MB", () => `${HEADER}\r\n${plain(1_000_000)}`, UMLAUT, true],
  ["quoted-printable, 1 MB", () => encoded("quoted-printable", plain(1_000_000)), UMLAUT, true],
  ["base64, 1 MB", () => encoded("base64", base64(plain(1_000_000))), UMLAUT, true],
  [
    "a reply that carries it, 100 KB",
    () => `${HEADER}\r\n${plain(100_000)}> -- \r\n> Joe Doe\r\n> Sales, Example Ltd\r\n`,
    ASCII,
    false,
  ],
];

function insert(store: MessageStore, signatures: typeof ASCII): number {
  const plan = planSignature(store, structure(store));
  return insertSignature(store, plan, signatures, { position: "end", maxBytes: 0 }).changed.length;
}

const median = (values: number[]) => values.toSorted((a, b) => a - b)[values.length >> 1]!;

function measure(): void {
  for (const [what, make, signatures, signed] of CASES) {
    const store = MessageStore.fromBytes(Buffer.from(make(), "latin1"));
    if (insert(store, signatures) > 0 !== signed) throw new Error(`${what}: not as it should be`);
    const repeat = Math.max(1, Math.round(10_000_000 / store.size));
    const rates: number[] = [];
    for (let round = 0; round < ROUNDS; round++) {
      const since = performance.now();
      for (let i = 0; i < repeat; i++) insert(store, signatures);
      rates.push((store.size * repeat) / 1000 / (performance.now() - since));
    }
    console.log(`${what}: ${median(rates).toFixed(0)} MB/s`);
  }
}

/** Peak memory of a process of its own, over what the message itself takes. */
function peak(kind: string): void {
  const text = kind === "text" ? `${HEADER}\r\n${plain(50_000_000)}` : withFile(50_000_000);
  const store = MessageStore.fromBytes(Buffer.from(text, "latin1"));
  const before = process.resourceUsage().maxRSS;
  insert(store, ASCII);
  console.log(((process.resourceUsage().maxRSS - before) / 1024).toFixed(0));
}

const kind = process.argv[2];
if (kind !== undefined) peak(kind);
else {
  measure();
  for (const [name, what] of [
    ["file", "50 MB, most of it a file"],
    ["text", "50 MB of text"],
  ]) {
    const more = execFileSync(process.execPath, [fileURLToPath(import.meta.url), name!], {
      encoding: "utf8",
    });
    console.log(`${what}: peak memory +${more.trim()} MB`);
  }
}
