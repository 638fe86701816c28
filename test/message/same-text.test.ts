/** Finding a text again that a mail program has quoted, wrapped and rewritten. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { HtmlText } from "../../src/message/html-text.ts";
import { SameText } from "../../src/message/same-text.ts";
import { atOnce } from "../../src/message/steps.ts";
import { type Random, seeded } from "./helper.ts";

function cutText(text: string, random: Random, most: number): string[] {
  const pieces: string[] = [];
  for (let at = 0; at < text.length; ) {
    const size = 1 + random(most);
    pieces.push(text.slice(at, at + size));
    at += size;
  }
  return pieces;
}

const HTML: [html: string, text: string][] = [
  ["plain", "plain"],
  ["<p>a<b>b</b></p>c<br>d", "\nab\nc\nd"],
  ["a &lt; b &amp; &uuml;&#252;&#xfc; &unknown; &", "a < b & üüü &unknown; &"],
  ["1 < 2 <3 <!doctype x><?php y>", "1 < 2 <3 "],
  ["a<!-- b <p> -->c<!---->d<!-- e", "acd"],
  ["<style>x</styl></style >a<SCRIPT>if (a<b)</script>b<title>c", "\n\na\n\nb\n"],
  ['<a href="x">y</a><img alt="z">', "y"],
  ["a<", "a<"],
  ["a<b", "a<b"],
  ["a<b c", "a<b c"],
];

for (const [html, text] of HTML) {
  test(`text of ${JSON.stringify(html)}, however it is cut`, () => {
    for (let seed = 0; seed < 20; seed++) {
      const reader = new HtmlText();
      const pieces = seed === 0 ? [html] : cutText(html, seeded(seed), 4);
      const said = [...pieces.map((piece) => reader.push(piece)), reader.finish()].join("");
      assert.equal(said, text);
    }
  });
}

const CASES: [name: string, wanted: string, html: boolean, text: string, found: boolean][] = [
  ["the whole text", "Joe\nSales", false, "Joe\r\nSales", true],
  ["in the middle", "Joe\nSales", false, "x\n\nJoe\nSales\n\ny", true],
  ["wrapped and quoted", "Joe Doe, Sales", false, "x\n>> Joe Doe,\n>>   Sales\n", true],
  ["within a line", "Joe Doe", false, "I am Joe Doe\n", false],
  ["a line that begins so", "Joe Doe", false, "Joe Doe is here\n", false],
  ["found behind one that is none", "Joe Doe", false, "Joe Doe Joe Doe\nJoe Doe\n", true],
  ["no words at all", "...", false, "x\n...\ny", true],
  ["quote marks of its own", "> Joe", false, "> > Joe", true],
  ["HTML blocks", "<p>Joe<br>Doe</p>", true, "<div>Hello</div><div>Joe</div>Doe</div>", true],
  ["HTML in one line", "<p>Joe<br>Doe</p>", true, "<p>Hello Joe Doe</p>", false],
];

for (const [name, wanted, html, text, found] of CASES) {
  test(`${found ? "found" : "not found"}: ${name}`, () => {
    const same = new SameText(wanted, html);
    assert.ok(same.comparable);
    for (let seed = 0; seed < 50; seed++) {
      const pieces = () => (seed === 0 ? [text] : cutText(text, seeded(seed), seed % 3 === 0 ? 1 : 9));
      assert.equal(atOnce(same.maybeCarried(pieces())) && atOnce(same.carried(pieces())), found);
    }
  });
}

test("nothing to compare", () => {
  assert.equal(new SameText("\n >\n", false).comparable, false);
  assert.equal(new SameText('<hr><img src="x">', true).comparable, false);
});
