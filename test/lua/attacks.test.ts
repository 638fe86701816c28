/**
 * Scripts that would hurt the service: each ends with the stated kind of error
 * within its budget, cannot catch it, and others are served meanwhile. Runs in
 * one process, as a worker does; delays are printed and bounded grossly.
 */
import assert from "node:assert/strict";
import { after, test } from "node:test";
import type { Budget } from "../../src/lua/budget.ts";
import type { HostModule } from "../../src/lua/host.ts";
import { held } from "../../src/lua/memory.ts";
import { makeEngine, open, scriptError } from "./helper.ts";

const LONG = process.env.POSTLUA_LONG !== undefined;
const BUDGET: Budget = {
  instructions: 30_000_000,
  cpuMs: LONG ? 2_000 : 80,
  wallMs: 10_000,
  stringBytes: 200_000_000,
  outputBytes: 100_000,
  openFiles: 8,
};
/** No attack may take longer, however slow the machine. */
const MOST_MS = 40_000;

const slow: HostModule = {
  table: "host",
  functions: {
    wait: () => new Promise((resolve) => setImmediate(() => resolve([]))),
    take: () => [],
  },
};
const engine = makeEngine({ modules: [slow] });

type Attack = [name: string, source: string, expected: RegExp];

const LIMIT = /^(cpu|instructions)$/;
const STRING = /^(cpu|instructions|string|memory)$/;
const MEMORY = /^(cpu|instructions|memory)$/;

const attacks: Attack[] = [
  ["an endless loop", "while true do end", LIMIT],
  [
    "an endless loop inside pcall in a loop",
    "while true do pcall(function() while true do end end) end",
    LIMIT,
  ],
  ["xpcall whose handler loops", "xpcall(error, function() while true do end end)", LIMIT],
  ["errors in error handlers", "while true do xpcall(error, function() error('again') end) end", LIMIT],
  ["a handler that is no function", "while true do xpcall(error, nil) xpcall(error, 1) end", LIMIT],
  ["nested pcall", "local function f() return pcall(f) end while true do f() end", LIMIT],
  ["deep recursion", "local function f() return 1 + f() end while true do pcall(f) end", LIMIT],
  [
    "deep recursion with large frames",
    "local function f(...) return 1 + f(unpack(arg)) end while true do pcall(f, 1, 2, 3, 4, 5, 6, 7, 8) end",
    STRING,
  ],
  [
    "recursion through metamethods",
    "local t = setmetatable({}, {}) getmetatable(t).__index = function(t, k) return t[k] end while true do pcall(function() return t.x end) end",
    LIMIT,
  ],
  [
    "recursion through tostring",
    "local t = setmetatable({}, {}) getmetatable(t).__tostring = function(t) return tostring(t) end while true do pcall(tostring, t) end",
    LIMIT,
  ],
  [
    "recursion through gsub",
    "local function f() return (string.gsub('x', 'x', f)) end while true do pcall(f) end",
    LIMIT,
  ],
  [
    "recursion through sort",
    "local function f() table.sort({2, 1}, f) end while true do pcall(f) end",
    LIMIT,
  ],
  ["recursion through dostring", "function f() loadstring('f()')() end while true do pcall(f) end", LIMIT],
  [
    "recursion through coroutines",
    "local function f() return coroutine.wrap(f)() end while true do pcall(f) end",
    MEMORY,
  ],
  [
    "a table that is its own metatable's __index",
    "local t = {} setmetatable(t, {__index = t}) while true do local _ = pcall(function() return t.x end) end",
    LIMIT,
  ],
  [
    "coroutines by the million",
    "local t = {} for i = 1, 1e9 do t[i] = coroutine.create(function() coroutine.yield() end) coroutine.resume(t[i]) end",
    MEMORY,
  ],
  [
    "trees of short coroutines",
    "local function f() while true do local co = coroutine.wrap(function() for i = 1, 100 do end end) co() end end f()",
    LIMIT,
  ],
  [
    "coroutines in coroutines, each short",
    "local function f(n) if n == 0 then return end coroutine.wrap(f)(n - 1) coroutine.wrap(f)(n - 1) end while true do f(12) end",
    LIMIT,
  ],
  [
    "pcall inside short coroutines",
    "while true do coroutine.resume(coroutine.create(function() pcall(function() for i = 1, 9000 do end end) end)) end",
    LIMIT,
  ],
  [
    "pcall inside a sort callback",
    "local t = {} for i = 1, 100 do t[i] = -i end while true do table.sort(t, function(a, b) pcall(function() for i = 1, 1000 do end end) return a < b end) end",
    LIMIT,
  ],
  [
    "an inconsistent sort",
    "local t = {} for i = 1, 1000 do t[i] = i end while true do pcall(table.sort, t, function() return true end) end",
    LIMIT,
  ],
  ["sort of a table that says it is large", "while true do pcall(table.sort, {n = 2^30}) end", LIMIT],
  [
    "a sort callback that waits forever",
    "table.sort({3, 2, 1}, function(a, b) while true do end end)",
    LIMIT,
  ],
  ["string.rep", "local s = 'x' while true do s = string.rep(s, 10) end", STRING],
  ["string.rep in pcall", "while true do pcall(string.rep, 'x', 2^40) end", STRING],
  ["string.rep of nothing", "while true do string.rep('', 2^40) end", LIMIT],
  ["concatenation", "local s = 'x' while true do s = s .. s end", STRING],
  ["hoarded strings", "local t = {} for i = 1, 1000 do t[i] = string.rep('x', 32 * 1024 * 1024) end", STRING],
  ["hoarded small strings", "local t = {} for i = 1, 1e9 do t[i] = 'key' .. i end", MEMORY],
  ["string.format", "while true do string.format('%99.99f%99.99f%99d', 1e308, 1e308, 1) end", STRING],
  [
    "string.format of long strings",
    "local s = string.rep('x', 1000000) while true do string.format('%s%s%s%q', s, s, s, s) end",
    STRING,
  ],
  [
    "table.concat",
    "local t = {} for i = 1, 1000 do t[i] = string.rep('x', 1000) end while true do table.concat(t, 'yyyy') end",
    STRING,
  ],
  [
    "table.concat of a table that says it is large",
    "while true do pcall(table.concat, {n = 2^30}) end",
    LIMIT,
  ],
  ["unpack", "local t = {} for i = 1, 2000 do t[i] = i end while true do local n = {unpack(t)} end", MEMORY],
  ["unpack of a table that says it is large", "while true do pcall(unpack, {n = 2^30}) end", LIMIT],
  [
    "many arguments",
    "local t = {} for i = 1, 7000 do t[i] = i end local function f(...) return unpack(arg) end while true do pcall(f, unpack(t)) end",
    MEMORY,
  ],
  ["loadstring", "local s = string.rep('x = 1 ', 10000) while true do loadstring(s) end", LIMIT],
  [
    "loadstring of a long source",
    "local s = string.rep('x = 1 ', 300000) while true do pcall(loadstring, s) end",
    STRING,
  ],
  [
    "loadstring of deep nesting",
    "local s = 'return ' .. string.rep('(', 100000) while true do loadstring(s) end",
    STRING,
  ],
  ["table.insert at the front", "local t = {} while true do table.insert(t, 1, 1) end", MEMORY],
  [
    "table.insert into a table that says it is large",
    "while true do pcall(table.insert, {n = 2^30}, 1, 1) pcall(table.remove, {n = 2^30}, 1) end",
    LIMIT,
  ],
  ["foreach and foreachi", "while true do table.foreachi({n = 2^30}, function() end) end", LIMIT],
  ["getn", "local t = {} for i = 1, 100000 do t[i] = i end while true do table.getn(t) end", LIMIT],
  ["a table bomb", "local t = {} while true do t = {t, {}, {}, {}} end", MEMORY],
  ["a large table", "local t = {} local i = 0 while true do i = i + 1 t[i] = i end", MEMORY],
  ["a large table of globals", "local i = 0 while true do i = i + 1 _G['g' .. i] = i end", MEMORY],
  ["closures", "local t = {} while true do t = function() return t end end", MEMORY],
  ["a catastrophic pattern", "string.find(string.rep('a', 30), string.rep('a-', 12) .. 'b')", LIMIT],
  [
    "a catastrophic pattern in pcall",
    "while true do pcall(string.find, string.rep('a', 40), string.rep('a*', 20) .. 'b') end",
    LIMIT,
  ],
  ["a long search", "local s = string.rep('a', 1000000) while true do string.find(s, '.-b') end", LIMIT],
  [
    "a long plain search",
    "local s = string.rep('a', 1000000) while true do string.find(s, 'aaaaaaaab', 1, true) end",
    LIMIT,
  ],
  ["gsub that grows", "local s = 'x' while true do s = string.gsub(s, 'x', 'xxxxxxxx') end", STRING],
  [
    "gsub that matches everywhere",
    "local s = string.rep('x', 100000) while true do string.gsub(s, '', '') end",
    STRING,
  ],
  [
    "upper, lower, byte, char",
    "local s = string.rep('x', 100000) while true do string.upper(s) string.lower(s) string.len(s) end",
    STRING,
  ],
  [
    "string comparison",
    "local a, b = string.rep('x', 1000000) .. 'a', string.rep('x', 1000000) .. 'b' while true do local _ = a < b end",
    LIMIT,
  ],
  [
    "new strings as keys",
    "local t, s = {}, string.rep('x', 100000) for i = 1, 1e9 do t[s .. i] = i end",
    STRING,
  ],
  ["number conversion", "local s = string.rep('1', 100000) while true do local _ = tonumber(s) end", LIMIT],
  ["arithmetic on strings", "local s = string.rep('1', 100000) while true do local _ = s + 1 end", LIMIT],
  ["print", "while true do print('x') end", /^(output|cpu|instructions)$/],
  ["print of long lines", "local s = string.rep('x', 1000000) print(s, s)", /^output$/],
  ["io.write without a file", "while true do io.write('xxxxxxxxxx') end", /^(output|cpu|instructions)$/],
  ["open files", "local t = {} for i = 1, 1000 do t[i] = io.tmpfile() end", /^files$/],
  [
    "open files in pcall",
    "local t = {} while true do pcall(function() t[table.getn(t) + 1] = io.open('attack.txt', 'w') end) end",
    /^files$/,
  ],
  [
    "os.date with a long format",
    "local s = string.rep('%c', 10000) while true do pcall(os.date, s) end",
    STRING,
  ],
  ["collectgarbage", "while true do collectgarbage() gcinfo() end", LIMIT],
  ["getfenv and setfenv", "while true do setfenv(1, getfenv(1)) end", LIMIT],
  ["a loop of waits", "while true do host.wait() end", /^(wall|cpu|instructions)$/],
  ["a loop of waits in pcall", "while true do pcall(host.wait) end", /^(wall|cpu|instructions)$/],
  ["math.random", "while true do math.random() end", LIMIT],
  ["a loop whose step is nothing", "for i = 1, 2, 0 do end for i = 1, 2, 1e-300 do end", LIMIT],
  [
    "extra arguments handed on and on",
    "local t = {} for i = 1, 7000 do t[i] = i end local function f(...) while true do local n = {...} end end f(unpack(t))",
    MEMORY,
  ],
  [
    "extra arguments that grow",
    "local function f(...) return f(1, ...) end while true do pcall(f) end",
    MEMORY,
  ],
  [
    "next over removed keys",
    `local t = {} for i = 1, 50000 do t[i] = i end for i = 50000, 1, -1 do t[i] = nil end
     while true do for i = 1, 50000 do next(t, i) end end`,
    LIMIT,
  ],
  [
    "equality of long strings",
    "local a, b = string.rep('x', 10000000), string.rep('x', 10000000) while true do local _ = a == b end",
    STRING,
  ],
  [
    "long strings that are numbers",
    "local s = string.rep(' ', 10000000) .. '1' while true do local _ = s + 1 end",
    STRING,
  ],
  [
    "errors in a chunk with a long name",
    "local f = loadstring('error(1)', string.rep('x', 1000000)) while true do pcall(f) end",
    LIMIT,
  ],
  [
    "errors among many globals",
    "for i = 1, 20000 do _G['g' .. i] = i end while true do pcall(string.rep) end",
    LIMIT,
  ],
  [
    "large tables for the host",
    "local t = {} for i = 1, 10000 do t[i] = {} end while true do host.take(t) end",
    LIMIT,
  ],
  ["a cycle for the host", "local t = {} t[1] = t t[2] = t while true do host.take(t) end", LIMIT],
  ["next on its own", "local t = {1} while true do next(t) end", LIMIT],
];

// What the others feel: a callback is called again and again while attacks run.
const bystander = open(engine, "n = 0 function f(x) n = n + 1 return x + n - n end").environment;
await bystander.start();
const delays: number[] = [];
/** The longest delay while each attack ran. */
const worst: [name: string, ms: number][] = [];
let watching = true;
const watch = (async () => {
  while (watching) {
    const before = performance.now();
    assert.deepEqual(await bystander.call("f", [7]), [7]);
    delays.push(performance.now() - before);
    const paused = performance.now();
    await new Promise((resolve) => setImmediate(resolve));
    delays.push(performance.now() - paused);
  }
})();
after(async () => {
  watching = false;
  await watch;
  delays.sort((a, b) => a - b);
  worst.sort((a, b) => b[1] - a[1]);
  for (const [name, ms] of worst.slice(0, 5))
    console.log(`longest delay during ${name}: ${ms.toFixed(1)} ms`);
  const at = (part: number) => delays[Math.floor((delays.length - 1) * part)]!.toFixed(2);
  console.log(`delay of others: p50 ${at(0.5)} ms, p99 ${at(0.99)} ms, max ${at(1)} ms`);
});

async function attack(name: string, source: string, budget: Budget, test = engine) {
  const before = delays.length;
  const { environment, output } = open(test, `function f() ${source} end`, { budget });
  await environment.start();
  const started = performance.now();
  const error = await scriptError(environment.call("f"));
  const elapsed = performance.now() - started;
  environment.close();
  worst.push([name, Math.max(0, ...delays.slice(before))]);
  assert.match(error.details.kind, /^(budget|memory)$/, error.message);
  assert.equal(error.details.callback, "f");
  assert.ok(elapsed < MOST_MS, `took ${elapsed} ms`);
  return { error, output: output() };
}

for (const [name, source, expected] of attacks) {
  test(name, async () => {
    const { error, output } = await attack(name, source, BUDGET);
    assert.match(error.details.budget ?? "", expected);
    assert.ok(output.length <= BUDGET.outputBytes);
  });
}

const hoards: Record<string, string> = {
  tables: "local t = {} while true do t = {t, {}, {}, {}} end",
  "small strings": "local t = {} for i = 1, 1e9 do t[i] = 'key' .. i end",
  "large strings": "local t = {} for i = 1, 1e9 do t[i] = string.rep('x', 1000000) end",
  coroutines: "local t = {} for i = 1, 1e9 do t[i] = coroutine.create(function() end) end",
  closures: "local t while true do local before = t t = function() return before end end",
  "deep stacks": `local t = {} local function f(n) if n == 0 then coroutine.yield() end return 1 + f(n - 1) end
    for i = 1, 1e9 do t[i] = coroutine.wrap(function() f(20000) end) t[i]() end`,
  globals: "local i = 0 while true do i = i + 1 _G['g' .. i] = {} end",
  "a string key each":
    "local t = {} local i = 0 while true do i = i + 1 t[string.rep('x', 1000) .. i] = true end",
};
const ROOM = 60 * 1024 * 1024;

for (const [name, source] of Object.entries(hoards)) {
  test(`hoarding ${name}`, async () => {
    const small = makeEngine({ maxMemoryBytes: held() + ROOM });
    const budget = { ...BUDGET, instructions: 1e12, cpuMs: 60_000, stringBytes: 1e12 };
    const { error } = await attack(`hoarding ${name}`, source, { ...budget, wallMs: MOST_MS }, small);
    assert.equal(error.details.kind, "memory");
    // The memory is there again for those who come after.
    const { environment } = open(
      small,
      "function f() local t = {} for i = 1, 1000 do t[i] = {} end return 'fine' end",
    );
    await environment.start();
    assert.deepEqual(await environment.call("f"), ["fine"]);
  });
}
