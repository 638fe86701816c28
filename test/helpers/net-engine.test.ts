/** The helpers as scripts see them: calls that look blocking, through the real engine. */
import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { directoryModule } from "../../src/helpers/os-directory.ts";
import { processModule } from "../../src/helpers/os-process.ts";
import { netModule } from "../../src/helpers/vpop3net.ts";
import type { Budget } from "../../src/lua/budget.ts";
import { LuaEngine } from "../../src/lua/engine.ts";
import type { LuaValue } from "../../src/lua/values.ts";
import { Resolver } from "../../src/net/dns.ts";
import { HttpClient } from "../../src/net/http.ts";
import { Reach } from "../../src/net/reach.ts";
import { WhoisClient } from "../../src/net/whois.ts";
import { reply, startDns, startTcp } from "../net/servers.ts";

const dataDir = realpathSync(mkdtempSync(join(tmpdir(), "postlua-lua-")));
after(() => rmSync(dataDir, { recursive: true }));

const BUDGET: Budget = {
  instructions: 10_000_000,
  cpuMs: 2000,
  wallMs: 25_000,
  stringBytes: 1 << 26,
  outputBytes: 1 << 20,
  openFiles: 10,
};

function makeEngine(servers: string[] = []) {
  const resolver = new Resolver({ servers, timeoutMs: 10_000 });
  const reach = new Reach({ resolver, forbidden: [] });
  return new LuaEngine({
    dialect: "5.0",
    dataDir,
    scriptsDir: dataDir,
    modules: [
      netModule({ resolver, http: new HttpClient({ reach }), whois: new WhoisClient({ reach }) }),
      processModule({ dataDir, output: () => {} }),
      directoryModule({ dataDir }),
    ],
    print: () => {},
  });
}

async function open(engine: LuaEngine, source: string, budget = BUDGET) {
  const script = engine.compile("TEST.LUA", join(dataDir, "TEST.LUA"), Buffer.from(source, "latin1"));
  const env = engine.open(script, { context: {}, budget });
  await env.start();
  return env;
}

async function run(engine: LuaEngine, body: string, budget = BUDGET): Promise<LuaValue[]> {
  const env = await open(engine, `function Run()\n${body}\nend`, budget);
  try {
    return await env.call("Run");
  } finally {
    env.close();
  }
}

async function servePage(text: string, delayMs = 0) {
  const web = createServer((_, response) => setTimeout(() => response.end(text), delayMs));
  web.unref();
  await new Promise<void>((resolve) => web.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${(web.address() as AddressInfo).port}`,
    async [Symbol.asyncDispose]() {
      await new Promise((resolve) => web.close(resolve));
    },
  };
}

test("GetDNSRecords - table and flag in the manual's order, records to walk with ipairs", async () => {
  await using dns = await startDns((request) =>
    request.name === "gone.example"
      ? reply(request, { rcode: 3 })
      : reply(request, {
          answers: [
            { type: 15, priority: 20, exchange: "b.example" },
            { type: 15, priority: 10, exchange: "a.example" },
          ],
        }),
  );
  const values = await run(
    makeEngine([dns.address]),
    `local t, ok = VPOP3Net.GetDNSRecords("x.example", 15)
     table.sort(t, function(a, b) return a.MXPriority < b.MXPriority end)
     local s = ""
     for i, r in ipairs(t) do s = s .. r.Type .. " " .. r.MXPriority .. " " .. r.Value .. " " .. r.TTL .. ";" end
     local code, no = VPOP3Net.GetDNSRecords("gone.example", "15", "")
     return table.getn(t), ok, s, code, no`,
  );
  assert.deepEqual(values, [2, true, "MX 10 a.example 300;MX 20 b.example 300;", 3, false]);
});

test("GetHTTP and GetWHOIS - results in the manual's shapes", async () => {
  await using web = await servePage("one\r\n\xe9two");
  await using whois = await startTcp((socket) => socket.on("data", () => socket.end("status: free\r\n")));
  const values = await run(
    makeEngine(),
    `local ok, t = VPOP3Net.GetHTTP("${web.url}/p")
     local bad, none = VPOP3Net.GetHTTP("nonsense://")
     local yes, text = VPOP3Net.GetWHOIS("127.0.0.1:${whois.port}", "x.example")
     local no, why = VPOP3Net.GetWHOIS("", "x")
     return ok, t.HTTPResult, t.File, t.Body[1], t.Body[2], t.Body[3], t.ErrorInfo, bad, none, yes, text, no, why`,
  );
  const body = ["one", Buffer.from("\xe9two", "utf8").toString("latin1"), undefined];
  const page = [true, 200, "/p", ...body, "", false, undefined];
  assert.deepEqual(values, [...page, true, "status: free\r\n", false, "bad server name"]);
});

test("timedexecute and getdirectory - from a script", async () => {
  const directory = join(dataDir, "spool");
  mkdirSync(directory);
  writeFileSync(join(directory, "a.txt"), "123");
  const values = await run(
    makeEngine(),
    `local code, err = os.timedexecute("sh -c \\"exit 9\\"", 10000)
     local t = os.getdirectory("spool")
     local names = 0
     for name in t do names = names + 1 end
     return code, err, os.timedexecute("no-such-program", 1000, true), names, t["a.txt"].Size, os.getdirectory("none")["x"]`,
  );
  assert.deepEqual(values, [9, 0, -1, 1, 3, undefined]);
});

test("wrong arguments raise errors that pcall catches", async () => {
  const values = await run(
    makeEngine(),
    `local a, e = pcall(VPOP3Net.GetDNSRecords)
     local b, f = pcall(os.sleep, "soon")
     local c, g = pcall(os.getdirectory, {})
     return a, e, b, f, c, g`,
  );
  assert.deepEqual([values[0], values[2], values[4]], [false, false, false]);
  for (const message of [values[1], values[3], values[5]]) assert.match(String(message), /bad argument #1/);
});

test("1,000 sessions asleep for a second wake together, and others answer meanwhile", async () => {
  const engine = makeEngine();
  const source =
    "function Run(ms) local ok = pcall(os.sleep, ms) return ok end function Quick(n) return n + 1 end";
  const sleepers = await Promise.all(Array.from({ length: 1000 }, () => open(engine, source)));
  const quick = await open(engine, source);
  const started = performance.now();
  let slowest = 0;
  let asked = 0;
  let asleep = true;
  const asking = (async () => {
    while (asleep) {
      const since = performance.now();
      assert.deepEqual(await quick.call("Quick", [asked]), [asked + 1]);
      slowest = Math.max(slowest, performance.now() - since);
      asked++;
      await new Promise((resolve) => setImmediate(resolve));
    }
  })();
  const results = await Promise.all(sleepers.map((env) => env.call("Run", [1000])));
  const took = performance.now() - started;
  asleep = false;
  await asking;
  assert.ok(results.every(([ok]) => ok === true));
  console.log(
    `1,000 sessions in os.sleep(1000): ${took.toFixed(0)} ms; ${asked} calls beside them, slowest ${slowest.toFixed(1)} ms`,
  );
  assert.ok(took > 950 && took < 10_000);
  for (const env of [...sleepers, quick]) env.close();
});

test("1,000 sessions waiting for a slow name server finish together", async () => {
  await using dns = await startDns(async (request) => {
    await new Promise((resolve) => setTimeout(resolve, 700));
    return reply(request, { answers: [{ type: 1, address: "192.0.2.1" }] });
  });
  const engine = makeEngine([dns.address]);
  const source = `function Run(n)
    local t, ok = VPOP3Net.GetDNSRecords("n" .. n .. ".example", 1)
    return ok and t[1].Value
  end`;
  const sessions = await Promise.all(Array.from({ length: 1000 }, () => open(engine, source)));
  const started = performance.now();
  const results = await Promise.all(sessions.map((env, i) => env.call("Run", [i])));
  const took = performance.now() - started;
  console.log(`1,000 sessions, each its own question, 700 ms a server's answer: ${took.toFixed(0)} ms`);
  assert.ok(results.every(([value]) => value === "192.0.2.1"));
  assert.ok(took < 15_000);
  for (const env of sessions) env.close();
});

test("waiting costs no CPU budget, however much comes back", async () => {
  await using web = await servePage("line\n".repeat(20_000), 300);
  const [lines] = await run(
    makeEngine(),
    `local ok, t = VPOP3Net.GetHTTP("${web.url}/")
     return table.getn(t.Body)`,
    { ...BUDGET, cpuMs: 250 },
  );
  assert.equal(lines, 20_000);
});

test("a spent wall budget ends a wait, a closed session its program", async () => {
  const engine = makeEngine();
  await assert.rejects(run(engine, "pcall(os.sleep, 1e9)", { ...BUDGET, wallMs: 60 }), {
    name: "ScriptError",
    message: /60 ms/,
  });
  const env = await open(engine, `function Run() os.timedexecute("sleep 1000", 1e9) end`);
  const running = env.call("Run");
  env.close();
  await assert.rejects(running, { name: "ScriptError" });
});
