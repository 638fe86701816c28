/**
 * Signatures in messages that nobody wrote by hand: generated ones, real
 * oddities, and these mutated. Whatever is signed, every byte outside the
 * signed texts stays, the texts say what they said and the signature once,
 * and a second time nothing changes.
 */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { MessageStore } from "../../src/message/store.ts";
import { cut, generate, seeded } from "./helper.ts";
import { letter } from "./letters.ts";
import { mutate } from "./mutate.ts";
import { partsOf, type Signed, sign, without } from "./signature-helper.ts";

const LONG = process.env.POSTLUA_LONG !== undefined;
const MESSAGES = new URL("../messages/", import.meta.url);
const files = readdirSync(MESSAGES).filter((name) => name.endsWith(".eml"));
const read = (name: string) => readFileSync(new URL(name, MESSAGES));

const PLAIN = [
  "-- \nJoe Doe\nSales",
  "Joe Doe, Grüße",
  "\nДжо 10 €\n",
  "山田 太郎\n--b1\n--b2",
  "x".repeat(1200),
];
const HTML = [
  "<p>Joe <b>Doe</b></p>",
  "<hr><div>Grüße, 10 €</div>\n",
  "<table><tr><td>Джо</td><td>山田</td></tr></table>",
  '<img src="cid:logo" alt="">',
  `<p>${"y".repeat(1200)}</p>`,
];

const MIME_FIELDS = /^(content-type|content-transfer-encoding|mime-version)$/i;

/** What must hold of every message that was signed. @returns how many texts were */
function checkSigned(before: Buffer, { raw: after, result }: Signed): number {
  const paths = result.changed.map(({ path }) => path);
  if (paths.length === 0) {
    assert.ok(after.equals(before), "nothing signed, but changed");
    return 0;
  }
  assert.ok(without(after, paths).equals(without(before, paths)), "bytes outside the signed texts");
  const fields = (raw: Buffer) =>
    [...MessageStore.fromBytes(raw, { verbatim: true }).headers]
      .filter(({ name }) => !MIME_FIELDS.test(name))
      .map(({ line }) => line);
  assert.deepEqual(fields(after), fields(before), "header fields that say nothing of the text");
  const [old, now] = [partsOf(before), partsOf(after)];
  assert.deepEqual([...now.keys()], [...old.keys()], "the same parts");
  for (const path of paths) {
    const [a, b] = [old.get(path)!, now.get(path)!];
    if (a.part.parent >= 0) assert.deepEqual(fields(b.bytes), fields(a.bytes), "the part's other fields");
    const added = b.text.length - a.text.length;
    let same = 0;
    while (same < a.text.length && a.text[same] === b.text[same]) same++;
    assert.ok(added > 0);
    assert.equal(b.text.slice(same + added), a.text.slice(same), `text of ${path}`);
  }
  return paths.length;
}

/** A signature as it stands in a text: references and the marks of flowed text undone. */
function shown(text: string): string {
  return text
    .replace(/&#(\d+);/g, (_, code: string) => String.fromCodePoint(Number(code)))
    .replace(/\r\n/g, "\n");
}

function count(text: string, part: string): number {
  return shown(text).split(part).length - 1;
}

const ROUNDS = LONG ? 30_000 : 1500;

test(`${ROUNDS} generated letters`, () => {
  let signed = 0;
  let letters = 0;
  for (let seed = 1; seed <= ROUNDS; seed++) {
    const random = seeded(seed);
    const { raw, texts } = letter(random);
    const plain = PLAIN[random(PLAIN.length)]!;
    const html = HTML[random(HTML.length)]!;
    const position = random(2) === 0 ? "end" : "above_quote";
    try {
      const all = sign(raw, { plain, html }, { position });
      const changed = checkSigned(raw, all);
      const found = [...partsOf(raw).values()].map(({ text }) => text);
      for (const text of texts) assert.ok(found.includes(text), "the generator and the parser agree");
      for (const { path } of all.result.changed) {
        const { part, text } = partsOf(all.raw).get(path)!;
        const signature = part.contentSubtype === "html" ? html : plain;
        assert.equal(count(text, signature.trim()), 1, `${signature} in ${JSON.stringify(text)}`);
      }
      for (const { why } of all.result.left) assert.match(why, /no body text|names no charset/);
      const again = sign(all.raw, { plain, html }, { position });
      assert.deepEqual(again.result.changed, [], "a second time");
      signed += changed;
      if (changed > 0) letters++;
    } catch (error) {
      throw new Error(`seed ${seed}: ${JSON.stringify(raw.toString("latin1"))}`, { cause: error });
    }
  }
  assert.ok(letters > ROUNDS / 2 && signed > letters, `${signed} texts in ${letters} letters of ${ROUNDS}`);
});

test("real oddities", () => {
  for (const file of files) {
    for (const verbatim of [true, false]) {
      const whole = MessageStore.fromBytes(read(file), { verbatim });
      const raw = whole.slice(0);
      for (const [i, plain] of PLAIN.entries()) {
        const signatures = { plain, html: HTML[i]! };
        try {
          const signed = sign(raw, signatures);
          checkSigned(raw, signed);
          assert.deepEqual(sign(signed.raw, signatures).result.changed, [], "a second time");
        } catch (error) {
          throw new Error(`${file} with ${plain}`, { cause: error });
        }
      }
    }
  }
});

test(`${ROUNDS} mutated messages`, () => {
  const origins = files.map(read);
  for (let seed = 1; seed <= ROUNDS; seed++) {
    const random = seeded(seed);
    const kinds = [
      () => origins[random(origins.length)]!,
      () => generate(random).raw,
      () => letter(random).raw,
    ];
    const raw = mutate(kinds[random(3)]!(), random);
    const signatures = { plain: PLAIN[random(PLAIN.length)]!, html: HTML[random(HTML.length)]! };
    const position = random(2) === 0 ? "end" : "above_quote";
    try {
      const signed = sign(raw, signatures, { position });
      checkSigned(raw, signed);
      assert.deepEqual(sign(signed.raw, signatures, { position }).result.changed, [], "a second time");
    } catch (error) {
      throw new Error(`seed ${seed}: ${JSON.stringify(raw.toString("latin1"))}`, { cause: error });
    }
  }
});

test("how a message lies in its store changes nothing", () => {
  for (let seed = 1; seed <= ROUNDS / 3; seed++) {
    const random = seeded(seed);
    const { raw } = letter(random);
    const signatures = { plain: PLAIN[random(PLAIN.length)]!, html: HTML[random(HTML.length)]! };
    const position = random(2) === 0 ? "end" : "above_quote";
    const most = seed % 2 === 0 ? 1 : 50;
    const once = sign(raw, signatures, { position });
    const cutUp = sign(raw, signatures, { position }, (bytes) => cut(bytes, random, most));
    assert.deepEqual(cutUp.raw, once.raw, `seed ${seed}`);
    assert.deepEqual(cutUp.result.left, once.result.left, `seed ${seed}`);
  }
});

const MEGABYTES = LONG ? 20 : 1;
const HOSTILE = [
  "<",
  "<div ",
  "<div type=",
  "</body",
  "<!--",
  "&",
  "> ",
  "a:\n>",
  "-----x-----\n",
  " ",
  "-",
  "\n",
  "\r",
];

test(`${MEGABYTES} MB of the same few bytes take no longer than others`, () => {
  const html = "<p>- - - - Joe <b>Doe</b></p>";
  const plain = `${"- ".repeat(40)}Joe`;
  for (const unit of HOSTILE) {
    const text = `${unit.repeat((MEGABYTES << 20) / unit.length)}Joe Doe`;
    for (const type of ["plain", "html"]) {
      for (const position of ["end", "above_quote"] as const) {
        const raw = Buffer.from(`Content-Type: text/${type}\r\n\r\n${text}\r\n`);
        const since = performance.now();
        assert.equal(sign(raw, { plain, html }, { position }).result.changed.length, 1, unit);
        assert.ok(performance.now() - since < MEGABYTES * 3000, `${unit} as ${type}`);
      }
    }
  }
});
