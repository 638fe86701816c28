/** The math library against a table of what Lua 5.0 answers, and random sequences. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type Answer, assertAnswers } from "./answers.ts";
import { makeEngine, run } from "./helper.ts";

// biome-ignore format: one case a line
const ANSWERS: Answer[] = [
  ['math.floor(3.7), math.ceil(3.2), math.floor(-3.7), math.ceil(-3.2), math.abs(-4), math.floor("2.5")', "3 4 -4 -3 4 2"],
  ['math.max(1, 5, 3), math.min(4, 2), math.max(7), math.max("10", 9)', "5 2 7 10"],
  ["math.mod(7, 3), math.mod(-7, 3), math.mod(7, -3), math.mod(5.5, 2), math.mod(1e15, 7)", "1 -1 1 1.5 6"],
  ["math.pow(2, 10), math.pow(2, 0.5), math.pow(0, 0), math.pow(2, -1)", "1024 1.4142135623731 1 0.5"],
  ["math.sqrt(16), math.log10(1000), math.log(1), math.exp(0), math.exp(1)", "4 3 0 1 2.718281828459"],
  ["math.sin(1), math.cos(1), math.tan(1), math.asin(1), math.acos(0), math.atan(1), math.atan2(1, -1)", "0.8414709848079 0.54030230586814 1.5574077246549 1.5707963267949 1.5707963267949 0.78539816339745 2.3561944901923"],
  ["math.deg(math.pi), math.rad(180), math.pi", "180 3.1415926535898 3.1415926535898"],
  ["math.frexp(8)", "0.5 4"],
  ["math.frexp(0)", "0 0"],
  ["math.frexp(-0.3)", "-0.6 -1"],
  ["math.frexp(1e-310)", "0.57526180315594 -1029"],
  ["math.frexp(1.7976931348623157e308)", "1 1024"],
  ["math.ldexp(0.5, 4), math.ldexp(1, -1074), math.ldexp(1, 2000), math.ldexp(0.75, 1024), math.ldexp(3, 0)", "8 4.9406564584125e-324 inf 1.3482698511467e+308 3"],
  ["math.random(1), math.random(7, 7), math.random(-2, -2)", "1 7 -2"],
  ["math.randomseed(5)", ""],
  ["pcall(math.max)", "false \"bad argument #1 to `?' (number expected, got no value)\""],
  ['pcall(math.max, 1, "x")', "false \"bad argument #2 to `?' (number expected, got string)\""],
  ["pcall(math.sin)", "false \"bad argument #1 to `?' (number expected, got no value)\""],
  ["pcall(math.sin, {})", "false \"bad argument #1 to `?' (number expected, got table)\""],
  ["pcall(math.random, 0)", "false \"bad argument #1 to `?' (interval is empty)\""],
  ["pcall(math.random, 5, 1)", "false \"bad argument #2 to `?' (interval is empty)\""],
  ["pcall(math.random, 1, 2, 3)", 'false "wrong number of arguments"'],
  ['pcall(math.random, "x")', "false \"bad argument #1 to `?' (number expected, got string)\""],
  ["pcall(math.randomseed)", "false \"bad argument #1 to `?' (number expected, got no value)\""],
  ["2 ^ 10, __pow(2, 3)", "1024 8"],
];

const lua50 = makeEngine({});

test("answers as Lua 5.0 does", () => assertAnswers(lua50, ANSWERS));

test("functions of later versions", () =>
  assertAnswers(lua50, [
    ["math.fmod(-7, 3), math.huge, math.cosh(0), math.sinh(0), math.tanh(0)", "-1 inf 1 0 0"],
    ["math.modf(3.7)", "3 0.7"],
    ["math.modf(-3.5)", "-3 -0.5"],
    ["math.modf(-math.huge)", "-inf 0"],
    ["math.log(8, 2)", "2.0794415416798"],
  ]));

test("in the 5.2 dialect a logarithm has a base", () =>
  assertAnswers(makeEngine({ dialect: "5.2" }), [
    ["math.log(8, 2), math.log(1000, 10), math.log(81, 3), math.log(1)", "3 3 4 0"],
  ]));

test("frexp and ldexp undo each other", async () => {
  const script = `
    for _, x in ipairs({1, 3, 0.1, 1e300, 1e-300, 5e-324, 2^1023, 2^-1022, 1 - 2^-53, 4503599627370497}) do
      local m, e = math.frexp(x)
      assert(m >= 0.5 and m < 1 and math.ldexp(m, e) == x, x)
      m, e = math.frexp(-x)
      assert(m <= -0.5 and m > -1 and math.ldexp(m, e) == -x, x)
    end
    print("same")`;
  assert.equal(await run(lua50, script), "same\n");
});

test("random numbers stay in their interval, reach both ends and spread evenly", async () => {
  const script = `
    local seen = {}
    for i = 1, 2000 do
      local r = math.random()
      assert(r >= 0 and r < 1)
      r = math.random(10)
      assert(r >= 1 and r <= 10 and r == math.floor(r))
      seen[r] = (seen[r] or 0) + 1
      r = math.random(-3, 3)
      assert(r >= -3 and r <= 3 and r == math.floor(r))
      r = math.random(1e12)
      assert(r >= 1 and r <= 1e12 and r == math.floor(r))
    end
    for i = 1, 10 do assert(seen[i] > 120 and seen[i] < 280, seen[i]) end
    print("fine")`;
  assert.equal(await run(lua50, script), "fine\n");
});

test("a seed makes a sequence; without one every environment has its own", async () => {
  const five = "local t = {} for i = 1, 5 do t[i] = math.random(1000000) end print(table.concat(t, ' '))";
  assert.equal(
    await run(lua50, `math.randomseed(7) ${five}`),
    await run(lua50, `math.randomseed(7) ${five}`),
  );
  assert.notEqual(
    await run(lua50, `math.randomseed(7) ${five}`),
    await run(lua50, `math.randomseed(8) ${five}`),
  );
  assert.notEqual(await run(lua50, five), await run(lua50, five));
});
