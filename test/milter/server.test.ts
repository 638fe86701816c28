import assert from "node:assert/strict";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { test } from "node:test";
import { MilterClient, POSTFIX_OFFER } from "../../src/milter/client.ts";
import { encodeCommand } from "../../src/milter/command.ts";
import { serveConnection } from "../../src/milter/connection.ts";
import type { MilterHandler } from "../../src/milter/filter.ts";
import { SocketListener } from "../../src/milter/listener.ts";
import { CLIENT, filterOf, gate, scratch, serve, startMessage } from "./serve.ts";

for (const transport of ["unix", "tcp"] as const) {
  test(`a message through a real ${transport} socket`, async (context) => {
    const seen: string[] = [];
    const filter = filterOf({
      connect: ({ address }) => void seen.push(address),
      rcpt: ([recipient]) =>
        recipient === "<no@d.test>"
          ? { kind: "replycode", code: 550, enhanced: "5.1.1", lines: ["Not here", "100% sure"] }
          : undefined,
      header: (name, value) => void seen.push(`${name}:${value}`),
      body: (chunk) => void seen.push(String(chunk.length)),
      endOfMessage: async () => ({
        edits: [{ kind: "addHeader", name: "X-Seen", value: " yes" }],
        reply: { kind: "accept" },
      }),
    });
    const { client, problems } = await serve(context, filter, { transport });
    const mta = await client();
    await mta.connect(CLIENT);
    await mta.helo("client.test");
    await mta.mail("<a@b.test>", "SIZE=10");
    assert.deepEqual(await mta.rcpt("<no@d.test>"), {
      kind: "replycode",
      code: 550,
      enhanced: "5.1.1",
      lines: ["Not here", "100% sure"],
    });
    await mta.rcpt("<c@d.test>");
    await mta.data();
    await mta.header("Subject", " hello");
    await mta.endOfHeaders();
    await mta.body(Buffer.alloc(65_535, "x"));
    await mta.body("end\r\n");
    assert.deepEqual(await mta.endOfMessage(), {
      edits: [{ kind: "addHeader", name: "X-Seen", value: " yes" }],
      reply: { kind: "accept" },
    });
    mta.abort();
    await mta.quit();
    assert.deepEqual(seen, ["192.0.2.1", "Subject: hello", "65535", "5"]);
    assert.deepEqual(problems, []);
  });
}

test("what the MTA offers and gets, over unix and TCP", async (context) => {
  for (const [transport, steps] of [
    ["unix", 0x37b | 0x400 | 0x100000],
    ["tcp", 0x17b | 0x400 | 0x100000],
  ] as const) {
    const needs = { events: ["mail"] as const, macros: { eom: ["i"] } };
    const { address } = await serve(context, filterOf({}, needs), { transport });
    const mta = await MilterClient.connect(address);
    const answer = await mta.negotiate(POSTFIX_OFFER);
    assert.deepEqual([answer.version, answer.actions, answer.steps], [6, 0x1ff, steps]);
    assert.deepEqual(answer.macros, [{ stage: 5, names: "i" }]);
    mta.destroy();
  }
});

test("a large body goes out and comes back whole", async (context) => {
  const chunks: Buffer[] = [];
  const handler: MilterHandler = {
    body: (chunk) => void chunks.push(chunk),
    endOfMessage: () => ({
      edits: [{ kind: "replaceBody", body: Buffer.concat(chunks) }],
      reply: { kind: "continue" },
    }),
  };
  const { client } = await serve(context, filterOf(handler, { quiet: ["body"] }));
  const mta = await client();
  await mta.connect(CLIENT);
  await mta.mail("<a@b.test>");
  const sent = Buffer.alloc(20_000_000);
  for (let i = 0; i < sent.length; i += 4) sent.writeUInt32BE(i, i);
  for (let at = 0; at < sent.length; at += 65_535) await mta.body(sent.subarray(at, at + 65_535));
  const { edits } = await mta.endOfMessage();
  const back = edits.map((edit) => (edit.kind === "replaceBody" ? edit.body : Buffer.alloc(0)));
  assert.ok(Buffer.concat(back).equals(sent));
});

test("a hundred sessions at a time", async (context) => {
  let messages = 0;
  const filter = filterOf({
    rcpt: () => new Promise((resolve) => setImmediate(resolve)),
    endOfMessage: async () => {
      messages++;
      return { edits: [], reply: { kind: "continue" } };
    },
  });
  const { server, client, problems } = await serve(context, filter);
  const clients = await Promise.all(Array.from({ length: 100 }, client));
  assert.equal(server.connections, 100);
  await Promise.all(
    clients.map(async (mta) => {
      await mta.connect(CLIENT);
      for (let i = 0; i < 3; i++) {
        await startMessage(mta);
        await mta.endOfMessage();
        mta.abort();
      }
      await mta.quit();
    }),
  );
  assert.equal(messages, 300);
  assert.deepEqual(problems, []);
});

test("connections beyond the limit are closed, and room is made when others end", async (context) => {
  const { server, address, client, problems } = await serve(context, filterOf({}), { maxConnections: 1 });
  const first = await client();
  const second = await MilterClient.connect(address);
  await assert.rejects(second.negotiate());
  assert.deepEqual(
    problems.map(({ code }) => code),
    ["ERR_MILTER_BUSY"],
  );
  await first.quit();
  while (server.connections > 0) await new Promise(setImmediate);
  await (await client()).connect(CLIENT);
});

test("an orderly stop: no new connections, idle ones closed, the message under way finished", async (context) => {
  const { server, address, client } = await serve(context, filterOf({}));
  const idle = await client();
  await idle.connect(CLIENT);
  const busy = await client();
  await busy.connect(CLIENT);
  await startMessage(busy);
  const stopped = server.stop({ timeoutMs: 60_000 });
  await assert.rejects(idle.helo("client.test"));
  const late = connect(address.slice(5));
  const [error] = await once(late, "error");
  assert.match(error.code, /ENOENT|ECONNREFUSED/);
  assert.equal(server.connections, 1);
  assert.deepEqual((await busy.endOfMessage()).reply, { kind: "continue" });
  await stopped;
  assert.equal(server.connections, 0);
  assert.equal(existsSync(address.slice(5)), false);
  await assert.rejects(server.listen(address), /stopped/);
});

test("the time limit of a stop", async (context) => {
  const never = gate<undefined>();
  const causes: string[] = [];
  const handler: MilterHandler = {
    endOfMessage: () => never.opened,
    close: (cause) => void causes.push(cause),
  };
  const { server, client, problems } = await serve(context, filterOf(handler));
  const waiting = await client();
  await waiting.connect(CLIENT);
  await startMessage(waiting);
  const answer = waiting.endOfMessage();
  const silent = await client();
  await silent.connect(CLIENT);
  await silent.mail("<a@b.test>");
  await server.stop({ timeoutMs: 10 });
  assert.deepEqual((await answer).reply, { kind: "tempfail" });
  assert.deepEqual(causes, ["stopped", "stopped"]);
  assert.deepEqual(
    problems.map(({ code }) => code),
    ["ERR_MILTER_STOPPED"],
  );
});

test("a process that only listens hands on socket and bytes", async (context) => {
  const { promise: accepted, resolve } = Promise.withResolvers<Socket>();
  const path = join(scratch(context), "s");
  const listener = await SocketListener.open(`unix:${path}`, { accept: resolve });
  context.after(() => listener.close());
  const mta = await MilterClient.connect(`unix:${path}`);
  context.after(() => mta.destroy());
  const negotiated = mta.negotiate();
  const socket = await accepted;
  socket.resume();
  const [head] = await once(socket, "data");
  socket.pause();
  assert.deepEqual(head, encodeCommand({ kind: "optneg", ...POSTFIX_OFFER }));
  const connection = serveConnection(socket, "unix", filterOf({}), { head });
  await negotiated;
  assert.deepEqual(await mta.connect(CLIENT), { kind: "continue" });
  await mta.quit();
  assert.equal(await connection.closed, "quit");
});
