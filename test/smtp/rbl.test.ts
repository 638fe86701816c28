/** What block lists bring upon a client: the precedence of a script's words, and whole sessions of the core. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { completeConfig, parseConfig } from "../../src/config/load.ts";
import type { LogFields } from "../../src/log-line.ts";
import { ScriptError } from "../../src/lua/errors.ts";
import { MessageStore } from "../../src/message/store.ts";
import { DNS_TYPE } from "../../src/net/dns.ts";
import type { BlockListOutput } from "../../src/scripts/block-lists.ts";
import { Service } from "../../src/serve/service.ts";
import { verdictText } from "../../src/smtp/decide.ts";
import { judge, type Listing } from "../../src/smtp/rbl.ts";
import { reply } from "../../src/smtp/reply.ts";
import { SmtpSession } from "../../src/smtp/session.ts";
import { CONTINUE, refuse, type Verdict } from "../../src/smtp/verdict.ts";
import { type DnsServer, reply as dnsReply, startDns } from "../net/servers.ts";

const SILENT: BlockListOutput = {
  RBLFound: true,
  RBLBlackhole: false,
  RBLAccept: false,
  RBLRedirect: "",
  RBLRejectMessage: "",
  RBLHeader: "",
};
const OWN = refuse(reply(450, "4.7.1", "own text"));
const STANDARD = "refuse 554 5.7.1 Client host [192.0.2.7] is listed by a.test";

function shown({ refusal, discard, redirect, header }: Listing): string {
  if (refusal.kind !== "continue") return verdictText(refusal);
  if (discard) return "discard";
  return `accept ${redirect} ${header}`.trim().replace(/ +/g, " ");
}

const PRECEDENCE: readonly (readonly [
  Partial<BlockListOutput>,
  Verdict,
  "reject" | "discard" | "accept",
  string,
])[] = [
  [{}, CONTINUE, "reject", STANDARD],
  [{}, CONTINUE, "discard", "discard"],
  [{}, CONTINUE, "accept", "accept"],
  [{ RBLHeader: "X: y" }, CONTINUE, "accept", "accept X: y"],
  [{ RBLFound: false, RBLHeader: "X: y", RBLBlackhole: true }, CONTINUE, "reject", "accept"],
  [{ RBLFound: false, RBLRejectMessage: "550 no" }, CONTINUE, "reject", "accept"],
  [{ RBLFound: false }, OWN, "accept", "refuse 450 4.7.1 own text"],
  [{ RBLAccept: true, RBLBlackhole: true }, OWN, "reject", "refuse 450 4.7.1 own text"],
  [
    { RBLAccept: true, RBLBlackhole: true, RBLRedirect: "q@x.test", RBLRejectMessage: "550 no" },
    CONTINUE,
    "reject",
    "accept",
  ],
  [
    { RBLBlackhole: true, RBLRedirect: "q@x.test", RBLRejectMessage: "550 no" },
    CONTINUE,
    "reject",
    "discard",
  ],
  [
    { RBLRedirect: "<q@x.test>", RBLRejectMessage: "550 no", RBLHeader: "X: y" },
    CONTINUE,
    "reject",
    "accept q@x.test X: y",
  ],
  [{ RBLRejectMessage: "550 5.7.9 no" }, CONTINUE, "discard", "refuse 550 5.7.9 no"],
  [{ RBLRejectMessage: "421 4.7.0 later" }, CONTINUE, "reject", "refuse 421 4.7.0 later"],
  [{ RBLRejectMessage: "250 fine" }, CONTINUE, "accept", "refuse 554 5.7.1 250 fine"],
  [{ RBLRejectMessage: "no\r\nway" }, CONTINUE, "accept", "refuse 554 5.7.1 no way"],
];

for (const [output, said, action, expected] of PRECEDENCE) {
  test(`judge() - ${JSON.stringify(output)}, ${verdictText(said)}, ${action}`, () => {
    const found = judge(said, { ...SILENT, ...output }, action, "192.0.2.7", "a.test", "SMTPSVR.LUA");
    assert.equal(shown(found), expected);
  });
}

test("judge() - a redirect to what is no address is the script's error", () => {
  const output = { ...SILENT, RBLRedirect: "a b" };
  assert.throws(() => judge(CONTINUE, output, "reject", "192.0.2.7", "a.test", "S"), ScriptError);
});

interface World {
  readonly service: Service;
  readonly lines: { readonly event: string; readonly fields: LogFields }[];
  readonly dns: DnsServer;
}

/** A service with a list `a.test` of 192.0.2.7 and a list `b.test` of nobody. */
async function world(context: TestContext, script: string | undefined, rbl: string): Promise<World> {
  const directory = mkdtempSync(join(tmpdir(), "postlua-rbl-"));
  const dns = await startDns((request) =>
    request.name === "7.2.0.192.a.test"
      ? dnsReply(request, { answers: [{ type: DNS_TYPE.A, address: "127.0.0.4" }] })
      : dnsReply(request, { rcode: 3 }),
  );
  context.after(async () => {
    await dns[Symbol.asyncDispose]();
    rmSync(directory, { recursive: true, force: true });
  });
  if (script !== undefined) writeFileSync(join(directory, "SMTPSVR.LUA"), script);
  const path = JSON.stringify(directory);
  const text = `scripts_dir = ${path}\ndata_dir = ${path}\nlog_dir = ${path}\nlocal_networks = ["10.0.0.0/8"]
[postfix]\nconfig_dir = "/nonexistent"\n[dns]\nservers = ["${dns.address}"]\n[rbl]\n${rbl}\n`;
  const lines: World["lines"] = [];
  const note = (event: string, fields: LogFields = {}) => void lines.push({ event, fields });
  const service = new Service(
    await completeConfig(parseConfig(text, "test"), "test"),
    [],
    { error: note, warn: note, info: note, debug: () => {} },
    { print: () => {}, error: () => {} },
  );
  await service.load();
  return { service, lines, dns };
}

interface Heard {
  readonly start: string;
  readonly mail: string;
  readonly message: string;
  readonly edits: readonly string[];
}

/** One session with one message, as far as it gets. */
async function play({ service }: World, address: string, user = "", hostname = "unknown"): Promise<Heard> {
  const session = new SmtpSession(service, { address, port: 4, hostname }, service.newSessionId());
  const start = verdictText(await session.start());
  await session.helo("client.test", true);
  const mail = verdictText(await session.mailFrom(["<a@client.test>"], user));
  await session.rcptTo(["<b@example.test>"], undefined);
  await session.rcptTo(["<q@example.test>"], undefined);
  const { verdict, edits } = await session.message(
    MessageStore.fromBytes(Buffer.from("Subject: x\r\n\r\n")),
    14,
  );
  await session.end();
  const text = (edit: (typeof edits)[number]) =>
    "address" in edit
      ? `${edit.kind} ${edit.address}`
      : "name" in edit
        ? `${edit.kind} ${edit.name}:${edit.value}`
        : edit.kind;
  return { start, mail, message: verdictText(verdict), edits: edits.map(text) };
}

const FINE = { start: "continue", mail: "continue", message: "continue", edits: [] };
const LISTS = 'servers = ["a.test", "b.test"]';

test("without a script the action of the configuration counts, and a login spares the client", async (context) => {
  const reject = await world(context, undefined, LISTS);
  assert.equal((await play(reject, "192.0.2.7")).mail, STANDARD);
  assert.deepEqual(await play(reject, "192.0.2.7", "user"), FINE);
  assert.deepEqual(await play(reject, "192.0.2.8"), FINE);
  assert.deepEqual(await play(reject, "unknown"), FINE);
  const discard = await world(
    context,
    undefined,
    `${LISTS}\naction = "discard"\nwhitelist = ["*.friend.test"]`,
  );
  assert.deepEqual(await play(discard, "192.0.2.7"), { ...FINE, message: "discard" });
  assert.deepEqual(await play(discard, "192.0.2.7", "user"), FINE);
  assert.deepEqual(await play(discard, "192.0.2.7", "", "mx.friend.test"), FINE);
});

test("what a script finds in its globals, and when RBLResults is called", async (context) => {
  const script = `
    local function list(t) return table.concat(t, ",") end
    local entered = tostring(CheckRBL) .. " " .. list(RBLServers) .. " " .. list(RBLWhitelist) .. " " .. tostring(RBLCheckAllServers)
    function RBLResults()
      local info = ""
      for name, number in pairs(RBLResultInfo) do info = info .. " " .. name .. "=" .. string.format("%.0f", number) end
      return "450 4.7.1 " .. entered .. " " .. tostring(RBLFound) .. info
    end
    function DoMAILFROM() return "451 4.7.1 " .. entered end`;
  const { service, ...rest } = await world(
    context,
    script,
    `${LISTS}\ncheck_all = false\nwhitelist = ["192.0.2.9"]`,
  );
  const mail = async (address: string) => (await play({ service, ...rest }, address)).mail;
  assert.equal(
    await mail("192.0.2.7"),
    "refuse 450 4.7.1 true a.test,b.test 192.0.2.9 false true a.test=67108991",
  );
  assert.equal(await mail("192.0.2.8"), "refuse 450 4.7.1 true a.test,b.test 192.0.2.9 false false");
  assert.equal(await mail("192.0.2.9"), "refuse 450 4.7.1 true a.test,b.test 192.0.2.9 false false");
  assert.equal(await mail("10.0.0.1"), "refuse 451 4.7.1 false a.test,b.test 192.0.2.9 false");
});

test("Start may change what is looked up", async (context) => {
  const script = `
    function Start()
      if IPAddress == "192.0.2.7" then CheckRBL = false end
      if IPAddress == "10.0.0.1" then CheckRBL = true RBLServers = "a.test, b.test" end
      if IPAddress == "192.0.2.8" then RBLServers = nil end
      if IPAddress == "192.0.2.9" then RBLServers = { 5, {} } end
    end`;
  const place = await world(context, script, LISTS);
  assert.deepEqual(await play(place, "192.0.2.7"), FINE);
  assert.deepEqual(await play(place, "192.0.2.8"), FINE);
  assert.equal(place.dns.requests.length, 0);
  assert.equal(
    (await play(place, "192.0.2.9")).mail,
    "refuse 451 4.3.0 Temporary mail policy problem, try again later",
  );
  assert.ok(
    place.lines.some(
      ({ event, fields }) => event === "script error" && /RBLServers/.test(String(fields.message)),
    ),
  );
  assert.deepEqual(await play(place, "10.0.0.1"), FINE);
  assert.ok(place.dns.requests.some(({ name }) => name === "1.0.0.10.b.test"));
});

test("globals set without RBLResults count, for every message; mail to one address instead of all", async (context) => {
  const script = `
    RBLRedirect = "q@example.test"
    RBLHeader = "X-Listed: yes\\nX-More: 1\\nBad\\rline: x"
    function ProcessMessage(mailfrom, subject, recipients, actions)
      actions.Recipients = { "extra@example.test" }
      return actions, ""
    end`;
  const place = await world(context, script, LISTS);
  const listed = await play(place, "192.0.2.7");
  assert.deepEqual(listed.edits, [
    "deleteRecipient b@example.test",
    "insertHeader X-Listed: yes",
    "insertHeader X-More: 1",
  ]);
  assert.deepEqual((await play(place, "192.0.2.8")).edits, ["addRecipient extra@example.test"]);
  assert.ok(place.lines.some(({ fields }) => /left out/.test(String(fields.problem))));
});

test("without spare_authenticated the refusal comes at connect and stays", async (context) => {
  const place = await world(
    context,
    "function RBLResults() return '521 5.7.1 Go' end",
    `${LISTS}\nspare_authenticated = false`,
  );
  const heard = await play(place, "192.0.2.7", "user");
  assert.equal(heard.start, "refuse 521 5.7.1 Go");
  assert.equal(heard.mail, "refuse 521 5.7.1 Go");
});
