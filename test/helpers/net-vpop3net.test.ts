import assert from "node:assert/strict";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import { netModule } from "../../src/helpers/vpop3net.ts";
import { DNS_TYPE, Resolver } from "../../src/net/dns.ts";
import { HttpClient } from "../../src/net/http.ts";
import { Reach } from "../../src/net/reach.ts";
import { WhoisClient } from "../../src/net/whois.ts";
import { closedPort, reply, startDns, startTcp } from "../net/servers.ts";
import { callHost } from "./net-call.ts";

function makeModule(servers: string[], lines: string[] = []) {
  const resolver = new Resolver({ servers, timeoutMs: 60, attempts: 1 });
  const reach = new Reach({ resolver, forbidden: [] });
  return netModule({
    resolver,
    http: new HttpClient({ reach }),
    whois: new WhoisClient({ reach }),
    debug: (line) => lines.push(line),
  });
}

test("GetDNSRecords - the manual's fields for each type", async () => {
  const soa = {
    primary: "ns.x",
    admin: "root.x",
    serial: 9,
    refresh: 8,
    retry: 7,
    expiration: 6,
    minimum: 5,
  };
  await using server = await startDns((request) =>
    reply(request, {
      answers: [
        { type: DNS_TYPE.A, address: "192.0.2.1", ttl: 60 },
        { type: DNS_TYPE.NS, ns: "ns.x" },
        { type: DNS_TYPE.CNAME, domain: "c.x" },
        { type: DNS_TYPE.SOA, ...soa },
        { type: DNS_TYPE.WKS, data: Buffer.from([192, 0, 2, 1, 6, 0x80]) },
        { type: DNS_TYPE.PTR, domain: "p.x" },
        { type: DNS_TYPE.MX, priority: 10, exchange: "m.x" },
        { type: DNS_TYPE.TXT, data: ["v=spf1", " -all"] },
        { type: DNS_TYPE.SRV, priority: 1, weight: 2, port: 3, target: "s.x" },
        { type: DNS_TYPE.AAAA, address: "2001:db8::1" },
        { type: 4711, data: Buffer.from("raw") },
      ],
      authorities: [{ type: DNS_TYPE.NS, ns: "ns.x" }],
      additionals: [{ name: "ns.x", type: DNS_TYPE.A, address: "192.0.2.2" }],
    }),
  );
  const [records, ok] = await callHost(makeModule([server.address]), "GetDNSRecords", ["x.example", 255]);
  assert.equal(ok, true);
  const entry = (
    Type: string | number,
    Value: string,
    more = {},
    Section = "AN",
    Domain = "x.example",
    TTL = 300,
  ) => ({
    Domain,
    Section,
    Type,
    TTL,
    Value,
    ...more,
  });
  assert.deepEqual(records, [
    entry("A", "192.0.2.1", {}, "AN", "x.example", 60),
    entry("NS", "ns.x"),
    entry("CNAME", "c.x"),
    entry("SOA", "ns.x", {
      Serial: 9,
      Refresh: 8,
      Retry: 7,
      Expiry: 6,
      MinimumTTL: 5,
      PrimaryNS: "ns.x",
      ResponsibleEmail: "root.x",
    }),
    entry(11, "192.0.2.1 6 0"),
    entry("PTR", "p.x"),
    entry("MX", "m.x", { MXPriority: 10 }),
    entry("TXT", "v=spf1 -all"),
    entry("SRV", "s.x", { Priority: 1, Weight: 2, Port: 3, Target: "s.x" }),
    entry(28, "2001:db8::1"),
    entry(4711, "raw"),
    entry("NS", "ns.x", {}, "NS"),
    entry("A", "192.0.2.2", {}, "AR", "ns.x"),
  ]);
});

test("GetDNSRecords - RCODE or -1 and false; no records is an empty table", async () => {
  await using server = await startDns((request) => {
    const kind = request.name;
    if (kind === "silent") return undefined;
    return reply(request, { rcode: kind === "gone" ? 3 : kind === "broken" ? 2 : 0 });
  });
  const lines: string[] = [];
  const module = makeModule([server.address], lines);
  const ask = (...args: (string | number)[]) => callHost(module, "GetDNSRecords", args);
  assert.deepEqual(await ask("empty", 1), [[], true]);
  assert.deepEqual(await ask("empty", "1"), [[], true]);
  assert.deepEqual(await ask("gone", 1), [3, false]);
  assert.deepEqual(await ask("broken", 1), [2, false]);
  assert.deepEqual(await ask("silent", 1), [-1, false]);
  assert.deepEqual(await ask("a..b", 1), [1, false]);
  assert.deepEqual(await ask("empty", 0), [1, false]);
  assert.equal(lines[0], "GetDNSRecords gone 1: failed with 3");
  await assert.rejects(ask("empty"), /bad argument #2/);
});

test("GetDNSRecords - a list of servers, in order", async () => {
  await using refusing = await startDns((request) => reply(request, { rcode: 5 }));
  await using good = await startDns((request) =>
    reply(request, { answers: [{ type: 1, address: "192.0.2.5" }] }),
  );
  const module = makeModule([`127.0.0.1:${await closedPort()}`]);
  const list = ` ${refusing.address}; ;${good.address};nonsense`;
  const [records, ok] = await callHost(module, "GetDNSRecords", ["x", 1, list]);
  assert.equal(ok, true);
  assert.equal((records as { Value: string }[])[0]!.Value, "192.0.2.5");
  assert.equal(refusing.requests.length, 1);
  assert.deepEqual(await callHost(module, "GetDNSRecords", ["x", 1, ""]), [-1, false]);
});

test("GetHTTP - true and a table, or false and nil", async () => {
  const web = createServer((_, response) => {
    response.sendDate = false;
    response.writeHead(404, { "Content-Length": "9" }).end("not\r\nhere");
  });
  web.unref();
  await new Promise<void>((resolve) => web.listen(0, "127.0.0.1", resolve));
  const url = `http://127.0.0.1:${(web.address() as AddressInfo).port}/page?x=1`;
  const lines: string[] = [];
  let charged = 0;
  const module = makeModule([], lines);
  const charge = (steps: number) => {
    charged += steps;
  };
  assert.deepEqual(await callHost(module, "GetHTTP", [url], { charge }), [
    true,
    {
      Host: "127.0.0.1",
      File: "/page?x=1",
      Headers: ["Content-Length: 9", "Connection: close"],
      Body: ["not", "here"],
      ErrorInfo: "Not Found",
      HTTPResult: 404,
      StatedLength: 9,
      ActualLength: 9,
    },
  ]);
  assert.ok(charged > 0);
  await new Promise((resolve) => web.close(resolve));
  assert.deepEqual(await callHost(module, "GetHTTP", ["ftp://me:secret@example.com/@x"]), [false, null]);
  assert.deepEqual(await callHost(module, "GetHTTP", ["me:se:c@r@et@ bad/"]), [false, null]);
  assert.deepEqual(lines, [
    "GetHTTP ftp://example.com/@x: scheme ftp: is not http or https",
    "GetHTTP  bad/: not a URL",
  ]);
});

test("GetWHOIS - true and the text, or false and why", async () => {
  await using server = await startTcp((socket) =>
    socket.on("data", (data) => socket.end(`you said ${data}`)),
  );
  const at = `127.0.0.1:${server.port}`;
  const module = makeModule([]);
  assert.deepEqual(await callHost(module, "GetWHOIS", [at, "x"]), [true, "you said x\r\n"]);
  assert.deepEqual(await callHost(module, "GetWHOIS", [at, "x\r\ny"]), [false, "query must be one line"]);
});
