import assert from "node:assert/strict";
import { createSocket } from "node:dgram";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { DNS_TYPE, type DnsResult, Resolver } from "../../src/net/dns.ts";
import { bindBoth, closedPort, type DnsRequest, random, reply, startDns } from "./servers.ts";

const LONG = process.env.POSTLUA_LONG !== undefined;
const A = DNS_TYPE.A;
const address = (request: DnsRequest, value = "192.0.2.1") =>
  reply(request, { answers: [{ type: A, address: value }] });
const silent = () => undefined;
const values = (result: DnsResult) => (result.ok ? result.records.map((r) => r.value) : result.rcode);

test("query() - all sections of an answer, over UDP", async () => {
  await using server = await startDns((request) =>
    reply(request, {
      answers: [{ type: DNS_TYPE.MX, priority: 5, exchange: "mx.example.com" }],
      authorities: [{ type: DNS_TYPE.NS, ns: "ns.example.com" }],
      additionals: [{ name: "mx.example.com", type: A, address: "192.0.2.3", ttl: 7 }],
    }),
  );
  const result = await new Resolver({ servers: [server.address] }).query("Example.COM.", DNS_TYPE.MX);
  assert.deepEqual(result, {
    ok: true,
    records: [
      { name: "example.com", section: "AN", type: 15, ttl: 300, value: "mx.example.com", priority: 5 },
      { name: "example.com", section: "NS", type: 2, ttl: 300, value: "ns.example.com" },
      { name: "mx.example.com", section: "AR", type: 1, ttl: 7, value: "192.0.2.3" },
    ],
  });
  assert.equal(server.requests[0]!.packet.header.rd, 1);
});

test("query() - an alias comes with what it points to", async () => {
  await using server = await startDns((request) =>
    reply(request, {
      answers: [
        { type: DNS_TYPE.CNAME, domain: "b.example.com" },
        { name: "b.example.com", type: DNS_TYPE.CNAME, domain: "c.example.com" },
        { name: "c.example.com", type: A, address: "192.0.2.9" },
      ],
    }),
  );
  const result = await new Resolver({ servers: [server.address] }).query("a.example.com", A);
  assert.deepEqual(values(result), ["b.example.com", "c.example.com", "192.0.2.9"]);
});

test("query() - a truncated answer is asked for again over TCP", async () => {
  const strings = Array.from({ length: 20 }, (_, i) => `${i}`.padEnd(200, "x"));
  await using server = await startDns((request) =>
    reply(request, { answers: strings.map((text) => ({ type: DNS_TYPE.TXT, data: [text] })) }),
  );
  const result = await new Resolver({ servers: [server.address] }).query("big.example.com", DNS_TYPE.TXT);
  assert.deepEqual(values(result), strings);
  assert.deepEqual(
    server.requests.map((r) => r.transport),
    ["udp", "tcp"],
  );
});

test("query() - no TCP behind a truncated answer: the next server is asked", async () => {
  const udp = createSocket("udp4").unref();
  udp.on("message", (message, from) => {
    message[2]! |= 0x82;
    udp.send(message, from.port, from.address);
  });
  await new Promise<void>((resolve) => udp.bind(0, "127.0.0.1", resolve));
  await using second = await startDns((request) => address(request));
  const resolver = new Resolver({ servers: [`127.0.0.1:${udp.address().port}`, second.address] });
  assert.deepEqual(values(await resolver.query("example.com", A)), ["192.0.2.1"]);
  udp.close();
});

test("query() - TCP answers that are short, garbage or never end fail the server", async () => {
  for (const bytes of ["", "\0", "\0\x05abcde", "\xff\xffabc", `\0\x0c${"\xff".repeat(12)}`]) {
    let connections = 0;
    const { udp, tcp, port } = await bindBoth(
      () => createSocket("udp4").unref(),
      () =>
        createServer((socket) => {
          connections++;
          socket.on("error", () => {});
          socket.on("data", () => socket.write(Buffer.from(bytes, "latin1")));
        }).unref(),
    );
    udp.on("message", (message, from) => {
      message[2]! |= 0x82;
      udp.send(message, from.port, from.address);
    });
    const resolver = new Resolver({ servers: [`127.0.0.1:${port}`], timeoutMs: 100, attempts: 1 });
    assert.deepEqual(await resolver.query("example.com", A), { ok: false, rcode: -1 }, JSON.stringify(bytes));
    assert.equal(connections, 1);
    udp.close();
    tcp.close();
  }
});

test("query() - answers with another id, question or sender are ignored", async () => {
  const stranger = createSocket("udp4").unref();
  await using server = await startDns(async (request) => {
    const forged = address(request, "192.0.2.66");
    await new Promise((resolve) =>
      stranger.send(forged.toBuffer(), request.from!.port, request.from!.address, resolve),
    );
    const otherId = address(request, "192.0.2.67").toBuffer();
    otherId.writeUInt16BE((request.packet.header.id + 1) & 0xffff, 0);
    const otherName = address(request, "192.0.2.68");
    otherName.questions = [{ name: "example.net", type: A, class: 1 }] as typeof otherName.questions;
    const otherType = address(request, "192.0.2.69");
    otherType.questions = [{ name: request.name, type: 16, class: 1 }] as typeof otherType.questions;
    return [otherId, otherName, otherType, Buffer.from("short"), address(request)];
  });
  const resolver = new Resolver({ servers: [server.address] });
  assert.deepEqual(values(await resolver.query("example.com", A)), ["192.0.2.1"]);
  assert.equal(server.requests.length, 1);
  stranger.close();
});

test("query() - servers are asked in order until one responds", async () => {
  await using dead = await startDns(silent);
  await using broken = await startDns((request) => {
    const message = address(request).toBuffer();
    return message.subarray(0, message.length - 2);
  });
  await using refusing = await startDns((request) => reply(request, { rcode: 5 }));
  await using good = await startDns((request) => address(request));
  await using unused = await startDns((request) => address(request, "192.0.2.2"));
  const closed = `127.0.0.1:${await closedPort()}`;
  const servers = [closed, dead, broken, refusing, good, unused].map((s) =>
    typeof s === "string" ? s : s.address,
  );
  const resolver = new Resolver({ servers, timeoutMs: 100 });
  assert.deepEqual(values(await resolver.query("example.com", A)), ["192.0.2.1"]);
  assert.deepEqual(
    [dead, broken, refusing, good, unused].map((s) => s.requests.length),
    [1, 1, 1, 1, 0],
  );
});

test("query() - the failure's number is the last server's RCODE, -1 for silence", async () => {
  await using dead = await startDns(silent);
  await using failing = await startDns((request) => reply(request, { rcode: 2 }));
  await using missing = await startDns((request) => reply(request, { rcode: 3 }));
  await using good = await startDns((request) => address(request));
  const ask = async (...servers: string[]) =>
    values(await new Resolver({ servers, timeoutMs: 60 }).query("example.com", A));
  assert.equal(await ask(failing.address), 2);
  assert.equal(await ask(dead.address, failing.address), 2);
  assert.equal(await ask(missing.address, good.address), 3);
  assert.equal(good.requests.length, 0);
  assert.equal(await ask(dead.address), -1);
  assert.equal(dead.requests.length, 3, "one try before, two rounds now");
  assert.equal(await ask(), -1);
});

test("query() - no such record is a success", async () => {
  await using server = await startDns((request) => reply(request, {}));
  assert.deepEqual(await new Resolver({ servers: [server.address] }).query("example.com", A), {
    ok: true,
    records: [],
  });
});

test("query() - a server that does not know EDNS is asked without", async () => {
  await using server = await startDns((request) => {
    if (request.packet.additionals.length === 0) return address(request);
    const refusal = reply(request, { rcode: 1 });
    refusal.questions = [];
    return refusal;
  });
  const resolver = new Resolver({ servers: [server.address] });
  assert.deepEqual(values(await resolver.query("example.com", A)), ["192.0.2.1"]);
});

test("query() - names and types that cannot be asked for fail with FORMERR and send nothing", async () => {
  await using server = await startDns((request) => address(request));
  const resolver = new Resolver({ servers: [server.address] });
  for (const name of ["", "a..b", "x".repeat(64), "x.".repeat(130)]) {
    assert.equal(values(await resolver.query(name, A)), 1, name);
  }
  for (const type of [0, -1, 65536, 1.5, Number.NaN])
    assert.equal(values(await resolver.query("a", type)), 1);
  assert.equal(server.requests.length, 0);
});

test("query() - 8-bit labels and the root go out as they are", async () => {
  await using server = await startDns((request) =>
    reply(request, { answers: [{ type: DNS_TYPE.NS, ns: "\xfc.b" }] }),
  );
  const resolver = new Resolver({ servers: [server.address] });
  assert.deepEqual(values(await resolver.query("b\xfccher.\xc9.de", DNS_TYPE.NS)), ["\xfc.b"]);
  assert.deepEqual(values(await resolver.query(".", DNS_TYPE.NS)), ["\xfc.b"]);
  assert.deepEqual(
    server.requests.map((r) => r.name),
    ["b\xfccher.\xc9.de", ""],
  );
});

test("query() - a list given with the query takes the place of the resolver's own", async () => {
  await using own = await startDns((request) => address(request, "192.0.2.1"));
  await using given = await startDns((request) => address(request, "192.0.2.2"));
  const resolver = new Resolver({ servers: [own.address] });
  assert.deepEqual(values(await resolver.query("example.com", A)), ["192.0.2.1"]);
  assert.deepEqual(values(await resolver.query("example.com", A, ["no address", given.address])), [
    "192.0.2.2",
  ]);
  assert.deepEqual(values(await resolver.query("example.com", A)), ["192.0.2.1"]);
  assert.equal(values(await resolver.query("example.com", A, ["dns.example.com", "1.2.3.4:0"])), -1);
});

test("cache - an answer lives as long as its shortest TTL, which counts down", async () => {
  let now = 0;
  await using server = await startDns((request) =>
    reply(request, {
      answers: [
        { type: A, ttl: 60, address: "192.0.2.1" },
        { type: A, ttl: 30, address: "192.0.2.2" },
      ],
    }),
  );
  const resolver = new Resolver({ servers: [server.address], now: () => now });
  const ttls = async () => {
    const result = await resolver.query("example.com", A);
    assert.ok(result.ok);
    return result.records.map((r) => r.ttl);
  };
  assert.deepEqual(await ttls(), [60, 30]);
  now = 29_999;
  assert.deepEqual(await ttls(), [31, 1]);
  assert.equal(server.requests.length, 1);
  now = 30_000;
  assert.deepEqual(await ttls(), [60, 30]);
  assert.equal(server.requests.length, 2);
});

test("cache - TTL 0 and failures are not kept; absence is, as the SOA says", async () => {
  let now = 0;
  const soa = {
    type: DNS_TYPE.SOA,
    primary: "a",
    admin: "b",
    serial: 1,
    refresh: 1,
    retry: 1,
    expiration: 1,
  };
  await using server = await startDns((request) => {
    const [kind] = request.name.split(".");
    if (kind === "zero") return reply(request, { answers: [{ type: A, ttl: 0, address: "192.0.2.1" }] });
    if (kind === "failing") return reply(request, { rcode: 2 });
    const authorities = [{ ...soa, name: "example.com", ttl: 100, minimum: 20 }];
    if (kind === "gone") return reply(request, { rcode: 3, authorities });
    if (kind === "empty") return reply(request, { authorities });
    return reply(request, { rcode: 3 });
  });
  const resolver = new Resolver({ servers: [server.address], now: () => now });
  const asked = async (name: string) => {
    const before = server.requests.length;
    await resolver.query(`${name}.example.com`, A);
    return server.requests.length - before;
  };
  for (const name of ["zero", "failing", "nosoa"]) {
    assert.deepEqual([await asked(name), await asked(name)], [1, 1], name);
  }
  for (const name of ["gone", "empty"]) {
    now = 0;
    assert.deepEqual([await asked(name), await asked(name)], [1, 0], name);
    now = 20_000;
    assert.equal(await asked(name), 1, name);
  }
});

test("cache - bounded in number, the least recently used goes", async () => {
  await using server = await startDns((request) => address(request));
  const resolver = new Resolver({ servers: [server.address], cache: { entries: 2 } });
  for (const name of ["a", "b", "a", "c", "a", "b"]) await resolver.query(name, A);
  assert.deepEqual(
    server.requests.map((r) => r.name),
    ["a", "b", "c", "b"],
  );
  const small = new Resolver({ servers: [server.address], cache: { bytes: 100 } });
  await small.query("a", A);
  await small.query("a", A);
  assert.equal(server.requests.length, 6);
});

test("sharing - equal queries under way are one; one caller's end is not the others'", async () => {
  const { promise: released, resolve: release } = Promise.withResolvers<void>();
  const { promise: arrived, resolve: arrive } = Promise.withResolvers<void>();
  await using server = await startDns(async (request) => {
    arrive();
    await released;
    return address(request);
  });
  const resolver = new Resolver({ servers: [server.address] });
  const impatient = new AbortController();
  const patient = new AbortController();
  const first = resolver.query("example.com", A, undefined, impatient.signal);
  const rest = Array.from({ length: 50 }, (_, i) =>
    resolver.query("EXAMPLE.com", A, undefined, i % 2 === 0 ? patient.signal : undefined),
  );
  await arrived;
  impatient.abort();
  assert.deepEqual(await first, { ok: false, rcode: -1 });
  release();
  for (const result of await Promise.all(rest)) assert.deepEqual(values(result), ["192.0.2.1"]);
  assert.equal(server.requests.length, 1);
});

test("sharing - when all callers have gone the query ends, and a later one starts anew", async () => {
  const { promise: arrived, resolve: arrive } = Promise.withResolvers<void>();
  await using server = await startDns((request) => {
    arrive();
    return request.count === 1 ? undefined : address(request);
  });
  const resolver = new Resolver({ servers: [server.address], timeoutMs: 60_000, totalMs: 60_000 });
  const gone = new AbortController();
  const first = resolver.query("example.com", A, undefined, gone.signal);
  const second = resolver.query("example.com", A, undefined, gone.signal);
  await arrived;
  gone.abort();
  assert.deepEqual([values(await first), values(await second)], [-1, -1]);
  assert.deepEqual(values(await resolver.query("example.com", A)), ["192.0.2.1"]);
  assert.equal(values(await resolver.query("other.example.com", A, undefined, gone.signal)), -1);
});

test("query() - a question that got lost is sent again", async () => {
  await using server = await startDns((request) => (request.count === 1 ? undefined : address(request)));
  const resolver = new Resolver({
    servers: [server.address],
    timeoutMs: 60_000,
    totalMs: 60_000,
    resendMs: 50,
  });
  assert.deepEqual(values(await resolver.query("example.com", A)), ["192.0.2.1"]);
});

test("limits - all servers together have totalMs", async () => {
  await using server = await startDns(silent);
  const servers = Array.from({ length: 5 }, () => server.address);
  const started = performance.now();
  const resolver = new Resolver({ servers, timeoutMs: 150, totalMs: 300, attempts: 10 });
  assert.equal(values(await resolver.query("example.com", A)), -1);
  assert.ok(performance.now() - started < 5000);
  assert.ok(server.requests.length <= 4);
});

test("limits - no more than maxParallel on the wire, the rest wait their turn", async () => {
  let now = 0;
  let most = 0;
  await using server = await startDns(async (request) => {
    most = Math.max(most, ++now);
    await new Promise((resolve) => setImmediate(resolve));
    now--;
    return address(request);
  });
  const resolver = new Resolver({ servers: [server.address], maxParallel: 3 });
  const results = await Promise.all(Array.from({ length: 40 }, (_, i) => resolver.query(`n${i}`, A)));
  assert.ok(results.every((result) => result.ok));
  assert.ok(most <= 3, `${most} at once`);
});

test("1,000 different questions to a slow server are answered together", async () => {
  await using server = await startDns(async (request) => {
    await new Promise((resolve) => setTimeout(resolve, 500));
    return address(request);
  });
  const resolver = new Resolver({ servers: [server.address] });
  const started = performance.now();
  const results = await Promise.all(Array.from({ length: 1000 }, (_, i) => resolver.query(`n${i}`, A)));
  const took = performance.now() - started;
  assert.ok(results.every((result) => result.ok));
  console.log(`1,000 questions to a server that takes 500 ms: ${took.toFixed(0)} ms`);
  assert.ok(took < 10_000);
});

test("query() - without a list of its own it asks the servers of resolv.conf", async () => {
  await using server = await startDns((request) => address(request));
  const directory = await mkdtemp(join(tmpdir(), "postlua-dns-"));
  const resolvConf = join(directory, "resolv.conf");
  await writeFile(
    resolvConf,
    `# none\nsearch example.com\nnameserver nonsense\nnameserver ${server.address}\n`,
  );
  try {
    assert.deepEqual(values(await new Resolver({ resolvConf }).query("example.com", A)), ["192.0.2.1"]);
  } finally {
    await rm(directory, { recursive: true });
  }
});

test("Resolver - a server that is no address is refused at once", () => {
  for (const bad of ["dns.example.com", "1.2.3.4:99999", "::1:53:x", "", "1.2.3"]) {
    assert.throws(() => new Resolver({ servers: [bad] }), RangeError, bad);
  }
});

test("query() - servers that answer with noise never break the resolver", async () => {
  const next = random(7);
  await using server = await startDns((request) => {
    const message = address(request).toBuffer();
    const from = next() < 0.5 ? 2 : 12;
    for (let i = 0; i < 3; i++)
      message[from + Math.floor(next() * (message.length - from))] = Math.floor(next() * 256);
    return message;
  });
  const resolver = new Resolver({
    servers: [server.address],
    timeoutMs: 40,
    attempts: 1,
    cache: { entries: 0 },
  });
  const results = await Promise.all(
    Array.from({ length: LONG ? 5000 : 300 }, (_, i) => resolver.query(`noise${i}`, A)),
  );
  for (const result of results) assert.ok(result.ok || Number.isInteger(result.rcode));
});
