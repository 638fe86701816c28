/** The running service's policy listener without a Postfix: bad, slow and stalled peers, stuck and killed workers, stops. */
import assert from "node:assert/strict";
import { connect, type Socket } from "node:net";
import { type TestContext, test } from "node:test";
import { decodeAnswer } from "../../src/policy/action.ts";
import { encodeRequest } from "../../src/policy/request.ts";
import { type Asked, asked, SESSION, SESSION_311 } from "../policy/requests.ts";
import { type Running, start, until } from "./service.ts";

const SCRIPT = `
function Start() print("Start " .. IPAddress) end
function DoHELO(name, refuse, extended) print("HELO " .. name .. " " .. tostring(extended)) end
function DoMAILFROM(data, sender)
  print("MAIL " .. data)
  if sender == "spin@b.test" then Bad.Spin() end
end
function DoRCPTTO(data) print("RCPT " .. data) end
function DoDATAStart(recipients) print("DATA " .. table.getn(recipients)) end
function End() print("End") end
`;

/** A policy connection, as smtpd's. */
class Peer {
  readonly socket: Socket;
  #text = "";
  #over = false;
  #wake = () => {};

  constructor(running: Running, context: TestContext) {
    this.socket = connect(running.service.policy.slice("unix:".length));
    this.socket.setEncoding("latin1").on("data", (chunk: string) => {
      this.#text += chunk;
      this.#wake();
    });
    this.socket.on("error", () => {});
    this.socket.on("close", () => {
      this.#over = true;
      this.#wake();
    });
    context.after(() => this.socket.destroy());
  }

  ask(attributes: readonly [string, string][]): Promise<string> {
    this.socket.write(encodeRequest(attributes));
    return this.answer();
  }

  /** The next answer; "closed" when there will be none. */
  async answer(): Promise<string> {
    for (;;) {
      const found = decodeAnswer(this.#text);
      if (found !== undefined) {
        this.#text = this.#text.slice(found.length);
        return found.action;
      }
      if (this.#over) return "closed";
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }
}

const from = (port: number, options: Asked) =>
  asked({ ...options, other: { client_port: String(port), ...options.other } });

async function printed(running: Running): Promise<string[]> {
  await running.service.stop();
  return running.service.printed().split("\n").slice(0, -1);
}

const STEPS = [
  "Start 192.0.2.7",
  "HELO client.test true",
  "MAIL <a@b.test> SIZE=100",
  "RCPT <x@example.test>",
  "RCPT <q r@example.test>",
  "DATA 2",
  "End",
];

for (const [version, session] of [
  ["3.7", SESSION],
  ["3.11", SESSION_311],
] as const) {
  test(`a session as Postfix ${version} asks: every callback once, the whole session on one connection`, async (t) => {
    const running = await start(t, { script: SCRIPT, doors: ["policy"], workers: 2 });
    const peer = new Peer(running, t);
    for (const request of session) assert.equal(await peer.ask(request), "DUNNO");
    assert.deepEqual(await printed(running), STEPS);
  });
}

test("a session over a connection for each request, over workers, and all of it pipelined", async (t) => {
  const running = await start(t, { script: SCRIPT, doors: ["policy"], workers: 3 });
  await until(async () => (await running.workers()).length === 3);
  for (const request of SESSION) {
    const peer = new Peer(running, t);
    assert.equal(await peer.ask(request), "DUNNO");
  }
  const peer = new Peer(running, t);
  const others = [2, 3, 4].flatMap((port) => [
    from(port, { state: "CONNECT" }),
    from(port, { state: "EHLO", helo: "c.test" }),
  ]);
  peer.socket.write(Buffer.concat(others.map((request) => encodeRequest(request))));
  for (const _ of others) assert.equal(await peer.answer(), "DUNNO");
  const lines = await printed(running);
  // Each worker's output comes in its own time; what a session prints stays in order.
  const of = (...wanted: string[]) => lines.filter((line) => wanted.includes(line));
  assert.deepEqual(of(...STEPS.slice(2, 6)), STEPS.slice(2, 6));
  assert.equal(of("HELO client.test true").length, 1);
  assert.equal(of("HELO c.test true").length, 3);
  assert.equal(of("Start 192.0.2.7").length, 4);
  assert.equal(of("End").length, 4);
});

test("bad and stalled peers: a line in the log, and nobody else waits", async (t) => {
  const running = await start(t, { script: SCRIPT, doors: ["policy"] });
  const stalled = Array.from({ length: 100 }, () => new Peer(running, t));
  for (const { socket } of stalled) socket.write("request=smtpd_access_policy\nprotocol_st");
  const bad = new Peer(running, t);
  bad.socket.write("GET / HTTP/1.1\r\n\r\n");
  assert.equal(await bad.answer(), "closed");
  const { problem } = await running.line("policy");
  assert.equal(problem, 'byte 0: "name=value" or an empty line expected, found "GET / HTTP/1.1\\r"');
  const good = new Peer(running, t);
  for (const request of SESSION) assert.equal(await good.ask(request), "DUNNO");
});

const LOST = "421 4.3.0 Temporary mail policy problem, try again later";

test("a worker that is stuck and killed: its requests are answered, its sessions ended, others go on", async (t) => {
  const config = "watch_scripts = false\n[limits]\nwatchdog_ms = 800\n";
  const running = await start(t, { script: SCRIPT, bad: true, doors: ["policy"], workers: 2, config });
  await until(async () => (await running.workers()).length === 2);
  const mail = (port: number, sender: string) => from(port, { state: "MAIL", helo: "c.test", sender });
  // Sessions in turn at both workers, so that each has several.
  const peers = [1, 2, 3, 4].map((port) => ({ port, peer: new Peer(running, t) }));
  for (const { port, peer } of peers) assert.equal(await peer.ask(from(port, { state: "CONNECT" })), "DUNNO");
  const [first, ...others] = peers;
  assert.ok(first !== undefined);
  assert.equal(await first.peer.ask(mail(1, "spin@b.test")), LOST);
  const answers = await Promise.all(others.map(({ port, peer }) => peer.ask(mail(port, "a@b.test"))));
  assert.deepEqual(
    answers.filter((answer) => answer === LOST).length,
    1,
    "the session that shared its worker",
  );
  assert.deepEqual(answers.filter((answer) => answer === "DUNNO").length, 2);
  // The client comes again, from another port or even from the same.
  for (const port of [1, 5]) {
    assert.equal(await first.peer.ask(from(port, { state: "CONNECT" })), "DUNNO");
    assert.equal(await first.peer.ask(mail(port, "a@b.test")), "DUNNO");
  }
});

test("requests wait for a worker to be there, and a stop answers those under way", async (t) => {
  const script = `${SCRIPT}\nfunction Start() if IPAddress == "192.0.2.8" then os.sleep(700) end end`;
  const running = await start(t, { script, doors: ["policy"] });
  const [worker] = await running.workers();
  process.kill(worker ?? 0, "SIGKILL");
  await running.line("worker died");
  const peer = new Peer(running, t);
  assert.equal(await peer.ask(asked({ state: "CONNECT" })), "DUNNO");
  const slow = peer.ask(asked({ state: "CONNECT", other: { client_address: "192.0.2.8" } }));
  await until(async () => (await running.status()).workers.some(({ state }) => state === "serving"));
  const stopped = running.service.stop();
  assert.equal(await slow, "DUNNO");
  assert.equal(await peer.answer(), "closed");
  assert.equal(await stopped, 0);
});

test("a session without requests ends after its time", async (t) => {
  const running = await start(t, {
    script: SCRIPT,
    doors: ["policy"],
    policyConfig: "session_timeout_s = 3\n",
  });
  const peer = new Peer(running, t);
  assert.equal(await peer.ask(asked({ state: "CONNECT" })), "DUNNO");
  const sessions = async () => (await running.status()).workers[0]?.sessions;
  await until(async () => (await sessions()) === 1);
  await until(() => running.service.printed().includes("End"));
  await until(async () => (await sessions()) === 0);
});
