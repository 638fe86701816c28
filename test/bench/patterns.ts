/**
 * What our pattern functions cost beside fengari's own: the time of a call, as
 * a ratio. fengari runs in a process of its own, as it comes; ours in an
 * environment with its budgets. Loop and call overhead are part of both.
 *
 *   node test/bench/patterns.ts
 */
import { execFileSync } from "node:child_process";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { fileURLToPath } from "node:url";

/** Name, preparation, expression (of Lua 5.0 and 5.3 alike), calls. */
const CASES: readonly (readonly [name: string, prepare: string, call: string, calls: number])[] = [
  ["find, plain", 'local s = "the quick brown fox"', 'string.find(s, "brown", 1, true)', 200_000],
  ["find, class", 'local s = "order 66 executed"', 'string.find(s, "%d+")', 200_000],
  ["find, address", 'local s = "bob@example.com"', 'string.find(s, "^([^@]+)@(.+)$")', 100_000],
  ["find, header", 'local s = "Subject: [SPAM] buy now"', 'string.find(s, "^(%S+):%s*(.-)%s*$")', 100_000],
  [
    "find, no match",
    'local s = "a line without anything of interest in it"',
    'string.find(s, "[Vv]iagra")',
    100_000,
  ],
  ["find, new pattern", 'local s = "the quick brown fox"', 'string.find(s, "q" .. i)', 100_000],
  ["find, 64 KB, no match", 'local s = string.rep("lorem ipsum ", 5461)', 'string.find(s, "dolor%s")', 200],
  ["find, 64 KB, set", 'local s = string.rep("lorem ipsum ", 5461)', 'string.find(s, "[xyz]%d")', 100],
  ["gsub, string", 'local s = "hello world"', 'string.gsub(s, "o", "0")', 100_000],
  ["gsub, captures", 'local s = "key = value"', 'string.gsub(s, "(%w+) = (%w+)", "%2 = %1")', 50_000],
  [
    "gsub, function",
    'local s = "a b c" local f = function(c) return c end',
    'string.gsub(s, "%a", f)',
    30_000,
  ],
  ["gsub, trim", 'local s = "   some text   "', 'string.gsub(s, "^%s*(.-)%s*$", "%1")', 50_000],
  ["gsub, 64 KB", 'local s = string.rep("lorem ipsum ", 5461)', 'string.gsub(s, "i", "I")', 20],
  ["format", "", 'string.format("%s has %d items, %5.2f%%", "cart", i, 12.5)', 50_000],
  ["lower", 'local s = "Some Header Value"', "string.lower(s)", 200_000],
];

const source = (prepare: string, call: string, calls: number) =>
  `${prepare} for i = 1, ${calls} do local a = ${call} end`;

/** Nanoseconds a call, the best of three. */
async function measure(run: (source: string) => Promise<void> | void): Promise<number[]> {
  const out: number[] = [];
  for (const [, prepare, call, calls] of CASES) {
    const code = source(prepare, call, calls);
    let best = Number.POSITIVE_INFINITY;
    await run(source(prepare, call, Math.ceil(calls / 10)));
    for (let round = 0; round < 3; round++) {
      const start = performance.now();
      await run(code);
      best = Math.min(best, performance.now() - start);
    }
    out.push((best * 1e6) / calls);
  }
  return out;
}

async function measureFengari(): Promise<number[]> {
  const { lua, lauxlib, lualib, to_luastring } = createRequire(import.meta.url)("fengari");
  const L = lauxlib.luaL_newstate();
  lualib.luaL_openlibs(L);
  return measure((code) => {
    if (lauxlib.luaL_dostring(L, to_luastring(code)) !== 0) throw new Error(lua.lua_tojsstring(L, -1));
  });
}

async function measureOurs(): Promise<number[]> {
  const { LuaEngine } = await import("../../src/lua/engine.ts");
  const engine = new LuaEngine({
    dialect: "5.0",
    dataDir: tmpdir(),
    scriptsDir: tmpdir(),
    modules: [],
    print: () => {},
  });
  const budget = {
    instructions: 1e12,
    cpuMs: 1e9,
    wallMs: 1e9,
    stringBytes: 1e13,
    outputBytes: 1e9,
    openFiles: 10,
  };
  return measure(async (code) => {
    const environment = engine.open(engine.compile("bench", "bench", Buffer.from(code)), {
      context: {},
      budget,
    });
    await environment.start();
    environment.close();
  });
}

if (process.argv[2] === "fengari") console.log(JSON.stringify(await measureFengari()));
else {
  const theirs = JSON.parse(
    execFileSync(process.execPath, [fileURLToPath(import.meta.url), "fengari"], { encoding: "utf8" }),
  ) as number[];
  const ours = await measureOurs();
  console.log(`${"".padEnd(24)}${"fengari ns".padStart(12)}${"ours ns".padStart(12)}${"ratio".padStart(8)}`);
  for (const [i, [name]] of CASES.entries()) {
    const ratio = (ours[i]! / theirs[i]!).toFixed(2);
    console.log(
      name.padEnd(24) +
        theirs[i]!.toFixed(0).padStart(12) +
        ours[i]!.toFixed(0).padStart(12) +
        ratio.padStart(8),
    );
  }
}
