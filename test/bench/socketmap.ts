/**
 * Socketmap answers a second: `postlua serve` running GetEHLOCapabilities for
 * each request, against a server that answers at once (src/socketmap alone),
 * in alternating rounds. Ten connections, one request at a time on each, as
 * Postfix processes do it.
 */
import { fork } from "node:child_process";
import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";
import { join } from "node:path";
import { performance } from "node:perf_hooks";
import { Scratch } from "../../postfix/scratch.ts";
import { PostluaService } from "../../postfix/service.ts";
import { serveSocketmap } from "../../src/socketmap/connection.ts";
import { encodeNetstring, NetstringDecoder } from "../../src/socketmap/netstring.ts";

const CONNECTIONS = 10;
const REQUESTS = 400;
const ROUNDS = 7;
const SCRIPT = `
  function GetEHLOCapabilities(hostname, capabilities)
    return (string.gsub(capabilities, "ETRN\\n", ""))
  end`;

const [, , mode, path] = process.argv;
if (mode === "noop" && path !== undefined) noop(path);
else await bench();

function noop(path: string): void {
  const lookup = () => ({ kind: "found", data: "silent-discard, etrn" }) as const;
  createServer((socket) => void serveSocketmap(socket, { lookup })).listen(path, () =>
    process.send?.("ready"),
  );
  process.on("disconnect", () => process.exit());
}

async function bench(): Promise<void> {
  const scratch = Scratch.create();
  const paths = { noop: join(scratch.path, "noop.sock"), postlua: join(scratch.path, "map.sock") };
  const server = fork(import.meta.filename, ["noop", paths.noop]);
  const service = new PostluaService({
    scratch,
    configDirectory: scratch.path,
    scripts: { "SMTPSVR.LUA": SCRIPT },
    config: `[socketmap]\nlisten = ["unix:${paths.postlua}"]\n`,
  });
  try {
    await Promise.all([once(server, "message"), service.start()]);
    const rates: Record<keyof typeof paths, number[]> = { noop: [], postlua: [] };
    for (let round = 0; round <= ROUNDS; round++) {
      for (const name of ["noop", "postlua"] as const) {
        const rate = await measure(paths[name]);
        if (round > 0) rates[name].push(rate);
      }
    }
    const middle = (list: number[]) => list.sort((a, b) => a - b)[list.length >> 1] as number;
    const [fast, ours] = [middle(rates.noop), middle(rates.postlua)];
    console.log(
      `no-op: ${fast.toFixed(0)} answers a second; postlua with a script: ${ours.toFixed(0)}, ${(fast / ours).toFixed(2)} times as long`,
    );
  } finally {
    server.disconnect();
    await service.stop();
    scratch.remove();
  }
}

/** Answers a second. */
async function measure(path: string): Promise<number> {
  const sockets = await Promise.all(
    Array.from({ length: CONNECTIONS }, async () => {
      const socket = connect(path);
      await once(socket, "connect");
      return socket;
    }),
  );
  const since = performance.now();
  await Promise.all(sockets.map((socket) => ask(socket)));
  const seconds = (performance.now() - since) / 1000;
  for (const socket of sockets) socket.destroy();
  return (CONNECTIONS * REQUESTS) / seconds;
}

function ask(socket: Socket): Promise<void> {
  const request = encodeNetstring(Buffer.from("ehlo 192.0.2.1"));
  const decoder = new NetstringDecoder(1_000);
  let left = REQUESTS;
  return new Promise((resolve, reject) => {
    socket.on("error", reject);
    socket.on("data", (chunk: Buffer) => {
      decoder.push(chunk);
      const answer = decoder.next();
      if (answer === undefined) return;
      if (!answer.toString().startsWith("OK ")) reject(new Error(answer.toString()));
      else if (--left === 0) resolve();
      else socket.write(request);
    });
    socket.write(request);
  });
}
