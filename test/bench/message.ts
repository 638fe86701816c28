/**
 * MB/s of filling a store, reading the MIME structure and listing the
 * attachments with decoded sizes, beside mailparser's simpleParser on the same
 * generated messages; the peak memory of one 50 MB message, and how long others
 * have to wait while it is read.
 *
 *   node test/bench/message.ts
 *
 * simpleParser does more (it decodes texts and attachments into memory): the
 * ratio says what a filter saves by not doing so.
 */
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { simpleParser } from "mailparser";
import { type Attachment, attachmentSteps, attachments } from "../../src/message/attachment.ts";
import { MessageMemory } from "../../src/message/message-memory.ts";
import { structure, structureSteps } from "../../src/message/mime.ts";
import { inTurns } from "../../src/message/steps.ts";
import { MessageStore } from "../../src/message/store.ts";

const ROUNDS = 5;
const CHUNK = 65_535;
const FIELDS = Array.from(
  { length: 12 },
  (_, i) => `Received: from mx${i}.example.org by mx.example.net;\r\n Mon, 3 Aug 2026`,
);
const HEADER = `${FIELDS.join("\r\n")}\r\nFrom: a@example.org\r\nSubject: =?utf-8?Q?Gr=C3=BC=C3=9Fe?=\r\nMIME-Version: 1.0\r\n`;

const text = (bytes: number) =>
  "The quick brown fox jumps over the lazy dog, -- and so on.\r\n".repeat(bytes / 60);
const file = (bytes: number) =>
  `${"UG9zdGZpeCBhbmQgTHVhIHNjcmlwdHMgZ28gdG9nZXRoZXIgd2VsbCBpbiBhIG1haWwgc2VydmVy".slice(0, 76)}\r\n`.repeat(
    bytes / 78,
  );
const attached = (name: string, bytes: number) =>
  `--b\r\nContent-Type: application/pdf; name="${name}"\r\nContent-Disposition: attachment; filename="${name}"\r\n` +
  `Content-Transfer-Encoding: base64\r\n\r\n${file(bytes)}`;
const mixed = (...parts: string[]) =>
  `${HEADER}Content-Type: multipart/mixed; boundary="b"\r\n\r\n--b\r\n\r\n${text(2000)}${parts.join("")}--b--\r\n`;

const MESSAGES: [what: string, raw: () => string, repeat: number][] = [
  ["plain text, 4 KB", () => `${HEADER}\r\n${text(4000)}`, 500],
  ["text and a 100 KB file", () => mixed(attached("a.pdf", 100_000)), 40],
  ["text and a 10 MB file", () => mixed(attached("a.pdf", 10_000_000)), 1],
  ["900 files of 1 KB", () => mixed(...Array.from({ length: 900 }, (_, i) => attached(`${i}.pdf`, 1000))), 2],
  ["10 MB of text", () => `${HEADER}\r\n${text(10_000_000)}`, 1],
];

/** A message as a milter hands it over. */
interface Events {
  readonly fields: readonly (readonly [name: string, value: string])[];
  readonly chunks: readonly Buffer[];
}

function events(raw: Buffer): Events {
  const { headers, bodyStart } = MessageStore.fromBytes(raw, { verbatim: true });
  const chunks: Buffer[] = [];
  for (let at = bodyStart; at < raw.length; at += CHUNK) chunks.push(raw.subarray(at, at + CHUNK));
  return {
    fields: [...headers].map(({ name, value }) => [name, ` ${value.replaceAll("\r\n", "\n")}`]),
    chunks,
  };
}

function fill(store: MessageStore, { fields, chunks }: Events): void {
  for (const [name, value] of fields) store.addHeader(name, value);
  store.endOfHeaders();
  for (const chunk of chunks) store.addBody(chunk);
}

function ours(message: Events): number {
  const store = new MessageStore();
  fill(store, message);
  return attachments(store, structure(store).parts).length;
}

const theirs = async (raw: Buffer): Promise<number> => (await simpleParser(raw)).attachments.length;

/** MB/s. */
async function speed(bytes: number, repeat: number, run: () => number | Promise<number>): Promise<number> {
  const since = performance.now();
  for (let i = 0; i < repeat; i++) await run();
  return (bytes * repeat) / 1000 / (performance.now() - since);
}

const median = (values: number[]) => values.toSorted((a, b) => a - b)[values.length >> 1]!;

async function compare(): Promise<void> {
  for (const [what, make, repeat] of MESSAGES) {
    const raw = Buffer.from(make(), "latin1");
    const message = events(raw);
    if (ours(message) !== (await theirs(raw))) throw new Error(`${what}: not the same number of attachments`);
    const rounds: [number, number][] = [];
    for (let i = 0; i < ROUNDS; i++) {
      const fast = await speed(raw.length, repeat, () => ours(message));
      rounds.push([fast, await speed(raw.length, repeat, () => theirs(raw))]);
    }
    const [fast, slow] = [median(rounds.map(([a]) => a)), median(rounds.map(([, b]) => b))];
    const ratio = median(rounds.map(([a, b]) => b / a));
    console.log(
      `${what}: ${fast.toFixed(0)} MB/s, simpleParser ${slow.toFixed(0)} MB/s, time ratio ${ratio.toFixed(3)}`,
    );
  }
}

/** The longest time in which nobody else got a turn, and all the time it took, milliseconds. */
async function stall(work: () => unknown): Promise<{ longest: number; all: number }> {
  let longest = 0;
  let last = performance.now();
  let over = false;
  const turn = () => {
    const now = performance.now();
    longest = Math.max(longest, now - last);
    last = now;
    if (!over) setImmediate(turn);
  };
  setImmediate(turn);
  const since = performance.now();
  await work();
  const all = performance.now() - since;
  over = true;
  await new Promise((resolve) => setImmediate(resolve));
  return { longest, all };
}

async function stalls(): Promise<void> {
  const qp = "Gr=FC=DFe aus der Ferne, und so weiter und so fort, bis die Zeile voll ist=\r\n".repeat(
    640_000,
  );
  const kinds: [what: string, raw: string][] = [
    ["a base64 file", mixed(attached("a.pdf", 50_000_000))],
    ["a quoted-printable text", `${HEADER}Content-Transfer-Encoding: quoted-printable\r\n\r\n${qp}`],
  ];
  for (const [what, raw] of kinds) {
    const store = new MessageStore();
    fill(store, events(Buffer.from(raw, "latin1")));
    const found: Attachment[][] = [];
    const atOnce = await stall(() => found.push(attachments(store, structure(store).parts)));
    const turns = await stall(async () => {
      const { parts } = await inTurns(structureSteps(store));
      found.push(await inTurns(attachmentSteps(store, parts)));
    });
    if (found[0]?.length !== found[1]?.length) throw new Error("not the same attachments");
    console.log(
      `50 MB with ${what}: others wait ${turns.longest.toFixed(0)} ms at most, ${atOnce.longest.toFixed(0)} ms if read ` +
        `at once; time ratio ${(turns.all / atOnce.all).toFixed(2)}`,
    );
  }
}

/** KB. Not process.resourceUsage(): that begins with the peak of the process that started this one. */
const peakSoFar = () => Number(/VmHWM:\s+(\d+)/.exec(readFileSync("/proc/self/status", "utf8"))?.[1]);

/** Peak memory of a process of its own: a message of 50 MB that comes in chunks, as from a socket. */
async function peak(who: string): Promise<void> {
  const before = peakSoFar();
  const line = Buffer.from(file(CHUNK));
  const head = mixed(attached("a.pdf", 0)).replace("--b--\r\n", "");
  if (who === "ours" || who === "spilled") {
    const memory = new MessageMemory(128 * 1024 * 1024);
    const spill = { directory: "/var/tmp", aboveBytes: 4 * 1024 * 1024, memory };
    const store = new MessageStore(who === "spilled" ? { spill } : {});
    fill(store, events(Buffer.from(head)));
    while (store.size < 50_000_000) store.addBody(Buffer.from(line));
    store.addBody(Buffer.from("--b--\r\n"));
    if (attachments(store, structure(store).parts).length !== 1) throw new Error("no attachment");
    store.close();
  } else {
    const pieces = [Buffer.from(head)];
    for (let size = 0; size < 50_000_000; size += line.length) pieces.push(Buffer.from(line));
    await theirs(Buffer.concat(pieces));
  }
  console.log(((peakSoFar() - before) / 1024).toFixed(0));
}

const who = process.argv[2];
if (who !== undefined) await peak(who);
else {
  await compare();
  await stalls();
  const run = (name: string) =>
    execFileSync(process.execPath, [fileURLToPath(import.meta.url), name], { encoding: "utf8" });
  for (const [name, what] of [
    ["ours", "in memory"],
    ["spilled", "past 4 MB in a file"],
    ["theirs", "simpleParser"],
  ]) {
    console.log(`a 50 MB message, ${what}: peak memory +${run(name!).trim()} MB`);
  }
}
