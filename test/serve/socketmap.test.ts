/** The socketmap door of a running service: what a stranger may send, and that no look-up ever fails. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { encodeNetstring, NetstringDecoder } from "../../src/socketmap/netstring.ts";
import { type Running, start, until } from "./service.ts";

const SCRIPT = `
  function GetEHLOCapabilities(hostname)
    if hostname == "192.0.2.1" then return "PIPELINING\\nSIZE 10240000" end
    if hostname == "192.0.2.2" then while true do end end
    if hostname == "192.0.2.3" then os.sleep(50) return "PIPELINING" end
  end`;

async function serve(
  context: TestContext,
  script: string,
  workers = 1,
): Promise<{ running: Running; path: string }> {
  const path = join(tmpdir(), `postlua-map-${process.pid}-${Math.random().toString(36).slice(2)}.sock`);
  const config = `[socketmap]\nlisten = ["unix:${path}"]\n[limits]\ncpu_ms = 200\n`;
  return { running: await start(context, { script, config, workers }), path };
}

/** Asks one thing after another on one connection. */
class Client {
  readonly socket: Socket;
  readonly #decoder = new NetstringDecoder(100_000);

  constructor(path: string) {
    this.socket = connect(path);
    this.socket.on("data", (chunk: Buffer) => this.#decoder.push(chunk));
    this.socket.on("error", () => {});
  }

  ask(text: string): Promise<string> {
    this.socket.write(encodeNetstring(Buffer.from(text, "latin1")));
    return until(() => this.#decoder.next()?.toString("latin1"));
  }
}

test("keywords by address, in workers in turn, on connections that are kept", async (context) => {
  const { path } = await serve(context, SCRIPT, 2);
  const clients = Array.from({ length: 6 }, () => new Client(path));
  context.after(() => {
    for (const { socket } of clients) socket.destroy();
  });
  const removed = "OK silent-discard, vrfy, etrn, enhancedstatuscodes, 8bitmime, dsn, smtputf8, chunking";
  for (let n = 0; n < 5; n++) {
    const answers = await Promise.all(clients.map((client) => client.ask("ehlo 192.0.2.1")));
    assert.deepEqual(new Set(answers), new Set([removed]));
  }
  const [slow, quick] = clients as [Client, Client];
  const answers = await Promise.all([slow.ask("ehlo 192.0.2.3"), quick.ask("ehlo 192.0.2.9")]);
  assert.deepEqual([answers[0].slice(0, 3), answers[1]], ["OK ", "NOTFOUND "]);
});

test("nothing that goes wrong is a failed look-up", async (context) => {
  const { running, path } = await serve(context, SCRIPT);
  const client = new Client(path);
  context.after(() => client.socket.destroy());
  assert.equal(await client.ask("ehlo 192.0.2.2"), "NOTFOUND ");
  assert.equal((await running.line("script error")).kind, "budget:cpu");
  assert.equal(await client.ask("ehlo "), "NOTFOUND ");
  assert.equal(await client.ask("ehlo not an address \xff"), "NOTFOUND ");
  assert.equal(await client.ask("other 192.0.2.1"), "NOTFOUND ");
  assert.equal(await client.ask("other 192.0.2.1"), "NOTFOUND ");
  assert.equal((await running.line("socketmap")).problem, 'no table is called "other"');
  assert.equal(running.lines("socketmap").length, 1);
});

test("malformed requests close their connection alone", async (context) => {
  const { running, path } = await serve(context, SCRIPT);
  const good = new Client(path);
  const bad = new Client(path);
  context.after(() => good.socket.destroy());
  bad.socket.write("GET / HTTP/1.0\r\n\r\n");
  await once(bad.socket, "close");
  assert.equal((await running.line("socketmap")).problem, "a length expected at offset 0");
  assert.match(await good.ask("ehlo 192.0.2.1"), /^OK /);
});

test("scripts that cannot be run, or are not there, remove nothing", async (context) => {
  for (const script of ["function GetEHLOCapabilities(", "x = 1"]) {
    const { path } = await serve(context, script);
    const client = new Client(path);
    assert.equal(await client.ask("ehlo 192.0.2.1"), "NOTFOUND ");
    client.socket.destroy();
  }
});
