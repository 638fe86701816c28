/** Numbers to text and back against what Lua 5.0 (its C library) makes of them. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { numberToString, stringToNumber } from "../../src/lua/numbers.ts";

test("numbers print as %.14g", () => {
  const cases: [number, string][] = [
    [0, "0"],
    [-0, "-0"],
    [3, "3"],
    [-42, "-42"],
    [0.1, "0.1"],
    [-0.5, "-0.5"],
    [1 / 3, "0.33333333333333"],
    [2 / 3, "0.66666666666667"],
    [99999999999999, "99999999999999"],
    [1e14, "1e+14"],
    [123456789012345, "1.2345678901234e+14"],
    [123456789012355, "1.2345678901236e+14"],
    [99999999999999.5, "1e+14"],
    [2 ** 31, "2147483648"],
    [2 ** 53, "9.007199254741e+15"],
    [0.0001, "0.0001"],
    [0.00001, "1e-05"],
    [1e100, "1e+100"],
    [5e-324, "4.9406564584125e-324"],
    [Number.MAX_VALUE, "1.7976931348623e+308"],
    [Number.POSITIVE_INFINITY, "inf"],
    [Number.NEGATIVE_INFINITY, "-inf"],
    [Number.NaN, "-nan"],
  ];
  for (const [n, want] of cases) assert.equal(numberToString(n), want);
});

test("text is a number where strtod takes all of it", () => {
  const cases: [string, number | undefined][] = [
    ["10", 10],
    [" \t\n\v\f\r10 \n", 10],
    ["+10", 10],
    ["-0", -0],
    ["1.", 1],
    [".5", 0.5],
    ["1e2", 100],
    ["1E+2", 100],
    ["1e-2", 0.01],
    ["1e400", Number.POSITIVE_INFINITY],
    ["0x10", 16],
    ["-0XfF", -255],
    ["0x.8", 0.5],
    ["0x1p4", 16],
    ["0x1.8p-1", 0.75],
    ["0xfffffffffffffc01", 2 ** 64],
    ["0x20000000000001", 2 ** 53],
    ["0x20000000000001.1", 2 ** 53 + 2],
    ["inf", Number.POSITIVE_INFINITY],
    ["-Infinity", Number.NEGATIVE_INFINITY],
    ["nan", Number.NaN],
    ["10\0abc", 10],
    ["", undefined],
    [" ", undefined],
    [".", undefined],
    ["e5", undefined],
    ["1e", undefined],
    ["1e+", undefined],
    ["0x", undefined],
    ["0x1p", undefined],
    ["1 2", undefined],
    ["1,5", undefined],
    ["--1", undefined],
    ["1_000", undefined],
    ["abc", undefined],
    ["infinite", undefined],
    ["\xa010", undefined],
  ];
  for (const [text, want] of cases) assert.equal(stringToNumber(text), want, JSON.stringify(text));
  assert.equal(stringToNumber("inf", false), undefined);
  assert.equal(stringToNumber("nan", false), undefined);
});
