/** A filter on a real socket, and MTAs to talk to it; all gone when the test is over. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { MilterClient } from "../../src/milter/client.ts";
import type { MilterProblem } from "../../src/milter/errors.ts";
import type { FilterNeeds, MilterFilter, MilterHandler } from "../../src/milter/filter.ts";
import type { MilterEvent } from "../../src/milter/protocol.ts";
import { MilterServer, type ServerOptions } from "../../src/milter/server.ts";

export const EVERY: readonly MilterEvent[] = [
  "connect",
  "helo",
  "mail",
  "rcpt",
  "data",
  "header",
  "eoh",
  "body",
  "unknown",
];

export const CLIENT = { hostname: "client.test", family: "inet", address: "192.0.2.1", port: 40000 } as const;

/** A filter with one handler object for all its connections. */
export function filterOf(handler: MilterHandler, needs: Partial<FilterNeeds> = {}): MilterFilter {
  const all = { events: EVERY, quiet: [], actions: 0xff, leadingSpace: true, ...needs };
  return { needs: () => all, open: () => handler };
}

export interface Served {
  readonly server: MilterServer;
  readonly address: string;
  readonly problems: MilterProblem[];
  /** A negotiated client. */
  client(): Promise<MilterClient>;
}

export function scratch(context: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), "milter-"));
  context.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

export async function serve(
  context: TestContext,
  filter: MilterFilter,
  options: ServerOptions & { readonly transport?: "unix" | "tcp" } = {},
): Promise<Served> {
  const problems: MilterProblem[] = [];
  const server = new MilterServer(filter, { ...options, onProblem: (problem) => problems.push(problem) });
  let address = `unix:${join(scratch(context), "s")}`;
  if (options.transport === "tcp") {
    const listener = await server.listen("inet:0@127.0.0.1");
    address = `inet:${listener.port}@127.0.0.1`;
  } else {
    await server.listen(address);
  }
  const clients: MilterClient[] = [];
  context.after(async () => {
    for (const client of clients) client.destroy();
    await server.stop({ timeoutMs: 0 });
  });
  const client = async () => {
    const connected = await MilterClient.connect(address);
    clients.push(connected);
    await connected.negotiate();
    return connected;
  };
  return { server, address, problems, client };
}

/** Up to end of message, which is left to the caller. */
export async function startMessage(
  client: MilterClient,
  body: Uint8Array | string = "body\r\n",
): Promise<void> {
  await client.mail("<a@b.test>");
  await client.rcpt("<c@d.test>");
  await client.data();
  await client.header("Subject", " hello");
  await client.endOfHeaders();
  await client.body(body);
}

/** A promise and its resolver. */
export function gate<T = void>(): { readonly opened: Promise<T>; open(value: T): void } {
  const { promise, resolve } = Promise.withResolvers<T>();
  return { opened: promise, open: resolve };
}
