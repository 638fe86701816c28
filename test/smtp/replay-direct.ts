/**
 * Plays a golden conversation through the session core: a small SMTP server
 * that answers as Postfix with a milter does, and no Postfix, no milter, no
 * socket. Where its answers must differ from Postfix's the files say so.
 */
import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { toBytes } from "../../src/bytes.ts";
import { completeConfig, parseConfig } from "../../src/config/load.ts";
import type { Log } from "../../src/log.ts";
import type { ScriptError } from "../../src/lua/errors.ts";
import { MessageStore } from "../../src/message/store.ts";
import { type ErrorPlace, errorEntry } from "../../src/scripts/output.ts";
import { makeDirectory } from "../../src/serve/directory.ts";
import { helperModules } from "../../src/serve/helpers.ts";
import { Service } from "../../src/serve/service.ts";
import { SmtpSession } from "../../src/smtp/session.ts";
import { CONTINUE, type Reply, type Verdict } from "../../src/smtp/verdict.ts";
import {
  type ArrivedMessage,
  type ClientPart,
  type Conversation,
  matches,
  type Outcome,
  patternText,
} from "../postfix/conversation.ts";
import { applyEdits, type Delivered } from "./apply-edits.ts";

export async function replayDirectly(conversation: Conversation): Promise<Outcome> {
  const directory = mkdtempSync(join(tmpdir(), "postlua-direct-"));
  try {
    const world = new World(directory, conversation);
    await world.play();
    return world.outcome();
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

class World {
  readonly #directory: string;
  readonly #conversation: Conversation;
  readonly #decisions: string[] = [];
  readonly #delivered: Delivered[] = [];
  #printed = "";
  #errors = "";

  constructor(directory: string, conversation: Conversation) {
    this.#directory = directory;
    this.#conversation = conversation;
  }

  async play(): Promise<void> {
    const { file, scripts, clients } = this.#conversation;
    for (const name of ["scripts", "data", "data/saved"]) mkdirSync(join(this.#directory, name));
    for (const [name, text] of Object.entries(scripts)) {
      writeFileSync(join(this.#directory, "scripts", name), toBytes(text));
    }
    const service = await this.#service();
    for (const part of clients) {
      await new Player(file, service, part, (message) => this.#delivered.push(message)).play();
    }
  }

  outcome(): Outcome {
    const held = this.#delivered.filter((message) => message.held);
    const arrived: ArrivedMessage[] = this.#delivered.filter((message) => !message.held);
    return { arrived, held, decisions: this.#decisions, printed: this.#printed, errors: this.#errors };
  }

  async #service(): Promise<Service> {
    const path = (name: string) => JSON.stringify(join(this.#directory, name));
    const text = `scripts_dir = ${path("scripts")}
data_dir = ${path("data")}
log_dir = ${path("data")}
save_dir = ${path("data/saved")}
${this.#conversation.config}`;
    const { message_size_limit: limit = "10240000" } = this.#conversation.mainCf;
    const config = await completeConfig(parseConfig(text, this.#conversation.file), this.#conversation.file);
    const log: Log = {
      error: () => {},
      warn: () => {},
      debug: () => {},
      info: (event, fields = {}) => {
        if (event === "decision") this.#decisions.push(`${fields.callback} ${fields.result}`);
      },
    };
    const output = {
      print: (words: string) => {
        this.#printed += words;
      },
      error: (error: ScriptError, place: ErrorPlace) => {
        this.#errors += errorEntry(error, place);
      },
    };
    const facts = { ...config.facts, messageSizeLimit: Number(limit), ownDomains: OWN_DOMAINS };
    const service = new Service(
      { ...config, facts },
      helperModules(config, log, makeDirectory(config, log)),
      log,
      output,
    );
    await service.load();
    return service;
  }
}

const HOST = "mx.example.test";
/** Of the private Postfix. */
const OWN_DOMAINS = ["example.test", "mx.example.test"];

class Player {
  readonly #file: string;
  readonly #part: ClientPart;
  readonly #session: SmtpSession;
  readonly #deliver: (message: Delivered) => void;
  /** Replies not read yet, lines joined by "\n". */
  readonly #replies: string[] = [];
  #input = "";
  #closed = false;
  /** As Postfix does it: a refusal at CONNECT or HELO is shown at every MAIL. */
  #refusal: Verdict = CONTINUE;
  #sender: string | undefined;
  #recipients: string[] = [];
  #data: string | undefined;

  constructor(file: string, service: Service, part: ClientPart, deliver: (message: Delivered) => void) {
    this.#file = file;
    this.#part = part;
    this.#deliver = deliver;
    const client = { address: part.from, port: 40000, hostname: "client" };
    this.#session = new SmtpSession(service, client, service.newSessionId());
  }

  async play(): Promise<void> {
    await this.#greet();
    const steps = this.#part.steps.filter((step) => step.kind !== "expect" || step.door !== "postfix");
    if (steps[0]?.kind !== "expect")
      assert.match(this.#replies.shift() ?? "", /^220 /, `${this.#file}: greeting`);
    for (const step of steps) {
      if (step.kind === "send") await this.#receive(step.bytes);
      else if (step.kind === "drop") this.#closed = true;
      else if (step.reply.kind === "closed")
        assert.ok(this.#closed, `${this.#file}:${step.line}: not closed`);
      else {
        const reply = this.#replies.shift() ?? "(nothing)";
        const wanted = patternText(step.reply);
        assert.ok(
          matches(step.reply, reply),
          `${this.#file}:${step.line}: expected\n${wanted}\nand got\n${reply}`,
        );
      }
    }
    await this.#session.end();
  }

  async #greet(): Promise<void> {
    this.#refusal = await this.#session.start();
    if (this.#refusal.kind !== "refuse") return this.#say(`220 ${HOST} ESMTP`);
    const { code } = this.#refusal.reply;
    if (code === 421) {
      this.#closed = true;
      return this.#say(`421 ${HOST} Service unavailable - try again later`);
    }
    this.#say(code < 500 ? `220 ${HOST} ESMTP` : `554 ${HOST} ESMTP not accepting connections`);
  }

  #say(text: string): void {
    this.#replies.push(text);
  }

  #refuse(reply: Reply): void {
    const { code, enhanced, lines } = reply;
    const status = enhanced === "" ? "" : `${enhanced} `;
    this.#say(
      lines.map((line, i) => `${code}${i < lines.length - 1 ? "-" : " "}${status}${line}`).join("\n"),
    );
    if (code === 421) this.#closed = true;
  }

  /** Says `text`, or the refusal in its place. @returns whether it was refused */
  #answer(verdict: Verdict, text: string): boolean {
    if (verdict.kind === "refuse") this.#refuse(verdict.reply);
    else this.#say(text);
    return verdict.kind === "refuse";
  }

  async #receive(bytes: string): Promise<void> {
    this.#input += bytes;
    for (;;) {
      const end = this.#data === undefined ? this.#input.indexOf("\n") : this.#input.indexOf("\r\n");
      if (end < 0 || this.#closed) return;
      const line = this.#input.slice(0, end).replace(/\r$/, "");
      this.#input = this.#input.slice(end + (this.#data === undefined ? 1 : 2));
      if (this.#data === undefined) await this.#command(line);
      else if (line === ".") await this.#endOfMessage(this.#data);
      else this.#data += `${line.replace(/^\./, "")}\r\n`;
    }
  }

  async #command(line: string): Promise<void> {
    const session = this.#session;
    const verb = line.split(/[ :]/)[0]?.toUpperCase() ?? "";
    const args = line.replace(/^(?:mail from|rcpt to):\s*/i, "").split(/\s+/);
    switch (verb) {
      case "EHLO":
      case "HELO":
        this.#sender = undefined;
        if (this.#refusal.kind !== "refuse") this.#refusal = await session.helo(line.slice(5).trim(), true);
        if (this.#refusal.kind === "refuse" && this.#refusal.reply.code === 421)
          return this.#refuse(this.#refusal.reply);
        return this.#say(`250 ${HOST}`);
      case "MAIL": {
        if (this.#refusal.kind === "refuse") return this.#refuse(this.#refusal.reply);
        session.queueId = "";
        if (this.#answer(await session.mailFrom(args, ""), "250 2.1.0 Ok")) return;
        this.#sender = (args[0] ?? "").replace(/[<>]/g, "");
        this.#recipients = [];
        return;
      }
      case "RCPT":
        if (this.#sender === undefined) return this.#say("503 5.5.1 Error: need MAIL command");
        if (this.#answer(await session.rcptTo(args, isElsewhere(args[0] ?? "")), "250 2.1.5 Ok")) return;
        this.#recipients.push((args[0] ?? "").replace(/[<>]/g, ""));
        return;
      case "DATA":
        if (this.#sender === undefined) return this.#say("503 5.5.1 Error: need RCPT command");
        if (this.#recipients.length === 0) return this.#say("554 5.5.1 Error: no valid recipients");
        session.queueId = "DIRECT";
        if (!this.#answer(await session.dataStart(), "354 End data with <CR><LF>.<CR><LF>")) this.#data = "";
        return;
      case "RSET":
        if (this.#sender !== undefined) await session.rset();
        this.#sender = undefined;
        return this.#say("250 2.0.0 Ok");
      case "NOOP":
        return this.#say("250 2.0.0 Ok");
      case "QUIT":
        await session.quit();
        this.#closed = true;
        return this.#say("221 2.0.0 Bye");
      default:
        // Postfix 3.7 passes the first word of the line.
        this.#answer(
          await session.unrecognised(line.split(" ")[0] ?? ""),
          "500 5.5.2 Error: command not recognized",
        );
    }
  }

  async #endOfMessage(data: string): Promise<void> {
    this.#data = undefined;
    const store = MessageStore.fromBytes(toBytes(data));
    const { verdict, edits } = await this.#session.message(store, store.size);
    const sender = this.#sender ?? "";
    this.#sender = undefined;
    if (this.#answer(verdict, "250 2.0.0 Ok: queued as DIRECT") || verdict.kind === "discard") return;
    const delivered = applyEdits(store, sender, this.#recipients, edits);
    if (delivered.recipients.length > 0) this.#deliver(delivered);
  }
}

function isElsewhere(recipient: string): boolean {
  const [, domain = ""] = /@([^@>]*)>?$/.exec(recipient) ?? [];
  return !OWN_DOMAINS.includes(domain.toLowerCase());
}
