/** Waits look blocking to the script, wherever in it they happen, and block nothing. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type HostModule, LuaRaise } from "../../src/lua/host.ts";
import { makeEngine, open, run, scriptError } from "./helper.ts";

/** Every call is a wait, however short. */
const waiting: HostModule = {
  table: "host",
  functions: {
    echo: async (call) => {
      await new Promise((resolve) => setImmediate(resolve));
      return call.args as string[];
    },
    fail: async (call) => {
      await new Promise((resolve) => setImmediate(resolve));
      throw new LuaRaise(call.string(1));
    },
    late: async (call) => {
      await new Promise((resolve) => setImmediate(resolve));
      return [call.string(2)];
    },
    forever: () => new Promise(() => {}),
    sleep: (call) => new Promise((resolve) => setTimeout(() => resolve([]), call.number(1))),
    now: () => [1],
    broken: () => {
      throw new TypeError("a bug of the host");
    },
  },
};
const engine = makeEngine({ modules: [waiting] });

const cases: Record<string, [source: string, output: string]> = {
  "a plain call": ["print(host.echo(1, 'two', nil, true))", "1\ttwo\tnil\ttrue\n"],
  "an expression": ["print(host.echo(1) + host.echo(2) * host.echo(3))", "7\n"],
  pcall: [
    "print(pcall(host.echo, 'x')) print(pcall(function() return host.echo(1), host.echo(2) end))",
    "true\tx\ntrue\t1\t2\n",
  ],
  "pcall of an error after a wait": [
    "print(pcall(function() host.echo() error('late', 0) end)) print(pcall(host.fail, 'no'))",
    "false\tlate\nfalse\tno\n",
  ],
  "the position of a rejection": ["print(pcall(function() host.fail('no') end))", "false\ttest.lua:1: no\n"],
  "an argument checked after a wait": [
    "print(pcall(function() host.late(1) end))",
    "false\ttest.lua:1: bad argument #2 to `late' (string expected, got no value)\n",
  ],
  "xpcall and its handler": [
    "print(xpcall(function() host.echo() error('e', 0) end, function(m) return host.echo(m .. '!') end))",
    "false\te!\n",
  ],
  metamethods: [
    `local m = {}
     for _, event in {'add', 'sub', 'mul', 'div', 'pow', 'unm', 'concat', 'index', 'call'} do
       local e = event
       m['__' .. e] = function() return host.echo(e) end
     end
     m.__eq = function() return host.echo(true) end
     m.__lt = function() return host.echo(true) end
     m.__le = function() return host.echo(false) end
     m.__newindex = function(t, k, v) rawset(t, k, host.echo(v) .. '!') end
     local a, b = setmetatable({}, m), setmetatable({}, m)
     print(a + b, a - b, a * b, a / b, a ^ b, -a, a .. b, a.x, a())
     print(a == b, a < b, a <= b, a ~= b, a > b, a >= b)
     a.field = 'v' print(a.field)`,
    "add\tsub\tmul\tdiv\tpow\tunm\tconcat\tindex\tcall\ntrue\ttrue\tfalse\tfalse\ttrue\tfalse\nv!\n",
  ],
  "<= by way of <": [
    `local m = {__lt = function(a, b) return host.echo(a.v < b.v) end}
     local a, b = setmetatable({v = 1}, m), setmetatable({v = 2}, m)
     print(a <= b, b <= a, a >= b)`,
    "true\tfalse\tfalse\n",
  ],
  "a long concatenation": [
    `local m = {__concat = function(a, b) return host.echo((type(a) == 'table' and 'T' or a) .. (type(b) == 'table' and 'T' or b)) end}
     local t = setmetatable({}, m)
     print('a' .. 'b' .. t .. 'c' .. 'd' .. t .. 'e')`,
    "abTcdTe\n",
  ],
  "a for iterator": [
    "for i in function(_, i) i = (i or 0) + 1 if i < 4 then return host.echo(i) end end do io.write(i, ' ') end print()",
    "1 2 3 \n",
  ],
  "table.sort": [
    `local t = {} for i = 1, 50 do t[i] = math.mod(i * 37, 101) end
     table.sort(t, function(a, b) return host.echo(a) < host.echo(b) end)
     for i = 2, 50 do assert(t[i - 1] <= t[i]) end print('sorted')`,
    "sorted\n",
  ],
  "string.gsub": [
    "print(string.gsub('hello world', '%w+', function(w) return host.echo(string.upper(w)) end))",
    "HELLO WORLD\t2\n",
  ],
  "table.foreach and foreachi": [
    `table.foreach({10}, function(k, v) print(host.echo(k, v)) end)
     print(table.foreachi({1, 2, 3}, function(i) if host.echo(i) == 2 then return 'two' end end))`,
    "1\t10\ntwo\n",
  ],
  "tostring and print": [
    `local t = setmetatable({}, {__tostring = function() return host.echo('T') end})
     print(t, tostring(t)) tostring = function(x) return host.echo('<' .. type(x) .. '>') end print(1, t)`,
    "T\tT\n<number>\t<table>\n",
  ],
  "the script's own coroutines": [
    `local co = coroutine.create(function(a)
       local b = coroutine.yield(host.echo(a) + 1)
       local c = pcall(function() coroutine.yield(host.echo(b) + 10) end)
       return host.echo('end')
     end)
     print(coroutine.resume(co, 1)) print(coroutine.resume(co, 2)) print(coroutine.status(co))
     print(coroutine.resume(co)) print(coroutine.status(co))
     local gen = coroutine.wrap(function() for i = 1, 3 do coroutine.yield(host.echo(i)) end end)
     print(gen(), gen(), gen())
     local function nest(n) if n == 0 then return host.echo('deep') end
       return coroutine.wrap(function() return nest(n - 1) end)() end
     print(nest(20))
     print(coroutine.resume(coroutine.create(function() host.fail('inside') end)))`,
    "true\t2\ntrue\t12\nsuspended\ntrue\tend\ndead\n1\t2\t3\ndeep\nfalse\ttest.lua:13: inside\n",
  ],
  "a coroutine that resumes one that waits": [
    `local co
     co = coroutine.create(function() return host.echo(coroutine.resume(co)) end)
     print(coroutine.resume(co))`,
    "true\tfalse\tcannot resume non-suspended coroutine\n",
  ],
  "dofile, loadstring, require": [
    "print(loadstring('return host.echo(...)')('x')) print(getfenv(host.echo) == _G)",
    "x\ntrue\n",
  ],
};

for (const [name, [source, output]] of Object.entries(cases)) {
  test(`waiting inside ${name}`, async () => {
    assert.equal(await run(engine, source), output);
  });
}

test("sessions wait together, and others answer meanwhile", async () => {
  const count = 1000;
  const started = performance.now();
  const sleepers = Array.from({ length: count }, async () => {
    const { environment, output } = open(engine, "function f() host.sleep(1000) return 'up' end");
    await environment.start();
    const values = await environment.call("f");
    assert.deepEqual(values, ["up"]);
    environment.close();
    return output();
  });
  const delays: number[] = [];
  const quick = open(engine, "function f(x) return host.now() + x end").environment;
  await quick.start();
  for (let i = 0; i < 20; i++) {
    const before = performance.now();
    assert.deepEqual(await quick.call("f", [1]), [2]);
    delays.push(performance.now() - before);
    await new Promise((resolve) => setImmediate(resolve));
  }
  await Promise.all(sleepers);
  const elapsed = performance.now() - started;
  assert.ok(elapsed < 5000, `took ${elapsed} ms`);
});

test("the wall-clock budget ends a wait", async () => {
  const budget = {
    instructions: 1e9,
    cpuMs: 1e4,
    wallMs: 30,
    stringBytes: 1e9,
    outputBytes: 1e6,
    openFiles: 10,
  };
  const { environment } = open(engine, "function f() pcall(host.forever) while true do end end", { budget });
  await environment.start();
  const error = await scriptError(environment.call("f"));
  assert.equal(error.details.kind, "budget");
  assert.equal(error.details.budget, "wall");
});

test("helpers that answer at once do not keep others from running", async () => {
  const instant: HostModule = { table: "host", functions: { at: async () => [1] } };
  const { environment } = open(
    makeEngine({ modules: [instant] }),
    "function f() while not done do host.at() end end",
  );
  await environment.start();
  const looping = environment.call("f");
  // Timers run, so the loop can be told to stop.
  await new Promise((resolve) => setTimeout(resolve, 5));
  environment.set("done", true);
  assert.deepEqual(await looping, []);
});

test("closing ends waits, aborts signals, and refuses further calls", async () => {
  let signal: AbortSignal | undefined;
  const watching: HostModule = {
    table: "host",
    functions: {
      wait: (call) => {
        signal = call.signal;
        return new Promise(() => {});
      },
    },
  };
  const { environment } = open(makeEngine({ modules: [watching] }), "function f() host.wait() end");
  await environment.start();
  const waiting = scriptError(environment.call("f"));
  assert.equal(signal?.aborted, false);
  environment.close();
  assert.equal((await waiting).details.kind, "stopped");
  assert.equal(signal?.aborted, true);
  assert.equal((await scriptError(environment.call("f"))).details.kind, "stopped");
});

test("an exception of a host function is the host's bug, not the script's to catch", async () => {
  const { environment } = open(engine, "function f() pcall(host.broken) return 'caught' end");
  await environment.start();
  await assert.rejects(environment.call("f"), TypeError);
  // The environment can be used again.
  assert.deepEqual(await environment.call("f").catch((error) => error.message), "a bug of the host");
});

test("End may run while another callback waits", async () => {
  const { environment } = open(
    engine,
    "function f() host.sleep(50) return x end function End() x = 'ended' end",
  );
  await environment.start();
  const waiting = environment.call("f");
  await environment.call("End");
  assert.deepEqual(await waiting, ["ended"]);
  environment.close();
});
