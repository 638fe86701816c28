/** Internal mail played through the milter door itself, scripts and all, with no sockets and no Postfix. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { toBytes } from "../../src/bytes.ts";
import { completeConfig, parseConfig } from "../../src/config/load.ts";
import type { Log } from "../../src/log.ts";
import type { Edit } from "../../src/message/edit.ts";
import { MessageStore } from "../../src/message/store.ts";
import type { MessageReply, MilterHandler } from "../../src/milter/filter.ts";
import { SMFIP_HDR_LEADSPC } from "../../src/milter/protocol.ts";
import { errorEntry } from "../../src/scripts/output.ts";
import type { CallTrace } from "../../src/scripts/smtpsvr.ts";
import { makeDirectory } from "../../src/serve/directory.ts";
import { helperModules } from "../../src/serve/helpers.ts";
import { milterDoor } from "../../src/serve/milter-door.ts";
import { Service } from "../../src/serve/service.ts";
import { applyEdits, type Delivered } from "../smtp/apply-edits.ts";

export interface InternalMessage {
  readonly sender: string;
  readonly recipients: readonly string[];
  readonly bytes: Uint8Array;
}

export interface Played {
  /** "accept" at CONNECT, else the reply at the end of the message. */
  readonly reply: MessageReply["reply"];
  readonly edits: readonly Edit[];
  /** With the edits carried out. */
  readonly message: Delivered;
}

/** A service with its scripts, and the logs of what it did. */
export class Inside {
  readonly calls: CallTrace[] = [];
  readonly decisions: string[] = [];
  readonly problems: string[] = [];
  printed = "";
  errors = "";
  readonly service: Service;
  readonly #directory: string;

  private constructor(directory: string, service: (inside: Inside) => Service) {
    this.#directory = directory;
    this.service = service(this);
  }

  /** Scripts by file name, byte strings; `config` as lines of postlua.toml. */
  static async open(scripts: Readonly<Record<string, string>>, config = ""): Promise<Inside> {
    const directory = mkdtempSync(join(tmpdir(), "postlua-inside-"));
    const path = (name: string) => JSON.stringify(join(directory, name));
    for (const name of ["scripts", "data"]) mkdirSync(join(directory, name));
    for (const [name, text] of Object.entries(scripts)) {
      writeFileSync(join(directory, "scripts", name), toBytes(text));
    }
    const text = `scripts_dir = ${path("scripts")}\ndata_dir = ${path("data")}\nlog_dir = ${path("data")}\nsave_dir = ${path("data")}\n${config}
[postfix]
config_dir = ${path("none")}`;
    const complete = await completeConfig(parseConfig(text, "test.toml"), "test.toml");
    const inside = new Inside(directory, (self) => {
      const log: Log = {
        error: (event, fields = {}) =>
          void self.problems.push(`${event} ${fields.problem ?? fields.message}`),
        warn: (event, fields = {}) => {
          if (event === "script") self.problems.push(`${fields.callback}: ${fields.problem}`);
        },
        debug: () => {},
        info: (event, fields = {}) => {
          if (event === "decision") self.decisions.push(`${fields.callback} ${fields.result}`);
        },
      };
      const output = {
        print: (words: string) => {
          self.printed += words;
        },
        error: (...given: Parameters<typeof errorEntry>) => {
          self.errors += errorEntry(...given);
        },
      };
      return new Service(complete, helperModules(complete, log, makeDirectory(complete, log)), log, output, {
        trace: (call) => void self.calls.push(call),
      });
    });
    await inside.service.load();
    return inside;
  }

  [Symbol.dispose](): void {
    rmSync(this.#directory, { recursive: true, force: true });
  }

  /** One connection of cleanup(8)'s, with the events that the door asked for. */
  async play({ sender, recipients, bytes }: InternalMessage): Promise<Played> {
    const door = milterDoor(this.service);
    const { events } = door.needs();
    const macro = (name: string) => (name === "i" ? "INTERNAL1" : undefined);
    const context = { id: "1", transport: "unix", version: 6, actions: 0x1ff, macro } as const;
    const handler: MilterHandler = door.open({ ...context, steps: SMFIP_HDR_LEADSPC });
    const store = MessageStore.fromBytes(Buffer.from(bytes), { verbatim: true });
    const untouched = applyEdits(store, sender, recipients, []);
    const connect = { hostname: "localhost", family: "inet", address: "127.0.0.1", port: 0 } as const;
    const first = await handler.connect?.(connect);
    if (first?.kind === "accept") return { reply: first, edits: [], message: untouched };
    const wanted = (event: (typeof events)[number]) => events.includes(event);
    if (wanted("helo")) await handler.helo?.("localhost");
    if (wanted("mail")) await handler.mail?.([sender]);
    for (const recipient of recipients) if (wanted("rcpt")) await handler.rcpt?.([recipient]);
    if (wanted("data")) await handler.data?.();
    for (const field of store.headers) {
      const value = field.line.slice(field.line.indexOf(":") + 1).replace(/\r\n/g, "\n");
      if (wanted("header")) await handler.header?.(toBytes(field.name), toBytes(value));
    }
    if (wanted("body")) await handler.body?.(store.slice(store.bodyStart));
    const answer = (await handler.endOfMessage?.()) as MessageReply;
    await handler.close?.("quit");
    const { reply, edits } = answer;
    return { reply, edits: edits as Edit[], message: applyEdits(store, sender, recipients, edits as Edit[]) };
  }
}

/** The whole message as bytes. */
export function bytesOf({ headers, body }: Delivered): Buffer {
  return toBytes(`${headers.map(([name, value]) => `${name}:${value}\r\n`).join("")}\r\n${body}`);
}
