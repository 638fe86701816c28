/** GetEHLOCapabilities through a real Postfix: keywords that the script takes away are not offered, and nothing else changes. */
import assert from "node:assert/strict";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import type { Parameters } from "../../postfix/layout.ts";
import { SmtpClient } from "../../postfix/smtp-client.ts";
import type { Status } from "../../src/serve/status.ts";
import { postfixTest, Served } from "./harness.ts";

const PORT = 11_000 + Math.floor(Math.random() * 900);

/** `listen` is postlua's name for the address, `table` Postfix's. */
async function serve(
  context: TestContext,
  script: string,
  { listen, table }: { listen: string; table: string },
  mainCf: Parameters = {},
): Promise<Served> {
  const served = await Served.start({
    scripts: { "SMTPSVR.LUA": script },
    config: `[socketmap]\nlisten = ["${listen}"]\n`,
    mainCf: { smtpd_discard_ehlo_keyword_address_maps: `socketmap:${table}:ehlo`, ...mainCf },
  });
  context.after(() => served[Symbol.asyncDispose]());
  return served;
}

const tcp = () => ({ listen: `inet:${PORT}@127.0.0.1`, table: `inet:127.0.0.1:${PORT}` });

/** The keywords offered to a client at `address`. */
async function offered(served: Served, address = "127.0.0.1"): Promise<string[]> {
  const { client } = await SmtpClient.connect({ port: served.postfix.port, from: address });
  const { lines, code } = await client.command("EHLO client.test");
  assert.equal(code, 250);
  assert.equal((await client.command("MAIL FROM:<a@client.test>")).code, 250);
  assert.equal((await client.command("QUIT")).code, 221);
  return lines.slice(1).map((line) => line.slice(4));
}

/** The answer of the service's control socket. */
function control(served: Served, method: string, path: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const asked = request({ socketPath: served.postlua.control, method, path }, (response) => {
      let text = "";
      response.on("data", (chunk) => {
        text += chunk;
      });
      response.on("end", () => resolve(text));
    });
    asked.on("error", reject);
    asked.end();
  });
}

postfixTest("keywords that the script removes are not offered, by client", async (context) => {
  const served = await serve(
    context,
    `function GetEHLOCapabilities(hostname, capabilities)
      print(hostname, IPAddress, capabilities)
      if hostname ~= "127.0.0.2" then return end
      local keep = ""
      for line in string.gfind(capabilities, "[^\\n]+") do
        if not string.find(line, "^SIZE") and line ~= "ETRN" then keep = keep .. line .. "\\n" end
      end
      return keep .. "X-OWN new\\nDSN"
    end`,
    tcp(),
    { smtpd_discard_ehlo_keywords: "chunking, silent-discard" },
  );
  const all = [
    "PIPELINING",
    "SIZE 10240000",
    "VRFY",
    "ETRN",
    "ENHANCEDSTATUSCODES",
    "8BITMIME",
    "DSN",
    "SMTPUTF8",
  ];
  assert.deepEqual(await offered(served), all);
  const fewer = all.filter((line) => !/^(?:SIZE|ETRN)/.test(line));
  assert.deepEqual(await offered(served, "127.0.0.2"), fewer);
  assert.deepEqual(await offered(served, "127.0.0.2"), fewer);
  const decisions = served.postlua.lines.filter(
    ({ callback, event }) => event === "decision" && callback === "GetEHLOCapabilities",
  );
  assert.deepEqual(
    decisions.map(({ result }) => result),
    ["unchanged", "removed SIZE ETRN", "removed SIZE ETRN"],
  );
  const warnings = served.postlua.lines.filter(
    ({ level, callback }) => level === "warn" && callback !== undefined,
  );
  assert.deepEqual(
    warnings.map(({ problem }) => problem),
    ['"X-OWN new" cannot be added or changed; only removing is served'],
  );
  await served.postfix.stop();
  await served.postlua.stop();
  assert.equal(
    served.postlua.printed(),
    ["127.0.0.1", "127.0.0.2", "127.0.0.2"].map((ip) => `${ip}\t${ip}\t${all.join("\n")}\n`).join(""),
  );
});

postfixTest(
  "a script that fails, or has nothing to say, leaves the answer as it is; a new one counts at once",
  async (context) => {
    const served = await serve(context, 'function GetEHLOCapabilities() error("broken") end', tcp());
    assert.ok((await offered(served)).includes("ETRN"));
    await served.postlua.waitFor(
      ({ event, message }) => event === "script error" && /broken/.test(String(message)),
    );
    for (const [script, expected] of [
      ["function GetEHLOCapabilities() return {} end", true],
      ["function GetEHLOCapabilities() return 'PIPELINING' end", false],
      ["function Start() end", true],
    ] as const) {
      served.postlua.setScripts({ "SMTPSVR.LUA": script });
      await control(served, "POST", "/reload");
      assert.equal((await offered(served)).includes("ETRN"), expected, script);
    }
  },
);

postfixTest("over a unix socket, and after the worker that answered has died", async (context) => {
  const path = join(tmpdir(), `postlua-ehlo-${process.pid}.sock`);
  const served = await serve(context, "function GetEHLOCapabilities() return 'PIPELINING' end", {
    listen: `unix:${path}`,
    table: `unix:${path}`,
  });
  assert.deepEqual(await offered(served), ["PIPELINING"]);
  const { workers } = JSON.parse(await control(served, "GET", "/status")) as Status;
  assert.equal(workers.length, 1);
  for (const { pid } of workers) process.kill(pid, "SIGKILL");
  await served.postlua.waitFor(({ event }) => event === "worker died");
  assert.deepEqual(await offered(served, "127.0.0.3"), ["PIPELINING"]);
});
