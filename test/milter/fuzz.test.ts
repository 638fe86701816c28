/**
 * Random and mutated packets, whole and byte by byte: never a crash, never a
 * hang, and every answer one that the strictest MTA can read. A failure prints
 * the seed; POSTLUA_FUZZ_SEED runs that one alone.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { decodeCommand, encodeCommand, type MilterCommand } from "../../src/milter/command.ts";
import { PacketDecoder } from "../../src/milter/decoder.ts";
import { encodeEdits, type MilterEdit } from "../../src/milter/edit.ts";
import { MilterProtocolError, MilterReplyError } from "../../src/milter/errors.ts";
import type { MilterHandler } from "../../src/milter/filter.ts";
import { NO_EVENT } from "../../src/milter/negotiate.ts";
import { SMFI_V1_PROT } from "../../src/milter/protocol.ts";
import { encodeReply, type MilterReply, type ReplyEvent } from "../../src/milter/reply.ts";
import { decodeResponse } from "../../src/milter/response.ts";
import { MilterSession } from "../../src/milter/session.ts";
import { CUTS, decodeAll, raw } from "./feed.ts";
import { EVERY } from "./serve.ts";

const ROUNDS = process.env.POSTLUA_LONG === undefined ? 1_500 : 150_000;
const ONLY = process.env.POSTLUA_FUZZ_SEED;

/** A small generator of its own (mulberry32), so that a seed means the same everywhere. */
class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed;
  }

  /** From 0 to below 1. */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let value = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    value = (value + Math.imul(value ^ (value >>> 7), 61 | value)) ^ value;
    return ((value ^ (value >>> 14)) >>> 0) / 2 ** 32;
  }

  below(limit: number): number {
    return Math.floor(this.next() * limit);
  }

  pick<T>(values: readonly T[]): T {
    return values[this.below(values.length)]!;
  }

  bytes(limit: number): string {
    const alphabet = ["\0", "\n", "\r", " ", "%", "a", "5", ".", "<", ">", "\xff", "X"];
    return Array.from({ length: this.below(limit) }, () => this.pick(alphabet)).join("");
  }
}

function rounds(title: string, body: (random: Random) => void | Promise<void>): void {
  test(title, async () => {
    const first = ONLY === undefined ? Math.floor(Math.random() * 2 ** 31) : Number(ONLY);
    for (let seed = first; seed < first + (ONLY === undefined ? ROUNDS : 1); seed++) {
      try {
        await body(new Random(seed));
      } catch (error) {
        throw new Error(`POSTLUA_FUZZ_SEED=${seed}`, { cause: error });
      }
    }
  });
}

const ANY_STRING = ["", "a", "client.test", "<a@b.test>", "SIZE=10", "100% \xff"];

function randomCommand(random: Random): MilterCommand {
  const strings = () => Array.from({ length: 1 + random.below(3) }, () => random.pick(ANY_STRING));
  const buffer = () => Buffer.from(random.bytes(20), "latin1");
  const text = () => Buffer.from(random.pick(ANY_STRING), "latin1");
  switch (random.below(17)) {
    case 0:
      return { kind: "abort" };
    case 1:
      return { kind: "quitnc" };
    case 2:
      return { kind: "helo", name: random.pick(ANY_STRING) };
    case 3:
    case 4:
      return { kind: "mail", args: strings() };
    case 5:
    case 6:
      return { kind: "rcpt", args: strings() };
    case 7:
    case 8:
      return { kind: "data" };
    case 9:
      return { kind: "header", name: text(), value: text() };
    case 10:
      return { kind: "eoh" };
    case 11:
      return { kind: "body", chunk: buffer() };
    case 12:
    case 13:
      return { kind: "eom", chunk: random.below(3) === 0 ? buffer() : Buffer.alloc(0) };
    case 14:
      return { kind: "unknown", line: random.pick(ANY_STRING) };
    case 15:
      return {
        kind: "macro",
        stage: random.pick([..."CHMRTLNBEU"]).charCodeAt(0),
        values: ["i", random.pick(ANY_STRING)],
      };
    default:
      return {
        kind: "connect",
        event: {
          hostname: "h",
          family: random.pick(["inet", "unknown"] as const),
          address: "192.0.2.1",
          port: 1,
        },
      };
  }
}

/** Values that a careless handler might return, good and bad. */
function randomReply(random: Random): MilterReply {
  const kinds = [
    "continue",
    "continue",
    "accept",
    "reject",
    "tempfail",
    "discard",
    "skip",
    "connfail",
    "shutdown",
    "x",
  ];
  if (random.below(3) > 0) return { kind: random.pick(kinds) } as MilterReply;
  return {
    kind: "replycode",
    code: random.pick([421, 450, 550, 599, 250, 0, Number.NaN]),
    enhanced: random.pick(["", "5.7.1", "4.7.1", "5.7", "x"]),
    lines: Array.from({ length: random.below(4) }, () =>
      random.pick([random.bytes(30), "No", "24 hours", "5.7.1 x"]),
    ),
  };
}

function randomEdit(random: Random): MilterEdit {
  const text = () => random.pick([random.bytes(12), " fine", "a\n\tb", ""]);
  const name = () => random.pick(["X-A", "Subject", random.bytes(5)]);
  const index = random.pick([0, 1, 7, -1, 2 ** 31]);
  switch (random.below(8)) {
    case 0:
      return { kind: "addHeader", name: name(), value: text() };
    case 1:
      return { kind: "insertHeader", index, name: name(), value: text() };
    case 2:
      return { kind: "changeHeader", index, name: name(), value: text() };
    case 3:
      return { kind: "addRecipient", address: text(), parameters: text() };
    case 4:
      return { kind: "deleteRecipient", address: text() };
    case 5:
      return { kind: "changeSender", address: text(), parameters: text() };
    case 6:
      return { kind: "replaceBody", body: Buffer.alloc(random.below(140_000)) };
    default:
      return { kind: "quarantine", reason: text() };
  }
}

function mutate(random: Random, bytes: Buffer): Buffer {
  const changed = Buffer.from(bytes);
  switch (random.below(4)) {
    case 0:
      changed[random.below(changed.length)] = random.below(256);
      return changed;
    case 1:
      return changed.subarray(0, random.below(changed.length));
    case 2:
      return Buffer.concat([changed, Buffer.from(random.bytes(8), "latin1")]);
    default: {
      const at = random.below(changed.length);
      return Buffer.concat([
        changed.subarray(0, at),
        Buffer.from(random.bytes(4), "latin1"),
        changed.subarray(at),
      ]);
    }
  }
}

/** A session with a random handler; counts what the peer of a real one would rely on. */
class Subject {
  readonly session: MilterSession;
  readonly written: Buffer[] = [];
  opened = 0;
  closed = 0;
  /** Calls of the handler while an earlier one had not ended. */
  overlaps = 0;

  constructor(random: Random, later: boolean) {
    const quiet = EVERY.filter(() => random.below(5) === 0);
    const events = EVERY.filter(() => random.below(5) > 0);
    const actions = random.pick([0, 0xff, 0x1ff, 0x15]);
    const needs = { events, quiet, actions, leadingSpace: random.below(2) === 0 };
    let calls = 0;
    const answer = (value: () => unknown): never => {
      if (++calls > 1) this.overlaps++;
      const act = () => {
        calls--;
        if (random.below(60) === 0) throw new Error("careless");
        return value();
      };
      return (later && random.below(3) === 0 ? Promise.resolve().then(act) : act()) as never;
    };
    const reply = () => answer(() => (random.below(8) > 0 ? undefined : randomReply(random)));
    const handler: MilterHandler = {
      connect: reply,
      helo: reply,
      mail: reply,
      rcpt: reply,
      data: reply,
      unknown: reply,
      header: reply,
      endOfHeaders: reply,
      body: reply,
      endOfMessage: () =>
        answer(() => {
          const edits = Array.from({ length: random.below(4) }, () => randomEdit(random));
          return random.below(4) === 0 ? undefined : { edits, reply: randomReply(random) };
        }),
      abort: () => answer(() => undefined),
      close: () => {
        this.closed++;
        return answer(() => undefined);
      },
    };
    const open = () => {
      this.opened++;
      return handler;
    };
    this.session = new MilterSession(
      {
        id: "fuzz",
        transport: random.pick(["unix", "tcp"]),
        filter: { needs: () => needs, open },
        onProblem: () => {},
        onFailure: random.below(2) === 0 ? { kind: "tempfail" } : randomReply(random),
        progressMs: 60_000,
        progress: "always",
      },
      { write: (packet) => this.written.push(packet), flush: () => {} },
    );
  }

  /** True as long as the session can go on. */
  async feed(bytes: Buffer, decoder: PacketDecoder, cut: (bytes: Buffer) => Buffer[]): Promise<boolean> {
    try {
      for (const chunk of cut(bytes)) {
        decoder.push(chunk);
        for (let packet = decoder.next(); packet !== undefined; packet = decoder.next()) {
          if (this.session.closed) return false;
          await this.session.receive(packet);
        }
      }
      return true;
    } catch (error) {
      if (!(error instanceof MilterProtocolError)) throw error;
      await this.session.finish("error", error);
      return false;
    }
  }
}

const OFFERS = [
  { version: 6, actions: 0x1ff, steps: 0x1fffff },
  { version: 6, actions: 0x1ff, steps: 0x37f },
  { version: 4, actions: 0x3f, steps: 0x37f },
  { version: 2, actions: 0, steps: SMFI_V1_PROT },
];

rounds("random bytes through the decoder", (random) => {
  const bytes = Buffer.from(
    Array.from({ length: random.below(60) }, () => random.pick([0, 0, 0, 1, 5, 0x41, 255])),
  );
  const outcomes = Object.values(CUTS).map((cut) => {
    try {
      return decodeAll(bytes, cut, 40).map(({ code, data, offset }) => [
        code,
        data.toString("latin1"),
        offset,
      ]);
    } catch (error) {
      assert.ok(error instanceof MilterProtocolError, String(error));
      return error.code;
    }
  });
  assert.deepEqual(outcomes[0], outcomes[1]);
});

rounds("random data behind every code", (random) => {
  const code = random.below(256);
  const data = Buffer.from(random.bytes(40), "latin1");
  for (const decode of [decodeCommand, decodeResponse]) {
    try {
      decode({ code, data, offset: 100 });
    } catch (error) {
      assert.ok(error instanceof MilterProtocolError, String(error));
      assert.ok(error.offset >= 104 && error.offset <= 105 + data.length, `offset ${error.offset}`);
    }
  }
});

rounds("every command survives being written and read", (random) => {
  const command = randomCommand(random);
  const [packet] = decodeAll(encodeCommand(command), random.pick(Object.values(CUTS)));
  if (command.kind === "connect" && command.event.family === "unknown") return;
  assert.deepEqual(decodeCommand(packet!), command);
});

rounds("what is encoded can be read by the strictest MTA", (random) => {
  const events: ReplyEvent[] = [...EVERY, "eom"];
  const rules = { version: random.pick([2, 4, 6]), actions: random.pick([0x1ff, 0x3f, 0]), steps: 0 };
  let bytes: Buffer;
  try {
    const edits = Array.from({ length: random.below(3) }, () => randomEdit(random));
    const reply = encodeReply(randomReply(random), random.pick(events), rules.version, random.below(2) === 0);
    bytes = Buffer.concat([...encodeEdits(edits, rules), reply]);
  } catch (error) {
    assert.ok(error instanceof MilterReplyError, String(error));
    return;
  }
  for (const packet of decodeAll(bytes, (all) => [all])) decodeResponse(packet);
});

/** What may well follow a command; an MTA would also look at the replies. */
const LIKELY: Readonly<Record<string, readonly MilterCommand["kind"][]>> = {
  connect: ["helo", "mail", "unknown"],
  quitnc: ["connect"],
  helo: ["mail", "mail", "abort", "helo", "unknown"],
  mail: ["rcpt", "rcpt", "rcpt", "abort", "helo", "mail"],
  rcpt: ["rcpt", "data", "data", "abort", "unknown", "header"],
  data: ["header", "eoh", "body", "eom", "abort", "data", "rcpt"],
  header: ["header", "header", "eoh", "eom", "abort"],
  eoh: ["body", "eom", "abort"],
  body: ["body", "eom", "eom", "abort"],
  eom: ["abort", "abort", "mail", "quitnc", "macro"],
  abort: ["mail", "mail", "helo", "abort", "quitnc", "unknown"],
  unknown: ["mail", "abort", "helo"],
  macro: ["mail", "mail", "rcpt", "eom"],
};

function likelyCommand(random: Random, last: string): MilterCommand {
  const wanted = LIKELY[last];
  const kind = wanted === undefined || random.below(40) === 0 ? undefined : random.pick(wanted);
  for (;;) {
    const command = randomCommand(random);
    if (kind === undefined || command.kind === kind) return command;
  }
}

let messages = 0;
rounds("random commands in likely and unlikely order, answered at random", async (random) => {
  const subject = new Subject(random, true);
  const decoder = new PacketDecoder();
  const cut = random.pick(Object.values(CUTS));
  const offer = random.pick(OFFERS);
  let alive = await subject.feed(encodeCommand({ kind: "optneg", ...offer }), decoder, cut);
  const answer = decodeResponse(decodeAll(subject.written[0]!, (all) => [all])[0]!);
  const steps = answer.kind === "optneg" ? answer.steps : 0;
  let last = "quitnc";
  for (let i = random.below(80); i > 0 && alive; i--) {
    const command = likelyCommand(random, last);
    last = command.kind;
    if (((NO_EVENT as Readonly<Record<string, number>>)[last] ?? 0) & steps) continue;
    alive = await subject.feed(encodeCommand(command), decoder, cut);
    if (alive && last === "eom") messages++;
  }
  await subject.session.finish("closed");
  assert.equal(subject.closed, subject.opened);
  assert.equal(subject.overlaps, 0);
  for (const packet of decodeAll(Buffer.concat(subject.written), (all) => [all])) decodeResponse(packet);
});

test("the random sessions got as far as messages", { skip: ONLY !== undefined }, () => {
  assert.ok(messages > ROUNDS / 2, `${messages} messages in ${ROUNDS} sessions`);
});

rounds("whole sessions, some of their packets mutated", async (random) => {
  const subject = new Subject(random, false);
  const decoder = new PacketDecoder({ maxPacket: 4096 });
  const cut = random.pick(Object.values(CUTS));
  const session: readonly MilterCommand[] = [
    { kind: "optneg", ...random.pick(OFFERS) },
    { kind: "connect", event: { hostname: "h", family: "inet", address: "192.0.2.1", port: 1 } },
    { kind: "helo", name: "client.test" },
    { kind: "mail", args: ["<a@b.test>"] },
    { kind: "rcpt", args: ["<c@d.test>"] },
    { kind: "data" },
    { kind: "header", name: Buffer.from("Subject"), value: Buffer.from(" x") },
    { kind: "eoh" },
    { kind: "body", chunk: Buffer.from("body\r\n") },
    { kind: "eom", chunk: Buffer.alloc(0) },
    { kind: "abort" },
    { kind: "quit" },
  ];
  for (const command of session) {
    const bytes = encodeCommand(command);
    if (!(await subject.feed(random.below(8) === 0 ? mutate(random, bytes) : bytes, decoder, cut))) break;
  }
  await subject.session.finish("closed");
  assert.equal(subject.closed, subject.opened);
  assert.equal(subject.overlaps, 0);
});

rounds("an unmutated session is always answered as negotiated", async (random) => {
  const subject = new Subject(random, true);
  const decoder = new PacketDecoder();
  await subject.feed(
    encodeCommand({ kind: "optneg", version: 6, actions: 0x1ff, steps: 0x1fffff }),
    decoder,
    (b) => [b],
  );
  const optneg = decodeResponse(decodeAll(subject.written[0]!, (all) => [all])[0]!);
  assert.ok(optneg.kind === "optneg");
  subject.written.length = 0;
  const sends = (no: number) => (optneg.steps & no) === 0;
  const replies = () => decodeAll(Buffer.concat(subject.written), (all) => [all]).map(decodeResponse);
  const events: readonly [code: string, data: string, no: number, quiet: number][] = [
    ["C", "h\x004\0\x01192.0.2.1\0", 0x1, 0x1000],
    ["H", "client.test\0", 0x2, 0x2000],
    ["U", "FOO\0", 0x100, 0x20000],
  ];
  let expected = 0;
  for (const [code, data, no, quiet] of events) {
    if (!sends(no)) continue;
    await subject.feed(raw(code, data), decoder, (bytes) => [bytes]);
    if ((optneg.steps & quiet) === 0) expected++;
    assert.equal(replies().length, expected, code);
  }
});
