/** Letters made up by a seeded generator: texts in many charsets and encodings, in multiparts, beside attachments. */
import iconv from "iconv-lite";
import libqp from "libqp";
import type { Random } from "./helper.ts";

const WORDS: Record<string, readonly string[]> = {
  "": [
    "Hello",
    "=3D",
    "--",
    "-- ",
    "From here",
    ".",
    "> quoted",
    "a\tb ",
    "On 3 March Ann wrote:",
    "",
    "--b1x",
  ],
  "iso-8859-1": ["Größe", "é ".repeat(30)],
  "koi8-r": ["Привет, мир", "да"],
  shift_jis: ["こんにちは", "ソース表"],
  "utf-8": ["Größe", "こんにちは", "🙂 ".repeat(20), "Привет"],
};
const TAGS = [
  "<p>",
  "</p>",
  "<body>",
  "</BODY>",
  "</body >",
  "</html>",
  "<!-- x",
  "-->",
  "<blockquote type=cite>",
  "</blockquote>",
  "<div class='gmail_quote'>",
  "</div>",
  "<div id=appendonsend>",
  "<style>",
  "</style>",
  "&nbsp;",
  "&uuml;",
  "<",
];

interface Leaf {
  readonly raw: string;
  /** Undefined for what is no text to sign. */
  readonly text?: string;
}

/** A text in a charset and an encoding, and what it says. */
function textLeaf(random: Random, eol: string, isRoot: boolean): Leaf {
  const pick = <T>(list: readonly T[]): T => list[random(list.length)]!;
  const html = random(3) === 0;
  const charset = pick(Object.keys(WORDS));
  const pool = [...WORDS[""]!, ...WORDS[charset]!, ...(html ? TAGS : [])];
  const lines = Array.from({ length: random(12) }, () => pick(pool));
  const text =
    lines.map((line) => line + eol).join("") + (isRoot || random(2) === 0 ? "" : pick(pool).trim());
  const bytes = iconv.encode(text, charset || "utf-8");
  const needs8bit = bytes.some((byte) => byte > 0x7f);
  const encoding = pick(
    needs8bit
      ? ["8bit", "", "quoted-printable", "base64"]
      : ["7bit", "", "8bit", "quoted-printable", "base64"],
  );
  const flowed = !html && random(4) === 0 ? "; format=flowed" : "";
  const type = html || charset !== "" || flowed !== "" || random(2) === 0;
  let raw = "";
  if (random(3) === 0) raw += `X-Before: "a;${eol}\tcharset=b"${eol}`;
  if (type) {
    const parameter = charset === "" ? "" : `;${eol} charset=${random(2) === 0 ? `"${charset}"` : charset}`;
    raw += `Content-type: text/${html ? "HTML" : "plain"}${parameter}${flowed}${eol}`;
  }
  if (encoding !== "") raw += `Content-Transfer-Encoding: ${encoding}${eol}`;
  raw += eol;
  if (encoding === "base64") {
    raw += bytes.toString("base64").replace(/.{76}(?=.)/g, `$&${eol}`);
    if (isRoot) raw += eol;
  } else if (encoding === "quoted-printable") {
    const wrapped = libqp.wrap(libqp.encode(bytes)).replace(/\r?\n/g, eol);
    raw += wrapped;
    if (isRoot && !wrapped.endsWith(eol)) raw += `=${eol}`;
  } else raw += bytes.toString("latin1");
  return { raw, text };
}

function otherLeaf(random: Random, eol: string): Leaf {
  const kinds = [
    `Content-Type: image/png${eol}Content-Transfer-Encoding: base64${eol}${eol}AAAA${eol}`,
    `Content-Type: text/plain; name=a.txt${eol}${eol}\xff\x00 --${eol}`,
    `Content-Disposition: attachment${eol}${eol}text${eol}`,
    `Content-Type: message/rfc822${eol}${eol}Subject: x${eol}${eol}inner${eol}`,
    `Content-Type: text/calendar${eol}${eol}BEGIN:VCALENDAR${eol}`,
  ];
  return { raw: kinds[random(kinds.length)]! };
}

/** A whole message around such leaves. */
export function letter(random: Random): { raw: Buffer; texts: string[] } {
  const eol = random(4) === 0 ? "\n" : "\r\n";
  const texts: string[] = [];
  let boundaries = 0;
  const entity = (depth: number): string => {
    if (depth > 3 || random(3) > 0) {
      const leaf = random(3) === 0 && depth > 0 ? otherLeaf(random, eol) : textLeaf(random, eol, depth === 0);
      if (leaf.text !== undefined) texts.push(leaf.text);
      return leaf.raw;
    }
    const kind = ["mixed", "alternative", "related", "x-own"][random(4)];
    const boundary = `b${++boundaries}`;
    const parts = Array.from(
      { length: 1 + random(3) },
      () => `--${boundary}${eol}${entity(depth + 1)}${eol}`,
    );
    const preamble = random(2) === 0 ? `preamble${eol}` : "";
    const epilogue = random(2) === 0 ? `epilogue${depth === 0 ? eol : ""}` : "";
    return `Content-Type: multipart/${kind}; boundary=${boundary}${eol}${eol}${preamble}${parts.join("")}--${boundary}--${eol}${epilogue}`;
  };
  const raw = `Subject: x${eol}X-A: 1${eol}\t2${eol}${random(2) === 0 ? `MIME-Version: 1.0${eol}` : ""}${entity(0)}`;
  return { raw: Buffer.from(raw, "latin1"), texts };
}
