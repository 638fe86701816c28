/** The os library against a table of what Lua 5.0 answers, and on real files. */
import assert from "node:assert/strict";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import { type Answer, assertAnswers } from "./answers.ts";
import { evaluate, makeEngine, run, scriptError } from "./helper.ts";

const originalZone = process.env.TZ;
process.env.TZ = "UTC";
after(() => {
  if (originalZone === undefined) delete process.env.TZ;
  else process.env.TZ = originalZone;
});

// biome-ignore format: one case a line
const ANSWERS: Answer[] = [
  ['os.date("!%Y-%m-%d %H:%M:%S", 0), os.date("!%c", 1e9), os.date("!%x %X %p", 1e9), os.date("!%H", 0), os.date("!a%%b%Q", 0)', '"1970-01-01 00:00:00" "Sun Sep  9 01:46:40 2001" "09/09/01 01:46:40 AM" "00" "a%b%Q"'],
  ['os.time({year = 2000, month = 1, day = 1}), os.time({year = 2000, month = 1, day = 1, hour = 0}), os.time({year = "2000", month = "1", day = "1", hour = "0"})', "946728000 946684800 946684800"],
  ["os.time({year = 2000, month = 13, day = 32, hour = 25, min = 61, sec = 61}), os.time({year = 2000.9, month = 1.9, day = 1.9})", "981079321 946728000"],
  ["os.time({year = 2040, month = 1, day = 1, hour = 0}), os.time({year = 1960, month = 1, day = 1})", "2208988800 -315576000"],
  ["os.time({year = 1969, month = 12, day = 31, hour = 23, min = 59, sec = 59})", "nil"],
  ["pcall(os.time, {})", "false \"field `day' missing in date table\""],
  ["pcall(os.time, {year = 2000, month = 1})", "false \"field `day' missing in date table\""],
  ["pcall(os.time, {year = 2000, day = 1})", "false \"field `month' missing in date table\""],
  ["pcall(os.time, {month = 2, day = 1})", "false \"field `year' missing in date table\""],
  ['pcall(os.time, {year = 2000, month = "x", day = 1})', "false \"field `month' missing in date table\""],
  ["pcall(os.time, 5)", "false \"bad argument #1 to `?' (table expected, got number)\""],
  ["os.difftime(5, 3), os.difftime(5), os.difftime(5.9, 3.9)", "2 5 2"],
  ["pcall(os.difftime)", "false \"bad argument #1 to `?' (number expected, got no value)\""],
  ['pcall(os.difftime, "x")', "false \"bad argument #1 to `?' (number expected, got string)\""],
  ['fields(os.date("!*t", 1e9))', '"2001 9 9 1 46 40 1 252 false"'],
  ['fields(os.date("!*t", -1e9))', '"1938 4 24 22 13 20 1 114 false"'],
  ['fields(os.date("!*t", 4e9))', '"2096 10 2 7 6 40 3 276 false"'],
  ["type(os.time()), type(os.clock()), type(os.date())", '"number" "number" "string"'],
  ['os.getenv("NO_SUCH_VARIABLE_X")', "nil"],
  ["pcall(os.getenv)", "false \"bad argument #1 to `?' (string expected, got no value)\""],
  ['os.remove("/nonexistent/x")', 'nil "/nonexistent/x: No such file or directory" 2'],
  ['os.rename("/nonexistent/x", "/nonexistent/y")', 'nil "/nonexistent/x: No such file or directory" 2'],
  ["pcall(os.remove)", "false \"bad argument #1 to `?' (string expected, got no value)\""],
  ['pcall(os.rename, "x")', "false \"bad argument #2 to `?' (string expected, got no value)\""],
  ["pcall(os.date, {})", "false \"bad argument #1 to `?' (string expected, got table)\""],
  ['pcall(os.date, "%c", "x")', "false \"bad argument #2 to `?' (number expected, got string)\""],
];

const lua50 = makeEngine({});

test("answers as Lua 5.0 does", () => assertAnswers(lua50, ANSWERS));

test("a missing isdst is standard time to 5.0, and the zone's business to 5.2", async () => {
  process.env.TZ = "Europe/Berlin";
  const noon = 'os.date("%H", os.time({year = 2007, month = 7, day = 15}))';
  assert.deepEqual(await evaluate(lua50, noon), ["13"]);
  assert.deepEqual(await evaluate(makeEngine({ dialect: "5.2" }), noon), ["12"]);
  assert.deepEqual(await evaluate(lua50, "os.time(os.date('*t', 1184493600))"), [1184493600]);
  process.env.TZ = "UTC";
});

test("a date has a limited length", async () => {
  const error = await scriptError(run(lua50, 'os.date(string.rep("%Y", 100))'));
  assert.equal(error.message, "test.lua:1: `date' format too long");
});

test("what VPOP3 takes away is there and raises", async () => {
  for (const name of ["exit", "execute", "popen", "setlocale"])
    assert.equal(await run(lua50, `print(pcall(os.${name}, "x"))`), `false\tos.${name} is disabled\n`);
});

test("the clock is the process's CPU time", async () => {
  const [before, after] = await evaluate(
    lua50,
    "(function() local a = os.clock() for i = 1, 200000 do end return a, os.clock() end)()",
  );
  assert.ok((before as number) > 0 && (after as number) > (before as number) && (after as number) < 3600);
});

test("getenv reads the environment as bytes", async () => {
  process.env.POSTLUA_TEST_VARIABLE = "gr\u00fcn";
  assert.deepEqual(await evaluate(lua50, 'os.getenv("POSTLUA_TEST_VARIABLE")'), ["gr\u00c3\u00bcn"]);
  delete process.env.POSTLUA_TEST_VARIABLE;
});

test("remove and rename work in the data directory and say what is wrong", async () => {
  const { dataDir } = lua50;
  const path = (name: string) => join(dataDir, name);
  writeFileSync(path("a"), "");
  mkdirSync(path("empty"));
  mkdirSync(path("full"));
  writeFileSync(path("full/x"), "");
  const out = await run(
    lua50,
    `print(os.rename("a", "b")) print(os.remove("b")) print(os.remove("b")) print(os.remove("empty"))
     print(os.remove("full")) print(os.rename("a", "b")) print(os.remove("")) print(os.remove("a\\0b"))
     print(os.rename("full", "${path("moved")}"))`,
  );
  assert.equal(
    out,
    `true
true
nil\tb: No such file or directory\t2
true
nil\tfull: Directory not empty\t39
nil\ta: No such file or directory\t2
nil\t: No such file or directory\t2
nil\ta\0b: Invalid argument\t22
true
`,
  );
  assert.ok(existsSync(path("moved/x")));
});

test("temporary names are all different, and code written there can be loaded", async () => {
  const script = `
    local a, b = os.tmpname(), os.tmpname()
    assert(a ~= b and not io.open(a))
    local f = io.open(a, "w")
    f:write("return 42")
    f:close()
    print(dofile(a), loadfile(a)(), os.remove(a))`;
  assert.equal(await run(lua50, script), "42\t42\ttrue\n");
});
