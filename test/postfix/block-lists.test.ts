/** Block lists through a real Postfix, with clients from anywhere (XCLIENT) and lists in a local DNS server. */
import assert from "node:assert/strict";
import { SmtpClient } from "../../postfix/smtp-client.ts";
import { DNS_TYPE } from "../../src/net/dns.ts";
import { type DnsServer, reply, startDns } from "../net/servers.ts";
import { postfixTest, Served, type ServedOptions } from "./harness.ts";
import { everyList } from "./policy-script.ts";

const LISTED = "192.0.2.7";
const LISTED_6 = "2001:db8::7";
const CLEAN = "198.51.100.1";
const NO_SUCH_NAME = 3;

/** What is in the lists; everything else does not exist. */
const RECORDS: Readonly<Record<string, string>> = {
  "7.2.0.192.one.test": "127.0.0.255",
  "7.2.0.192.two.test": "127.0.0.2",
  [`7.${"0.".repeat(23)}8.b.d.0.1.0.0.2.one.test`]: "127.0.0.3",
};

function lists(): Promise<DnsServer> {
  return startDns((request) => {
    const address = RECORDS[request.name];
    return address === undefined
      ? reply(request, { rcode: NO_SUCH_NAME })
      : reply(request, { answers: [{ type: DNS_TYPE.A, address }] });
  });
}

function serve(
  dns: DnsServer,
  rbl: string,
  script?: string,
  doors: NonNullable<ServedOptions["doors"]> = ["milter"],
): Promise<Served> {
  const options: ServedOptions = {
    scripts: script === undefined ? {} : { "SMTPSVR.LUA": script },
    config: `[dns]\nservers = ["${dns.address}"]\n[rbl]\n${rbl}\n`,
    mainCf: (policy) => ({
      ...(doors.includes("policy") ? everyList(policy) : {}),
      smtpd_authorized_xclient_hosts: "127.0.0.0/8",
      inet_protocols: "all",
    }),
    doors,
  };
  return Served.start(options);
}

/** A client that Postfix takes to be elsewhere, after its EHLO. */
async function from(served: Served, address: string, more = "NAME=[UNAVAILABLE]"): Promise<SmtpClient> {
  const { client } = await SmtpClient.connect({ port: served.postfix.port });
  await client.command("EHLO proxy.test");
  const written = address.includes(":") ? `IPV6:${address}` : address;
  const greeting = await client.command(`XCLIENT ADDR=${written} PORT=40000 ${more}`);
  assert.equal(greeting.code, 220, greeting.text);
  assert.equal((await client.command("EHLO client.test")).code, 250);
  return client;
}

async function mail(client: SmtpClient, subject: string): Promise<string> {
  const sender = await client.command("MAIL FROM:<a@client.test>");
  if (sender.code !== 250) return sender.text;
  for (const recipient of ["b@example.test", "c@example.test"]) {
    assert.equal((await client.command(`RCPT TO:<${recipient}>`)).code, 250);
  }
  await client.command("DATA");
  return (await client.message(`Subject: ${subject}\r\n\r\ntext\r\n`)).text;
}

postfixTest(
  "a listed client is refused at MAIL without any script; others, whitelisted and local ones are not",
  async () => {
    await using dns = await lists();
    await using served = await serve(
      dns,
      'servers = ["one.test", "two.test"]\nwhitelist = ["192.0.2.128/25", "*.friends.test"]',
    );
    const listed = await from(served, LISTED);
    const refusal = `554 5.7.1 Client host [${LISTED}] is listed by one.test and two.test`;
    assert.equal(await mail(listed, "no"), refusal);
    assert.equal(await mail(listed, "still no"), refusal);
    assert.equal(
      await mail(await from(served, LISTED_6), "no"),
      `554 5.7.1 Client host [${LISTED_6}] is listed by one.test`,
    );
    assert.match(await mail(await from(served, CLEAN), "yes"), /^250 /);
    assert.match(await mail(await from(served, "192.0.2.130"), "yes"), /^250 /);
    assert.match(await mail(await from(served, LISTED, "NAME=mx.friends.test"), "yes"), /^250 /);
    // A login may come after the connection, and spares the client.
    assert.match(await mail(await from(served, LISTED, "NAME=[UNAVAILABLE] LOGIN=user"), "yes"), /^250 /);
    const { client: local } = await SmtpClient.connect({ port: served.postfix.port });
    await local.command("EHLO client.test");
    assert.match(await mail(local, "yes"), /^250 /);
    await served.postfix.settled();
    assert.deepEqual(
      new Set(served.sink.messages.map(({ headers }) => headers.find(([name]) => name === "Subject")?.[1])),
      new Set([" yes"]),
    );

    const decisions = served.postlua.lines.filter(({ callback }) => callback === "RBL");
    const results = decisions.map(({ result }) => result);
    assert.deepEqual(results, [
      "listed one.test=127.0.0.255 two.test=127.0.0.2",
      "listed one.test=127.0.0.3",
      "not listed",
      "whitelisted",
      "whitelisted",
      "listed one.test=127.0.0.255 two.test=127.0.0.2",
    ]);
    for (const { ms } of decisions) assert.equal(typeof ms, "number");
  },
);

postfixTest("without spare_authenticated a listed client is turned away at the banner", async () => {
  await using dns = await lists();
  await using served = await serve(dns, 'servers = ["one.test"]\nspare_authenticated = false');
  const { client } = await SmtpClient.connect({ port: served.postfix.port });
  await client.command("EHLO proxy.test");
  const greeting = await client.command(`XCLIENT ADDR=${LISTED} PORT=40000 NAME=[UNAVAILABLE] LOGIN=user`);
  assert.equal(greeting.code, 554);
  await client.command("EHLO client.test");
  assert.equal(
    (await client.command("MAIL FROM:<a@client.test>")).text,
    `554 5.7.1 Client host [${LISTED}] is listed by one.test`,
  );
});

postfixTest("a script sees what the lists said, and each of its globals has its effect", async () => {
  await using dns = await lists();
  const script = `
    RBLServers = { "one.test", "two.test", "bad name" }
    CheckRBL = true
    function Start()
      table.insert(RBLWhitelist, "203.0.113.*")
    end
    function RBLResults()
      local seen = tostring(RBLFound)
      for _, list in ipairs(RBLServers) do
        if RBLResultInfo[list] then seen = seen .. " " .. list .. "=" .. string.format("%.0f", RBLResultInfo[list]) end
      end
      print(IPAddress, seen)
      RBLHeader = "X-Listed: " .. seen
      if IPAddress == "192.0.2.7" then RBLAccept = true end
      if IPAddress == "192.0.2.8" then RBLBlackhole = true end
      if IPAddress == "192.0.2.9" then RBLRedirect = "quarantine@example.test" end
      if IPAddress == "192.0.2.10" then RBLRejectMessage = "550 5.7.9 See http://lists.test" end
      if IPAddress == "192.0.2.11" then RBLRejectMessage = "Go away" end
      if IPAddress == "192.0.2.12" then return "421 4.7.0 Own text" end
      if IPAddress == "192.0.2.13" then RBLFound = false end
      if IPAddress == "192.0.2.14" then error("broken") end
    end
    function DoDATAStart() return "", "X-Start: here" end`;
  const records: Record<string, string> = {};
  for (let n = 7; n <= 15; n++) records[`${n}.2.0.192.one.test`] = "127.0.0.255";
  await using many = await startDns((request) => {
    const address = records[request.name] ?? RECORDS[request.name];
    return address === undefined
      ? reply(request, { rcode: NO_SUCH_NAME })
      : reply(request, { answers: [{ type: DNS_TYPE.A, address }] });
  });
  await using served = await serve(many, "", script);
  assert.equal(dns.requests.length, 0);
  assert.match(await mail(await from(served, "192.0.2.7"), "accepted"), /^250 /);
  assert.match(await mail(await from(served, "192.0.2.8"), "discarded"), /^250 /);
  const redirected = await from(served, "192.0.2.9");
  assert.match(await mail(redirected, "redirected"), /^250 /);
  assert.match(await mail(redirected, "redirected again"), /^250 /);
  assert.equal(await mail(await from(served, "192.0.2.10"), "no"), "550 5.7.9 See http://lists.test");
  assert.equal(await mail(await from(served, "192.0.2.11"), "no"), "554 5.7.1 Go away");
  const closing = await from(served, "192.0.2.12");
  assert.equal(await mail(closing, "no"), "421 4.7.0 Own text");
  await closing.closed;
  assert.match(await mail(await from(served, "192.0.2.13"), "not found"), /^250 /);
  assert.match(await mail(await from(served, "192.0.2.14"), "no"), /^451 4\.3\.0 /);
  assert.match(
    await mail(await from(served, "192.0.2.15"), "no"),
    /^554 5\.7\.1 Client host \[192\.0\.2\.15\]/,
  );
  assert.match(await mail(await from(served, "203.0.113.5"), "whitelisted"), /^250 /);
  await served.postfix.settled();

  const arrived = served.sink.messages.map(({ recipients, headers }) => {
    const value = (wanted: string) => headers.find(([name]) => name === wanted)?.[1].trim();
    return [value("Subject"), [...recipients].sort().join(" "), value("X-Listed"), headers[1]?.[0]];
  });
  const both = "b@example.test c@example.test";
  assert.deepEqual(arrived.sort(), [
    ["accepted", both, "true one.test=4278190207 two.test=33554559", "X-Listed"],
    ["not found", both, undefined, "X-Start"],
    ["redirected again", "quarantine@example.test", "true one.test=4278190207", "X-Listed"],
    ["redirected", "quarantine@example.test", "true one.test=4278190207", "X-Listed"],
    ["whitelisted", both, undefined, "X-Start"],
  ]);
  assert.ok(served.postlua.lines.some(({ problem }) => /"bad name" is no domain name/.test(String(problem))));
});

postfixTest("a policy service alone refuses, discards, redirects and marks, too", async () => {
  await using dns = await lists();
  const script = `
    function RBLResults()
      RBLHeader = "X-Listed: yes\\nX-More: no"
      if IPAddress == "192.0.2.7" then return "550 5.7.1 Own text" end
      if IPAddress == "192.0.2.8" then RBLFound, RBLBlackhole = true, true end
      if IPAddress == "192.0.2.9" then RBLFound, RBLRedirect = true, "quarantine@example.test" end
    end`;
  await using served = await serve(dns, 'servers = ["one.test"]', script, ["policy"]);
  assert.match(await mail(await from(served, "192.0.2.7"), "no"), /^550 5\.7\.1 .*Own text$/);
  assert.match(
    await mail(await from(served, "192.0.2.7", "NAME=[UNAVAILABLE] LOGIN=user"), "login"),
    /^250 /,
  );
  assert.match(await mail(await from(served, "192.0.2.8"), "discarded"), /^250 /);
  assert.match(await mail(await from(served, "192.0.2.9"), "redirected"), /^250 /);
  await served.postfix.settled();
  const arrived = served.sink.messages.map(({ recipients, headers }) => [
    headers.find(([name]) => name === "Subject")?.[1],
    [...new Set(recipients)].sort().join(" "),
    headers.find(([name]) => name === "X-Listed")?.[1],
  ]);
  assert.deepEqual(arrived.sort(), [
    [" login", "b@example.test c@example.test", undefined],
    [" redirected", "quarantine@example.test", " yes"],
  ]);
});

postfixTest("lists that nobody answers for cost a client their time limit and no mail", async () => {
  await using silent = await startDns(() => undefined);
  await using served = await serve(silent, 'servers = ["one.test", "two.test"]\ntimeout_ms = 100');
  assert.match(await mail(await from(served, LISTED), "yes"), /^250 /);
  await served.postlua.waitFor(
    ({ event, problem }) => event === "block list" && problem === "no answer in time",
  );
});

postfixTest("nobody is looked up where neither configuration nor script speaks of block lists", async () => {
  await using dns = await lists();
  await using served = await serve(dns, "", 'function Start() return "" end');
  assert.match(await mail(await from(served, LISTED), "yes"), /^250 /);
  assert.equal(dns.requests.length, 0);
});
