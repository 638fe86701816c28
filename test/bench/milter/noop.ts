/**
 * What src/milter costs by itself: a filter that sees every event and does nothing.
 *
 *   node noop.ts ADDRESS [quiet]
 */
import type { MilterHandler } from "../../../src/milter/filter.ts";
import { EVENTS } from "../../../src/milter/negotiate.ts";
import { MilterServer } from "../../../src/milter/server.ts";

const nothing = () => {};
const handler: MilterHandler = {
  connect: nothing,
  helo: nothing,
  mail: nothing,
  rcpt: nothing,
  data: nothing,
  unknown: nothing,
  header: nothing,
  endOfHeaders: nothing,
  body: nothing,
  endOfMessage: nothing,
  abort: nothing,
  close: nothing,
};

const [address = "inet:14001@127.0.0.1", mode] = process.argv.slice(2);
const quiet = mode === "quiet" ? EVENTS : [];
const needs = { events: EVENTS, quiet, actions: 0x3f, leadingSpace: false };
const server = new MilterServer(
  { needs: () => needs, open: () => handler },
  { onProblem: ({ code, error }) => console.error(`${code}: ${error.message}`) },
);
await server.listen(address);
