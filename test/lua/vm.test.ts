/**
 * What is replaced in fengari, and nothing else: an upgrade, or a change of
 * ours that is not written down, fails here. Then what the replacements are for.
 */
import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { FENGARI_VERSION, REPLACED } from "../../src/lua/vm.ts";
import { evaluate, makeEngine, run } from "./helper.ts";

const require = createRequire(import.meta.url);
const directory = join(dirname(require.resolve("fengari/package.json")), "src");
/** Those that fengari's virtual machine consists of; its libraries are never loaded. */
const modules = readdirSync(directory)
  .filter((file) => file.endsWith(".js"))
  .map((file) => file.slice(0, -3));

/** The exports of the modules loaded so far, one level into classes: name to source text. */
function sources(loaded: (module: string) => unknown): Map<string, string> {
  const found = new Map<string, string>();
  for (const module of modules) {
    const exported = loaded(module) as Record<string, unknown> | undefined;
    for (const [name, value] of Object.entries(exported ?? {})) {
      found.set(`${module}.${name}`, text(value));
      if (typeof value !== "function") continue;
      for (const member of Object.getOwnPropertyNames(value.prototype ?? {})) {
        const { value: method, get } = Object.getOwnPropertyDescriptor(value.prototype, member)!;
        if (member !== "constructor") found.set(`${module}.${name}.${member}`, text(method ?? get));
      }
    }
  }
  return found;
}

function text(value: unknown): string {
  if (typeof value === "function") return String(value);
  if (value instanceof Uint8Array) return Buffer.from(value).toString("latin1");
  return typeof value === "object" ? "object" : String(value);
}

test("fengari is the version that the replacements were made for", () => {
  assert.equal(FENGARI_VERSION, "0.1.5");
});

test("exactly the listed functions are replaced", () => {
  const path = (module: string) => join(directory, `${module}.js`);
  const cached = new Map(modules.map((module) => [module, require.cache[path(module)]]));
  const ours = sources((module) => cached.get(module)?.exports);
  for (const module of modules) delete require.cache[path(module)];
  // In the order in which ./vm.ts loads them, without its changes.
  for (const module of ["defs", "lstring", "lapi"]) require(path(module));
  const theirs = sources((module) => (cached.get(module) ? require(path(module)) : undefined));
  for (const [module, was] of cached) {
    if (was === undefined) delete require.cache[path(module)];
    else require.cache[path(module)] = was;
  }
  // A class of our own differs in every member; it is listed once. Settings are not functions.
  const changed = [...new Set([...ours.keys(), ...theirs.keys()])]
    .filter((name) => ours.get(name) !== theirs.get(name))
    .map((name) => (name.startsWith("lstring.TString") ? "lstring.TString" : name))
    .filter((name) => !/LUAI_MAXSTACK|LUA_COMPAT_FLOATSTRING|LUA_REGISTRYINDEX/.test(name));
  const listed = Object.entries(REPLACED).flatMap(([module, names]) =>
    names.map((name) => `${module}.${name}`),
  );
  assert.deepEqual([...new Set(changed)].sort(), listed.sort());
});

test("nothing that runs JavaScript for scripts is loaded", () => {
  const loaded = modules.filter((module) => require.cache[join(directory, `${module}.js`)] !== undefined);
  const libraries = [
    "lauxlib",
    "lbaselib",
    "lcorolib",
    "ldblib",
    "liolib",
    "lmathlib",
    "loadlib",
    "loslib",
    "lstrlib",
  ];
  for (const library of [...libraries, "ltablib", "lutf8lib", "linit", "lualib", "fengari", "fengarilib"])
    assert.ok(!loaded.includes(library), library);
});

const engine = makeEngine({});

test("numbers are doubles whatever their source", async () => {
  const big = 3_000_000_000;
  const sources = [
    "3000000000",
    "1500000000 + 1500000000",
    "1500000000 * 2",
    "-(-3000000000)",
    "tonumber('3000000000')",
    "'1500000000' * 2",
    "({[1] = 1500000000})[1] * 2",
    "(function() for i = 3000000000, 3000000000 do return i end end)()",
    "(function() for k in pairs({[3000000000] = 1}) do return k end end)()",
    "string.len('abc') * 1000000000",
    "table.getn({1, 2, 3}) * 1e9",
    "#{1, 2, 3} * 1000000000",
    "math.floor(3000000000.5)",
    "(function(...) return arg.n * 1500000000 end)(1, 2)",
    "select and 0 or 3000000000",
    "6000000000 / 2",
    "13000000000 % 10000000000",
    "2 ^ 31 + 852516352",
  ];
  for (const source of sources) assert.deepEqual(await evaluate(engine, source), [big], source);
  assert.deepEqual(
    await evaluate(engine, "2147483647 + 1, -2147483648 - 1, 65536 * 65536, 4294967296 % 7"),
    [2147483648, -2147483649, 4294967296, 4],
  );
});

test("numbers from the host are doubles too", async () => {
  const values = makeEngine({
    modules: [{ table: "", functions: { host: () => [4_000_000_000, [2_000_000_000]] } }],
  });
  assert.deepEqual(
    await evaluate(values, "(host()) + 1, (function() local _, t = host() return t[1] * 2 end)()"),
    [4_000_000_001, 4_000_000_000],
  );
});

test("keys with control characters stay apart, and strings sort as bytes", async () => {
  assert.deepEqual(
    await evaluate(engine, "({['\\n1'] = 1})['\\163\\1'], '\\1\\35' == '\\18\\3', '\\t' < 'A', 'a' < 'a\\0'"),
    [undefined, false, true, true],
  );
  const script = `local t = {} for i = 0, 255 do for j = 0, 255, 5 do t[string.char(i, j)] = i * 256 + j end end
    for i = 0, 255 do for j = 0, 255, 5 do assert(t[string.char(i, j)] == i * 256 + j) end end
    for i = 0, 254 do assert(string.char(i) < string.char(i + 1)) end print('ok')`;
  assert.equal(await run(engine, script), "ok\n");
});

test("pairs walks 1..n in order, however the table was made", async () => {
  const orders = [
    "local t = {10, 20, 30, 40}",
    "local t = {} for i = 1, 4 do t[i] = i end",
    "local t = {} for i = 4, 1, -1 do t[i] = i end",
    "local t = {} t[2] = 2 t[4] = 4 t[1] = 1 t[3] = 3",
    "local t = {x = 1, 1, 2, y = 2, 3, 4} t.x = nil t.y = nil",
    "local t = {} t.first = true for i = 1, 4 do t[i] = i end t.first = nil",
    "local t = {1, 2, 3, 4} t[2] = nil t[2] = 5",
    "local t = {} for i = 4, 1, -1 do table.insert(t, 1, i) end",
  ];
  for (const order of orders) {
    assert.equal(await run(engine, `${order} for k in pairs(t) do io.write(k, ' ') end`), "1 2 3 4 ", order);
  }
  assert.equal(
    await run(engine, "for k in pairs({x = 1, 'a', 'b', y = 2}) do io.write(k, ' ') end"),
    "1 2 x y ",
  );
});

test("a table may be changed at existing keys while it is walked", async () => {
  const script = `local t = {} for i = 1, 1000 do t['k' .. i] = i end local n = 0
    for k, v in pairs(t) do n = n + 1 t[k] = nil t[k] = v end print(n)
    n = 0 for k in pairs(t) do n = n + 1 t[k] = nil end print(n, next(t))
    t = {1, 2, 3, 4, 5} for i, v in pairs(t) do t[i] = nil if i == 2 then t[4] = nil end io.write(v, ' ') end print()`;
  assert.equal(await run(engine, script), "1000\n1000\tnil\n1 2 3 5 \n");
});
