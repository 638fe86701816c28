import assert from "node:assert/strict";
import { test } from "node:test";
import type { Notice, NoticeRecipient } from "../../src/message/notice.ts";
import { readNotice } from "../../src/message/notice.ts";
import { fillIn, noticeFormat } from "../../src/message/notice-format.ts";
import { captured, NAMES } from "../notices/fixtures.ts";

function notice(
  text: string,
  recipients: readonly (readonly [string, string, string])[],
  queueId = "4F2A",
): Notice {
  return {
    kind: "bounce",
    subject: "",
    queueId,
    recipients: recipients.map(
      ([address, status, diagnostic]): NoticeRecipient => ({ address, status, diagnostic, remote: true }),
    ),
    part: { why: "" },
    text,
  };
}

const A = ["a@b.test", "5.1.1", "550 5.1.1 no a@b.test"] as const;

const FORMATS: [
  what: string,
  text: string,
  recipients: (readonly [string, string, string])[],
  format: string,
][] = [
  ["all four", "<a@b.test> 5.1.1 550 5.1.1 no a@b.test 4F2A", [A], "<%1> %2 %3 %4"],
  ["a wrapped diagnostic", "<a@b.test>: 550 5.1.1\n    no\ta@b.test\n", [A], "<%1>: %3\n"],
  ["nothing to be found", "Sorry.\n", [A], "Sorry.\n"],
  ["percent signs", "100% <a@b.test> 5%\n", [A], "100%% <%1> 5%%\n"],
  [
    "no parts of longer words",
    "xa@b.test a@b.test.x a@b.testing 15.1.1 5.1.11 4F2AB",
    [A],
    "xa@b.test a@b.test.x a@b.testing 15.1.1 5.1.11 4F2AB",
  ],
  ["at the end of a sentence", "No a@b.test. Status 5.1.1.", [A], "No %1. Status %2."],
  [
    "a digit behind a value",
    "550 5.1.1 no a@b.test5 and 4F2A",
    [["a@b.test", "", "550 5.1.1 no a@b.test"]],
    "550 5.1.1 no a@b.test5 and %4",
  ],
  ["empty values", "<> x", [["", "", ""]], "<> x"],
  ["the queue ID before the recipients", "4F2A failed:\n<a@b.test>: x 4F2A", [A], "%4 failed:\n<%1>: x %4"],
  [
    "each recipient's values in its own paragraph",
    "<a@b.test>: 5.1.1 same\n<c@d.test>: 5.1.1 same\n",
    [
      ["a@b.test", "5.1.1", "same"],
      ["c@d.test", "5.1.1", "same"],
    ],
    "<%1>: %2 %3\n<%5>: %6 %7\n",
  ],
  [
    "special characters",
    "<a+b@c.test>: 5 (x) [y] .* $&",
    [["a+b@c.test", "5", "(x) [y] .* $&"]],
    "<%1>: %2 %3",
  ],
];

for (const [what, text, recipients, format] of FORMATS) {
  test(`format: ${what}`, () => {
    const made = noticeFormat(notice(text, recipients));
    assert.equal(made.format, format);
    assert.equal(fillIn(made.format, made.parameters).replace(/\s+/g, " "), text.replace(/\s+/g, " "));
  });
}

test("captured notices are filled in to what they were, but for line breaks in diagnostics", () => {
  for (const name of NAMES) {
    const { store, sender } = captured(name);
    const read = readNotice(store, sender);
    if (read === undefined) continue;
    const { format, parameters } = noticeFormat(read);
    assert.equal(fillIn(format, parameters).replace(/\s+/g, " "), read.text.replace(/\s+/g, " "), name);
  }
});

test("the first 32 recipients have numbers", () => {
  const many = Array.from({ length: 40 }, (_, n) => [`r${n}x@b.test`, "5.1.1", `no ${n} here`] as const);
  const text = many.map(([address, , diagnostic]) => `<${address}>: ${diagnostic}\n`).join("");
  const { format, parameters } = noticeFormat(notice(text, many));
  assert.equal(parameters.length, 97);
  const lines = format.split("\n");
  assert.equal(lines[31], "<%95>: %97");
  assert.equal(lines[32], "<r32x@b.test>: no 32 here");
  assert.equal(fillIn(format, parameters), text);
});

const FILLED: [format: string, text: string][] = [
  ["%1", "one"],
  ["%2%1", "twoone"],
  ["%%1", "%1"],
  ["%%%1", "%one"],
  ["%10", "ten"],
  ["%11", "one1"],
  ["%99", "%9"],
  ["%30", "0"],
  ["%0", "%0"],
  ["%01", "one"],
  ["100%", "100%"],
  ["% 1", "% 1"],
  ["%x", "%x"],
  ["%9", "%"],
];

for (const [format, text] of FILLED) {
  test(`"${format}" is filled in as "${text}"`, () => {
    const parameters = ["one", "two", "", "", "", "", "", "", "%", "ten"];
    assert.equal(fillIn(format, parameters), text);
  });
}
