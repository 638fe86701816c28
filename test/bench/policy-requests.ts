/**
 * Policy requests a second: `postlua serve` against a server that answers
 * DUNNO at once (src/policy alone), in alternating rounds. Ten connections,
 * whole sessions of one recipient each, one request at a time, as smtpd
 * processes do it.
 */
import { fork } from "node:child_process";
import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";
import { join } from "node:path";
import { performance } from "node:perf_hooks";
import { Scratch } from "../../postfix/scratch.ts";
import { PostluaService } from "../../postfix/service.ts";
import { DUNNO } from "../../src/policy/action.ts";
import { PolicyConnection } from "../../src/policy/connection.ts";
import { encodeRequest } from "../../src/policy/request.ts";
import { asked } from "../policy/requests.ts";

const CONNECTIONS = 10;
/** By each connection in a round. */
const SESSIONS = 60;
const ROUNDS = 5;
const SCRIPTS = {
  "one callback": "function DoRCPTTO() end",
  "an ordinary script": undefined,
};

/** Of the client that connected last. */
let port = 1_024;

const [, , mode, path] = process.argv;
if (mode === "noop" && path !== undefined) noop(path);
else await bench();

function noop(path: string): void {
  createServer((socket) => {
    new PolicyConnection(socket, { answer: () => DUNNO, onProblem: (error) => console.error(error.message) });
  }).listen(path, () => process.send?.("ready"));
  process.on("disconnect", () => process.exit());
}

async function bench(): Promise<void> {
  for (const [name, script] of Object.entries(SCRIPTS)) {
    const scratch = Scratch.create();
    const scripts = script === undefined ? join(import.meta.dirname, "policy") : { "SMTPSVR.LUA": script };
    const noopPath = join(scratch.path, "noop.sock");
    const server = fork(import.meta.filename, ["noop", noopPath]);
    const service = new PostluaService({
      scratch,
      configDirectory: scratch.path,
      scripts,
      doors: ["policy"],
    });
    try {
      await Promise.all([once(server, "message"), service.start()]);
      const rates: Record<"noop" | "postlua", number[]> = { noop: [], postlua: [] };
      for (let round = 0; round <= ROUNDS; round++) {
        for (const which of ["noop", "postlua"] as const) {
          const rate = await measure(which === "noop" ? noopPath : service.policy.slice("unix:".length));
          if (round > 0) rates[which].push(rate);
        }
      }
      const middle = (list: number[]) => list.sort((a, b) => a - b)[list.length >> 1] as number;
      const [fast, ours] = [middle(rates.noop), middle(rates.postlua)];
      console.log(
        `no-op: ${fast.toFixed(0)} requests a second; postlua with ${name}: ${ours.toFixed(0)}, ${(fast / ours).toFixed(2)} times as long`,
      );
    } finally {
      server.disconnect();
      await service.stop();
      scratch.remove();
    }
  }
}

/** A session's requests, from a client of its own. */
function session(): Buffer[] {
  port = port >= 60_000 ? 1_024 : port + 1;
  const other = { client_port: String(port) };
  const mail = { helo: "client.test", sender: "a@b.test", size: "100", other };
  const open = { ...mail, instance: `da9.6b037437.${port}.0`, recipient: "x@example.test" };
  return [
    asked({ state: "CONNECT", other }),
    asked({ state: "EHLO", helo: "client.test", other }),
    asked({ state: "MAIL", ...mail }),
    asked({ state: "RCPT", ...open }),
    asked({ state: "DATA", ...open, count: "1" }),
    asked({ state: "END-OF-MESSAGE", ...open, count: "1", size: "18" }),
  ].map((attributes) => encodeRequest(attributes));
}

/** Requests a second. */
async function measure(path: string): Promise<number> {
  const sockets = await Promise.all(
    Array.from({ length: CONNECTIONS }, async () => {
      const socket = connect(path);
      await once(socket, "connect");
      return socket;
    }),
  );
  const work = sockets.map(() => Array.from({ length: SESSIONS }, session).flat());
  const since = performance.now();
  await Promise.all(sockets.map((socket, n) => ask(socket, work[n] ?? [])));
  const seconds = (performance.now() - since) / 1000;
  for (const socket of sockets) socket.destroy();
  return work.flat().length / seconds;
}

function ask(socket: Socket, requests: readonly Buffer[]): Promise<void> {
  let at = 0;
  let text = "";
  return new Promise((resolve, reject) => {
    const next = () => {
      const request = requests[at++];
      if (request === undefined) resolve();
      else socket.write(request);
    };
    socket.on("error", reject);
    socket.on("data", (chunk: Buffer) => {
      text += chunk.toString("latin1");
      if (!text.endsWith("\n\n")) return;
      if (text !== "action=DUNNO\n\n") reject(new Error(text));
      text = "";
      next();
    });
    next();
  });
}
