/** Engine and environment as the rest of the program uses them. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type HostModule, LuaRaise } from "../../src/lua/host.ts";
import { LuaHeaderMap, LuaOpaque, LuaTable, type LuaValue } from "../../src/lua/values.ts";
import { AMPLE, makeEngine, open, scriptError } from "./helper.ts";

const engine = makeEngine({});

/** Plain JavaScript for what came out of Lua. */
function plain(value: LuaValue): unknown {
  if (value instanceof LuaTable)
    return Object.fromEntries([...value.entries].map(([k, v]) => [String(k), plain(v)]));
  return value instanceof LuaOpaque ? `<${value.type}>` : value;
}

test("globals are set before the script starts and read after it", async () => {
  const { environment } = open(engine, "seen = given; answer = {given = given, list = {1, 'two', true}}");
  environment.set("given", "hello");
  await environment.start();
  assert.equal(environment.get("seen"), "hello");
  assert.deepEqual(plain(environment.get("answer")), { given: "hello", list: { 1: 1, 2: "two", 3: true } });
  assert.equal(environment.get("nothing"), undefined);
  environment.set("given", null);
  assert.equal(environment.get("given"), undefined);
});

test("values of every kind go in and come out", async () => {
  const { environment } = open(engine, "function echo(...) return unpack(arg, 1, arg.n) end");
  await environment.start();
  const bytes = new Uint8Array([0, 255, 65]);
  const headers = new LuaHeaderMap(new Map<string, string>([["Subject", "s"]]));
  const map = new Map<string | number, string>([
    ["k", "v"],
    [2, "two"],
  ]);
  const values = await environment.call("echo", [
    undefined,
    null,
    false,
    1.5,
    "\xff\0",
    bytes,
    ["a", "b"],
    map,
    { x: { y: 1 } },
    headers,
  ]);
  assert.deepEqual(values.slice(0, 6), [undefined, undefined, false, 1.5, "\xff\0", "\0\xffA"]);
  assert.deepEqual(values.slice(6).map(plain), [
    { 1: "a", 2: "b" },
    { k: "v", 2: "two" },
    { x: { y: 1 } },
    { Subject: "s" },
  ]);
  assert.deepEqual(await environment.call("echo", []), []);
});

test("arrays have no field n, and tables are real ones", async () => {
  const { environment, output } = open(
    engine,
    "function f(t) for k, v in pairs(t) do print(k, v) end print(table.getn(t), t.n) t[3] = 'c' t.x = t end",
  );
  await environment.start();
  await environment.call("f", [["a", "b"]]);
  assert.equal(output(), "1\ta\n2\tb\n2\tnil\n");
});

test("header maps answer any case and show each name once", async () => {
  const source = `function f(h) local names = {} for k in pairs(h) do table.insert(names, k) end
    h.NEW = 'n' h.subject = 'changed'
    return h.SUBJECT, h['x-spam'], h.missing, table.concat(names, ','), h.Subject, h.subject, h.new, getmetatable(h), pcall(setmetatable, h, {}) end`;
  const { environment } = open(engine, source);
  await environment.start();
  const headers = new LuaHeaderMap(
    new Map([
      ["Subject", "hello"],
      ["X-Spam", "yes"],
    ]),
  );
  const values = await environment.call("f", [headers]);
  assert.deepEqual(values, [
    "hello",
    "yes",
    undefined,
    "Subject,X-Spam",
    "hello",
    "changed",
    undefined,
    false,
    false,
    "cannot change a protected metatable",
  ]);
});

test("what comes back is bounded in depth and size", async () => {
  const source = `function deep() local t = {} local top = t for i = 1, 100 do t.t = {} t = t.t end return top end
    function cycle() local t = {} t.t = t return t end
    function large() local t = {} for i = 1, 300000 do t[i] = i end return t end
    function odd() return {[{}] = 1, [print] = 2, [true] = 3, [1.5] = 4, f = print, c = coroutine.create(odd)} end`;
  const { environment } = open(engine, source);
  await environment.start();
  const depth = (value: LuaValue): number => (value instanceof LuaTable ? 1 + depth(value.get("t")) : 0);
  assert.ok(depth((await environment.call("deep"))[0]) < 20);
  assert.ok(depth((await environment.call("cycle"))[0]) < 20);
  assert.match((await scriptError(environment.call("large"))).message, /200000 entries/);
  assert.deepEqual(plain((await environment.call("odd"))[0]), {
    true: 3,
    "1.5": 4,
    f: "<function>",
    c: "<thread>",
  });
});

test("has() is about functions", async () => {
  const { environment } = open(engine, "function f() end x = 5");
  assert.equal(environment.has("f"), false);
  await environment.start();
  assert.deepEqual(
    ["f", "x", "print", "nothing"].map((name) => environment.has(name)),
    [true, false, true, false],
  );
});

test("a script names the global functions of its top level", () => {
  const source = `local function hidden() end
function DoMAILFROM(address, params) end
DoRCPTTO = function(a, ...) end
if x then function Conditional() end end
function t.field() end function t:method() end
function outer() function inner() end end
local f = function() end End = f`;
  const script = engine.engine.compile("SMTPSVR.LUA", "/x", Buffer.from(source));
  assert.deepEqual(script.functions(), [
    { name: "DoMAILFROM", params: ["address", "params"], line: 2 },
    { name: "DoRCPTTO", params: ["a", "..."], line: 3 },
    { name: "Conditional", params: [], line: 4 },
    { name: "outer", params: [], line: 6 },
    { name: "End", params: [], line: 7 },
  ]);
  const many = Array.from({ length: 400 }, (_, i) => `function f${i}(a) end`).join("\n");
  const found = engine.engine.compile("many", "/x", Buffer.from(many)).functions();
  assert.equal(found.length, 400);
  assert.deepEqual(found[399], { name: "f399", params: ["a"], line: 400 });
});

test("errors name script, callback and line, with Lua's traceback", async () => {
  const source =
    "function g(x)\n  return x.field\nend\nfunction DoHELO(name)\n  local r = g(nil)\n  return r\nend\nfunction T() error({}) end\nfunction N() error(nil) end";
  const { environment } = open(engine, source, { name: "SMTPSVR.LUA" });
  await environment.start();
  const error = await scriptError(environment.call("DoHELO", ["x"]));
  assert.equal(error.message, "SMTPSVR.LUA:2: attempt to index local `x' (a nil value)");
  const { kind, script, callback, line, traceback } = error.details;
  assert.deepEqual([kind, script, callback, line], ["runtime", "SMTPSVR.LUA", "DoHELO", 2]);
  assert.equal(
    traceback,
    "stack traceback:\n\tSMTPSVR.LUA:2: in function `g'\n\tSMTPSVR.LUA:5: in function `DoHELO'",
  );
  assert.equal((await scriptError(environment.call("T"))).message, "(error object is a table value)");
  assert.equal((await scriptError(environment.call("N"))).message, "(error object is a nil value)");
  assert.equal((await scriptError(environment.call("missing"))).details.kind, "missing");
  const broken = open(engine, "x = 1\nerror('top level')").environment;
  const top = await scriptError(broken.start());
  assert.deepEqual([top.message, top.details.callback, top.details.line], ["test.lua:2: top level", "", 2]);
});

test("an environment goes on after an error, a breach and a missing function", async () => {
  const { environment } = open(
    engine,
    "n = 0 function ok() n = n + 1 return n end function bad() n = n + 1 error('x') end function loop() while true do end end",
  );
  await environment.start();
  assert.deepEqual(await environment.call("ok"), [1]);
  await scriptError(environment.call("bad"));
  const budget = { ...AMPLE, instructions: 50_000 };
  assert.equal((await scriptError(environment.call("loop", [], { budget }))).details.budget, "instructions");
  assert.deepEqual(await environment.call("ok"), [3]);
});

test("each callback has a budget of its own", async () => {
  const budget = { ...AMPLE, instructions: 400_000 };
  const { environment } = open(engine, "function f() for i = 1, 100000 do end end", { budget });
  await environment.start();
  for (let i = 0; i < 20; i++) await environment.call("f");
});

test("host functions get arguments as Lua's own do", async () => {
  const module: HostModule = {
    table: "VPOP3Net",
    functions: {
      GetDNSRecords: (call) => [
        call.string(1),
        call.number(2),
        call.optionalString(3, "none"),
        call.optionalNumber(4, -1),
      ],
      Raise: () => {
        throw new LuaRaise("raised");
      },
      Nothing: () => [],
      Table: () => [{ a: [1, 2] }, undefined, 3],
      Who: (call) => [(call.context as { who: string }).who],
    },
  };
  const globals: HostModule = { table: "", functions: { greet: () => ["hello"] } };
  const os: HostModule = { table: "os", functions: { sleep: () => ["slept"] } };
  const { environment, output } = open(
    makeEngine({ modules: [module, globals, os] }),
    `print(VPOP3Net.GetDNSRecords('d', 16)) print(VPOP3Net.GetDNSRecords(5, '0x10', 'x', 1))
     print(pcall(VPOP3Net.GetDNSRecords)) print(pcall(function() VPOP3Net.GetDNSRecords('d', {}) end)) print(pcall(function() VPOP3Net.GetDNSRecords('d', 1, {}) end))
     local local_name = VPOP3Net.GetDNSRecords print(pcall(function() local f = local_name f(nil) end))
     print(pcall(VPOP3Net.Raise)) print(pcall(function() VPOP3Net.Raise() end)) print(VPOP3Net.Nothing())
     local t, n, three = VPOP3Net.Table() print(t.a[2], n, three) print(VPOP3Net.Who(), greet(), os.sleep(), type(os.time))`,
    { context: { who: "me" } },
  );
  await environment.start();
  assert.deepEqual(output().split("\n"), [
    "d\t16\tnone\t-1",
    "5\t16\tx\t1",
    "false\tbad argument #1 to `?' (string expected, got no value)",
    "false\ttest.lua:2: bad argument #2 to `GetDNSRecords' (number expected, got table)",
    "false\ttest.lua:2: bad argument #3 to `GetDNSRecords' (string expected, got table)",
    "false\ttest.lua:3: bad argument #1 to `f' (string expected, got nil)",
    "false\traised",
    "false\ttest.lua:4: raised",
    "",
    "2\tnil\t3",
    "me\thello\tslept\tfunction",
    "",
  ]);
});

test("files left open are closed with the environment", async () => {
  const { environment } = open(
    engine,
    "f = io.open('left.txt', 'w') f:write('kept') function g() return io.type(f) end",
  );
  await environment.start();
  assert.deepEqual(await environment.call("g"), ["file"]);
  environment.close();
  environment.close();
  const reader = open(engine, "f = io.open('left.txt') text = f:read('*a') f:close()").environment;
  await reader.start();
  assert.equal(reader.get("text"), "kept");
});
