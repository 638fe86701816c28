/** Connections over real sockets: order, limits, what closes them, and Postfix's own words. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { type TestContext, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import {
  type SocketmapConnection,
  type SocketmapOptions,
  serveSocketmap,
} from "../../src/socketmap/connection.ts";
import { encodeNetstring } from "../../src/socketmap/netstring.ts";
import { MAX_REPLY, readRequest, type SocketmapReply, writeReply } from "../../src/socketmap/protocol.ts";

interface Open {
  readonly client: Socket;
  readonly connection: SocketmapConnection;
  readonly problems: string[];
  /** All that the client has received when the connection is over. */
  readonly received: Promise<string>;
}

async function open(
  context: TestContext,
  lookup: SocketmapOptions["lookup"],
  maxRequest?: number,
): Promise<Open> {
  const problems: string[] = [];
  const server = createServer({ allowHalfOpen: true }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const accepted = once(server, "connection");
  const client = connect((server.address() as AddressInfo).port, "127.0.0.1");
  const [socket] = (await accepted) as [Socket];
  context.after(() => {
    client.destroy();
    server.close();
  });
  const connection = serveSocketmap(socket, {
    lookup,
    onProblem: (problem) => problems.push(problem.message),
    ...(maxRequest === undefined ? {} : { maxRequest }),
  });
  let text = "";
  client.on("data", (chunk: Buffer) => {
    text += chunk.toString("latin1");
  });
  const received = once(client, "close").then(() => text);
  return { client, connection, problems, received };
}

const ask = (text: string) => encodeNetstring(Buffer.from(text, "latin1"));

test("requests that come at once are answered in their order, one after another", async (context) => {
  let running = 0;
  const { client, received, problems } = await open(context, async ({ map, key }) => {
    assert.equal(++running, 1);
    await new Promise((resolve) => setImmediate(resolve));
    running--;
    return key === "none" ? { kind: "notFound" } : { kind: "found", data: `${map}/${key}` };
  });
  client.write(Buffer.concat([ask("m a b"), ask("m none"), ask("n ")]));
  client.end();
  assert.equal(await received, "8:OK m/a b,9:NOTFOUND ,5:OK n/,");
  assert.deepEqual(problems, []);
});

test("a request in pieces, and a reply of every kind", async (context) => {
  const replies: SocketmapReply[] = [
    { kind: "temporary", reason: "later" },
    { kind: "timeout", reason: "" },
    { kind: "permanent", reason: "no\r\nway" },
  ];
  const { client, received } = await open(context, () => replies.shift() ?? { kind: "notFound" });
  for (const byte of Buffer.concat([ask("m x"), ask("m y"), ask("m z")])) client.write(Buffer.from([byte]));
  client.end();
  assert.equal(await received, "10:TEMP later,8:TIMEOUT ,12:PERM no  way,");
});

for (const [name, bytes, problem] of [
  ["no netstring", "hello", /a length expected at offset 6/],
  ["a request that is too long", "101:", /more than 100 bytes announced/],
  ["a request without a key", "3:map,", /without a map's name/],
  ["a request without a map", "4: key,", /without a map's name/],
  ["a netstring that ends early", "9:map", /ended inside a netstring/],
] as const) {
  test(`${name} closes the connection and is reported; what came before is answered`, async (context) => {
    const { client, received, problems } = await open(context, () => ({ kind: "found", data: "x" }), 100);
    client.write(Buffer.concat([ask("m a"), Buffer.from(bytes)]));
    if (name.endsWith("early")) client.end();
    assert.equal(await received, "4:OK x,");
    assert.equal(problems.length, 1);
    assert.match(problems[0] ?? "", problem);
  });
}

test("a look-up that throws is a temporary failure, and the connection lives on", async (context) => {
  let count = 0;
  const { client, received, problems } = await open(context, () => {
    if (count++ === 0) throw new Error("broken");
    return { kind: "notFound" };
  });
  client.write(Buffer.concat([ask("m a"), ask("m b")]));
  client.end();
  assert.equal(await received, "19:TEMP internal error,9:NOTFOUND ,");
  assert.deepEqual(problems, ["broken"]);
});

test("stop() answers the request under way and closes", async (context) => {
  let asked: () => void = () => {};
  let answer: (reply: SocketmapReply) => void = () => {};
  const wasAsked = new Promise<void>((resolve) => {
    asked = resolve;
  });
  const { client, connection, received } = await open(context, () => {
    asked();
    return new Promise((resolve) => {
      answer = resolve;
    });
  });
  client.write(Buffer.concat([ask("m a"), ask("m b")]));
  await wasAsked;
  const stopped = connection.stop();
  answer({ kind: "notFound" });
  await stopped;
  assert.equal(await received, "9:NOTFOUND ,");
});

test("a client that reads nothing is not written to without end", async (context) => {
  let count = 0;
  const { client, connection } = await open(context, () => {
    count++;
    return { kind: "found", data: "x".repeat(90_000) };
  });
  client.pause();
  const many = Buffer.concat(Array.from({ length: 500 }, () => ask("m a")));
  client.write(many);
  // The system's buffers take some of it, then it stands still.
  for (let before = -1; before !== count; await delay(100)) before = count;
  assert.ok(count > 0 && count < 500, `${count} replies for a client that reads none`);
  client.destroy();
  await connection.closed;
});

test("writeReply() - no longer than Postfix takes", () => {
  assert.equal(writeReply({ kind: "found", data: "x".repeat(MAX_REPLY - 3) }).length, MAX_REPLY + 8);
  assert.throws(() => writeReply({ kind: "found", data: "x".repeat(MAX_REPLY - 2) }), RangeError);
});

test("readRequest() - the key may be empty and may hold spaces", () => {
  assert.deepEqual(readRequest(Buffer.from("map a b ")), { map: "map", key: "a b " });
  assert.deepEqual(readRequest(Buffer.from("map ")), { map: "map", key: "" });
});
