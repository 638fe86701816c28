import assert from "node:assert/strict";
import { test } from "node:test";
import { HeaderFields } from "../../src/message/headers.ts";

function parse(text: string) {
  const raw = Buffer.from(text, "latin1");
  const { headers, bodyStart, separated } = HeaderFields.parse(raw);
  return { lines: [...headers].map((field) => field.line), headers, bodyStart, separated };
}

const BLOCKS: [what: string, raw: string, lines: string[], bodyStart: number, separated: boolean][] = [
  ["nothing", "", [], 0, false],
  ["a blank line only", "\r\n", [], 2, true],
  ["a bare LF only", "\n", [], 1, true],
  ["two fields", "A: 1\r\nB: 2\r\n\r\nbody", ["A: 1", "B: 2"], 14, true],
  ["bare LF", "A: 1\nB: 2\n\nbody", ["A: 1", "B: 2"], 11, true],
  ["a fold", "A: 1\r\n 2\r\n\t3\r\nB: 2\r\n\r\n", ["A: 1\r\n 2\r\n\t3", "B: 2"], 22, true],
  ["a fold of white space alone", "A: 1\r\n \r\nB: 2\r\n\r\n", ["A: 1\r\n ", "B: 2"], 17, true],
  ["no blank line before the end", "A: 1\r\n", ["A: 1"], 6, false],
  ["no line end at the end", "A: 1", ["A: 1"], 4, false],
  ["a line that is no field", "A: 1\r\nbody\r\n", ["A: 1"], 6, false],
  ["a first line that is no field", "body\r\nA: 1\r\n", [], 0, false],
  ["a first line with leading white space", " A: 1\r\n\r\n", [], 0, false],
  ["white space before the colon", "A \t: 1\r\n\r\n", ["A \t: 1"], 10, true],
  ["a name with a space", "A b: 1\r\n\r\n", [], 0, false],
  ["an empty name", ": 1\r\n\r\n", [], 0, false],
  ["an 8-bit name", "\xe4: 1\r\n\r\n", [], 0, false],
  ["8-bit and NUL in a value", "A: \xe4\0\r\n\r\n", ["A: \xe4\0"], 9, true],
  ["a CR in a value", "A: 1\r2\r\n\r\n", ["A: 1\r2"], 10, true],
  ["no space after the colon", "A:1\r\n\r\n", ["A:1"], 7, true],
  ["an empty value", "A:\r\nB: \r\n\r\n", ["A:", "B: "], 11, true],
];

for (const [what, raw, lines, bodyStart, separated] of BLOCKS) {
  test(`a header block with ${what}`, () => {
    const parsed = parse(raw);
    assert.deepEqual(
      { lines: parsed.lines, bodyStart: parsed.bodyStart, separated: parsed.separated },
      { lines, bodyStart, separated },
    );
  });
}

test("fields are found by name whatever the case, in order, and keep how they were spelled", () => {
  const { headers } = parse("To: a\r\nX-A: 1\r\nx-a : 2\r\nX-a:\t3\r\n\r\n");
  assert.equal(headers.length, 4);
  assert.deepEqual(
    headers.all("X-A").map(({ name, value }) => [name, value]),
    [
      ["X-A", "1"],
      ["x-a", "2"],
      ["X-a", "3"],
    ],
  );
  assert.equal(headers.first("TO")?.value, "a");
  assert.equal(headers.first("cc"), undefined);
  assert.deepEqual(headers.all("__proto__"), []);
});

test("a value begins after the white space of its first line and keeps its folds", () => {
  const { headers } = parse("A: \t b\r\n  c \r\n\r\nbody");
  assert.equal(headers.first("a")?.value, "b\r\n  c ");
});

test("appended fields keep their bytes, folds become CRLF", () => {
  const headers = new HeaderFields();
  headers.append("A", " 1\n\t2\r\n 3");
  headers.append(Buffer.from("B"), Buffer.from("x\n y\xe4", "latin1"), " ");
  headers.append("C", "");
  headers.append("D", "\n x\n");
  assert.deepEqual(
    [...headers].map((field) => field.line),
    ["A: 1\r\n\t2\r\n 3", "B: x\r\n y\xe4", "C:", "D:\r\n x\r\n"],
  );
  assert.equal(
    headers.bytes.toString("latin1"),
    "A: 1\r\n\t2\r\n 3\r\nB: x\r\n y\xe4\r\nC:\r\nD:\r\n x\r\n\r\n",
  );
});

test("a hundred thousand fields are appended, parsed and found", () => {
  const headers = new HeaderFields();
  for (let i = 0; i < 100_000; i++) headers.append(`X-${i % 1000}`, ` value ${i}\n folded`);
  assert.equal(headers.length, 100_000);
  assert.equal(headers.all("x-999").length, 100);
  const parsed = HeaderFields.parse(Buffer.concat([headers.bytes, Buffer.from("\r\n")]));
  assert.equal(parsed.headers.length, 100_000);
  assert.equal(parsed.headers.all("X-7")[99]?.line, "X-7: value 99007\r\n folded");
});
