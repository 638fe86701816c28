import assert from "node:assert/strict";
import { test } from "node:test";
import { SMTPSVR } from "../../src/scripts/callbacks.ts";
import {
  contradictions,
  definedFunctions,
  type LintFinding,
  misspelt,
  positiveReturns,
  readOnlyAssignments,
  tokens,
} from "../../src/scripts/lint.ts";

const list = (source: string) => tokens(Buffer.from(source, "latin1"), "5.0").list;
const lines = (found: readonly LintFinding[]) => found.map(({ line }) => line);

test("functions are found however they are written, and only global ones", () => {
  const source = [
    "function A() end",
    "B = function() end",
    "local function C() end",
    "local D = function() end",
    "t.E = function() end",
    "function t.F() end",
    "function t:G() end",
    'x = "function H() end" -- function I() end',
  ].join("\n");
  assert.deepEqual(definedFunctions(list(source)), [
    { name: "A", line: 1 },
    { name: "B", line: 2 },
  ]);
});

const SPELLING: [name: string, meant: string | undefined][] = [
  ["DoRCPTTO", undefined],
  ["DoRCPTO", "DoRCPTTO"],
  ["doRcptTo", "DoRCPTTO"],
  ["DoMailFrom", "DoMAILFROM"],
  ["DoMAILFORM", "DoMAILFROM"],
  ["ProcessMesage", "ProcessMessage"],
  ["start", "Start"],
  ["Strat", "Start"],
  ["Stats", undefined],
  ["helper", undefined],
  ["GetMaxSize", undefined],
];

for (const [name, meant] of SPELLING) {
  test(`spelling of ${name}`, () => {
    const found = misspelt([{ name, line: 7 }], Object.keys(SMTPSVR));
    if (meant === undefined) assert.deepEqual(found, []);
    else assert.deepEqual(found, [{ line: 7, text: `function ${name} is never called; is ${meant} meant?` }]);
  });
}

test("assignments to read-only globals, and to nothing else of that name", () => {
  const source = [
    'IPAddress = "1.2.3.4"',
    'local IPAddress = "x"',
    "t.IPAddress = 1",
    "t = { IPAddress = 1 }",
    "if IPAddress == 1 then end",
    "for IPAddress = 1, 2 do end",
    "QueueID = nil",
  ].join("\n");
  const found = readOnlyAssignments(list(source), new Set(["IPAddress", "QueueID"]));
  assert.deepEqual(lines(found), [1, 7]);
});

test("positive texts are named, refusals and other strings are not", () => {
  const source = [
    'return "250 fine"',
    'return "550 no"',
    'x = "250 fine"',
    'return "220"',
    'return "2500 x"',
  ].join("\n");
  assert.deepEqual(lines(positiveReturns(list(source))), [1, 4]);
});

const CONTRADICTIONS: [name: string, source: string, expected: number[]][] = [
  ["plain text", 'x = "a\\n\\065" -- y\nfunction f(a) return a.b[1] end', []],
  ["unknown escape", 'y = 1\nx = "C:\\VPOP3"', [2]],
  ["hexadecimal escape", 'x = "\\x41"\ny = 2', [1]],
  ["nested long string", "x = [[ a [[b]] c ]]", [1]],
  ["goto as a name", "x = 1\ngoto = 2", [2]],
  ["gsub with a function", 's = string.gsub(s, "%w+", function(w) return t[w] end)', [1]],
  ["gsub with a string", 's = string.gsub(s, f(1, 2), "x")', []],
];

for (const [name, source, expected] of CONTRADICTIONS) {
  test(`contradictions: ${name}`, () => {
    assert.deepEqual(lines(contradictions(Buffer.from(source, "latin1"))), expected);
  });
}
