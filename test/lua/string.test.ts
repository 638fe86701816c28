/**
 * The string library against a table of what Lua 5.0 answers; the places where
 * the 5.2 dialect answers otherwise; callbacks that wait; work that is charged.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type Answer, assertAnswers } from "./answers.ts";
import { AMPLE, evaluate, makeEngine, open, run, scriptError } from "./helper.ts";

// biome-ignore format: one case a line
const ANSWERS: Answer[] = [
  ['string.sub("hello", 2, 3)', '"el"'],
  ['string.sub("hello", -3)', '"llo"'],
  ['string.sub("hello", 2)', '"ello"'],
  ['string.sub("hello", 4, 2)', '""'],
  ['string.sub("hello", 0)', '"hello"'],
  ['string.sub("hello", -100, 100)', '"hello"'],
  ['string.sub("hello", 2.9, "3.9")', '"el"'],
  ['string.sub("hello", 1, -2)', '"hell"'],
  ['string.sub("hello", 1, 1e10)', '"hello"'],
  ["string.sub(12345, 2, 3)", '"23"'],
  ['string.sub("", 1)', '""'],
  ['string.sub("a\\0b", 2, 2)', '"\\000"'],
  ["pcall(string.sub)", "false \"bad argument #1 to `?' (string expected, got no value)\""],
  ['pcall(string.sub, "x")', "false \"bad argument #2 to `?' (number expected, got no value)\""],
  ['pcall(string.sub, "x", {})', "false \"bad argument #2 to `?' (number expected, got table)\""],
  ['string.len(""), string.len("a\\0b"), string.len(123)', "0 3 3"],
  ["pcall(string.len, nil)", "false \"bad argument #1 to `?' (string expected, got nil)\""],
  ["pcall(string.len, {})", "false \"bad argument #1 to `?' (string expected, got table)\""],
  ['string.upper("aBc\\224\\0z"), string.lower("AbC\\192\\0Z"), string.lower(12)', '"ABC\\224\\000Z" "abc\\192\\000z" "12"'],
  ['string.rep("ab", 3), string.rep("x", 0), string.rep("x", -1), string.rep("x", 2.5), string.rep("", 1e9), string.rep(5, 3), string.rep("a\\0", 2)', '"ababab" "" "" "xx" "" "555" "a\\000a\\000"'],
  ['pcall(string.rep, "x")', "false \"bad argument #2 to `?' (number expected, got no value)\""],
  ['string.byte("A"), string.byte("abc", 2), string.byte("abc", -1), string.byte("\\255")', "65 98 99 255"],
  ['string.byte("abc", 1, 3)', "97"],
  ['string.byte("")', ""],
  ['string.byte("abc", 0)', ""],
  ['string.byte("abc", 4)', ""],
  ['string.char(), string.char(72, 105), string.char(0, 255), string.char("65"), string.char(65.9)', '"" "Hi" "\\000\\255" "A" "A"'],
  ["pcall(string.char, 256)", "false \"bad argument #1 to `?' (invalid value)\""],
  ["pcall(string.char, -1)", "false \"bad argument #1 to `?' (invalid value)\""],
  ['pcall(string.char, "x")', "false \"bad argument #1 to `?' (number expected, got string)\""],
  ["pcall(string.dump, 5)", "false \"bad argument #1 to `?' (function expected, got number)\""],
  ['string.find("hello", "l")', "3 3"],
  ['string.find("hello", "xyz")', "nil"],
  ['string.find("hello", "l", -2)', "4 4"],
  ['string.find("abc", "b", 10)', "nil"],
  ['string.find("", "")', "1 0"],
  ['string.find("abc", "", 10)', "4 3"],
  ['string.find("abc", "", 4)', "4 3"],
  ['string.find("abc", "", -10)', "1 0"],
  ['string.find("a.b", ".", 1, true)', "2 2"],
  ['string.find("a.b", ".", 1, false)', "1 1"],
  ['string.find("a+b", "+", 1, 1)', "2 2"],
  ['string.find("abc", "c", -1, true)', "3 3"],
  ['string.find(string.rep("ab", 100) .. "x", "abx")', "199 201"],
  ["string.find(12345, 34)", "3 4"],
  ['string.find("bob@example.com", "^([^@]+)@(.+)$")', '1 15 "bob" "example.com"'],
  ['string.find("abc", "()b()")', "2 2 2 3"],
  ['pcall(string.find, "a")', "false \"bad argument #2 to `?' (string expected, got no value)\""],
  ['pcall(string.find, nil, "a")', "false \"bad argument #1 to `?' (string expected, got nil)\""],
  ['pcall(string.find, "a", "a", "x")', "false \"bad argument #3 to `?' (number expected, got string)\""],
  ['pcall(string.find, "a", "(")', 'false "unfinished capture"'],
  ['pcall(string.find, "a", "[a")', "false \"malformed pattern (missing `]')\""],
  ['pcall(string.find, "a", "%1")', 'false "invalid capture index"'],
  ['pcall(string.find, "a", "%b")', 'false "unbalanced pattern"'],
  ['string.gsub("hello world", "o", "0")', '"hell0 w0rld" 2'],
  ['string.gsub("hello world", "(%w+)", "<%1>", 1)', '"<hello> world" 1'],
  ['string.gsub("a,b,c", ",", "")', '"abc" 2'],
  ['string.gsub("x", "x", "%%")', '"%" 1'],
  ['string.gsub("abc", "", "-")', '"-a-b-c-" 4'],
  ['string.gsub("", "", "-")', '"-" 1'],
  ['string.gsub("abc", "b", "%x")', '"axc" 1'],
  ['string.gsub("abc", "b", "%")', '"a\\000c" 1'],
  ['string.gsub("abc", "(b)", "%1%1")', '"abbc" 1'],
  ['string.gsub("abc", "()", "%1")', '"1a2b3c4" 4'],
  ['string.gsub("aaa", "a", "x", 2)', '"xxa" 2'],
  ['string.gsub("aaa", "a", "x", 0)', '"aaa" 0'],
  ['string.gsub("aaa", "a", "x", -1)', '"aaa" 0'],
  ['string.gsub("aaa", "^a", "x")', '"xaa" 1'],
  ['string.gsub("abc", "%w*", "x")', '"xx" 2'],
  ['string.gsub("a b c", "%w*", "x")', '"xx xx xx" 6'],
  ['string.gsub("abc", "b*", "x")', '"xaxxcx" 4'],
  ['string.gsub("abc", "$", "x")', '"abcx" 1'],
  ['string.gsub("abc", "^", "x")', '"xabc" 1'],
  ['string.gsub("abc", "b", 5)', '"a5c" 1'],
  ['string.gsub(12321, 2, "x")', '"1x3x1" 2'],
  ['string.gsub("abc", "z", "y")', '"abc" 0'],
  ['string.gsub("a\\0b", "%z", "<nul>")', '"a<nul>b" 1'],
  ['string.gsub("abc", "%w", function(c) if c == "b" then return nil end return string.upper(c) end)', '"AC" 3'],
  ['string.gsub("abc", "%w", function(c) return c == "b" and false or c end)', '"abc" 3'],
  ['string.gsub("abc", "%w", function() return {} end)', '"" 3'],
  ['string.gsub("abc", "%w", function() return true end)', '"" 3'],
  ['string.gsub("abc", "%w", function() return 7 end)', '"777" 3'],
  ['string.gsub("abc", "(a)(b)(c)", function(a, b, c) return c .. b .. a end)', '"cba" 1'],
  ['string.gsub("abc", "()", function(p) return p end)', '"1a2b3c4" 4'],
  ['string.gsub("one two", "%w+", function(w) return (string.gsub(w, "o", function() return "0" end)) end)', '"0ne tw0" 2'],
  ['pcall(string.gsub, "abc", "%w", "%1")', 'false "invalid capture index"'],
  ['pcall(string.gsub, "abc", "%w", "%0")', 'false "invalid capture index"'],
  ['pcall(string.gsub, "abc", "(%w)", "%2")', 'false "invalid capture index"'],
  ['pcall(string.gsub, "x", "(x", "%1")', 'false "invalid capture index"'],
  ['pcall(string.gsub, "x", "(x", function() end)', 'false "unfinished capture"'],
  ['pcall(string.gsub, "abc", "%w", {})', "false \"bad argument #3 to `?' (string or function expected)\""],
  ['pcall(string.gsub, "x", "x")', "false \"bad argument #3 to `?' (string or function expected)\""],
  ['pcall(string.gsub, "x", "x", true)', "false \"bad argument #3 to `?' (string or function expected)\""],
  ['pcall(string.gsub, "x", "x", "y", "z")', "false \"bad argument #4 to `?' (number expected, got string)\""],
  ['pcall(string.gsub, "abc", "%w", function() error("boom", 0) end)', 'false "boom"'],
  ['string.format("%d %5d %-5d| %05d", 42, 42, 42, 42)', '"42    42 42   | 00042"'],
  ['string.format("%d", 3.7), string.format("%i", -3.7), string.format("%u", 5), string.format("%d", "10")', '"3" "-3" "5" "10"'],
  ['string.format("%s %10s %-10s|", "a", "b", "c")', '"a          b c         |"'],
  ['string.format("%x %X %o %c", 255, 255, 8, 65)', '"ff FF 10 A"'],
  ['string.format("%5.1f|%-8.3s|%%", 2.25, "abcdef")', '"  2.2|abc     |%"'],
  ["string.format(\"%q\", 'a \"quoted\"\\nline\\\\ \\0 \\r')", '""a \\"quoted\\"\\\\010line\\\\ \\000 \\013""'],
  ['string.format("%s", 12.5), string.format("%s", "a\\0b"), string.format("a%cb", 0), string.format("")', '"12.5" "a" "ab" ""'],
  ['string.len(string.format("%s", string.rep("x", 100) .. "\\0y"))', "102"],
  ['string.format("\\0%s\\0", "x")', '"\\000x\\000"'],
  ["pcall(string.format)", "false \"bad argument #1 to `?' (string expected, got no value)\""],
  ['pcall(string.format, "%s")', "false \"bad argument #2 to `?' (string expected, got no value)\""],
  ['pcall(string.format, "%s", nil)', "false \"bad argument #2 to `?' (string expected, got nil)\""],
  ['pcall(string.format, "%s", true)', "false \"bad argument #2 to `?' (string expected, got boolean)\""],
  ['pcall(string.format, "%d", "x")', "false \"bad argument #2 to `?' (number expected, got string)\""],
  ['pcall(string.format, "%y", 1)', "false \"invalid option to `format'\""],
  ['pcall(string.format, "%123d", 1)', 'false "invalid format (width or precision too long)"'],
  ['pcall(string.format, "%d %y", "x")', "false \"bad argument #2 to `?' (number expected, got string)\""],
];

// biome-ignore format: one case a line
const ANSWERS_5_2: Answer[] = [
  ['string.find("abc", "", 10)', 'nil'],
  ['string.find("abc", "", 4)', '4 3'],
  ['string.byte("abc", 1, 3)', '97 98 99'],
  ['string.byte("abc", -2, 100)', '98 99'],
  ['string.byte("abc", 3, 2)', ''],
  ['string.rep("ab", 3, "-")', '"ab-ab-ab"'],
  ['string.rep("", 3, "-"), string.rep("x", 1, "-"), string.rep("x", 0, "-")', '"--" "x" ""'],
  ['string.gsub("abc", "%w", function(c) if c == "b" then return nil end return "x" end)', '"xbx" 3'],
  ['string.gsub("abc", "%w", {a = "1", b = false})', '"1bc" 3'],
  ['string.gsub("abc", "(%w)(%w)", {a = "1"})', '"1c" 1'],
  ['string.gsub("abc", "%w", "%1")', '"abc" 3'],
  ['string.gsub("abc", "(%w)", "<%0>")', '"<a><b><c>" 3'],
  ['pcall(string.gsub, "abc", "%w", "%x")', 'false "invalid use of `%\' in replacement string"'],
  ['pcall(string.gsub, "abc", "%w", function() return {} end)', 'false "invalid replacement value (a table)"'],
  ['pcall(string.gsub, "abc", "%w", true)', 'false "bad argument #3 to `?\' (string/function/table expected)"'],
  ['string.gsub("a\\0b", "\\0", "z")', '"azb" 1'],
  ['string.format("%s", "a\\0b")', '"a\\000b"'],
  ['string.find("a!", "%g", 2)', '2 2'],
  ['string.format("%s %s %5s|%s", nil, true, false, 1)', '"nil true false|1"'],
  ['string.format("%s", setmetatable({}, {__tostring = function() return "object" end}))', '"object"'],
  ['string.find(string.format("%s", {}), "^table: ")', '1 7'],
  ['pcall(string.format, "%s")', 'false "bad argument #2 to `?\' (string expected, got no value)"'],
];

const lua50 = makeEngine({});
const lua52 = makeEngine({ dialect: "5.2" });

test("answers as Lua 5.0 does", () => assertAnswers(lua50, ANSWERS));

test("in the 5.2 dialect, answers as Lua 5.2 does", () => assertAnswers(lua52, ANSWERS_5_2));

test("match, gmatch and reverse are there in both dialects", async () => {
  for (const engine of [lua50, lua52]) {
    assert.deepEqual(await evaluate(engine, 'string.match("key = value", "(%w+) = (%w+)")'), [
      "key",
      "value",
    ]);
    assert.deepEqual(await evaluate(engine, 'string.match("abc", "b"), string.match("abc", "x")'), [
      "b",
      undefined,
    ]);
    assert.deepEqual(await evaluate(engine, 'string.reverse("a\\0bc")'), ["cb\0a"]);
    assert.equal(
      await run(engine, 'for k, v in string.gmatch("a=1, b=2", "(%w+)=(%w+)") do print(k, v) end'),
      "a\t1\nb\t2\n",
    );
  }
});

test("gfind gives every match once, empty ones too", async () => {
  const all = (subject: string, pattern: string) =>
    run(lua50, `for a, b in string.gfind("${subject}", "${pattern}") do print(a, b) end`);
  assert.equal(await all("one two", "%a+"), "one\tnil\ntwo\tnil\n");
  assert.equal(await all("k=v;x=y", "(%w)=(%w)"), "k\tv\nx\ty\n");
  assert.equal(await all("ab", ""), "\tnil\n".repeat(3));
  assert.equal(await all("ab", "()"), "1\tnil\n2\tnil\n3\tnil\n");
  assert.equal(await all("abc", "x*"), "\tnil\n".repeat(4));
  assert.equal(await all("^a^b", "^%a"), "^a\tnil\n^b\tnil\n");
});

test("errors name the function as the script calls it", async () => {
  const message = async (code: string) => (await scriptError(run(lua50, code))).message;
  assert.equal(
    await message("string.rep()"),
    "test.lua:1: bad argument #1 to `rep' (string expected, got no value)",
  );
  assert.equal(
    await message("local f = string.rep f({})"),
    "test.lua:1: bad argument #1 to `f' (string expected, got table)",
  );
  assert.equal(
    await message("\nlocal t = {sub = string.sub}\nt:sub()"),
    "test.lua:3: calling `sub' on bad self (string expected, got table)",
  );
  assert.equal(await message('string.find("a", "[")'), "test.lua:1: malformed pattern (missing `]')");
  assert.equal(await message("string.dump(print)"), "test.lua:1: unable to dump given function");
});

test("a replacement function may wait, and search meanwhile", async () => {
  const wait = makeEngine({
    modules: [
      {
        table: "host",
        functions: { upper: async (call) => [call.string(1).toUpperCase()] },
      },
    ],
  });
  const script = `
    local function replace(w)
      local upper = host.upper(w)
      assert(string.find("xyz", "(y)(z)"))
      return string.gsub(upper, "O", function(o) return host.upper("<" .. o .. ">") end)
    end
    print(string.gsub("one two, four", "(%a+)", replace))`;
  assert.equal(await run(wait, script), "<O>NE TW<O>, F<O>UR\t3\n");
});

test("long searches let others run and give what short ones give", async () => {
  const script = `
    local s = string.rep("a", 400) .. "b"
    print(string.find(s, "(.-)(.-)c"), string.find(s, ".-.-b()$"))
    for w in string.gfind(s, ".-.-.-b$") do print(string.len(w)) end
    print(string.gsub(s, "(.-)(.-)x", "y"))
    print(string.gsub(string.rep("ab", 30000), "a", "") == string.rep("b", 30000))
    print(string.gsub(s, "a-a-x", function() return "y" end) == s)`;
  const { environment, output } = open(lua50, script);
  let turns = 0;
  let over = false;
  const count = () => {
    if (over) return;
    turns++;
    setImmediate(count);
  };
  setImmediate(count);
  await environment.start();
  over = true;
  environment.close();
  assert.equal(output(), `nil\t1\t401\t402\n401\n${"a".repeat(400)}b\t0\ntrue\ntrue\n`);
  assert.ok(turns > 10, `${turns} turns`);
});

test("work that grows with the arguments ends with the budget", async () => {
  const budget = { ...AMPLE, instructions: 5_000_000, stringBytes: 100_000_000 };
  const cases: [string, string][] = [
    ['string.find(string.rep("a", 30), string.rep("a-", 12) .. "b")', "instructions"],
    ['string.gsub(string.rep("a", 30), string.rep("a-", 12) .. "b", "")', "instructions"],
    ['string.gsub(string.rep("a", 30), string.rep("a-", 12) .. "b", function() end)', "instructions"],
    ['for w in string.gfind(string.rep("a", 30), string.rep("a-", 12) .. "b") do end', "instructions"],
    ['local s = string.rep("a", 1e6) while true do string.find(s, "b", 1, true) end', "instructions"],
    ['local s = string.rep("a", 1e6) while true do string.find(s, "[bc]") end', "instructions"],
    [
      'while true do pcall(string.find, string.rep("a", 30), string.rep("a-", 12) .. "b") end',
      "instructions",
    ],
    ['string.rep("x", 1e10)', "string"],
    ['local s = "x" while true do s = string.rep(s, 10) end', "string"],
    ['local s = string.rep("x", 1e6) while true do s = s .. string.upper(s) end', "string"],
    ['local a = string.rep("a", 1e5) string.gsub(a, "a", a)', "string"],
    ['local a = string.rep("a", 1e5) string.gsub(a, "a", function() return a end)', "string"],
    [
      'local f = string.rep("%s", 1000) local s = string.rep("x", 1e6) string.format(f, s, s, s, s, s, s, s, s, s, s, s, s, s, s, s, s, s, s, s, s, s, s, s, s, s, s, s, s, s, s, s, s, s, s, s, s, s, s, s, s, s, s, s, s, s, s, s, s, s, s, s, s, s, s, s, s, s, s, s, s, s, s, s, s, s, s, s, s, s, s, s)',
      "string",
    ],
  ];
  for (const [code, want] of cases) {
    const started = performance.now();
    const error = await scriptError(run(lua50, code, budget));
    assert.equal(error.details.budget, want, `${code}: ${error.message}`);
    assert.ok(performance.now() - started < 10_000, code);
  }
});
