/** Safety mode: the manual's list, keys, nesting, and what a user's script can try. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { HostModule } from "../../src/lua/host.ts";
import { evaluate, makeEngine, open, run } from "./helper.ts";

const settings: HostModule = {
  table: "VPOP3",
  functions: { GetSetting: () => [true, "value"], SetSetting: () => [true], ExpandAddress: () => [[]] },
};
const timed: HostModule = {
  table: "os",
  functions: { timedexecute: () => [0], sleep: () => [], getdirectory: () => [{}] },
};
const engine = makeEngine({ modules: [settings, timed] });

const LIST = [
  ..."loadlib io.close io.open io.input io.output io.lines io.read io.write io.flush".split(" "),
  ..."os.timedexecute os.remove os.rename os.getenv VPOP3.SetSetting VPOP3.GetSetting".split(" "),
];

test("exactly the manual's list is disabled", async () => {
  const names = LIST.map((name) => `'${name}'`).join(", ");
  const source = `local before = {} local function walk(t, prefix) for k, v in pairs(t) do
        if type(v) == 'function' then before[prefix .. k] = v elseif type(v) == 'table' and v ~= _G and prefix == '' then walk(v, k .. '.') end end end
    walk(_G, '') os.setsafety('key')
    local listed = {} for _, name in ipairs({${names}}) do listed[name] = true end
    for name, f in pairs(before) do
      local _, _, t, k = string.find(name, '^(%w+)%.(%w+)$') local now = t and _G[t][k] or not t and _G[name]
      assert((now ~= f) == (listed[name] == true), name)
      if listed[name] then local ok, message = pcall(now) assert(message == name .. ' is disabled in safety mode', message) listed[name] = nil end
    end
    assert(next(listed) == nil) print(os.clearsafety('key'))
    for name, f in pairs(before) do local _, _, t, k = string.find(name, '^(%w+)%.(%w+)$') assert((t and _G[t][k] or _G[name]) == f, name) end`;
  assert.equal(await run(engine, source), "true\n");
});

test("the wrong key changes nothing, and calls nest", async () => {
  const source = `print(os.clearsafety('none')) os.setsafety('a') os.setsafety('b')
    print(os.clearsafety('a'), pcall(os.getenv, 'HOME')) print(os.clearsafety('b'), (pcall(os.getenv, 'HOME')))
    print(os.clearsafety('b'), os.clearsafety('a'), (pcall(os.getenv, 'HOME')), os.clearsafety('a')) print(pcall(os.setsafety))`;
  assert.equal(
    await run(engine, source),
    "false\nfalse\tfalse\tos.getenv is disabled in safety mode\ntrue\tfalse\nfalse\ttrue\ttrue\tfalse\nfalse\tbad argument #1 to `?' (string expected, got no value)\n",
  );
});

test("open handles keep working, functions kept by the administrator too", async () => {
  const source = `local f = io.open('lent.txt', 'w') local kept = io.open os.setsafety('key')
    f:write('lent') f:close() print(pcall(io.open, 'lent.txt')) local g = kept('lent.txt') print(g:read('*a')) g:close()`;
  assert.equal(await run(engine, source), "false\tio.open is disabled in safety mode\nlent\n");
});

test("what the user's script puts in their place is gone afterwards", async () => {
  const source = `local real = io.open os.setsafety('key') io.open = function() return 'trojan' end io = {open = io.open}
    os.clearsafety('key') print(io.open()) io = nil`;
  const { environment, output } = open(
    engine,
    `io_table = io ${source} print(io_table.open == nil, io_table.open)`,
  );
  await environment.start();
  assert.match(output(), /^trojan\nfalse\tfunction: 0x/);
});

test("an environment can start in safety mode", async () => {
  const { environment } = open(
    engine,
    "x = pcall(io.open, 'f') y = os.clearsafety('') z = os.clearsafety('guess')",
    { safetyKey: "random" },
  );
  await environment.start();
  assert.deepEqual(
    ["x", "y", "z"].map((name) => environment.get(name)),
    [false, false, false],
  );
});

test("one session's safety mode is not another's", async () => {
  const safe = open(engine, "os.setsafety('key')").environment;
  await safe.start();
  assert.deepEqual(await evaluate(engine, "pcall(os.getenv, 'NO_SUCH_VARIABLE')"), [true, undefined]);
});
