/** Real servers on 127.0.0.1 for the tests of src/net and the helpers on top of it. */
import type { RemoteInfo, Socket as UdpSocket } from "node:dgram";
import { once } from "node:events";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import { createTCPServer, createUDPServer, Packet } from "dns2";

export interface DnsRequest {
  readonly packet: Packet;
  readonly name: string;
  readonly type: number;
  readonly transport: "udp" | "tcp";
  /** Where a UDP query came from. */
  readonly from: RemoteInfo | undefined;
  /** The n-th request this server saw, from 1. */
  readonly count: number;
}

type Reply = Packet | Buffer | undefined;

export interface DnsServer extends AsyncDisposable {
  /** "127.0.0.1:port", the same port for UDP and TCP. */
  readonly address: string;
  readonly requests: readonly DnsRequest[];
}

/** A dns2 server; `handle` returns what is sent (each element of an array), undefined stays silent. */
export async function startDns(
  handle: (request: DnsRequest) => Reply | Reply[] | Promise<Reply | Reply[]>,
): Promise<DnsServer> {
  const requests: DnsRequest[] = [];
  let open = true;
  const answer =
    (transport: "udp" | "tcp") =>
    async (packet: Packet, send: (reply: Packet | Buffer) => Promise<Buffer>, client: unknown) => {
      const question = packet.questions[0]!;
      const request: DnsRequest = {
        packet,
        name: question.name,
        type: question.type,
        transport,
        from: transport === "udp" ? (client as RemoteInfo) : undefined,
        count: requests.length + 1,
      };
      requests.push(request);
      for (const reply of [await handle(request)].flat()) {
        // A question that was sent twice may still be pondered when the test is over.
        if (reply && open) await send(reply);
      }
    };
  const { udp, tcp, port } = await bindBoth(
    () => createUDPServer(answer("udp")),
    () => createTCPServer(answer("tcp")) as unknown as Server,
  );
  const clients = new Set<Socket>();
  tcp.on("connection", (client) => clients.add(client));
  return {
    address: `127.0.0.1:${port}`,
    requests,
    async [Symbol.asyncDispose]() {
      open = false;
      for (const client of clients) client.destroy();
      udp.close();
      await new Promise((resolve) => tcp.close(resolve));
    },
  };
}

/** Both on one port of 127.0.0.1; another when somebody else has that port for UDP. */
export async function bindBoth<U extends UdpSocket>(makeUdp: () => U, makeTcp: () => Server) {
  for (let tries = 1; ; tries++) {
    const tcp = makeTcp();
    tcp.listen(0, "127.0.0.1");
    await once(tcp, "listening");
    const { port } = tcp.address() as AddressInfo;
    const udp = makeUdp();
    try {
      udp.bind(port, "127.0.0.1");
      await once(udp, "listening");
      return { udp, tcp, port };
    } catch (error) {
      udp.close();
      tcp.close();
      if (tries === 20) throw error;
    }
  }
}

type Fields = Record<string, unknown>;

/** An answer to `request`; records need name, type and the fields dns2 names for the type. */
export function reply(
  request: DnsRequest,
  sections: { answers?: Fields[]; authorities?: Fields[]; additionals?: Fields[]; rcode?: number },
): Packet {
  const packet = Packet.createResponseFromRequest(request.packet);
  packet.header.rcode = sections.rcode ?? 0;
  const records = (list: Fields[] = []) =>
    list.map((fields) => new Packet.Resource({ name: request.name, class: 1, ttl: 300, ...fields }));
  packet.answers = records(sections.answers);
  packet.authorities = records(sections.authorities);
  packet.additionals = records(sections.additionals);
  return packet;
}

export interface TcpServer extends AsyncDisposable {
  readonly port: number;
  /** Connections accepted so far. */
  readonly connections: number;
}

/** A bare TCP server for peers that misbehave. */
export async function startTcp(onConnection: (socket: Socket) => void): Promise<TcpServer> {
  const sockets = new Set<Socket>();
  let connections = 0;
  const server = createServer((socket) => {
    connections++;
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
    socket.on("error", () => {});
    onConnection(socket);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    port: (server.address() as { port: number }).port,
    get connections() {
      return connections;
    },
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** A port of 127.0.0.1 on which nobody listens. */
export async function closedPort(): Promise<number> {
  await using server = await startTcp(() => {});
  return server.port;
}

/** Numbers in [0, 1) that are the same in every run. */
export function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}
