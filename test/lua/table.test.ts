/** The table library against a table of what Lua 5.0 answers; comparisons that wait; work that is charged. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type Answer, assertAnswers } from "./answers.ts";
import { AMPLE, evaluate, makeEngine, run, scriptError } from "./helper.ts";

// biome-ignore format: one case a line
const ANSWERS: Answer[] = [
  ['table.getn({}), table.getn({1, 2, 3}), table.getn({1, 2, nil, 4}), table.getn({n = 3}), table.getn({n = "3"}), table.getn({n = -1, 5}), table.getn({n = 2.7})', "0 3 2 3 3 1 2"],
  ["(function() local t = {1, 2, 3} table.insert(t, 4) return table.getn(t), t[4], t.n end)()", "4 4 nil"],
  ["(function() local t = {1} table.insert(t, 2) t[3] = 3 return table.getn(t) end)()", "2"],
  ['(function() local t = {1, 2, 3} table.insert(t, 1, 0) return table.concat(t, ",") end)()', '"0,1,2,3"'],
  ['(function() local t = {1, 2, 3} table.insert(t, 2, "x", 9) return table.concat(t, ",") end)()', '"1,x,2,3"'],
  ['(function() local t = {} table.insert(t, 5, "x") return t[5], table.getn(t) end)()', '"x" 5'],
  ['(function() local t = {n = 2} table.insert(t, "q") return t.n, t[3], table.remove(t), t.n end)()', '3 "q" "q" 2'],
  ['(function() local t = {1, 2, 3} table.insert(t, -1, "m") return t[-1], t[0], t[1], t[2], t[4], table.getn(t) end)()', '"m" nil nil 1 3 4'],
  ['(function() local t = {} table.setn(t, 5) table.insert(t, "z") return table.getn(t), t[6] end)()', '6 "z"'],
  ["(function() local t = {n = 1} table.setn(t, 7) return t.n end)()", "7"],
  ["(function() local t = {1, 2, 3} table.setn(t, 0) return table.getn(t), t[1] end)()", "0 1"],
  ["pcall(table.insert)", "false \"bad argument #1 to `?' (table expected, got no value)\""],
  ["pcall(table.insert, {})", "false \"bad argument #2 to `?' (number expected, got no value)\""],
  ["pcall(table.insert, nil, 1)", "false \"bad argument #1 to `?' (table expected, got nil)\""],
  ['pcall(table.insert, {}, "x", "y")', "false \"bad argument #2 to `?' (number expected, got string)\""],
  ['(function() local t = {1, 2, 3} return table.remove(t), table.remove(t, 1), table.concat(t, ","), table.getn(t) end)()', '3 1 "2" 1'],
  ["table.remove({})", ""],
  ["(function() local t = {1, 2, 3} return table.remove(t, 5), table.getn(t), t[3] end)()", "nil 2 nil"],
  ["(function() local t = {1, 2, 3} return table.remove(t, 0), t[0], t[1], t[2], t[3] end)()", "nil 1 2 3 nil"],
  ['(function() local t = {1, 2, 3} return table.remove(t, "2"), table.concat(t, ",") end)()', '2 "1,3"'],
  ['table.concat({1, 2.5, "x"}, "-"), table.concat({}), table.concat({"a", "b", "c"}, ",", 2, 3), table.concat({1, 2, 3}, "-", 3, 2), table.concat({1, 2, 3}, "-", 1, 0), table.concat({"", "", ""}, ","), table.concat({1, 2}, 0)', '"1-2.5-x" "" "b,c" "" "1-2-3" ",," "102"'],
  ['table.concat({1, 2, 3, n = 2}, ","), table.concat({[0] = "z", "a"}, ",", 0)', '"1,2" "z,a"'],
  ['pcall(table.concat, {1, 2, 3}, "-", 1, 5)', "false \"bad argument #1 to `?' (table contains non-strings)\""],
  ["pcall(table.concat, {1, {}, 3})", "false \"bad argument #1 to `?' (table contains non-strings)\""],
  ["pcall(table.concat, {true})", "false \"bad argument #1 to `?' (table contains non-strings)\""],
  ["pcall(table.concat, {1}, {})", "false \"bad argument #2 to `?' (string expected, got table)\""],
  ['table.foreach({10, 20, 30}, function(i, v) if v == 20 then return "found", 1 end end)', '"found"'],
  ["table.foreach({a = 1}, function(k, v) return k .. v end)", '"a1"'],
  ["table.foreach({}, function() return 1 end)", ""],
  ["table.foreachi({10, 20, 30}, function(i, v) if i == 2 then return false end end)", "false"],
  ['(function() local s = "" table.foreachi({"x", n = 3}, function(i, v) s = s .. i .. tostring(v) end) return s end)()', '"1x2nil3nil"'],
  ["(function() local t = {a = 1, b = 2, c = 3} table.foreach(t, function(k) t[k] = nil end) return next(t) end)()", "nil"],
  ["pcall(table.foreach)", "false \"bad argument #1 to `?' (table expected, got no value)\""],
  ["pcall(table.foreach, {}, 1)", "false \"bad argument #2 to `?' (function expected, got number)\""],
  ["pcall(table.foreachi, {})", "false \"bad argument #2 to `?' (function expected, got no value)\""],
  ['pcall(table.foreach, {1}, function() error("x", 0) end)', 'false "x"'],
  ["pcall(table.getn)", "false \"bad argument #1 to `?' (table expected, got no value)\""],
  ["pcall(table.setn, {})", "false \"bad argument #2 to `?' (number expected, got no value)\""],
  ['pcall(table.setn, {}, "x")', "false \"bad argument #2 to `?' (number expected, got string)\""],
  ["sorted({3, 1, 2})", '"1 2 3" nil'],
  ["sorted({})", '"" nil'],
  ["sorted({2, 1})", '"1 2" nil'],
  ["sorted({10, 9, 8, 7, 6, 5, 4, 3, 2, 1})", '"1 2 3 4 5 6 7 8 9 10" nil'],
  ['sorted({"10", "9", "8", "", "a", "B"})', '" 10 8 9 B a" nil'],
  ["sorted({3, 2, 1, n = 2})", '"2 3" nil'],
  ["sorted({5, 2, 8, 1}, function(a, b) return a > b end)", '"8 5 2 1" nil'],
  ["sorted({5, 3, 4, 1, 2, 6, 7, 8}, function() return false end)", '"5 2 6 7 1 3 4 8" nil'],
  ['sorted({3, "x", 1})', '"1 x 3" "attempt to compare string with number"'],
  ["sorted({1, 2, 3}, function() return true end)", '"2 3 1" nil'],
  ["sorted({3, nil, 1, n = 3})", '"1 nil 3" "attempt to compare nil with number"'],
  ['(function() local log = {} table.sort({5, 2, 8, 1, 9, 3, 7}, function(a, b) table.insert(log, a .. ":" .. b) return a < b end) return table.concat(log, " ") end)()', '"7:5 1:5 2:5 8:5 5:9 5:3 8:5 5:3 7:9 8:7 9:8 3:1 2:1 3:2"'],
  ['(function() local e = {} for i = 1, 20 do e[i] = {k = math.mod(i, 4), i = i} end table.sort(e, function(a, b) return a.k < b.k end) local o = {} for i = 1, 20 do o[i] = e[i].i end return table.concat(o, " ") end)()', '"20 12 16 4 8 9 17 13 1 5 14 2 10 18 6 3 15 11 7 19"'],
  ['(function() local mt = {__lt = function(a, b) return a.v < b.v end} local t = {} for i, v in {3, 1, 2, 5, 4} do t[i] = setmetatable({v = v}, mt) end table.sort(t) local o = {} for i = 1, 5 do o[i] = t[i].v end return table.concat(o, " ") end)()', '"1 2 3 4 5"'],
  ["pcall(table.sort, {1, 2}, 3)", "false \"bad argument #2 to `?' (function expected, got number)\""],
  ["pcall(table.sort)", "false \"bad argument #1 to `?' (table expected, got no value)\""],
];

const lua50 = makeEngine({});

test("answers as Lua 5.0 does", () => assertAnswers(lua50, ANSWERS));

test("the 5.2 dialect counts elements and nothing else", () =>
  assertAnswers(makeEngine({ dialect: "5.2" }), [
    ["table.getn({1, 2, 3, n = 10})", "3"],
    [
      '(function() local t = {1} table.insert(t, 2) t[3] = 3 table.insert(t, 4) return table.concat(t, ",") end)()',
      '"1,2,3,4"',
    ],
    ["table.unpack({1, 2, 3})", "1 2 3"],
    ["table.unpack({1, 2, 3}, 2, 4)", "2 3 nil"],
    ["(function() local t = table.pack(1, nil, 3) return t.n, t[1], t[2], t[3] end)()", "3 1 nil 3"],
    ["table.maxn({1, 2, [10] = 3, x = 4})", "10"],
  ]));

test("sorts thousands, in every way the same", async () => {
  const script = `
    math.randomseed(42)
    local function check(n, make, less)
      local t = {}
      for i = 1, n do t[i] = make(i) end
      table.sort(t, less)
      less = less or function(a, b) return a < b end
      for i = 2, n do assert(not less(t[i], t[i - 1]), i) end
    end
    check(1000, function() return math.random() end)
    check(1000, function() return math.random(10) end)
    check(1000, function() return tostring(math.random()) end)
    check(1000, function(i) return i end, function(a, b) return a > b end)
    check(12000, function() return math.random() end)
    local mt = {__lt = function(a, b) return a[1] < b[1] end}
    check(500, function() return setmetatable({math.random(50)}, mt) end)
    print("sorted")`;
  assert.equal(await run(lua50, script), "sorted\n");
});

test("functions that are called back may wait", async () => {
  const engine = makeEngine({
    modules: [{ table: "host", functions: { less: async (call) => [call.number(1) < call.number(2)] } }],
  });
  const script = `
    local t = {5, 3, 9, 1}
    table.sort(t, host.less)
    print(table.concat(t, " "))
    table.sort(t, function(a, b) return host.less(b, a) end)
    print(table.concat(t, " "))
    local mt = {__lt = function(a, b) return host.less(a.v, b.v) end}
    local u = {}
    for i, v in ipairs(t) do u[i] = setmetatable({v = v}, mt) end
    table.sort(u)
    table.foreachi(u, function(i, x) if host.less(i, 3) then print(i, x.v) end end)
    print(table.foreach({a = 1}, function(k, v) if host.less(0, v) then return k end end))`;
  assert.equal(await run(engine, script), "1 3 5 9\n9 5 3 1\n1\t1\n2\t3\na\n");
});

test("mixed and missing elements raise Lua's own errors", async () => {
  const message = async (code: string) => (await scriptError(run(lua50, code))).message;
  assert.match(
    await message("table.sort({1, 'x', 2})"),
    /attempt to compare (string with number|number with string)/,
  );
  assert.match(await message("table.sort({{}, {}})"), /attempt to compare two table values/);
  assert.equal(
    await message("table.concat({1, {}})"),
    "test.lua:1: bad argument #1 to `concat' (table contains non-strings)",
  );
});

test("work that grows with the arguments ends with the budget", async () => {
  const budget = { ...AMPLE, instructions: 2_000_000, stringBytes: 50_000_000 };
  const cases: [string, string][] = [
    ["local t = {} table.setn(t, 1e15) table.insert(t, 1, 'x')", "instructions"],
    ["table.insert({}, -1e15, 'x')", "instructions"],
    ["table.remove({n = 1e15}, 1)", "instructions"],
    ["table.foreachi({n = 1e15}, math.randomseed)", "instructions"],
    ["table.sort({n = 1e15}, rawequal)", "instructions"],
    ["local t = {} for i = 1, 20000 do t[i] = i end while true do table.getn(t) end", "instructions"],
    ["local t = {} for i = 1, 20000 do t[i] = i end while true do table.sort(t) end", "instructions"],
    ["local t = {} for i = 1, 20000 do t[i] = i end while true do table.concat(t) end", "instructions"],
    [
      "local s = string.rep('x', 1e6) local t = {s, s, s, s, s, s, s, s} table.concat(t, s) table.concat(t, s) table.concat(t, s) table.concat(t, s)",
      "string",
    ],
  ];
  for (const [code, want] of cases) {
    const started = performance.now();
    assert.equal((await scriptError(run(lua50, code, budget))).details.budget, want, code);
    assert.ok(performance.now() - started < 10_000, code);
  }
});

test("sizes are kept for each table alone", async () => {
  assert.deepEqual(
    await evaluate(
      lua50,
      "(function() local a, b = {1}, {1} table.setn(a, 9) return table.getn(a), table.getn(b) end)()",
    ),
    [9, 1],
  );
});
