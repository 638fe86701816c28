/**
 * Block lists: 20 lists whose server takes 50 ms for each answer, against one
 * such list; many clients at once; and what the globals cost a script that
 * names them where nobody is looked up. The DNS server is a process of its own.
 */
import { fork } from "node:child_process";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { performance } from "node:perf_hooks";
import { completeConfig, parseConfig } from "../../src/config/load.ts";
import { Service } from "../../src/serve/service.ts";
import { SmtpSession } from "../../src/smtp/session.ts";

const ANSWER_MS = 50;
const LISTS = 20;
const ROUNDS = 15;
const AT_ONCE = 100;
const PLAIN_SESSIONS = 5_000;
/** Numbers the clients. */
let client = 0;

if (process.argv[2] === "dns") serveDns();
else await bench();

/** Says "no such name" with a SOA that lets nothing be kept, after ANSWER_MS. */
function serveDns(): void {
  const socket = createSocket({ type: "udp4", recvBufferSize: 8 << 20 });
  socket.on("message", (query, from) => {
    const reply = Buffer.from(query);
    reply.writeUInt16BE(0x8183, 2);
    // The question alone; an OPT record of the query is cut off.
    reply.writeUInt16BE(0, 10);
    let end = 12;
    while (reply[end] !== 0) end += (reply[end] as number) + 1;
    setTimeout(() => socket.send(reply.subarray(0, end + 5), from.port, from.address), ANSWER_MS);
  });
  socket.bind(0, "127.0.0.1", () => process.send?.((socket.address() as AddressInfo).port));
  process.on("disconnect", () => process.exit());
}

async function bench(): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "rbl-bench-"));
  const dns = fork(import.meta.filename, ["dns"]);
  try {
    const [port] = await once(dns, "message");
    const service = (lists: number, script = "") => makeService(folder, Number(port), lists, script);
    const [one, all] = [await service(1), await service(LISTS)];
    await session(one);
    await session(all);
    const single = await median(() => session(one));
    const many = await median(() => session(all));
    console.log(
      `one list: ${single.toFixed(1)} ms; ${LISTS} lists: ${many.toFixed(1)} ms, ${(many / single).toFixed(2)} times that`,
    );
    const since = performance.now();
    await Promise.all(Array.from({ length: AT_ONCE }, () => session(all)));
    const together = performance.now() - since;
    console.log(
      `${AT_ONCE} clients at once, ${LISTS} lists each: ${together.toFixed(0)} ms, ${(together / many).toFixed(2)} times one client's, ` +
        `${((AT_ONCE * LISTS) / (together / 1000)).toFixed(0)} look-ups a second`,
    );
    const start = 'function Start() return "" end ';
    const [without, names] = [
      await service(0, start),
      await service(0, `${start}function RBLResults() return RBLHeader end`),
    ];
    await plain(without);
    await plain(names);
    const [base, used] = [await median(() => plain(without)), await median(() => plain(names))];
    console.log(
      `sessions without look-ups: ${((base / PLAIN_SESSIONS) * 1000).toFixed(0)} µs; ` +
        `when the script names the globals ${(used / base).toFixed(2)} times that`,
    );
  } finally {
    dns.disconnect();
    rmSync(folder, { recursive: true });
  }
}

async function makeService(folder: string, port: number, lists: number, script: string): Promise<Service> {
  const path = JSON.stringify(folder);
  writeFileSync(join(folder, "SMTPSVR.LUA"), script);
  const servers = Array.from({ length: lists }, (_, n) => `"list${n}.test"`).join(", ");
  const text = `scripts_dir = ${path}\ndata_dir = ${path}\nlog_dir = ${path}\nlocal_networks = []
[postfix]\nconfig_dir = ${path}\n[dns]\nservers = ["127.0.0.1:${port}"]\n[rbl]\nservers = [${servers}]\n`;
  const silent = { error: () => {}, warn: () => {}, info: () => {}, debug: () => {} };
  const config = await completeConfig(parseConfig(text, "bench"), "bench");
  const service = new Service(config, [], silent, { print: () => {}, error: () => {} });
  await service.load();
  return service;
}

/** One client, never seen before, up to the banner; milliseconds. */
async function session(service: Service): Promise<number> {
  client++;
  const address = `198.${18 + (client >> 16)}.${(client >> 8) & 255}.${client & 255}`;
  const since = performance.now();
  const smtp = new SmtpSession(service, { address, port: 1, hostname: "" }, "bench");
  await smtp.start();
  const took = performance.now() - since;
  await smtp.end();
  return took;
}

async function plain(service: Service): Promise<number> {
  const since = performance.now();
  for (let n = 0; n < PLAIN_SESSIONS; n++) await session(service);
  return performance.now() - since;
}

async function median(measure: () => Promise<number>): Promise<number> {
  const times: number[] = [];
  for (let n = 0; n < ROUNDS; n++) times.push(await measure());
  return times.sort((a, b) => a - b)[ROUNDS >> 1] as number;
}
