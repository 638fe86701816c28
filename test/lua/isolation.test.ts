/** No script reaches JavaScript, another session, or what the host keeps from it. */
import assert from "node:assert/strict";
import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import type { Dialect } from "../../src/lua/lexer.ts";
import { evaluate, makeEngine, open, run, scriptError } from "./helper.ts";

const dialects: Dialect[] = ["5.0", "5.2"];

for (const dialect of dialects) {
  const engine = makeEngine({
    dialect,
    modules: [{ table: "VPOP3", functions: { who: (call) => [(call.context as { who: string }).who] } }],
  });

  /** Runs `attack` in one session, then gives what `victim` evaluates to in another that was open all the time. */
  async function afterAttack(attack: string, victim: string): Promise<unknown> {
    const attacker = open(engine, `function f() ${attack} end`, { context: { who: "attacker" } });
    const target = open(engine, `secret = 'mine' function f() return ${victim} end`, {
      context: { who: "victim" },
    });
    await attacker.environment.start();
    await target.environment.start();
    await attacker.environment.call("f");
    const [value] = await target.environment.call("f");
    attacker.environment.close();
    target.environment.close();
    return value;
  }

  test(`${dialect}: globals, library tables and _LOADED are each session's own`, async () => {
    assert.equal(await afterAttack("secret = 'stolen'", "secret"), "mine");
    assert.equal(await afterAttack("string.len = function() return 'x' end", "string.len('ab')"), 2);
    assert.equal(
      await afterAttack(
        "for _, t in pairs(_G) do if type(t) == 'table' and t ~= _G then for k in pairs(t) do t[k] = nil end end end",
        "type(io.open)",
      ),
      "function",
    );
    assert.equal(await afterAttack("_LOADED.x = 1", "_LOADED.x"), undefined);
    assert.equal(await afterAttack("VPOP3.who = nil", "VPOP3.who()"), "victim");
    assert.equal(await afterAttack("_G.tostring = error print = nil", "tostring(1)"), "1");
    assert.equal(
      await afterAttack("setmetatable(_G, {__index = function() return 'x' end})", "nothing"),
      undefined,
    );
  });

  test(`${dialect}: getfenv and setfenv reach no further than the session`, async () => {
    assert.equal(
      await afterAttack("for i = 0, 50 do pcall(function() getfenv(i).secret = 'stolen' end) end", "secret"),
      "mine",
    );
    assert.equal(
      await afterAttack(
        "local pcall, setfenv = pcall, setfenv for i = 0, 50 do pcall(setfenv, i, {}) end",
        "secret",
      ),
      "mine",
    );
    assert.equal(
      await afterAttack(
        "for _, f in pairs(string) do pcall(setfenv, f, {}) assert(not pcall(setfenv, f, {}) or type(f) ~= 'function') end",
        "string.upper('x')",
      ),
      "X",
    );
    assert.equal(await afterAttack("getfenv(print).secret = 'stolen'", "secret"), "mine");
    assert.equal(await afterAttack("getfenv(VPOP3.who).secret = 'stolen'", "secret"), "mine");
    assert.equal(await afterAttack("setfenv(0, {}) loadstring('secret = 1')()", "secret"), "mine");
    assert.equal(
      await afterAttack("coroutine.wrap(function() getfenv(0).secret = 'stolen' end)()", "secret"),
      "mine",
    );
  });

  test(`${dialect}: metatables of basic types cannot be changed for others`, async () => {
    const attack = `for _, v in ipairs({'', 0, true, print, function() end, coroutine.create(function() end)}) do
      local m = getmetatable(v) if type(m) == 'table' then m.__index = function() return 'stolen' end m.__tostring = m.__index end
      pcall(setmetatable, v, {__index = function() return 'stolen' end}) end
      pcall(setmetatable, nil, {})`;
    assert.equal(await afterAttack(attack, "string.upper('x')"), "X");
    assert.equal(await afterAttack(attack, "(pcall(function() return ('x').y end))"), dialect === "5.2");
    if (dialect === "5.2")
      assert.equal(await afterAttack(attack, "('x').y == nil and ('x'):upper() or 'bad'"), "X");
  });

  test(`${dialect}: sessions that take turns keep their own string methods`, async () => {
    if (dialect === "5.0") return;
    const wait = {
      table: "host",
      functions: { wait: () => new Promise<[]>((resolve) => setImmediate(() => resolve([]))) },
    };
    const two = makeEngine({ dialect, modules: [wait] });
    const source = `string.mine = function() return name end
      function f(n) name = n local out = '' for i = 1, 20 do out = out .. ('x'):mine() host.wait() end return out end`;
    const names = ["a", "b", "c"];
    const results = await Promise.all(
      names.map(async (name) => {
        const { environment } = open(two, source);
        await environment.start();
        return (await environment.call("f", [name]))[0];
      }),
    );
    assert.deepEqual(
      results,
      names.map((name) => name.repeat(20)),
    );
  });

  test(`${dialect}: closures of one prototype are told apart`, async () => {
    // Without upvalues of its own, such a function could be one object for all sessions.
    const source = "function make() return function() return x end end f = make() g = make() x = 'global'";
    const one = open(
      engine,
      `${source} function change() setfenv(f, {x = 'changed'}) return f() end`,
    ).environment;
    const two = open(engine, `${source} function read() return f(), g(), f == g end`).environment;
    await one.start();
    await two.start();
    assert.deepEqual(await one.call("change"), ["changed"]);
    assert.deepEqual(await two.call("read"), ["global", "global", false]);
    const script = engine.engine.compile(
      "s",
      "/s",
      Buffer.from(
        "function f() return 1 end function c() setfenv(f, {}) return getfenv(f) ~= _G end function r() return getfenv(f) == _G end",
      ),
    );
    const options = { context: {}, budget: (await import("./helper.ts")).AMPLE };
    const [first, second] = [engine.engine.open(script, options), engine.engine.open(script, options)];
    await first.start();
    await second.start();
    assert.deepEqual(await first.call("c"), [true]);
    assert.deepEqual(await second.call("r"), [true]);
  });

  test(`${dialect}: no debug, no package, nothing of JavaScript`, async () => {
    const absent = [
      "debug",
      "package",
      "js",
      "newproxy",
      "fengari",
      "module",
      "globalThis",
      "process",
      "load",
      "rawlen",
    ];
    for (const name of absent) assert.deepEqual(await evaluate(engine, `${name}`), [undefined], name);
    assert.deepEqual(await evaluate(engine, "io.stdin, io.stdout, io.stderr"), [
      undefined,
      undefined,
      undefined,
    ]);
    assert.deepEqual(
      (await evaluate(engine, "loadlib('/lib/x86_64-linux-gnu/libc.so.6', 'system')")).slice(0, 1),
      [undefined],
    );
    const hidden = [
      "__proto__",
      "constructor",
      "prototype",
      "toString",
      "hasOwnProperty",
      "valueOf",
      "__defineGetter__",
    ];
    for (const name of hidden) {
      assert.deepEqual(await evaluate(engine, `_G['${name}'], string['${name}'], ({})['${name}']`), [
        undefined,
        undefined,
        undefined,
      ]);
      const source = `local t = {} t['${name}'] = {polluted = 1} _G['${name}'] = {polluted = 1} print(t['${name}'].polluted)`;
      assert.equal(await run(engine, source), "1\n");
    }
    assert.equal(({} as Record<string, unknown>).polluted, undefined);
  });

  test(`${dialect}: binary chunks are refused`, async () => {
    assert.deepEqual((await evaluate(engine, "loadstring('\\27Lua' .. string.rep('x', 100))"))[0], undefined);
    assert.deepEqual(await evaluate(engine, "pcall(string.dump, function() end)").then(([ok]) => ok), false);
    writeFileSync(join(engine.dataDir, "binary.lua"), "\x1bLuaS\0\x19\x93\r\n\x1a\n");
    assert.deepEqual((await evaluate(engine, "loadfile('binary.lua')"))[0], undefined);
  });

  test(`${dialect}: code is loaded from the script directories only`, async () => {
    const outside = makeEngine({ dialect });
    writeFileSync(join(outside.dataDir, "secret.lua"), "return 'secret'");
    symlinkSync(join(outside.dataDir, "secret.lua"), join(engine.dataDir, "link.lua"));
    mkdirSync(join(engine.dataDir, "dir.lua"));
    const paths = [
      join(outside.dataDir, "secret.lua"),
      `../${outside.dataDir.split("/").pop()}/secret.lua`,
      "link.lua",
      "dir.lua",
      "/etc/passwd",
      "secret.lua\\0.x",
      "",
    ];
    for (const path of paths) {
      const [loaded, message] = await evaluate(engine, `loadfile('${path}')`);
      assert.equal(loaded, undefined, path);
      assert.match(String(message), /^cannot read /);
      assert.deepEqual((await evaluate(engine, `pcall(dofile, '${path}')`))[0], false);
      assert.deepEqual((await evaluate(engine, `pcall(require, '${path}')`))[0], false);
    }
    writeFileSync(join(engine.dataDir, "MyMod.LUA"), "return _REQUIREDNAME");
    assert.deepEqual(await evaluate(engine, "dofile('mymod.lua'), require('MYMOD'), _LOADED.MYMOD"), [
      undefined,
      "MYMOD",
      "MYMOD",
    ]);
  });

  test(`${dialect}: values of the host cannot be reached through errors or coroutines`, async () => {
    const [, error] = await evaluate(
      engine,
      "pcall(VPOP3.who, setmetatable({}, {__tostring = function() error('x') end}))",
    );
    assert.equal(typeof error, "undefined");
    assert.deepEqual(await evaluate(engine, "pcall(error, VPOP3)").then(([ok]) => ok), false);
    const { environment } = open(
      engine,
      "function f() return coroutine.create(f), print, f, io.tmpfile() end",
    );
    await environment.start();
    const values = await environment.call("f");
    assert.deepEqual(
      values.map((value) => (value as { type: string }).type),
      ["thread", "function", "function", "userdata"],
    );
    environment.close();
  });

  test(`${dialect}: the callback's own thread cannot be resumed or yielded`, async () => {
    const { environment } = open(engine, "function f() return pcall(coroutine.yield, 1) end");
    await environment.start();
    assert.deepEqual(await environment.call("f"), [
      false,
      "attempt to yield across metamethod/C-call boundary",
    ]);
    environment.close();
  });

  test(`${dialect}: a spent budget cannot be held back by anything of the session`, async () => {
    const { AMPLE } = await import("./helper.ts");
    const budget = { ...AMPLE, instructions: 200_000 };
    const source = `count = 0
      function f()
        pcall(function() xpcall(function() while true do end end, function() count = count + 1 while true do end end) end)
        count = count + 1
      end
      function g() return count end`;
    const { environment } = open(engine, source, { budget });
    await environment.start();
    const error = await scriptError(environment.call("f"));
    assert.equal(error.details.budget, "instructions");
    assert.deepEqual(await environment.call("g"), [0]);
    environment.close();
  });
}
