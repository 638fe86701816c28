/** Addresses as Postfix reads and writes them. */
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  canonical,
  internalize,
  parseList,
  quote,
  type RewriteRules,
  scan,
  splitExtension,
} from "../../src/directory/address.ts";

const RULES: RewriteRules = {
  swapBangPath: true,
  percentHack: true,
  appendAtMyorigin: true,
  appendDotMydomain: false,
  myorigin: "my.test",
  mydomain: "dom.test",
};

test("the canonical form", () => {
  const cases: readonly (readonly [string, string])[] = [
    ["joe", "joe@my.test"],
    ["joe@x.test", "joe@x.test"],
    ["joe@x.test.", "joe@x.test"],
    ["joe@x..", "joe@x.."],
    ["joe%x.test", "joe@x.test"],
    ["joe%x%y.test", "joe%x@y.test"],
    ["x.test!joe", "joe@x.test"],
    ["x!y!joe", "y!joe@x"],
    ["@a,@b:joe@x.test", "joe@x.test"],
    ['"a b"@x.test', "a b@x.test"],
    ['"a@b"', "a@b@my.test"],
    ["joe(a comment)@x.test", "joe@x.test"],
    ["joe@[192.0.2.1]", "joe@[192.0.2.1]"],
    ["@", ""],
    ['""', ""],
    ["a\\ b@x.test", "a b@x.test"],
  ];
  for (const [typed, expected] of cases) assert.equal(canonical(scan(typed), RULES), expected, typed);
  const dotted = { ...RULES, appendDotMydomain: true, percentHack: false, swapBangPath: false };
  assert.equal(canonical(scan("joe@host"), dotted), "joe@host.dom.test");
  assert.equal(canonical(scan("joe%host"), dotted), "joe%host@my.test");
  assert.equal(canonical(scan("a!b"), dotted), "a!b@my.test");
});

test("lists: commas, spaces, names, comments, quotes", () => {
  const cases: readonly (readonly [string, readonly string[]])[] = [
    ["a@x.test, b@y.test", ["a@x.test", "b@y.test"]],
    ["a@x.test b@y.test", ["a@x.test", "b@y.test"]],
    ["a@x.test,,b", ["a@x.test", "b"]],
    ["Joe Doe <joe@x.test>, <ann@x.test>", ["joe@x.test", "ann@x.test"]],
    ['"Doe, Joe" <joe@x.test>', ["joe@x.test"]],
    ["joe (one, two) , ann", ["joe", "ann"]],
    ['"|prog -x, y"', ["|prog -x, y"]],
    [":include:/etc/a.b", [":include:/etc/a.b"]],
    ['":include:/a b", /var/x', [":include:/a b", "/var/x"]],
    ["", []],
    [" , ", []],
    ["<joe@x.test", ["joe@x.test"]],
  ];
  for (const [text, expected] of cases) assert.deepEqual(parseList(text).map(internalize), expected, text);
});

test("quotes where a local part needs them", () => {
  assert.equal(quote("joe@x.test"), "joe@x.test");
  assert.equal(quote("a.b@x.test"), "a.b@x.test");
  assert.equal(quote("a b@x.test"), '"a b"@x.test');
  assert.equal(quote("a..b@x.test"), '"a..b"@x.test');
  assert.equal(quote(".a@x.test"), '".a"@x.test');
  assert.equal(quote('a"b\\c@x.test'), '"a\\"b\\\\c"@x.test');
  assert.equal(quote("a@b@x.test"), '"a@b"@x.test');
  assert.equal(quote("jürgen@x.test"), "jürgen@x.test");
  assert.equal(quote("a b", true), '"a b"');
});

test("quoting and reading back gives the same address", () => {
  const letters = ["a", ".", " ", '"', "\\", "@", "+", "(", ")", "ü", ",", "<", "!", "%"];
  let seed = 7;
  const random = (below: number) => {
    seed = (seed * 1_103_515_245 + 12_345) % 2 ** 31;
    return Math.floor((seed / 2 ** 31) * below);
  };
  for (let n = 0; n < 2_000; n++) {
    const local = Array.from({ length: 1 + random(8) }, () => letters[random(letters.length)]).join("");
    const address = `${local}@x.test`;
    // "@b:c" at the start is a route, which is taken off.
    if (local.startsWith("@")) continue;
    assert.equal(internalize(scan(quote(address))), address, quote(address));
  }
});

test("extensions", () => {
  const rules = { delimiters: "+", ownerRequestSpecial: true, doubleBounceSender: "double-bounce" };
  assert.deepEqual(splitExtension("joe+a+b", rules), ["joe", "+a+b"]);
  assert.deepEqual(splitExtension("joe", rules), ["joe", ""]);
  assert.deepEqual(splitExtension("+a", rules), ["+a", ""]);
  assert.deepEqual(splitExtension("joe+", rules), ["joe", "+"]);
  const dashes = { ...rules, delimiters: "+-" };
  assert.deepEqual(splitExtension("joe-a", dashes), ["joe", "-a"]);
  for (const whole of ["owner-list", "list-request", "double-bounce", "Mailer-Daemon"]) {
    assert.deepEqual(splitExtension(whole, dashes), [whole, ""]);
  }
  assert.deepEqual(splitExtension("joe+a", { ...rules, delimiters: "" }), ["joe+a", ""]);
});
