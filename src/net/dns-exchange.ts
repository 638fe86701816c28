/**
 * One question to one server: UDP first, TCP when the answer is truncated.
 *
 * A socket of its own for every question, connected to the server, so the
 * kernel picks a random port and drops other senders' packets; the id and the
 * question must match as well. Packets that do not match are ignored, a
 * matching one that is malformed fails the exchange.
 */
import { randomInt } from "node:crypto";
import { createSocket } from "node:dgram";
import { connect, isIPv6 } from "node:net";
import type { HostPort } from "./address.ts";
import { type DnsAnswer, decodeAnswer, encodeQuery, isSameName, messageId } from "./dns-packet.ts";

export interface DnsQuestion {
  /** As from normaliseName. */
  readonly name: string;
  readonly type: number;
}

const FORMERR = 1;
const NOTIMP = 4;

/**
 * The server's answer, never truncated; undefined when none came before `signal`, or nothing usable. A question
 * without an answer is sent again after `resendMs`, then twice as long, and so on: datagrams get lost.
 */
export async function askServer(
  question: DnsQuestion,
  server: HostPort,
  resendMs: number,
  signal: AbortSignal,
): Promise<DnsAnswer | undefined> {
  const answer = await askOnce(question, server, true, resendMs, signal);
  // Servers older than EDNS refuse the OPT record (RFC 6891 section 7).
  if (answer?.rcode === FORMERR || answer?.rcode === NOTIMP)
    return askOnce(question, server, false, resendMs, signal);
  return answer;
}

async function askOnce(
  question: DnsQuestion,
  server: HostPort,
  edns: boolean,
  resendMs: number,
  signal: AbortSignal,
): Promise<DnsAnswer | undefined> {
  const id = randomInt(0x10000);
  const query = encodeQuery(id, question.name, question.type, edns);
  const accept = (message: Buffer) => readMatching(message, id, question);
  const answer = await askUdp(query, server, accept, resendMs, signal);
  return answer?.truncated ? askTcp(query, server, accept, signal) : answer;
}

type Accept = (message: Buffer) => DnsAnswer | "other" | "malformed";

function readMatching(message: Buffer, id: number, question: DnsQuestion): DnsAnswer | "other" | "malformed" {
  if (messageId(message) !== id) return "other";
  try {
    const answer = decodeAnswer(message);
    const echoed = answer.question;
    if (echoed === undefined) return answer.rcode !== 0 ? answer : "malformed";
    return echoed.type === question.type && isSameName(question.name, echoed.name) ? answer : "other";
  } catch {
    return "malformed";
  }
}

function askUdp(
  query: Buffer,
  server: HostPort,
  accept: Accept,
  resendMs: number,
  signal: AbortSignal,
): Promise<DnsAnswer | undefined> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve(undefined);
    const socket = createSocket(isIPv6(server.host) ? "udp6" : "udp4");
    let open = true;
    let resend: NodeJS.Timeout | undefined;
    const finish = (answer?: DnsAnswer) => {
      if (!open) return;
      open = false;
      clearTimeout(resend);
      signal.removeEventListener("abort", onAbort);
      socket.close();
      resolve(answer);
    };
    const onAbort = () => finish();
    signal.addEventListener("abort", onAbort);
    socket.on("error", () => finish());
    socket.on("message", (message) => {
      const answer = accept(message);
      if (answer === "malformed") finish();
      else if (answer !== "other") finish(answer);
    });
    const send = (waitMs: number) => {
      if (!open) return;
      socket.send(query, (error) => error && finish());
      resend = setTimeout(send, waitMs, waitMs * 2);
    };
    socket.on("connect", () => send(resendMs));
    socket.connect(server.port, server.host);
  });
}

function askTcp(
  query: Buffer,
  server: HostPort,
  accept: Accept,
  signal: AbortSignal,
): Promise<DnsAnswer | undefined> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve(undefined);
    const socket = connect({ host: server.host, port: server.port });
    const chunks: Buffer[] = [];
    let received = 0;
    let expected = 0;
    const finish = (answer?: DnsAnswer) => {
      signal.removeEventListener("abort", onAbort);
      socket.destroy();
      resolve(answer);
    };
    const onAbort = () => finish();
    signal.addEventListener("abort", onAbort);
    socket.on("error", () => finish());
    socket.on("close", () => finish());
    socket.on("connect", () => {
      const length = Buffer.alloc(2);
      length.writeUInt16BE(query.length);
      socket.write(Buffer.concat([length, query]));
    });
    socket.on("data", (chunk) => {
      chunks.push(chunk);
      received += chunk.length;
      if (received < 2 || received < expected) return;
      const message = Buffer.concat(chunks.splice(0), received);
      chunks.push(message);
      expected = 2 + message.readUInt16BE(0);
      if (received < expected) return;
      const answer = accept(message.subarray(2, expected));
      finish(typeof answer === "string" || answer.truncated ? undefined : answer);
    });
  });
}
