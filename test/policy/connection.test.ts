/** Connections: order, pipelining, back-pressure, silence, bad peers, an orderly stop. */
import assert from "node:assert/strict";
import { connect, createServer, type Socket } from "node:net";
import { type TestContext, test } from "node:test";
import { decodeAnswer, type PolicyAction } from "../../src/policy/action.ts";
import { PolicyConnection, type PolicyConnectionOptions } from "../../src/policy/connection.ts";
import { encodeRequest } from "../../src/policy/request.ts";
import { SESSION } from "./requests.ts";

interface Pair {
  readonly peer: Socket;
  readonly server: PolicyConnection;
  readonly problems: string[];
  /** The next answer; rejects when the connection ends. */
  readonly answer: () => Promise<string>;
  readonly ended: Promise<void>;
}

async function serve(
  context: TestContext,
  options: Partial<PolicyConnectionOptions> & Pick<PolicyConnectionOptions, "answer">,
): Promise<Pair> {
  const problems: string[] = [];
  const listener = createServer({ pauseOnConnect: true }).listen(0, "127.0.0.1");
  await new Promise((resolve) => listener.once("listening", resolve));
  const accepted = new Promise<PolicyConnection>((resolve) => {
    listener.once("connection", (socket) => {
      resolve(
        new PolicyConnection(socket, { onProblem: (error) => problems.push(error.message), ...options }),
      );
    });
  });
  const { port } = listener.address() as { port: number };
  const peer = connect(port, "127.0.0.1");
  const server = await accepted;
  let text = "";
  let over = false;
  let wake = () => {};
  peer.setEncoding("latin1").on("data", (chunk: string) => {
    text += chunk;
    wake();
  });
  const ended = new Promise<void>((resolve) => {
    peer.once("close", () => {
      over = true;
      wake();
      resolve();
    });
  });
  peer.on("error", () => {});
  context.after(() => {
    peer.destroy();
    listener.close();
  });
  const answer = async () => {
    for (;;) {
      const found = decodeAnswer(text);
      if (found !== undefined) {
        text = text.slice(found.length);
        return found.action;
      }
      if (over) throw new Error("the connection ended");
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
  };
  return { peer, server, problems, answer, ended };
}

const [ask = Buffer.alloc(0)] = SESSION.map((attributes) => encodeRequest(attributes));
const hold = (text: string): PolicyAction => ({ kind: "hold", text });

test("pipelined requests are answered one at a time, in order, whenever the answers come", async (t) => {
  let running = 0;
  const { peer, answer } = await serve(t, {
    answer: async (request) => {
      assert.equal(++running, 1);
      const state = request.get("protocol_state") ?? "";
      if (state.length % 2 === 0) await new Promise((resolve) => setImmediate(resolve));
      running--;
      return hold(state);
    },
  });
  peer.write(Buffer.concat(SESSION.map((attributes) => encodeRequest(attributes))));
  for (const state of ["CONNECT", "EHLO", "MAIL", "RCPT", "RCPT", "DATA", "END-OF-MESSAGE"]) {
    assert.equal(await answer(), `HOLD ${state}`);
  }
  peer.write(ask);
  assert.equal(await answer(), "HOLD CONNECT", "the connection lives on");
});

test("a malformed request closes its connection, after the answers to those before it", async (t) => {
  const { peer, answer, problems, ended } = await serve(t, { answer: () => ({ kind: "ok" }) });
  peer.write(Buffer.concat([ask, Buffer.from("what is this\n")]));
  assert.equal(await answer(), "OK");
  await ended;
  assert.deepEqual(problems, [
    `byte ${ask.length}: "name=value" or an empty line expected, found "what is this"`,
  ]);
});

test("a handler that fails, or answers what cannot be sent, gets the failure answer", async (t) => {
  const bad: PolicyAction[] = [{ kind: "redirect", address: "nobody" }];
  const { peer, answer, problems } = await serve(t, {
    answer: () => {
      const action = bad.shift();
      if (action !== undefined) return action;
      throw new Error("broken");
    },
    onFailure: { kind: "deferIfPermit", text: "4.3.0 wait" },
  });
  peer.write(Buffer.concat([ask, ask]));
  assert.equal(await answer(), "DEFER_IF_PERMIT 4.3.0 wait");
  assert.equal(await answer(), "DEFER_IF_PERMIT 4.3.0 wait");
  assert.equal(problems.length, 2);
});

test("a peer that is silent, within a request or between two, is let go", async (t) => {
  const between = await serve(t, { answer: () => ({ kind: "ok" }), idleTimeoutMs: 50 });
  await between.ended;
  assert.deepEqual(between.problems, []);
  const within = await serve(t, { answer: () => ({ kind: "ok" }), idleTimeoutMs: 50 });
  within.peer.write("request=smtpd_ac");
  await within.ended;
  assert.deepEqual(within.problems, ["the peer stopped within a request"]);
});

test("a slow answer is not the peer's silence", async (t) => {
  const { peer, answer } = await serve(t, {
    answer: () => new Promise((resolve) => setTimeout(() => resolve({ kind: "ok" }), 300)),
    idleTimeoutMs: 50,
  });
  peer.write(ask);
  assert.equal(await answer(), "OK");
});

test("from a peer that reads nothing no more is read, and it is let go", async (t) => {
  let answered = 0;
  const { peer, server, problems } = await serve(t, {
    answer: () => {
      answered++;
      return hold("x".repeat(390));
    },
    idleTimeoutMs: 300,
  });
  peer.pause();
  const flood = Buffer.concat(Array.from({ length: 1_000 }, () => ask));
  let sent = 0;
  const pour = () => {
    while (sent < 200 && peer.writable) {
      sent++;
      if (!peer.write(flood)) return void peer.once("drain", pour);
    }
  };
  pour();
  await server.closed;
  assert.deepEqual(problems, ["the peer does not read its answers"]);
  assert.ok(answered < 100_000, `${answered} requests were answered to nobody`);
});

test("a stop waits for the answer under way, and takes no further request", async (t) => {
  let release: (action: PolicyAction) => void = () => {};
  const { peer, server, answer, ended } = await serve(t, {
    answer: () =>
      new Promise((resolve) => {
        release = resolve;
      }),
  });
  peer.write(Buffer.concat([ask, ask]));
  while (release.length === 0) await new Promise((resolve) => setImmediate(resolve));
  const stopped = server.stop();
  release({ kind: "ok" });
  assert.equal(await answer(), "OK");
  await ended;
  await stopped;
});
