/** Source text in both dialects: what contradicts, what both know, and where errors are. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Dialect } from "../../src/lua/lexer.ts";
import { makeEngine, run, scriptError } from "./helper.ts";

const engines = { "5.0": makeEngine({ dialect: "5.0" }), "5.2": makeEngine({ dialect: "5.2" }) };

/** What `source` prints, or its error. */
async function outcome(dialect: Dialect, source: string): Promise<string> {
  try {
    return (await run(engines[dialect], source)).trimEnd();
  } catch (error) {
    return (error as Error).message;
  }
}

/** Source, what 5.0 makes of it, what 5.2 makes of it. */
const contradictions: [source: string, in50: string, in52: string][] = [
  ["print('\\V\\%\\.')", "V%.", "test.lua:1: invalid escape sequence near `\\V'"],
  ["print('\\x41')", "x41", "A"],
  ["print('a\\z   b')", "az   b", "ab"],
  ["print([[a [[b]] c]])", "a [[b]] c", "test.lua:1: `)' expected near `c'"],
  ["--[[ a [[ b ]] c ]] print('x')", "x", "test.lua:1: `=' expected near `]'"],
  ["--[==[ x ]==] print('code')", "", "code"],
  ["goto = 1 print(goto)", "1", "test.lua:1: <name> expected near `='"],
  [
    "for i = 1, 3 do if i == 2 then goto next end io.write(i) ::next:: end",
    "test.lua:1: `=' expected near `next'",
    "13",
  ],
  ["print(select == nil)", "true", "false"],
  [
    "print(pcall(function() return ('x'):upper() end))",
    "false\ttest.lua:1: attempt to index a string value",
    "true\tX",
  ],
  ["print((string.gsub('abc', 'b', function() end)))", "ac", "abc"],
  ["function f(...) return arg end print(type(f()))", "table", "nil"],
  ["local t = {} for i = 1, 3 do t[i] = function() return i end end print(t[1](), t[3]())", "3\t3", "1\t3"],
  ["for i = 1, 4 do io.write(i) if i == 2 then i = 3 end end", "124", "1234"],
  ["x = 'outer' repeat local x = 'inner' until print(x) or true", "outer", "inner"],
  ["print(_VERSION)", "Lua 5.0", "Lua 5.2"],
  ["print(table.getn({1, 2, n = 1}))", "1", "2"],
  ["print(assert(1, 2, 3))", "1", "1\t2\t3"],
];

for (const [source, in50, in52] of contradictions) {
  test(source.replaceAll("\n", "\\n"), async () => {
    assert.equal(await outcome("5.0", source), in50);
    assert.equal(await outcome("5.2", source), in52);
  });
}

/** The same in both. */
const shared: [source: string, output: string][] = [
  ["print(#'abc', #{1, 2, 3}, 7 % 3, -7 % 3, 5.5 % 2)", "3\t3\t1\t2\t1.5"],
  ["print(0x10, 0xFF, 0Xa)", "16\t255\t10"],
  ["print([==[a ]] b]==], [=[\n[[x]]]=])", "a ]] b\t[[x]]"],
  ["--[==[ over\nlines ]==] print('after')", "after"],
  ["function f(...) local a, b = ... return a, b, ... end print(f(1, 2))", "1\t2\t1\t2"],
  ["print((function(...) return ... end)(1, nil, 3))", "1\tnil\t3"],
  ["function f(...) local t = {...} return #t, ... end print(f('a', 'b'))", "2\ta\tb"],
  ["for k, v in {10, 20} do io.write(k, v, ' ') end", "110 220 "],
  [
    "print(string.match('key=val', '(%w+)=(%w+)')) for w in string.gmatch('a b', '%a') do io.write(w) end",
    "key\tval\nab",
  ],
  ["local function f() return 1 end; ;; print(f()) ;", "1"],
  ["t = {1, 2; x = 1,} print(t.x, t[2])", "1\t2"],
  ["t = {;x = 1} print(t.x) t = {1,;} print(t[1])", "1\n1"],
  ["do local _ENV = {} print(type(_ENV)) end _ENV = 5 print(_ENV)", "table\n5"],
  ["local a <const> = 1", "test.lua:1: unexpected symbol near `<'"],
  ["print(1 // 2)", "test.lua:1: unexpected symbol near `/'"],
  ["print(1 & 2)", "test.lua:1: unexpected symbol near `&'"],
  ["print(~1)", "test.lua:1: unexpected symbol near `~'"],
  ["print(1 << 2)", "test.lua:1: unexpected symbol near `<'"],
  ["#!/usr/bin/lua\nprint('second line', pcall(error, 'x', 2))", "second line\tfalse\ttest.lua:2: x"],
  ["\xef\xbb\xbfprint('after a byte order mark')", "after a byte order mark"],
  ["print('\xe4\xff')", "\xe4\xff"],
  ["x = 1 do local x = x + 1 print(x) end print(x)", "2\n1"],
  [
    "local e = {} for i = 1, 3 do e[i] = function() i = i + 1 return i end if i == 2 then break end end print(#e)",
    "2",
  ],
];

for (const [source, output] of shared) {
  test(`both: ${source.replaceAll("\n", "\\n")}`, async () => {
    assert.equal(await outcome("5.0", source), output.trimEnd());
    assert.equal(await outcome("5.2", source), output.trimEnd());
  });
}

test("lines are those of the file, whatever ends them", async () => {
  for (const end of ["\n", "\r\n", "\r"]) {
    const lines = [
      "-- one",
      "x = [[",
      "three",
      "]] --[[ four",
      "five ]]",
      "y = 'six\\",
      "seven'",
      "function f(...)",
      "  return arg.n + nil",
      "end",
      "f()",
    ];
    assert.equal(
      await outcome("5.0", lines.join(end)),
      "test.lua:9: attempt to perform arithmetic on a nil value",
    );
  }
  assert.equal(await outcome("5.0", "print([[a\r\nb]] == 'a\\nb', 'a\\\r\nb' == 'a\\nb')"), "true\ttrue");
});

test("the injected `arg` is a local that setfenv cannot take away", async () => {
  const source = `local function f(...) return arg.n, arg[2] end setfenv(f, {}) print(f(1, 2))
    arg = 'global' print((function() return arg end)()) print((function(arg, ...) return arg.n end)('x', 1))`;
  assert.equal(await outcome("5.0", source), "2\t2\nglobal\n1");
});

test("numeric loops: changes of the variable by closures count too", async () => {
  const source = `for i = 1, 10 do local skip = function(n) i = i + n end io.write(i, ' ') skip(2) end
    for i = 1, 3 do for j = 1, 3 do if j == 2 then i = i + 1 end io.write(i, j, ' ') end end
    local last for i = 1, 5 do local k = i last = function() return i, k end if k == 3 then break end end print(last())`;
  assert.equal(await outcome("5.0", source), "1 4 7 10 11 22 23 31 42 43 3\t3");
  assert.equal(
    await outcome("5.0", "for i = 1, 3 do i = nil end"),
    "test.lua:1: `for' initial value must be a number",
  );
});

test("generic loops share their variables between turns", async () => {
  const source = `local f = {} for k, v in ipairs({'a', 'b', 'c'}) do f[k] = {get = function() return v end, set = function(x) v = x end} end
    f[1].set('x') print(f[1].get() == f[3].get())`;
  assert.equal(await outcome("5.0", source), "true");
  assert.equal(await outcome("5.2", source), "false");
});

test("compiling reports file and line", async () => {
  const { engine } = engines["5.0"];
  const compile = (source: string) =>
    engine.compile("SMTPSVR.LUA", "/x/smtpsvr.lua", Buffer.from(source, "latin1"));
  const error = await scriptError((async () => compile("x = 1\ny = = 2"))());
  assert.equal(error.message, "SMTPSVR.LUA:2: unexpected symbol near `='");
  assert.deepEqual(
    { ...error.details },
    { kind: "syntax", script: "SMTPSVR.LUA", callback: "", line: 2, traceback: "" },
  );
  for (const source of ["(".repeat(500), "x = {".repeat(300), "\x1bLua", "f(", "\0", "x = 'a\0b'\n'"])
    assert.equal((await scriptError((async () => compile(source))())).details.kind, "syntax", source);
  assert.throws(() => compile(`x = ${"1 + ".repeat(5)}`), /unexpected symbol near `<eof>'/);
  compile(`x = ${"1 + ".repeat(50_000)}1`);
  compile(`x = '${"y".repeat(1_000_000)}'`);
});
