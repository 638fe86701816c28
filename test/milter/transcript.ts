/**
 * Golden conversations: text files in sessions/, replayed through a session
 * without sockets. What is observed must equal the file, line by line.
 *
 *   # comment
 *   transport tcp                        default unix
 *   needs events=mail,rcpt quiet=rcpt actions=0x1 leading rejected
 *                                        default: every event, all actions
 *   failure accept                       the failure reply, default tempfail
 *   > offer 6 0x1ff 0x1fffff             what the MTA sends (without arguments: as Postfix 3.7 does)
 *   > macro mail i=4ABC {auth_authen}=u
 *   > connect client.test inet 192.0.2.1 40000
 *   > mail <a@b> SIZE=10                 rcpt, helo, unknown alike; data eoh eom abort quit quitnc alone
 *   > header Subject " text\n\tfold"     JSON; body and eom may carry a JSON string, too
 *   > packet U FOO                       any code, data as it stands
 *   > close                              end of the stream
 *   * mail <a@b> SIZE=10 -> 550 5.7.1 No a handler call, and what it returns (default nothing)
 *   + addHeader {"name":"X","value":""}  an edit returned by the call above
 *   ? i                                  a macro looked up within the call above: "? i = 4ABC"
 *   < continue                           what the filter sends
 *   ! ERR_MILTER_ORDER                   a report
 */
import { encodeCommand, type MilterCommand } from "../../src/milter/command.ts";
import { PacketDecoder } from "../../src/milter/decoder.ts";
import type { MilterEdit } from "../../src/milter/edit.ts";
import { MilterProtocolError } from "../../src/milter/errors.ts";
import type { FilterNeeds, MilterContext, MilterHandler } from "../../src/milter/filter.ts";
import type { MilterEvent } from "../../src/milter/protocol.ts";
import type { MilterReply } from "../../src/milter/reply.ts";
import { decodeResponse, type MilterResponse } from "../../src/milter/response.ts";
import { MilterSession } from "../../src/milter/session.ts";
import type { Cut } from "./feed.ts";
import { raw } from "./feed.ts";

const EVERY = "connect,helo,mail,rcpt,data,header,eoh,body,unknown";
const STAGES: Readonly<Record<string, string>> = {
  connect: "C",
  helo: "H",
  mail: "M",
  rcpt: "R",
  data: "T",
  header: "L",
  eoh: "N",
  body: "B",
  eom: "E",
  unknown: "U",
};

/** What a handler call does: its `->` answer, its edits, the macros it looks up. */
interface Scripted {
  readonly answer: string;
  readonly edits: MilterEdit[];
  readonly macros: string[];
}

/** Plays `text` and returns what should have stood there. */
export async function replay(text: string, cut: Cut, later: boolean): Promise<string[]> {
  const lines = text.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
  const player = new Player(lines, later);
  for (const line of lines) await player.line(line, cut);
  return player.observed;
}

class Player {
  readonly observed: string[] = [];
  readonly #script: Scripted[] = [];
  readonly #later: boolean;
  readonly #decoder = new PacketDecoder();
  readonly #written = new PacketDecoder();
  #needs = parseNeeds("");
  #transport: "unix" | "tcp" = "unix";
  #failure: MilterReply = { kind: "tempfail" };
  #session: MilterSession | undefined;

  constructor(lines: readonly string[], later: boolean) {
    this.#later = later;
    for (const line of lines) {
      const mark = line[0];
      const rest = line.slice(2);
      if (mark === "*") this.#script.push({ answer: rest.split(" -> ")[1] ?? "", edits: [], macros: [] });
      if (mark === "+") this.#script.at(-1)?.edits.push(parseEdit(rest));
      if (mark === "?") this.#script.at(-1)?.macros.push(rest.split(" = ")[0] ?? "");
    }
  }

  async line(line: string, cut: Cut): Promise<void> {
    const [word, ...rest] = line.split(" ");
    if (word === "transport") this.#transport = rest[0] === "tcp" ? "tcp" : "unix";
    if (word === "needs") this.#needs = parseNeeds(rest.join(" "));
    if (word === "failure") this.#failure = parseReply(rest.join(" "));
    if (word === undefined || "*+?<!".includes(word)) return;
    this.observed.push(line);
    if (word === ">") await this.#send(rest.join(" "), cut);
  }

  async #send(command: string, cut: Cut): Promise<void> {
    this.#session ??= this.#open();
    if (command === "close") {
      await this.#session.finish("closed");
      return;
    }
    for (const chunk of cut(encode(command))) {
      this.#decoder.push(chunk);
      for (let packet = this.#decoder.next(); packet !== undefined; packet = this.#decoder.next()) {
        try {
          await this.#session.receive(packet);
        } catch (error) {
          if (!(error instanceof MilterProtocolError)) throw error;
          this.observed.push(`! ${error.code}`);
          await this.#session.finish("error", error);
        }
      }
    }
  }

  #open(): MilterSession {
    const open = (context: MilterContext) => this.#handler(context);
    return new MilterSession(
      {
        id: "test",
        transport: this.#transport,
        filter: { needs: () => this.#needs, open },
        onProblem: ({ code }) => this.observed.push(`! ${code}`),
        onFailure: this.#failure,
        progressMs: 60_000,
        progress: "always",
      },
      { write: (packet) => this.#wrote(packet), flush: () => {} },
    );
  }

  #wrote(bytes: Buffer): void {
    this.#written.push(bytes);
    for (let packet = this.#written.next(); packet !== undefined; packet = this.#written.next()) {
      this.observed.push(`< ${formatResponse(decodeResponse(packet))}`);
    }
  }

  #handler(context: MilterContext): MilterHandler {
    const call = (text: string): never => this.#called(text, context) as never;
    const bytes = (value: Buffer) => JSON.stringify(value.toString("latin1"));
    return {
      connect: ({ hostname, family, address, port }) =>
        call(`connect ${hostname} ${family} ${address} ${port}`),
      helo: (name) => call(`helo ${name}`),
      mail: (args) => call(`mail ${args.join(" ")}`),
      rcpt: (args) => call(`rcpt ${args.join(" ")}`),
      data: () => call("data"),
      header: (name, value) => call(`header ${name.toString("latin1")} ${bytes(value)}`),
      endOfHeaders: () => call("eoh"),
      body: (chunk) => call(`body ${bytes(chunk)}`),
      endOfMessage: () => call("eom"),
      unknown: (line) => call(`unknown ${line}`),
      abort: (cause) => call(`abort ${cause}`),
      close: (cause) => call(`close ${cause}`),
    };
  }

  #called(text: string, context: MilterContext): unknown {
    const scripted = this.#script.shift() ?? { answer: "", edits: [], macros: [] };
    this.observed.push(`* ${text}${scripted.answer === "" ? "" : ` -> ${scripted.answer}`}`);
    for (const edit of scripted.edits) this.observed.push(`+ ${formatEdit(edit)}`);
    for (const name of scripted.macros) this.observed.push(`? ${name} = ${context.macro(name) ?? "nothing"}`);
    const answer = (): unknown => {
      if (scripted.answer.startsWith("throw ")) throw new Error(scripted.answer.slice(6));
      const reply = scripted.answer === "" ? undefined : parseReply(scripted.answer);
      if (text !== "eom" || (reply === undefined && scripted.edits.length === 0)) return reply;
      return { edits: scripted.edits, reply: reply ?? { kind: "continue" } };
    };
    return this.#later ? new Promise((resolve) => setImmediate(resolve)).then(answer) : answer();
  }
}

function parseNeeds(text: string): FilterNeeds {
  const given = (name: string) => text.match(new RegExp(`(?:^| )${name}=(\\S*)`))?.[1];
  const events = (list: string | undefined) => (list ?? "").split(",").filter(Boolean) as MilterEvent[];
  return {
    events: events(given("events") ?? EVERY),
    quiet: events(given("quiet")),
    actions: Number(given("actions") ?? "0xff"),
    leadingSpace: text.includes("leading"),
    rejectedRecipients: text.includes("rejected"),
  };
}

function parseReply(text: string): MilterReply {
  const parts = /^(\d+)(?: (\d\.\d+\.\d+))? ?(.*)$/.exec(text);
  if (parts === null) return { kind: text } as MilterReply;
  const lines = parts[3]!.split(" / ");
  return { kind: "replycode", code: Number(parts[1]), enhanced: parts[2] ?? "", lines };
}

function parseEdit(text: string): MilterEdit {
  const [kind, ...rest] = text.split(" ");
  const fields = JSON.parse(rest.join(" "));
  if (kind === "replaceBody") fields.body = Buffer.from(fields.body, "latin1");
  return { kind, ...fields };
}

function formatEdit(edit: MilterEdit): string {
  const { kind, ...fields } = edit;
  const shown = edit.kind === "replaceBody" ? { body: Buffer.from(edit.body).toString("latin1") } : fields;
  return `${kind} ${JSON.stringify(shown)}`;
}

function formatResponse(response: MilterResponse): string {
  switch (response.kind) {
    case "optneg":
      return `optneg ${response.version} 0x${response.actions.toString(16)} 0x${response.steps.toString(16)}`;
    case "progress":
      return "progress";
    case "edit":
      return formatEdit(response.edit);
    case "reply": {
      const { reply } = response;
      if (reply.kind !== "replycode") return reply.kind;
      return [reply.code, ...(reply.enhanced === "" ? [] : [reply.enhanced]), reply.lines.join(" / ")].join(
        " ",
      );
    }
  }
}

function encode(command: string): Buffer {
  const [word = "", ...args] = command.split(" ");
  const rest = args.join(" ");
  if (word === "packet") return raw(args[0] ?? "", args.slice(1).join(" "));
  return encodeCommand(parseCommand(word, args, rest));
}

function parseCommand(word: string, args: readonly string[], rest: string): MilterCommand {
  const bytes = (json: string) => Buffer.from(json === "" ? "" : JSON.parse(json), "latin1");
  switch (word) {
    case "offer": {
      const [version = 6, actions = 0x1ff, steps = 0x1fffff] = args.map(Number);
      return { kind: "optneg", version, actions, steps };
    }
    case "macro": {
      const values = args.slice(1).flatMap((pair) => pair.split("="));
      return { kind: "macro", stage: STAGES[args[0] ?? ""]!.charCodeAt(0), values };
    }
    case "connect": {
      const [hostname = "", family = "unknown", address = "", port = "0"] = args;
      return { kind: "connect", event: { hostname, family: family as "inet", address, port: Number(port) } };
    }
    case "helo":
      return { kind: "helo", name: rest };
    case "unknown":
      return { kind: "unknown", line: rest };
    case "mail":
    case "rcpt":
      return { kind: word, args };
    case "header":
      return { kind: "header", name: Buffer.from(args[0] ?? ""), value: bytes(args.slice(1).join(" ")) };
    case "body":
    case "eom":
      return { kind: word, chunk: bytes(rest) };
    case "data":
    case "eoh":
    case "abort":
    case "quit":
    case "quitnc":
      return { kind: word };
    default:
      throw new Error(`not a command: ${word}`);
  }
}
