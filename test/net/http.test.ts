import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { AddressInfo, Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { Resolver } from "../../src/net/dns.ts";
import { HttpClient, type HttpOptions, type HttpResult } from "../../src/net/http.ts";
import { Reach } from "../../src/net/reach.ts";
import { closedPort, reply, startDns, startTcp } from "./servers.ts";

const never = new AbortController().signal;
const everywhere = new Reach({ resolver: new Resolver({ servers: [] }), forbidden: [] });
const makeClient = (options: Partial<HttpOptions> = {}) => new HttpClient({ reach: everywhere, ...options });
const client = makeClient();
const get = (url: string, own = client) => own.get(url, never);

function page(result: HttpResult) {
  assert.ok(result.ok, result.ok ? "" : result.reason);
  return result.page;
}

function reason(result: HttpResult): string {
  assert.ok(!result.ok);
  return result.reason;
}

type Handler = (request: IncomingMessage, response: ServerResponse) => void;

async function serve(handler: Handler, server: Server = createServer(handler)) {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return {
    port,
    url: `http://127.0.0.1:${port}`,
    async [Symbol.asyncDispose]() {
      (server as ReturnType<typeof createServer>).closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

test("get() - a page: host, file, headers in order, lines without their ends", async () => {
  let seen: IncomingMessage | undefined;
  await using web = await serve((request, response) => {
    seen = request;
    response.sendDate = false;
    response.writeHead(200, [
      ["X-One", "1"],
      ["x-one", "\xe9"],
      ["Content-Length", "21"],
    ] as never);
    response.end(Buffer.from("first\r\n\nthird\xff\rx\nlast", "latin1"));
  });
  const result = page(await get(`${web.url}/a%20b/\xc3\xa9?q=1&r=/#part`));
  assert.deepEqual(result, {
    host: "127.0.0.1",
    file: "/a%20b/%C3%A9?q=1&r=/",
    headers: ["X-One: 1", "x-one: \xe9", "Content-Length: 21", "Connection: close"],
    body: ["first", "", "third\xff\rx", "last"],
    errorInfo: "",
    status: 200,
    statedLength: 21,
    actualLength: 21,
  });
  assert.equal(seen?.url, "/a%20b/%C3%A9?q=1&r=/");
  assert.equal(seen?.headers.host, `127.0.0.1:${web.port}`);
  assert.equal(seen?.headers["accept-encoding"], "identity");
});

test("get() - any status is a page; an absent length is -1", async () => {
  await using web = await serve((request, response) => {
    response.statusCode = Number(request.url!.slice(1));
    response.write("text\n");
    response.end();
  });
  for (const status of [200, 404, 500, 418, 300]) {
    const result = page(await get(`${web.url}/${status}`));
    assert.equal(result.status, status);
    assert.equal(result.statedLength, -1);
    assert.equal(result.actualLength, 5);
    assert.deepEqual(result.body, ["text"]);
  }
  const missing = page(await get(`${web.url}/404`));
  assert.equal(missing.errorInfo, "Not Found");
  assert.deepEqual(page(await get(`${web.url}/204`)).body, []);
});

test("get() - http:// is taken for granted, other schemes are refused", async () => {
  await using web = await serve((_, response) => response.end("plain"));
  assert.deepEqual(page(await get(`127.0.0.1:${web.port}`)).body, ["plain"]);
  assert.equal(page(await get(` HTTP://127.0.0.1:${web.port} `)).file, "/");
  for (const bad of [
    "ftp://127.0.0.1/",
    "file:///etc/passwd",
    "gopher://x/",
    "http://",
    "http://a b/",
    "",
    "//",
  ]) {
    assert.equal((await get(bad)).ok, false, bad);
  }
  assert.match(reason(await get(`http://127.0.0.1/${"x".repeat(9000)}`)), /limit/);
});

test("get() - user and password go as Basic, line breaks nowhere", async () => {
  const seen: IncomingMessage[] = [];
  await using web = await serve((request, response) => {
    seen.push(request);
    response.end();
  });
  await get(`http://us%40er:p%3Aw@127.0.0.1:${web.port}/`);
  assert.equal(seen[0]!.headers.authorization, `Basic ${Buffer.from("us@er:p:w").toString("base64")}`);
  await get(`${web.url}/a\r\nX-Evil: 1\r\n\r\nGET /b`);
  assert.equal(seen.length, 2);
  assert.equal(seen[1]!.headers["x-evil"], undefined);
  assert.equal((await get(`http://a%:b@127.0.0.1:${web.port}/`)).ok, false);
});

test("get() - redirects are followed, five at most", async () => {
  const seen: string[] = [];
  await using web = await serve((request, response) => {
    seen.push(request.url!);
    const left = Number(request.url!.slice(1));
    if (left === 0) return response.end("there");
    response.writeHead([301, 302, 303, 307, 308][left % 5]!, { Location: left === 1 ? "0" : `/${left - 1}` });
    response.end("moved");
  });
  assert.deepEqual(page(await get(`${web.url}/5`)).body, ["there"]);
  assert.deepEqual(seen, ["/5", "/4", "/3", "/2", "/1", "/0"]);
  const tooMany = page(await get(`${web.url}/6`));
  assert.equal(tooMany.status, 302);
  assert.equal(tooMany.file, "/1");
  assert.equal(tooMany.errorInfo, "more than 5 redirects");
});

test("get() - a redirect without a usable target is a page", async () => {
  await using web = await serve((request, response) => {
    if (request.url === "/none") response.writeHead(302);
    else
      response.writeHead(302, { Location: request.url === "/file" ? "file:///etc/passwd" : "http://[bad" });
    response.end("here");
  });
  for (const path of ["/none", "/file", "/bad"]) {
    const result = page(await get(`${web.url}${path}`));
    assert.deepEqual([result.status, result.body[0]], [302, "here"]);
    assert.equal(result.errorInfo, path === "/none" ? "" : "redirect to something not http or https");
  }
});

test("get() - forbidden addresses stay unreached in every notation and behind redirects", async () => {
  let hits = 0;
  await using inside = await serve((_, response) => {
    hits++;
    response.end("secret");
  });
  const port = inside.port;
  const careful = makeClient({ reach: new Reach({ resolver: new Resolver({ servers: [] }) }) });
  const hosts = `127.0.0.1 127.1 0x7f.1 0177.0.0.1 2130706433 0x7f000001 0 0.0.0.0 [::1] [::] [::ffff:127.0.0.1]
    [::ffff:7f00:1] [::127.0.0.1] [64:ff9b::127.0.0.1] localhost LOCALHOST. 127.0.0.1. 169.254.169.254 ①27.0.0.1`;
  for (const host of hosts.split(/\s+/)) {
    assert.match(
      reason(await careful.get(Buffer.from(`http://${host}:${port}/`).toString("latin1"), never)),
      /not/,
      host,
    );
  }

  // The outside server of this test is let through by leaving only its address, 127.0.0.2, out of the list.
  const outside = createServer((_, response) => {
    response.writeHead(302, { Location: `http://127.0.0.1:${port}/` });
    response.end();
  });
  outside.unref();
  await new Promise<void>((resolve) => outside.listen(0, "127.0.0.2", resolve));
  const half = makeClient({
    reach: new Reach({ resolver: new Resolver({ servers: [] }), forbidden: ["127.0.0.1"] }),
  });
  const through = `http://127.0.0.2:${(outside.address() as AddressInfo).port}/`;
  assert.match(reason(await half.get(through, never)), /127\.0\.0\.1 is not allowed/);
  await new Promise((resolve) => outside.close(resolve));
  assert.equal(hits, 0);
});

test("get() - a name that changes its address between look-ups gains nothing", async () => {
  let lookups = 0;
  await using dns = await startDns((request) => {
    if (request.type !== 1) return reply(request, {});
    const address = lookups++ === 0 ? "127.0.0.2" : "127.0.0.1";
    return reply(request, { answers: [{ type: 1, ttl: 0, address }] });
  });
  let hits = 0;
  const inside = createServer((_, response) => {
    hits++;
    response.end("secret");
  });
  await new Promise<void>((resolve) => inside.listen(0, "127.0.0.1", resolve));
  const { port } = inside.address() as AddressInfo;
  const outside = createServer((_, response) => {
    response.writeHead(302, { Location: `http://rebind.example:${port}/again` });
    response.end();
  });
  for (const server of [inside, outside]) server.unref();
  await new Promise<void>((resolve) => outside.listen(port, "127.0.0.2", resolve));
  const resolver = new Resolver({ servers: [dns.address] });
  const own = makeClient({ reach: new Reach({ resolver, forbidden: ["127.0.0.1"] }) });
  assert.match(reason(await own.get(`http://rebind.example:${port}/`, never)), /127\.0\.0\.1 .*not allowed/);
  assert.equal(lookups, 2);
  assert.equal(hits, 0);
  await Promise.all([inside, outside].map((server) => new Promise((resolve) => server.close(resolve))));
});

test("get() - of a name's addresses only the allowed ones are tried; the hosts file comes first", async () => {
  await using dns = await startDns((request) => {
    if (request.type !== 1) return reply(request, {});
    return reply(request, {
      answers: [
        { type: 1, address: "127.0.0.9" },
        { type: 1, address: "127.0.0.1" },
      ],
    });
  });
  await using web = await serve((_, response) => response.end("right"));
  const directory = mkdtempSync(join(tmpdir(), "postlua-http-"));
  const hostsFile = join(directory, "hosts");
  writeFileSync(hostsFile, "# none\n::1 other\n127.0.0.1\tNamed.Example named # and more\nnonsense x\n");
  const resolver = new Resolver({ servers: [dns.address] });
  const own = makeClient({ reach: new Reach({ resolver, forbidden: ["127.0.0.9"], hostsFile }) });
  assert.deepEqual(page(await get(`http://two.example:${web.port}/`, own)).body, ["right"]);
  const before = dns.requests.length;
  for (const name of ["named", "NAMED.example."]) {
    assert.deepEqual(page(await get(`http://${name}:${web.port}/`, own)).body, ["right"]);
  }
  assert.equal(dns.requests.length, before);
  assert.match(reason(await get(`http://nowhere.example:${web.port}/`)), /no address for nowhere\.example/);
  rmSync(directory, { recursive: true });
});

test("get() - a name server that is silent about IPv6 does not hold up IPv4", async () => {
  await using dns = await startDns((request) =>
    request.type === 1 ? reply(request, { answers: [{ type: 1, address: "127.0.0.1" }] }) : undefined,
  );
  await using web = await serve((_, response) => response.end("quick"));
  const resolver = new Resolver({ servers: [dns.address], timeoutMs: 60_000, totalMs: 60_000 });
  const own = makeClient({ reach: new Reach({ resolver, forbidden: [] }), timeoutMs: 20_000 });
  assert.deepEqual(page(await get(`http://four.example:${web.port}/`, own)).body, ["quick"]);
});

test("get() - limits on size, lines and time", async () => {
  await using web = await serve((request, response) => {
    if (request.url === "/stated")
      return response.writeHead(200, { "Content-Length": "2000" }).end("x".repeat(2000));
    if (request.url === "/endless") {
      const more = () => {
        while (response.writable && response.write("x".repeat(1000)));
      };
      response.on("drain", more);
      return more();
    }
    if (request.url === "/lines") return response.end("\n".repeat(500));
    if (request.url === "/exact") return response.end("x".repeat(1000));
    response.write("slow");
  });
  const small = makeClient({ maxBytes: 1000, maxLines: 400 });
  assert.match(reason(await get(`${web.url}/stated`, small)), /body of 2000 bytes, limit 1000/);
  assert.match(reason(await get(`${web.url}/endless`, small)), /over the limit of 1000 bytes/);
  assert.match(reason(await get(`${web.url}/lines`, small)), /over the limit of 400 lines/);
  assert.equal(page(await get(`${web.url}/exact`, small)).actualLength, 1000);
  assert.equal(reason(await get(`${web.url}/slow`, makeClient({ timeoutMs: 80 }))), "no page within 80 ms");
  const gone = new AbortController();
  const waiting = client.get(`${web.url}/slow`, gone.signal);
  setImmediate(() => gone.abort());
  assert.equal((await waiting).ok, false);
});

test("get() - servers that break the protocol give a failure, never a hang", async () => {
  const answers = [
    "",
    "garbage\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc",
    "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nabc",
    `HTTP/1.1 200 OK\r\nX: ${"y".repeat(100_000)}\r\n\r\n`,
  ];
  for (const answer of answers) {
    await using server = await startTcp((socket) => socket.on("data", () => socket.end(answer)));
    const result = await get(`http://127.0.0.1:${server.port}/`, makeClient({ timeoutMs: 5000 }));
    assert.equal(result.ok, false, answer.slice(0, 60));
    assert.doesNotMatch(reason(result), /within/, answer.slice(0, 60));
  }
  assert.match(reason(await get(`http://127.0.0.1:${await closedPort()}/`)), /ECONNREFUSED/);
  await using old = await startTcp((socket) =>
    socket.on("data", () => socket.end("HTTP/1.0 200 OK\r\n\r\na\nb")),
  );
  assert.deepEqual(page(await get(`http://127.0.0.1:${old.port}/`)).body, ["a", "b"]);
});

test("get() - pages beyond maxParallel wait for a place", async () => {
  let now = 0;
  let most = 0;
  await using web = await serve((_, response) => {
    most = Math.max(most, ++now);
    setImmediate(() => {
      now--;
      response.end("x");
    });
  });
  const narrow = makeClient({ maxParallel: 2 });
  const results = await Promise.all(Array.from({ length: 20 }, () => get(web.url, narrow)));
  assert.ok(results.every((result) => result.ok));
  assert.ok(most <= 2, `${most} at once`);
});

test("get() - https with a certificate that is trusted, refused otherwise", async (t) => {
  const directory = mkdtempSync(join(tmpdir(), "postlua-tls-"));
  const file = (name: string) => join(directory, name);
  try {
    const subject = [
      "-subj",
      "/CN=secure.example",
      "-addext",
      "subjectAltName=DNS:secure.example,IP:127.0.0.1",
    ];
    const keys = [
      "-newkey",
      "ec",
      "-pkeyopt",
      "ec_paramgen_curve:prime256v1",
      "-nodes",
      "-keyout",
      file("key"),
    ];
    execFileSync("openssl", ["req", "-x509", ...keys, "-out", file("cert"), "-days", "2", ...subject], {
      stdio: "ignore",
    });
  } catch {
    rmSync(directory, { recursive: true });
    t.skip("openssl is not installed");
    return;
  }
  const cert = readFileSync(file("cert"), "latin1");
  const handler: Handler = (request, response) => {
    if (request.url === "/up") response.end(`secure ${request.headers.host}`);
    else response.writeHead(302, { Location: "/up" }).end();
  };
  const server = createTlsServer({ key: readFileSync(file("key")), cert }, handler);
  rmSync(directory, { recursive: true });
  await using web = await serve(handler, server);
  await using dns = await startDns((request) =>
    reply(request, { answers: request.type === 1 ? [{ type: 1, address: "127.0.0.1" }] : [] }),
  );
  const reach = new Reach({ resolver: new Resolver({ servers: [dns.address] }), forbidden: [] });
  const trusting = makeClient({ reach, ca: cert });
  const url = `https://secure.example:${web.port}/`;
  assert.deepEqual(page(await get(url, trusting)).body, [`secure secure.example:${web.port}`]);
  assert.match(reason(await get(url, makeClient({ reach }))), /self.signed/);
  assert.match(reason(await get(`https://other.example:${web.port}/`, trusting)), /altnames/);
  assert.equal((await get(`http://127.0.0.1:${web.port}/`, trusting)).ok, false);
});
