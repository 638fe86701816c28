import assert from "node:assert/strict";
import { test } from "node:test";
import { encodeText } from "../../src/bytes.ts";
import type { Edit } from "../../src/message/edit.ts";
import { HeaderFields } from "../../src/message/headers.ts";
import { applyModifiers, topLines } from "../../src/message/modifiers.ts";
import { seeded } from "./helper.ts";

const fields = (lines: readonly string[]) =>
  HeaderFields.parse(Buffer.from(`${lines.map((line) => `${line}\r\n`).join("")}\r\n`, "latin1")).headers;

const nameOf = (line: string) => line.slice(0, line.indexOf(":")).trim().toLowerCase();

/**
 * The header after the edits, as an MTA carries them out in order, below its
 * own Received field. `countsDeleted`: deleted fields still count for an index,
 * as in sendmail's filter library; in Postfix they do not.
 */
function carriedOut(lines: readonly string[], edits: readonly Edit[], countsDeleted: boolean): string[] {
  const header = [
    { line: "Received: own", own: true, deleted: false },
    ...lines.map((line) => ({ line, own: false, deleted: false })),
  ];
  for (const edit of edits) {
    if (edit.kind === "addHeader")
      header.push({ line: `${edit.name}:${edit.value}`, own: false, deleted: false });
    else if (edit.kind === "insertHeader") {
      header.splice(edit.index, 0, { line: `${edit.name}:${edit.value}`, own: false, deleted: false });
    } else if (edit.kind === "changeHeader") {
      const name = edit.name.toLowerCase();
      const same = header.filter(
        (field) => nameOf(field.line) === name && !field.own && (countsDeleted || !field.deleted),
      );
      const field = same[edit.index - 1];
      assert.ok(field && !field.deleted, `no field ${edit.name} ${edit.index}`);
      if (edit.value === "") field.deleted = true;
      else field.line = `${edit.name}:${edit.value}`;
    } else assert.fail(`an edit of kind ${edit.kind}`);
  }
  return header
    .filter((field) => !field.deleted)
    .slice(1)
    .map((field) => field.line);
}

const BASE = [
  "Received: a",
  "Received: b",
  "From: x",
  "X-Tag: 1",
  "To: y",
  "x-tag: 2\r\n folded",
  "Subject: s",
  "X-TAG: 3",
];
const without = (...numbers: number[]) => BASE.filter((_, index) => !numbers.includes(index));

const CASES: [what: string, modifiers: string[], result: string[]][] = [
  ["nothing", [], BASE],
  ["present: replaced, in its place", ["Subject: new"], BASE.with(6, "Subject: new")],
  ["present in another case", ["subject: new"], BASE.with(6, "subject: new")],
  ["without space after the colon", ["Subject:new"], BASE.with(6, "Subject:new")],
  ["white space before the colon", ["Subject : new"], BASE.with(6, "Subject: new")],
  [
    "present several times: the first replaced, the others removed",
    ["X-Tag: new"],
    without(5, 7).with(3, "X-Tag: new"),
  ],
  ["present and empty: every one removed", ["X-Tag:"], without(3, 5, 7)],
  ["empty means white space too", ["X-Tag: \t "], without(3, 5, 7)],
  ["absent: appended", ["X-New: v"], [...BASE, "X-New: v"]],
  ["absent and empty: nothing", ["X-New:"], BASE],
  ["the same twice: the last one wins", ["X-New: 1", "x-new: 2"], [...BASE, "x-new: 2"]],
  ["replaced, then removed", ["X-Tag: new", "X-Tag:"], without(3, 5, 7)],
  ["removed, then appended", ["X-Tag:", "X-Tag: new"], [...without(3, 5, 7), "X-Tag: new"]],
  ["added, then removed", ["X-New: 1", "X-New:"], BASE],
  ["- adds at the top", ["-X-Tag: top"], ["X-Tag: top", ...BASE]],
  ["- twice: the later one is on top", ["-A: 1", "-B: 2"], ["B: 2", "A: 1", ...BASE]],
  ["+ adds at the end, even when present", ["+X-Tag: end"], [...BASE, "X-Tag: end"]],
  [
    "+ and - do not disturb each other",
    ["+A: 1", "-B: 2", "+C: 3", "-D: 4"],
    ["D: 4", "B: 2", ...BASE, "A: 1", "C: 3"],
  ],
  [
    "+ then replace: the first received one is replaced, the added one goes",
    ["+X-Tag: end", "X-Tag: new"],
    without(5, 7).with(3, "X-Tag: new"),
  ],
  [
    "- then replace: the one on top is the first",
    ["-X-Tag: top", "X-Tag: new"],
    ["X-Tag: new", ...without(3, 5, 7)],
  ],
  ["# removes what matches", ["#X-Tag: ^2"], without(5)],
  ["# looks anywhere and in any case", ["#From: X"], without(2)],
  ["# sees folds as one line", ["#x-tag: 2 folded$"], without(5)],
  ["# without a match", ["#X-Tag: 9"], BASE],
  ["# for every one", ["#X-Tag: ."], without(3, 5, 7)],
  ["# then replace", ["#X-Tag: 1", "X-Tag: new"], without(3, 7).with(4, "X-Tag: new")],
  ["# sees what was replaced and added", ["X-Tag: new", "+X-Tag: newer", "#X-Tag: new"], without(3, 5, 7)],
  ["# case matters when asked", ["#From: (?-i)X"], BASE],
  ["Received: the MTA's own is not touched", ["Received:"], without(0, 1)],
  ["8-bit values pass", [`Subject: ${encodeText("grün")}`], BASE.with(6, `Subject: ${encodeText("grün")}`)],
  ["a colon in the value", ["Subject: a: b"], BASE.with(6, "Subject: a: b")],
];

for (const [what, modifiers, result] of CASES) {
  test(`modifiers: ${what}`, () => {
    const { edits, ignored } = applyModifiers(fields(BASE), modifiers);
    assert.deepEqual(ignored, []);
    for (const countsDeleted of [true, false])
      assert.deepEqual(carriedOut(BASE, edits, countsDeleted), result);
  });
}

const BAD: [modifier: string, why: RegExp][] = [
  ["", /no header line/],
  ["Subject", /no header line/],
  [": value", /no header line/],
  [" Subject: x", /no header line/],
  ["Sub ject: x", /no header line/],
  ["Sübject: x", /no header line/],
  ["Subject: x\r\nBcc: y", /line break or NUL/],
  ["Subject: x\n y", /line break or NUL/],
  ["Subject: x\r", /line break or NUL/],
  ["Subject: x\0", /line break or NUL/],
  ["Sub\nject: x", /line break or NUL/],
  ["+X-New:", /nothing to add/],
  ["-X-New: ", /nothing to add/],
  ["#Subject:", /no pattern/],
  ["#Subject: (", /pattern is not valid/],
  ["#Subject: (?=a)", /pattern is not valid/],
  ["-{joe}X-New: v", /one user/],
  ["+{joe}X-New: v", /one user/],
  ["-", /no header line/],
];

test("bad modifiers are left out and reported, the others are carried out", () => {
  const { edits, ignored } = applyModifiers(fields(BASE), [...BAD.map(([modifier]) => modifier), "X-New: v"]);
  assert.deepEqual(
    ignored.map(({ modifier }) => modifier),
    BAD.map(([modifier]) => modifier),
  );
  for (const [index, [modifier, why]] of BAD.entries()) assert.match(ignored[index]!.why, why, modifier);
  assert.deepEqual(edits, [{ kind: "addHeader", name: "X-New", value: " v" }]);
});

test("unchanged fields make no edits; an emptied header is one edit a field, last first", () => {
  assert.deepEqual(applyModifiers(fields(BASE), []), { edits: [], ignored: [] });
  assert.deepEqual(applyModifiers(fields(BASE), ["#Subject: none", "X-None:"]).edits, []);
  assert.deepEqual(
    applyModifiers(fields(BASE), ["X-Tag:"]).edits.map((edit) => edit.kind === "changeHeader" && edit.index),
    [3, 2, 1],
  );
});

test("random modifiers give the same header whether the MTA counts deleted fields or not", () => {
  const signs = ["", "", "", "-", "+", "#"];
  const names = ["X-Tag", "subject", "RECEIVED", "New"];
  for (let seed = 1; seed <= 2000; seed++) {
    const random = seeded(seed);
    const modifiers = Array.from({ length: 1 + random(6) }, () => {
      const value = ["", "1", "2", "a", "."][random(5)]!;
      return `${signs[random(signs.length)]}${names[random(names.length)]}: ${value}`;
    });
    const { edits } = applyModifiers(fields(BASE), modifiers);
    assert.deepEqual(carriedOut(BASE, edits, true), carriedOut(BASE, edits, false), modifiers.join(" | "));
  }
});

test("patterns that ruin backtracking engines take no time", () => {
  const header = fields([`X: ${"a".repeat(50_000)}`]);
  const { edits, ignored } = applyModifiers(header, ["#X: ^(a+)+$", "#X: (a|a)*b", "#X: (.*)*c"]);
  assert.deepEqual(ignored, []);
  assert.equal(edits.length, 1);
});

const TOP: [what: string, lines: string | string[], inserted: string[], ignored: string[]][] = [
  ["nothing", "", [], []],
  ["one line", "A: 1", ["A: 1"], []],
  ["lines with LF and CRLF", "A: 1\nB: 2\r\nC:3\n", ["A: 1", "B: 2", "C:3"], []],
  ["a list", ["A: 1", "B: 2"], ["A: 1", "B: 2"], []],
  ["a list of lines with line ends", ["A: 1\r\n", "B: 2\n"], ["A: 1", "B: 2"], []],
  ["folds", "A: 1\r\n 2\n\t3\nB: 4", ["A: 1\n 2\n\t3", "B: 4"], []],
  ["blank lines between", "A: 1\n\nB: 2\n\n", ["A: 1", "B: 2"], []],
  ["lines that are none", "A: 1\nnonsense\nB: 2", ["A: 1", "B: 2"], ["nonsense"]],
  [
    "the fold of a line that is none goes with it",
    "bad name: 1\n folded\nB: 2",
    ["B: 2"],
    ["bad name: 1\n folded"],
  ],
  ["a first line with leading white space", " A: 1\nB: 2", ["B: 2"], [" A: 1"]],
  ["NUL and CR", ["A: \0", "B: a\rb", "C: 3"], ["C: 3"], ["A: \0", "B: a\rb"]],
  ["an empty value", "A:", ["A:"], []],
];

for (const [what, lines, inserted, ignored] of TOP) {
  test(`header lines for the top: ${what}`, () => {
    const top = topLines(lines);
    assert.deepEqual(
      top.ignored.map(({ line }) => line),
      ignored,
    );
    assert.ok(top.ignored.every(({ why }) => why !== ""));
    assert.deepEqual(carriedOut(["From: x"], top.edits, false), [...inserted, "From: x"]);
  });
}
