/**
 * The io library on real files, against a table of what Lua 5.0 answers; where
 * files are looked for; what an environment may not open, and when it must let
 * go.
 */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { LuaEngine } from "../../src/lua/engine.ts";
import { AMPLE, makeEngine, open, run, scriptError } from "./helper.ts";

// biome-ignore format: one case a line
const ANSWERS: [expressions: string, want: string][] = [
  ["io.open(\"/nonexistent/a\")", "nil \"/nonexistent/a: No such file or directory\" 2"],
  ["io.open(\"data\", \"zz\")", "nil \"data: Invalid argument\" 22"],
  ["io.open()", "error: bad argument #1 to `open' (string expected, got no value)"],
  ["io.open({})", "error: bad argument #1 to `open' (string expected, got table)"],
  ["io.open(\"data\", {})", "error: bad argument #2 to `open' (string expected, got table)"],
  ["io.lines(\"/nonexistent/a\")", "error: bad argument #1 to `lines' (No such file or directory)"],
  ["io.input(\"/nonexistent/a\")", "error: bad argument #1 to `input' (/nonexistent/a: No such file or directory)"],
  ["io.output(\"/nonexistent/a\")", "error: bad argument #1 to `output' (/nonexistent/a: No such file or directory)"],
  ["io.type(5), io.type(nil), io.type({})", "nil nil nil"],
  ["io.close(5)", "error: bad argument #1 to `close' (bad file)"],
  ["io.close({})", "error: bad argument #1 to `close' (bad file)"],
  ["file(\"data\", \"w\"):write(\"a\", 1, 2.5, \"\\n\")", "true"],
  ["f:write({})", "error: bad argument #1 to `write' (string expected, got table)"],
  ["f:write(nil)", "error: bad argument #1 to `write' (string expected, got nil)"],
  ["f:write()", "true"],
  ["f.write(\"x\")", "error: bad argument #1 to `write' (bad file)"],
  ["f.write()", "error: bad argument #1 to `write' (bad file)"],
  ["f:seek(\"bad\")", "error: bad argument #1 to `seek' (invalid mode)"],
  ["f:seek(\"set\", \"x\")", "error: bad argument #2 to `seek' (number expected, got string)"],
  ["f:seek(\"set\", 0)", "0"],
  ["f:read(\"*l\")", "nil"],
  ["f:close()", "true"],
  ["f:close()", "error: attempt to use a closed file"],
  ["f:write(\"x\")", "error: attempt to use a closed file"],
  ["f:read()", "error: attempt to use a closed file"],
  ["f:lines()", "error: attempt to use a closed file"],
  ["f:seek()", "error: attempt to use a closed file"],
  ["f:flush()", "error: attempt to use a closed file"],
  ["io.type(f), tostring(f), f.nofield", "\"closed file\" \"file (closed)\" nil"],
  ["io.type(file(\"data\")), string.find(tostring(f), \"^file %(0x%x+%)$\") ~= nil", "\"file\" true"],
  ["f:write(\"x\")", "nil \"Bad file descriptor\" 9"],
  ["f:read(\"x\")", "error: bad argument #1 to `read' (invalid option)"],
  ["f:read(\"*x\")", "error: bad argument #1 to `read' (invalid format)"],
  ["f:read(\"*w\")", "error: obsolete option `*w' to `read'"],
  ["f:read({})", "error: bad argument #1 to `read' (invalid option)"],
  ["f:read(nil)", "error: bad argument #1 to `read' (invalid option)"],
  ["f:read(0)", "\"\""],
  ["f:read(2, 0, \"*l\", 0)", "\"a1\" \"\" \"2.5\" nil"],
  ["f:read(\"*a\")", "\"\""],
  ["f:read(\"*a\")", "\"\""],
  ["f:read(\"*l\", \"*a\")", "nil"],
  ["io.close(f)", "true"],
  ["io.type(io.output(\"data\")), io.write(\"one\\n\", \"two\\n\", 3, \"\\n\")", "\"file\" true"],
  ["io.flush()", "true"],
  ["io.close()", "true"],
  ["io.write(\"x\")", "error: attempt to use a closed file"],
  ["io.close()", "error: attempt to use a closed file"],
  ["io.type(io.input(\"data\")), io.read(), io.read(\"*l\", \"*n\")", "\"file\" \"one\" \"two\" 3"],
  ["io.read(\"*a\")", "\"\\010\""],
  ["io.read()", "nil"],
  ["io.input():close()", "true"],
  ["io.read()", "error: attempt to use a closed file"],
  ["io.lines()", "error: attempt to use a closed file"],
  ["collect(io.lines(\"data\"))", "\"one|two|3\""],
  ["(function() local it = io.lines(\"data\") it() it() it() return it(), pcall(it) end)()", "nil false \"file is already closed\""],
  ["(function() io.input(\"data\") return collect(io.lines()), io.type(io.input()), io.read() end)()", "\"one|two|3\" \"file\" nil"],
  ["(function() local g = file(\"data\") local it = g:lines() g:close() return pcall(it) end)()", "false \"file is already closed\""],
  ["(function() local g = file(\"data\") io.input(g) return io.input() == g, io.read() end)()", "true \"one\""],
  ["(function() local g = file(\"data\") return collect(g:lines()), io.type(g), g:read(), g:close() end)()", "\"one|two|3\" \"file\" nil true"],
  ["io.input({})", "error: bad argument #1 to `input' (bad file)"],
  ["(function() local g = io.tmpfile() g:write(\"tmp\") g:seek(\"set\") return g:read(\"*a\"), g:close() end)()", "\"tmp\" true"],
  ["(function() local m = getmetatable(io.tmpfile()) return type(m), m.__index == m, type(m.read), type(m.__gc), type(m.__tostring) end)()", "\"table\" true \"function\" \"function\" \"function\""],
  ["put(\"12 34.5 -6e2 0x1F abc\")", "true"],
  ["file(\"data\"):read(\"*n\", \"*n\", \"*n\", \"*n\")", "12 34.5 -600 31"],
  ["f:read(\"*n\")", "nil"],
  ["f:read(3)", "\"abc\""],
  ["put(\"  99\\n.5e1\\n+5\") and file(\"data\"):read(\"*n\", \"*l\", \"*n\", \"*n\", \"*a\")", "99"],
  ["put(\"1e 2\") and file(\"data\"):read(\"*n\", \"*a\")", "1"],
  ["put(\"- 5\") and file(\"data\"):read(\"*n\")", "nil"],
  ["put(\"1.2.3\") and file(\"data\"):read(\"*n\", \"*n\", \"*a\")", "1.2"],
  ["put(\"a\\r\\nb\\0c\\n\") and file(\"data\"):read(\"*l\", \"*a\")", "\"a\\013\""],
  ["put(\"abc\\n\\ndef\") and file(\"data\"):read(\"*l\", \"*l\", \"*l\", \"*l\")", "\"abc\""],
  ["put(\"abcdef\") and file(\"data\"):read(2, 100, 1)", "\"ab\""],
  ["f:seek(\"set\", 2), f:seek(\"cur\", -1), f:seek(), f:seek(\"end\"), f:seek(\"end\", -2), f:read(\"*a\")", "2 1 1 6 4 \"ef\""],
  ["f:seek(\"set\", -1)", "nil \"Invalid argument\" 22"],
  ["put(\"\") and file(\"data\"):read(\"*a\", \"*l\")", "\"\""],
  ["put(\"\") and file(\"data\"):read(0)", "nil"],
  ["(function() put(\"0123456789\") file(\"data\", \"r+\") f:write(\"ab\") f:seek(\"cur\", 2) f:write(\"c\") f:seek(\"set\") return f:read(\"*a\"), f:close() end)()", "\"ab23c56789\" true"],
  ["(function() file(\"data\", \"a\") f:write(\"+\") f:close() file(\"data\", \"a+\") f:write(\"!\") f:seek(\"set\") return f:read(\"*a\"), f:close() end)()", "\"ab23c56789+!\" true"],
  ["(function() file(\"data\", \"w+\") f:write(\"new\") f:seek(\"set\", 1) return f:read(\"*a\"), f:close() end)()", "\"ew\" true"],
];

// One line. Each case shows its values, or its error without the position.
const PRELUDE = String.raw`
local function quoted(v)
  if type(v) == "userdata" then return "FILE" end
  if type(v) ~= "string" then return tostring(v) end
  local text = string.gsub(v, "[%c\128-\255]", function(c) return string.format("\\%03d", string.byte(c)) end)
  return '"' .. text .. '"'
end
local function show(...)
  local out = {}
  for i = 1, arg.n do out[i] = quoted(arg[i]) end
  print(table.concat(out, " "))
end
local function case(f)
  local function result(ok, ...)
    if ok then show(unpack(arg)) else print((string.gsub(arg[1], "^[^:]+:%d+: ", "error: "))) end
  end
  result(pcall(f))
end
function file(name, mode) f = assert(io.open(name, mode)) return f end
function collect(it) local out = {} for line in it do table.insert(out, line) end return table.concat(out, "|") end
function put(text) local g = assert(io.open("data", "wb")) g:write(text) g:close() return true end
`.replaceAll("\n", " ");

const lua50 = makeEngine({});
const inDataDir = (name: string) => join(lua50.dataDir, name);
const contentOf = (name: string) => readFileSync(inDataDir(name), "latin1");

test("answers as Lua 5.0 does", async () => {
  const lines = ANSWERS.map(([expressions]) => `case(function() return ${expressions} end)`);
  const out = (await run(lua50, `${PRELUDE}\n${lines.join("\n")}`)).split("\n");
  for (const [i, [expressions, want]] of ANSWERS.entries()) assert.equal(out[i], want, expressions);
});

test("what stays different: nothing is lost to NUL bytes, and a failed number is nil alone", async () => {
  writeFileSync(inDataDir("nul"), "a\0b\n1 x");
  const out = await run(
    lua50,
    `local f = io.open("nul") print(string.len(f:read())) print(f:read("*n", "*n")) f:close()`,
  );
  assert.equal(out, "3\n1\tnil\n");
});

test("there are no standard streams: output goes where print's does, input is an error", async () => {
  const out = await run(
    lua50,
    `print(io.stdin, io.stdout, io.stderr, io.input(), io.output())
     print(io.write("a", 1, "\\n"), io.flush())
     print(pcall(io.read)) print(pcall(io.lines)) print(pcall(io.close)) print(pcall(io.popen, "ls"))`,
  );
  assert.equal(
    out,
    `nil\tnil\tnil\tnil\tnil
a1
true\ttrue
false\tno default input file (there are no standard streams)
false\tno default input file (there are no standard streams)
false\tno default output file (there are no standard streams)
false\tio.popen is disabled
`,
  );
});

test("the 5.2 dialect: write gives the file, *L keeps the line end", async () => {
  const lua52 = makeEngine({ dialect: "5.2" });
  const out = await run(
    lua52,
    `io.open("x", "w"):write("a\\n"):write("b"):close()
     local f = io.open("x") print(f:read("*L") == "a\\n", f:read("*L"), f:read("*L")) f:close()`,
  );
  assert.equal(out, "true\tb\tnil\n");
});

test("names start in the data directory; reading alone falls back to the scripts directory", async () => {
  const scriptsDir = mkdtempSync(join(tmpdir(), "postlua-scripts-"));
  after(() => rmSync(scriptsDir, { recursive: true }));
  const dataDir = mkdtempSync(join(tmpdir(), "postlua-data-"));
  after(() => rmSync(dataDir, { recursive: true }));
  writeFileSync(join(scriptsDir, "list"), "from scripts\n");
  writeFileSync(join(scriptsDir, "both"), "from scripts\n");
  writeFileSync(join(dataDir, "both"), "from data\n");
  let out = "";
  const engine = new LuaEngine({
    dialect: "5.0",
    dataDir,
    scriptsDir,
    modules: [],
    print: (text) => {
      out += text;
    },
  });
  const script = engine.compile(
    "t.lua",
    "t.lua",
    Buffer.from(`
      print(io.open("list"):read(), io.lines("list")(), io.open("both", "rb"):read())
      io.input("list") print(io.read())
      print(io.open("list", "r+")) print(io.open("${scriptsDir}/list"):read()) print(io.open("none"))
      local f = io.open("new", "w") f:write("x") f:close()`),
  );
  const environment = engine.open(script, { context: {}, budget: AMPLE });
  await environment.start();
  environment.close();
  assert.equal(
    out,
    `from scripts\tfrom scripts\tfrom data
from scripts
nil\tlist: No such file or directory\t2
from scripts
nil\tnone: No such file or directory\t2
`,
  );
  assert.deepEqual(readdirSync(dataDir).sort(), ["both", "new"]);
});

test("pipes, devices and directories are refused with a word, not waited for", async () => {
  execFileSync("mkfifo", [inDataDir("pipe")]);
  const out = await run(
    lua50,
    `print(io.open("pipe")) print(io.open("pipe", "w")) print(io.open("/dev/zero")) print(io.open("."))
     print(pcall(io.lines, "pipe")) print(io.open("/dev/null"):read("*a"))`,
  );
  assert.equal(
    out,
    `nil\tpipe: Not a regular file\t22
nil\tpipe: Not a regular file\t22
nil\t/dev/zero: Not a regular file\t22
nil\t.: Is a directory\t21
false\tbad argument #1 to \`?' (Not a regular file)

`,
  );
});

test("files still open when the environment closes are written and closed", async () => {
  const before = readdirSync("/proc/self/fd").length;
  const { environment } = open(
    lua50,
    `a = io.open("left", "w") a:write("kept") io.output("default") io.write("too") io.open("left2", "w")`,
  );
  await environment.start();
  assert.equal(contentOf("left"), "");
  assert.equal(readdirSync("/proc/self/fd").length, before + 3);
  environment.close();
  assert.equal(contentOf("left"), "kept");
  assert.equal(contentOf("default"), "too");
  assert.equal(readdirSync("/proc/self/fd").length, before);
});

test("a default output that is replaced is written", async () => {
  await run(
    lua50,
    `io.output("one") io.write("1") io.output("two") local f = io.open("one") assert(f:read("*a") == "1")`,
  );
});

test("files that the script has dropped make room for others; files it holds do not", async () => {
  const budget = { ...AMPLE, openFiles: 10 };
  const many =
    'for i = 1, 200 do assert(io.open("many", "w")):write(i) assert(io.lines("many")) end print("done")';
  assert.equal(await run(lua50, many, budget), "done\n");
  const kept = 'local t = {} for i = 1, 200 do t[i] = assert(io.open("many")) end';
  assert.equal((await scriptError(run(lua50, kept, budget))).details.budget, "files");
  const closed = 'for i = 1, 200 do local f = io.open("many") f:close() end print("done")';
  assert.equal(await run(lua50, closed, budget), "done\n");
});

test("environments have default files of their own", async () => {
  const first = open(lua50, 'io.output("first") function f() io.write("x") return io.type(io.output()) end');
  const second = open(lua50, "function f() return io.output() end");
  await first.environment.start();
  await second.environment.start();
  assert.deepEqual(await second.environment.call("f"), [undefined]);
  assert.deepEqual(await first.environment.call("f"), ["file"]);
  second.environment.close();
  assert.deepEqual(await first.environment.call("f"), ["file"]);
  first.environment.close();
  assert.equal(contentOf("first"), "xx");
});

test("what a script does to the metatable of files is its own affair", async () => {
  const damage = `local m = getmetatable(io.tmpfile()) m.read = nil m.__index = function() return 1 end print(io.tmpfile().read)`;
  assert.equal(await run(lua50, damage), "1\n");
  assert.equal(await run(lua50, "print(io.tmpfile():read())"), "nil\n");
});

test("large files come and go whole, and no string gets longer than allowed", async () => {
  const script = `
    local f = io.open("large", "w")
    for i = 1, 20000 do f:write("line ", i, "\\n") end
    f:close()
    local n, last = 0
    for line in io.lines("large") do n = n + 1 last = line end
    print(n, last)
    f = io.open("large") local s = f:read("*a") print(string.len(s), f:seek()) f:close()`;
  const size = Array.from({ length: 20_000 }, (_, i) => `line ${i + 1}\n`).join("").length;
  assert.equal(await run(lua50, script), `20000\tline 20000\n${size}\t${size}\n`);
  const budget = { ...AMPLE, stringBytes: 1_000_000 };
  const greedy = 'while true do local f = io.open("large") f:read("*a") f:close() end';
  assert.equal((await scriptError(run(lua50, greedy, budget))).details.budget, "string");
});
