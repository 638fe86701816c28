import assert from "node:assert/strict";
import { Duplex, duplexPair } from "node:stream";
import { test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { MilterClient } from "../../src/milter/client.ts";
import { encodeCommand } from "../../src/milter/command.ts";
import { type ConnectionOptions, serveConnection } from "../../src/milter/connection.ts";
import type { MilterProblem } from "../../src/milter/errors.ts";
import type { MilterFilter, MilterHandler } from "../../src/milter/filter.ts";
import { raw } from "./feed.ts";
import { CLIENT, filterOf, gate, serve, startMessage } from "./serve.ts";

const OFFER = encodeCommand({ kind: "optneg", version: 6, actions: 0x1ff, steps: 0x1fffff });

/** A connection without a network, for what real sockets do not show. */
function inMemory(filter: MilterFilter, options: ConnectionOptions = {}) {
  const [near, far] = duplexPair();
  const problems: MilterProblem[] = [];
  const onProblem = (problem: MilterProblem) => problems.push(problem);
  const connection = serveConnection(near, "unix", filter, { id: "test", onProblem, ...options });
  return { near, far, problems, connection, client: new MilterClient(far) };
}

/** Time enough for a timer of 2 ms or less to fire `count` times. */
async function timerTicks(count: number): Promise<undefined> {
  for (let i = 0; i < count; i++) await delay(2);
}

/** Handler that notes how it was told of ends. */
function noting(log: string[], more: MilterHandler = {}): MilterHandler {
  return {
    abort: (cause) => void log.push(`abort ${cause}`),
    close: (cause) => void log.push(`close ${cause}`),
    ...more,
  };
}

test("edits and verdict leave in one write", async () => {
  const writes: number[] = [];
  const sink = new Duplex({
    read: () => {},
    write: (chunk, _encoding, done) => {
      writes.push(chunk.length);
      done();
    },
    writev: (chunks, done) => {
      writes.push(chunks.reduce((sum, { chunk }) => sum + chunk.length, 0));
      done();
    },
  });
  const body = Buffer.alloc(200_000, "x");
  const filter = filterOf({
    endOfMessage: () => ({
      edits: [
        { kind: "addHeader", name: "X-A", value: " 1" },
        { kind: "replaceBody", body },
        { kind: "addHeader", name: "X-B", value: " 2" },
      ],
      reply: { kind: "accept" },
    }),
  });
  serveConnection(sink, "unix", filter);
  const eom = encodeCommand({ kind: "eom", chunk: Buffer.alloc(0) });
  const mail = encodeCommand({ kind: "mail", args: ["<a@b>"] });
  const connect = encodeCommand({ kind: "connect", event: CLIENT });
  sink.push(Buffer.concat([OFFER, connect, mail]));
  await new Promise(setImmediate);
  sink.push(eom);
  await new Promise(setImmediate);
  // Negotiation and the replies to one read; then the message.
  assert.deepEqual(writes, [17 + 5 + 5, 12 + 4 * 5 + 200_000 + 12 + 5]);
});

test("SMFIR_PROGRESS is sent while a handler waits, at any event", async (context) => {
  const rcpt = gate();
  const filter = filterOf({ rcpt: () => rcpt.opened });
  const { client } = await serve(context, filter, { progressMs: 2 });
  const mta = await client();
  await mta.connect(CLIENT);
  await mta.mail("<a@b.test>");
  const answer = mta.rcpt("<c@d.test>");
  while (mta.progress < 3) await new Promise(setImmediate);
  rcpt.open();
  assert.deepEqual(await answer, { kind: "continue" });
  const before = mta.progress;
  await mta.rcpt("<e@d.test>");
  assert.ok(mta.progress <= before + 1);
});

test("for Sendmail, SMFIR_PROGRESS is sent at end of message alone", async (context) => {
  const last = gate();
  const slow = () => timerTicks(10);
  const filter = filterOf({ mail: slow, endOfMessage: () => last.opened.then(() => undefined) });
  const { client } = await serve(context, filter, { progressMs: 2, progress: "endOfMessage" });
  const mta = await client();
  await mta.connect(CLIENT);
  await mta.mail("<a@b.test>");
  assert.equal(mta.progress, 0);
  const answer = mta.endOfMessage();
  while (mta.progress < 2) await new Promise(setImmediate);
  last.open();
  assert.deepEqual((await answer).reply, { kind: "continue" });
});

test("nobody waits at a quiet event, so no SMFIR_PROGRESS is sent", async (context) => {
  const header = gate();
  const filter = filterOf({ header: () => header.opened, abort: () => header.opened }, { quiet: ["header"] });
  const { client } = await serve(context, filter, { progressMs: 1 });
  const mta = await client();
  await mta.connect(CLIENT);
  await mta.mail("<a@b.test>");
  mta.header("Subject", " x");
  mta.raw(Buffer.alloc(0));
  await timerTicks(10);
  header.open();
  assert.deepEqual((await mta.endOfMessage()).reply, { kind: "continue" });
  assert.equal(mta.progress, 0);
});

test("a slow abort() keeps the MTA waiting for its next MAIL", async (context) => {
  const reset = gate();
  const { client } = await serve(context, filterOf({ abort: () => reset.opened }), { progressMs: 2 });
  const mta = await client();
  await mta.connect(CLIENT);
  await mta.mail("<a@b.test>");
  mta.abort();
  mta.macros("mail", { i: "1" });
  const answer = mta.mail("<b@b.test>");
  while (mta.progress < 2) await new Promise(setImmediate);
  reset.open();
  assert.deepEqual(await answer, { kind: "continue" });
});

test("nothing more is read while a handler waits", async () => {
  const mail = gate();
  let bytes = 0;
  const body = (chunk: Buffer) => {
    bytes += chunk.length;
  };
  const { far, client } = inMemory(filterOf({ mail: () => mail.opened, body }, { quiet: ["body"] }));
  await client.negotiate();
  await client.connect(CLIENT);
  const answer = client.mail("<a@b.test>");
  const chunk = encodeCommand({ kind: "body", chunk: Buffer.alloc(65_535) });
  let written = 0;
  while (far.write(chunk) && written < 1000) {
    written++;
    await new Promise(setImmediate);
  }
  assert.ok(written < 1000, "the stream never pushed back");
  assert.equal(bytes, 0);
  mail.open();
  await answer;
  assert.deepEqual((await client.endOfMessage()).reply, { kind: "continue" });
  assert.equal(bytes, (written + 1) * 65_535);
});

test("nothing more is read while the peer does not read its replies", async () => {
  let calls = 0;
  const filter = filterOf({ unknown: () => void calls++ });
  const { near, far } = inMemory(filter);
  far.removeAllListeners("data");
  far.pause();
  far.write(OFFER);
  const many = Buffer.concat(
    Array.from({ length: 1000 }, () => encodeCommand({ kind: "unknown", line: "X" })),
  );
  for (let i = 0; i < 100; i++) {
    far.write(many);
    await new Promise(setImmediate);
  }
  assert.ok(calls < 50_000, `${calls} calls`);
  assert.ok(near.writableLength < 500_000, `${near.writableLength} bytes waiting`);
  const replies = 17 + 100_000 * 5;
  let read = 0;
  far.on("data", (chunk: Buffer) => {
    read += chunk.length;
  });
  far.resume();
  while (read < replies) await new Promise(setImmediate);
  assert.equal(calls, 100_000);
});

test("bytes that were read before come first", async () => {
  const helo = gate<string>();
  const head = Buffer.concat([OFFER, encodeCommand({ kind: "connect", event: CLIENT }).subarray(0, 9)]);
  const { far } = inMemory(filterOf({ helo: (name) => void helo.open(name) }), { head });
  far.write(encodeCommand({ kind: "connect", event: CLIENT }).subarray(9));
  far.write(encodeCommand({ kind: "helo", name: "client.test" }));
  assert.equal(await helo.opened, "client.test");
});

test("a peer that goes while a handler waits is noticed when the handler is done", async () => {
  const log: string[] = [];
  const mail = gate();
  const wait = () => mail.opened.then(() => void log.push("mail done"));
  const { far, connection, client, problems } = inMemory(filterOf(noting(log, { mail: wait })));
  await client.negotiate();
  await client.connect(CLIENT);
  client.mail("<a@b.test>").catch(() => {});
  far.end();
  await new Promise(setImmediate);
  assert.deepEqual(log, []);
  mail.open();
  assert.equal(await connection.closed, "closed");
  assert.deepEqual(log, ["mail done", "abort end", "close closed"]);
  assert.deepEqual(problems, []);
});

test("a stream that ends inside a packet is a broken one", async () => {
  const log: string[] = [];
  const { far, connection, problems } = inMemory(filterOf(noting(log)));
  far.write(Buffer.concat([OFFER, raw("H", "half").subarray(0, 7)]));
  far.end();
  assert.equal(await connection.closed, "error");
  assert.deepEqual(log, ["close error"]);
  assert.deepEqual(
    problems.map(({ code, id }) => [code, id]),
    [["ERR_MILTER_TRUNCATED", "test"]],
  );
});

test("a broken packet ends the connection, after the replies before it", async () => {
  const { far, connection, problems } = inMemory(filterOf({}));
  const received: Buffer[] = [];
  far.removeAllListeners("data");
  far.on("data", (chunk: Buffer) => received.push(chunk));
  const connect = encodeCommand({ kind: "connect", event: CLIENT });
  far.write(Buffer.concat([OFFER, connect, raw("H", "no NUL"), raw("H", "x\0")]));
  assert.equal(await connection.closed, "error");
  await new Promise(setImmediate);
  assert.deepEqual(Buffer.concat(received).subarray(17), raw("c"));
  assert.equal(problems.length, 1);
  const { code, error } = problems[0]!;
  assert.equal(code, "ERR_MILTER_FIELD_NUL");
  assert.match(error.message, /^SMFIC_HELO name at byte \d+: a string without its NUL$/);
});

test("a failing socket ends the connection and is reported", async () => {
  const log: string[] = [];
  const { near, connection, client, problems } = inMemory(filterOf(noting(log)));
  await client.negotiate();
  near.destroy(new Error("cable pulled"));
  assert.equal(await connection.closed, "error");
  assert.deepEqual(log, ["close error"]);
  assert.deepEqual(
    problems.map(({ code, error }) => `${code} ${error.message}`),
    ["ERR_MILTER_SOCKET cable pulled"],
  );
});

test("a socket that is gone already", async () => {
  const [near] = duplexPair();
  near.destroy();
  const connection = serveConnection(near, "unix", filterOf({}));
  assert.equal(await connection.closed, "closed");
});

for (const method of ["needs", "open"] as const) {
  test(`a filter whose ${method}() throws: the connection is closed without an answer`, async () => {
    const fails = () => {
      throw new Error("no scripts");
    };
    const { client, connection, problems } = inMemory({ ...filterOf({}), [method]: fails });
    await assert.rejects(client.negotiate(), /closed the connection/);
    assert.equal(await connection.closed, "error");
    assert.deepEqual(
      problems.map(({ code, error }) => `${code} ${error.message}`),
      ["ERR_MILTER_HANDLER no scripts"],
    );
  });
}

test("a handler's report names event and connection", async () => {
  const boom = () => {
    throw new Error("oops");
  };
  const { client, problems } = inMemory(filterOf({ rcpt: boom, mail: () => Promise.reject("text") }));
  await client.negotiate();
  await client.connect(CLIENT);
  assert.deepEqual(await client.mail("<a@b.test>"), { kind: "tempfail" });
  assert.deepEqual(
    problems.map(({ code, event, id, error }) => [code, event, id, error.message]),
    [["ERR_MILTER_HANDLER", "mail", "test", "thrown: text"]],
  );
});

test("silence for longer than the idle time-out ends the connection", async () => {
  const log: string[] = [];
  const { client, connection, problems } = inMemory(filterOf(noting(log)), { idleTimeoutMs: 10 });
  await client.negotiate();
  // The timer is meant not to keep a process alive; the test needs it to fire.
  const alive = setInterval(() => {}, 1000);
  assert.equal(await connection.closed, "error");
  clearInterval(alive);
  assert.deepEqual(log, ["close error"]);
  assert.deepEqual(
    problems.map(({ code }) => code),
    ["ERR_MILTER_IDLE"],
  );
});

test("a handler's own slowness is not silence", async () => {
  const { client, problems } = inMemory(filterOf({ connect: () => timerTicks(10) }), { idleTimeoutMs: 5 });
  await client.negotiate();
  assert.deepEqual(await client.connect(CLIENT), { kind: "continue" });
  assert.deepEqual(problems, []);
});

test("stop() between messages closes at once", async () => {
  const log: string[] = [];
  const { client, connection } = inMemory(filterOf(noting(log)));
  await client.negotiate();
  await client.connect(CLIENT);
  assert.equal(await connection.stop(60_000), "stopped");
  assert.deepEqual(log, ["close stopped"]);
});

test("stop() after a message, its ABORT still under way", async () => {
  const log: string[] = [];
  const { client, connection } = inMemory(filterOf(noting(log)));
  await client.negotiate();
  await client.connect(CLIENT);
  await startMessage(client);
  await client.endOfMessage();
  assert.equal(await connection.stop(60_000), "stopped");
  assert.deepEqual(log, ["abort message", "close stopped"]);
});

test("stop() lets the message under way finish", async () => {
  const log: string[] = [];
  const finish: MilterHandler = { endOfMessage: () => ({ edits: [], reply: { kind: "accept" } }) };
  const { client, connection } = inMemory(filterOf(noting(log, finish)));
  await client.negotiate();
  await client.connect(CLIENT);
  await client.mail("<a@b.test>");
  const stopped = connection.stop(60_000);
  await client.rcpt("<c@d.test>");
  await client.data();
  assert.deepEqual(log, []);
  assert.deepEqual(await client.endOfMessage(), { edits: [], reply: { kind: "accept" } });
  assert.equal(await stopped, "stopped");
  assert.deepEqual(log, ["abort message", "close stopped"]);
});

test("stop() waits for a handler, also outside a message", async () => {
  const helo = gate();
  const { client, connection } = inMemory(filterOf({ helo: () => helo.opened }));
  await client.negotiate();
  await client.connect(CLIENT);
  const answer = client.helo("client.test");
  await new Promise(setImmediate);
  const stopped = connection.stop(60_000);
  helo.open();
  assert.deepEqual(await answer, { kind: "continue" });
  assert.equal(await stopped, "stopped");
});

test("at the time limit the pending command gets tempfail, and what the handler says later counts for nothing", async () => {
  const log: string[] = [];
  const never = gate<undefined>();
  const slow: MilterHandler = { endOfMessage: () => never.opened };
  const { client, connection, problems } = inMemory(filterOf(noting(log, slow)));
  await client.negotiate();
  await client.connect(CLIENT);
  await startMessage(client);
  const answer = client.endOfMessage();
  await new Promise(setImmediate);
  assert.equal(await connection.stop(5), "stopped");
  assert.deepEqual(await answer, { edits: [], reply: { kind: "tempfail" } });
  assert.deepEqual(log, ["abort end", "close stopped"]);
  never.open(undefined);
  await new Promise(setImmediate);
  assert.deepEqual(
    problems.map(({ code, event }) => [code, event]),
    [["ERR_MILTER_STOPPED", "eom"]],
  );
});

test("at the time limit a transaction without a pending command is closed without a word", async () => {
  const log: string[] = [];
  const { client, connection, problems } = inMemory(filterOf(noting(log)));
  await client.negotiate();
  await client.connect(CLIENT);
  await client.mail("<a@b.test>");
  assert.equal(await connection.stop(5), "stopped");
  await assert.rejects(client.rcpt("<c@d.test>"), /closed the connection/);
  assert.deepEqual(log, ["abort end", "close stopped"]);
  assert.deepEqual(problems, []);
});

test("a close() that never ends does not outlast the time limit", async () => {
  const { client, connection } = inMemory(filterOf({ close: () => new Promise(() => {}) }));
  await client.negotiate();
  assert.equal(await connection.stop(5), "stopped");
});

test("QUIT closes the connection when the handler is closed", async () => {
  const order: string[] = [];
  const closing = gate();
  const close = () => closing.opened.then(() => void order.push("handler closed"));
  const { client, connection } = inMemory(filterOf({ close }));
  await client.negotiate();
  await client.connect(CLIENT);
  const gone = client.quit().then(() => order.push("connection closed"));
  await new Promise(setImmediate);
  closing.open();
  await gone;
  assert.equal(await connection.closed, "quit");
  assert.deepEqual(order, ["handler closed", "connection closed"]);
});
