/**
 * What the Lua engine costs beside bare fengari: session start, callbacks, the
 * budget's hook, and a thousand sleepers. Ratios are what to look at; times
 * differ from machine to machine. `node test/bench/lua.ts`; the bare figures
 * come from a process of their own, because this one has replaced parts of
 * fengari.
 */
import { spawnSync } from "node:child_process";
import { createRequire } from "node:module";
import type { Budget } from "../../src/lua/budget.ts";
import { LuaEngine } from "../../src/lua/engine.ts";

const POLICY = makePolicy();
const LOOP = "function loop(n) local x = 0 for i = 1, n do x = x + i end return x end";
const LOOPS = 2_000_000;
const CALLS = 50_000;
const SESSIONS = 2_000;
const ROUNDS = 5;

/** About 200 lines, a function for each step of a session, as an administrator would write it. */
function makePolicy(): string {
  const lines = ['blocked = {"spam.example", "junk.example"}', "count = 0"];
  const names =
    "Start DoHELO DoMAILFROM DoRCPTTO DoDATAStart DoUnrecognised DoRSET DoQUIT End GetMaxMessageSize".split(
      " ",
    );
  for (const name of names) {
    lines.push(`function ${name}(a, b)`, "  count = count + 1", "  local address = string.lower(a or '')");
    for (let i = 0; i < 3; i++)
      lines.push(
        `  if string.find(address, "@%w+${i}%.example$") then`,
        `    return "550 5.7.1 no ${i}"`,
        "  end",
      );
    lines.push(
      "  for i, v in ipairs(blocked) do",
      "    if address == v then",
      "      return '451 later'",
      "    end",
      "  end",
      "  return ''",
      "end",
    );
  }
  return lines.join("\n");
}

interface Figures {
  /** A new session with the policy's top level run, ms. */
  readonly start: number;
  /** One callback, ms. */
  readonly call: number;
  /** A million instructions of a plain loop, ms. */
  readonly million: number;
}

function best(rounds: number, measure: () => number): number {
  let least = Number.POSITIVE_INFINITY;
  for (let i = 0; i < rounds; i++) least = Math.min(least, measure());
  return least;
}

/** fengari as it comes: a VM with libraries for each session, lua_pcall for each callback. */
function bare(): Figures {
  const require = createRequire(import.meta.url);
  const { lua, lauxlib, lualib, to_luastring } = require("fengari");
  const session = (source: Uint8Array) => {
    const L = lauxlib.luaL_newstate();
    lualib.luaL_openlibs(L);
    if (lauxlib.luaL_dostring(L, source) !== 0) throw new Error(lua.lua_tojsstring(L, -1));
    return L;
  };
  const policy = to_luastring(POLICY);
  const sessions = SESSIONS / 10;
  const start = best(ROUNDS, () => {
    const before = performance.now();
    for (let i = 0; i < sessions; i++) session(policy);
    return (performance.now() - before) / sessions;
  });
  const L = session(policy);
  const call = best(ROUNDS, () => {
    const before = performance.now();
    for (let i = 0; i < CALLS; i++) {
      lua.lua_getglobal(L, to_luastring("DoRCPTTO"));
      lua.lua_pushstring(L, to_luastring(`user${i}@example.org`));
      lua.lua_pcall(L, 1, 1, 0);
      lua.lua_tojsstring(L, -1);
      lua.lua_pop(L, 1);
    }
    return (performance.now() - before) / CALLS;
  });
  const loop = session(to_luastring(LOOP));
  const million = best(ROUNDS, () => {
    const before = performance.now();
    lua.lua_getglobal(loop, to_luastring("loop"));
    lua.lua_pushnumber(loop, LOOPS + 0.5);
    lua.lua_pcall(loop, 1, 1, 0);
    lua.lua_pop(loop, 1);
    return ((performance.now() - before) * 1e6) / (LOOPS * 2);
  });
  return { start, call, million };
}

const AMPLE: Budget = {
  instructions: 1e12,
  cpuMs: 1e9,
  wallMs: 1e9,
  stringBytes: 1e15,
  outputBytes: 1e9,
  openFiles: 10,
};

async function bestOf(rounds: number, measure: () => Promise<number>): Promise<number> {
  let least = Number.POSITIVE_INFINITY;
  for (let i = 0; i < rounds; i++) least = Math.min(least, await measure());
  return least;
}

async function ours(engine: LuaEngine): Promise<Figures> {
  const options = { context: {}, budget: AMPLE };
  const script = engine.compile("policy", "/policy", Buffer.from(POLICY));
  const start = await bestOf(ROUNDS, async () => {
    const before = performance.now();
    for (let i = 0; i < SESSIONS; i++) await engine.open(script, options).start();
    return (performance.now() - before) / SESSIONS;
  });
  const environment = engine.open(script, options);
  await environment.start();
  const call = await bestOf(ROUNDS, async () => {
    const before = performance.now();
    for (let i = 0; i < CALLS; i++) await environment.call("DoRCPTTO", [`user${i}@example.org`]);
    return (performance.now() - before) / CALLS;
  });
  const loop = engine.open(engine.compile("loop", "/loop", Buffer.from(LOOP)), options);
  await loop.start();
  const million = await bestOf(ROUNDS, async () => {
    const before = performance.now();
    await loop.call("loop", [LOOPS]);
    return ((performance.now() - before) * 1e6) / (LOOPS * 2);
  });
  return { start, call, million };
}

/** Bytes that one open session with the policy keeps. */
async function sessionBytes(engine: LuaEngine): Promise<number> {
  const script = engine.compile("policy", "/policy", Buffer.from(POLICY));
  const kept = [];
  const collect = globalThis.gc ?? (() => {});
  collect();
  const before = process.memoryUsage().heapUsed;
  for (let i = 0; i < SESSIONS; i++) {
    const environment = engine.open(script, { context: {}, budget: AMPLE });
    await environment.start();
    kept.push(environment);
  }
  collect();
  return (process.memoryUsage().heapUsed - before) / kept.length;
}

/** A thousand sessions that sleep a second, and how long others wait meanwhile. */
async function sleepers(engine: LuaEngine): Promise<{ ms: number; p50: number; max: number }> {
  const options = { context: {}, budget: AMPLE };
  const sleeping = engine.compile("sleep", "/sleep", Buffer.from("function f() os.sleep(1000) end"));
  const quick = engine.open(
    engine.compile("quick", "/quick", Buffer.from("function f(x) return x end")),
    options,
  );
  await quick.start();
  const before = performance.now();
  let left = 1000;
  const all = Array.from({ length: left }, async () => {
    const environment = engine.open(sleeping, options);
    await environment.start();
    await environment.call("f");
    left--;
  });
  const delays: number[] = [];
  while (left > 0) {
    const asked = performance.now();
    await new Promise((resolve) => setImmediate(resolve));
    await quick.call("f", [1]);
    delays.push(performance.now() - asked);
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  await Promise.all(all);
  return { ms: performance.now() - before, ...spread(delays) };
}

/** How long others wait beside a script that never stops. */
async function besideRunaway(engine: LuaEngine): Promise<{ p50: number; max: number }> {
  const options = { context: {}, budget: { ...AMPLE, cpuMs: 1000 } };
  const runaway = engine.open(
    engine.compile(
      "r",
      "/r",
      Buffer.from("function f() while true do pcall(string.find, 'aaaa', 'b') end end"),
    ),
    options,
  );
  const quick = engine.open(
    engine.compile("quick", "/quick", Buffer.from("function f(x) return x end")),
    options,
  );
  await runaway.start();
  await quick.start();
  let running = true;
  const end = runaway.call("f").catch(() => {
    running = false;
  });
  const delays: number[] = [];
  while (running) {
    const asked = performance.now();
    await new Promise((resolve) => setImmediate(resolve));
    await quick.call("f", [1]);
    delays.push(performance.now() - asked);
  }
  await end;
  return spread(delays);
}

function spread(delays: number[]): { p50: number; max: number } {
  delays.sort((a, b) => a - b);
  return { p50: delays[Math.floor(delays.length / 2)] ?? 0, max: delays.at(-1) ?? 0 };
}

if (process.argv[2] === "bare") {
  console.log(JSON.stringify(bare()));
} else if (globalThis.gc === undefined) {
  process.exitCode =
    spawnSync(process.execPath, ["--expose-gc", import.meta.filename], { stdio: "inherit" }).status ?? 1;
} else {
  const child = spawnSync(process.execPath, [import.meta.filename, "bare"], { encoding: "utf8" });
  const theirs = JSON.parse(child.stdout) as Figures;
  const os = {
    table: "os",
    functions: { sleep: () => new Promise<[]>((resolve) => setTimeout(() => resolve([]), 1000)) },
  };
  const engine = new LuaEngine({
    dialect: "5.0",
    dataDir: "/tmp",
    scriptsDir: "/tmp",
    modules: [os],
    print: () => {},
  });
  const figures = await ours(engine);
  const row = (what: string, our: number, bareFigure: number) =>
    console.log(
      `${what.padEnd(44)} ${our.toFixed(4)} ms, bare fengari ${bareFigure.toFixed(4)} ms, ratio ${(our / bareFigure).toFixed(2)}`,
    );
  row("session start, 170-line policy", figures.start, theirs.start);
  row("callback with a string in and out", figures.call, theirs.call);
  row("a million instructions, with budget", figures.million, theirs.million);
  console.log(
    `memory of an open session                    ${((await sessionBytes(engine)) / 1024).toFixed(1)} KB`,
  );
  const asleep = await sleepers(engine);
  console.log(
    `1,000 sessions asleep for 1,000 ms           ${asleep.ms.toFixed(0)} ms; others p50 ${asleep.p50.toFixed(2)} ms, max ${asleep.max.toFixed(1)} ms`,
  );
  const beside = await besideRunaway(engine);
  console.log(
    `beside a script that never stops             others p50 ${beside.p50.toFixed(2)} ms, max ${beside.max.toFixed(1)} ms`,
  );
}
