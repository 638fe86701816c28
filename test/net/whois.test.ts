import assert from "node:assert/strict";
import { test } from "node:test";
import { Resolver } from "../../src/net/dns.ts";
import { Reach } from "../../src/net/reach.ts";
import { WhoisClient } from "../../src/net/whois.ts";
import { closedPort, reply, startDns, startTcp } from "./servers.ts";

const never = new AbortController().signal;
const resolver = new Resolver({ servers: [] });
const everywhere = new Reach({ resolver, forbidden: [] });
const client = new WhoisClient({ reach: everywhere });

test("query() - sends one line and returns all bytes until the server closes", async () => {
  let received = "";
  await using server = await startTcp((socket) => {
    socket.on("data", (data) => {
      received += data.toString("latin1");
      if (!received.endsWith("\r\n")) return;
      socket.write(Buffer.from("domain: \xe9", "latin1"));
      setImmediate(() => socket.end(Buffer.from(".example\r\n\0\xff", "latin1")));
    });
  });
  const result = await client.query(`127.0.0.1:${server.port}`, "\xe9.example", never);
  assert.deepEqual(result, { ok: true, text: "domain: \xe9.example\r\n\0\xff" });
  assert.equal(received, "\xe9.example\r\n");
});

test("query() - a name is looked up by the resolver it was given", async () => {
  await using dns = await startDns((request) =>
    reply(request, { answers: request.type === 1 ? [{ type: 1, address: "127.0.0.1" }] : [] }),
  );
  await using server = await startTcp((socket) => socket.on("data", () => socket.end("found")));
  const reach = new Reach({ resolver: new Resolver({ servers: [dns.address] }), forbidden: [] });
  const result = await new WhoisClient({ reach }).query(`whois.example.com:${server.port}`, "x", never);
  assert.deepEqual(result, { ok: true, text: "found" });
});

test("query() - refuses what is not one line or not a server, without connecting", async () => {
  await using server = await startTcp((socket) => socket.end("never"));
  const at = `127.0.0.1:${server.port}`;
  for (const bad of ["a\r\nb", "a\n", "\r", "a\0", "x".repeat(1001)]) {
    assert.equal((await client.query(at, bad, never)).ok, false, JSON.stringify(bad));
  }
  for (const bad of ["", "a b", "host:0", "host:port"]) {
    assert.deepEqual(await client.query(bad, "x", never), { ok: false, reason: "bad server name" });
  }
  assert.equal(server.connections, 0);
});

test("query() - loopback is out of reach by default, as an address and behind a name", async () => {
  await using dns = await startDns((request) =>
    reply(request, { answers: request.type === 1 ? [{ type: 1, address: "127.0.0.1" }] : [] }),
  );
  await using server = await startTcp((socket) => socket.end("secret"));
  const careful = new WhoisClient({
    reach: new Reach({ resolver: new Resolver({ servers: [dns.address] }) }),
  });
  for (const host of ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "rebound.example.com", "localhost"]) {
    const result = await careful.query(`${host}:${server.port}`, "x", never);
    assert.ok(!result.ok && result.reason.includes("not allowed"), host);
  }
  assert.equal(server.connections, 0);
});

test("query() - closed port, silence, floods and a caller that goes", async () => {
  const refused = await client.query(`127.0.0.1:${await closedPort()}`, "x", never);
  assert.ok(!refused.ok && refused.reason.includes("ECONNREFUSED"));

  await using silent = await startTcp(() => {});
  const quick = new WhoisClient({ reach: everywhere, timeoutMs: 50 });
  assert.deepEqual(await quick.query(`127.0.0.1:${silent.port}`, "x", never), {
    ok: false,
    reason: "no answer within 50 ms",
  });
  const gone = new AbortController();
  const waiting = client.query(`127.0.0.1:${silent.port}`, "x", gone.signal);
  gone.abort();
  assert.equal((await waiting).ok, false);

  await using flood = await startTcp((socket) =>
    socket.on("data", () => socket.write(Buffer.alloc(100_000, "x"))),
  );
  const small = new WhoisClient({ reach: everywhere, maxBytes: 50_000 });
  assert.deepEqual(await small.query(`127.0.0.1:${flood.port}`, "x", never), {
    ok: false,
    reason: "answer over the limit of 50000 bytes",
  });

  await using reset = await startTcp((socket) => socket.on("data", () => socket.resetAndDestroy()));
  assert.equal((await client.query(`127.0.0.1:${reset.port}`, "x", never)).ok, false);
});
