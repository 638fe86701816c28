/**
 * Plays a golden conversation through the session core alone: no sockets, no
 * milter, no Postfix. What an MTA does by itself is reduced to the least:
 * commands it knows are granted, edits are carried out on the message.
 */
import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { splitMessage } from "../../postfix/sink.ts";
import { toBytes } from "../../src/bytes.ts";
import { type Config, parseConfig } from "../../src/config/load.ts";
import type { Log } from "../../src/log.ts";
import type { Edit } from "../../src/message/edit.ts";
import { MessageStore } from "../../src/message/store.ts";
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
  type ReplyPattern,
} from "./conversation.ts";

export async function replayDirectly(conversation: Conversation): Promise<Outcome> {
  const directory = mkdtempSync(join(tmpdir(), "postlua-direct-"));
  try {
    return await replayIn(directory, conversation);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

async function replayIn(directory: string, conversation: Conversation): Promise<Outcome> {
  for (const name of ["scripts", "data", "log", "saved"]) mkdirSync(join(directory, name));
  for (const [name, text] of Object.entries(conversation.scripts)) {
    writeFileSync(join(directory, "scripts", name), text, "latin1");
  }
  const decisions: string[] = [];
  const log: Log = {
    error: () => {},
    warn: () => {},
    debug: () => {},
    info: (event, fields) => {
      if (event === "decision") decisions.push(`${fields?.callback} ${fields?.result}`);
    },
  };
  let printed = "";
  let errors = "";
  const output = {
    print: (text: string) => {
      printed += text;
    },
    error: (entry: string) => {
      errors += entry;
    },
  };
  const config = configuration(directory, conversation);
  const service = new Service(config, helperModules(config, log), log, output);
  await service.load();
  const ends: Delivery[] = [];
  for (const part of conversation.clients) await new Client(conversation.file, service, part, ends).play();
  return {
    arrived: ends.filter(({ held }) => !held),
    held: ends.filter(({ held }) => held),
    decisions,
    printed,
    errors,
  };
}

/** The file's configuration with Postfix's answers as a private instance gives them. */
function configuration(directory: string, { config, mainCf, file }: Conversation): Config {
  const parsed = parseConfig(config, file);
  const myNetworks = [mainCf.mynetworks ?? "127.0.0.1/32"];
  return {
    ...parsed,
    scripts_dir: join(directory, "scripts"),
    data_dir: join(directory, "data"),
    log_dir: join(directory, "log"),
    save_dir: join(directory, "saved"),
    local_networks: parsed.local_networks ?? myNetworks,
    file,
    workers: 1,
    facts: {
      messageSizeLimit: Number(mainCf.message_size_limit ?? 10_240_000),
      myNetworks,
      defaultTransport: "smtp",
      relayTransport: "relay",
      problem: "",
    },
  };
}

interface Delivery extends ArrivedMessage {
  readonly held: boolean;
}

class Client {
  readonly #file: string;
  readonly #session: SmtpSession;
  readonly #part: ClientPart;
  readonly #ends: Delivery[];
  #sender: string | undefined;
  #recipients: string[] = [];
  #content: string | undefined;
  /** Replies nobody has compared yet. */
  readonly #replies: (Verdict | "closed")[] = [];

  constructor(file: string, service: Service, part: ClientPart, ends: Delivery[]) {
    this.#file = file;
    this.#part = part;
    this.#ends = ends;
    const client = { address: part.from, port: 0, hostname: "unknown" };
    this.#session = new SmtpSession(service, client, service.newSessionId());
  }

  async play(): Promise<void> {
    const steps = this.#part.steps.filter((step) => step.kind !== "expect" || step.door !== "postfix");
    const greeting = await this.#session.start();
    if (steps[0]?.kind === "expect") this.#replies.push(greeting);
    let rest = "";
    for (const step of steps) {
      if (step.kind === "send") {
        const lines = (rest + step.bytes).split("\r\n");
        rest = lines.pop() ?? "";
        for (const line of lines) await this.#take(line);
      } else if (step.kind === "drop") {
        break;
      } else {
        this.#compare(step.line, step.reply);
      }
    }
    await this.#session.end();
  }

  #compare(line: number, pattern: ReplyPattern): void {
    const answer = this.#replies.shift();
    if (pattern.kind === "closed") {
      assert.equal(answer, "closed", `${this.#file}:${line}: the session should be over`);
      return;
    }
    assert.ok(answer !== undefined && answer !== "closed", `${this.#file}:${line}: no reply is due here`);
    const said = answer.kind === "refuse" ? wireText(answer.reply) : "granted";
    const right = answer.kind === "refuse" ? matches(pattern, said) : isPositive(pattern);
    assert.ok(
      right,
      `${this.#file}:${line}: expected\n${patternText(pattern)}\nand the session said\n${said}`,
    );
  }

  async #take(line: string): Promise<void> {
    if (this.#content !== undefined) {
      if (line === ".") await this.#message(this.#content);
      else this.#content += `${line.replace(/^\./, "")}\r\n`;
      return;
    }
    this.#replies.push(await this.#command(line));
    if (/^QUIT$/i.test(line)) this.#replies.push("closed");
  }

  async #command(line: string): Promise<Verdict> {
    const [, verb = "", rest = ""] = /^(\S+) ?(.*)$/.exec(line) ?? [];
    const session = this.#session;
    switch (verb.toUpperCase()) {
      case "HELO":
      case "EHLO":
        this.#forget();
        return session.helo(rest, verb.toUpperCase() === "EHLO");
      case "MAIL": {
        const args = rest.replace(/^FROM: ?/i, "").split(" ");
        const verdict = await session.mailFrom(args, "");
        if (verdict.kind === "continue") this.#sender = bare(args[0]);
        return verdict;
      }
      case "RCPT": {
        const args = rest.replace(/^TO: ?/i, "").split(" ");
        const verdict = await session.rcptTo(args, !/@(mx\.)?example\.test>/i.test(args[0] ?? ""));
        if (verdict.kind === "continue") this.#recipients.push(bare(args[0]));
        return verdict;
      }
      case "DATA": {
        const verdict = await session.dataStart();
        if (verdict.kind === "continue") this.#content = "";
        return verdict;
      }
      case "RSET":
        if (this.#sender !== undefined) await session.rset();
        this.#forget();
        return CONTINUE;
      case "QUIT":
        await session.quit();
        return CONTINUE;
      case "NOOP":
      case "VRFY":
        return CONTINUE;
      default:
        return session.unrecognised(verb);
    }
  }

  async #message(content: string): Promise<void> {
    this.#content = undefined;
    const store = MessageStore.fromBytes(toBytes(content));
    const { verdict, edits } = await this.#session.message(store, store.size);
    if (verdict.kind === "continue") this.#deliver(content, edits);
    this.#replies.push(verdict);
    this.#forget();
  }

  #deliver(content: string, edits: readonly Edit[]): void {
    const recipients = new Set(this.#recipients);
    const { headers, body } = splitMessage(content);
    const delivery = { sender: this.#sender ?? "", headers, body, held: false };
    for (const edit of edits) applyEdit(delivery, recipients, edit);
    if (recipients.size > 0) this.#ends.push({ ...delivery, recipients: [...recipients] });
  }

  #forget(): void {
    this.#sender = undefined;
    this.#recipients = [];
  }
}

interface Draft {
  sender: string;
  readonly headers: [name: string, value: string][];
  body: string;
  held: boolean;
}

/** Carries one edit out as Postfix does. There is no trace field here, so inserting at 0 and at 1 is the same. */
function applyEdit(draft: Draft, recipients: Set<string>, edit: Edit): void {
  switch (edit.kind) {
    case "addHeader":
      draft.headers.push([edit.name, edit.value]);
      return;
    case "insertHeader":
      draft.headers.splice(Math.max(edit.index - 1, 0), 0, [edit.name, edit.value]);
      return;
    case "changeHeader": {
      const wanted = edit.name.toLowerCase();
      const at = draft.headers
        .map(([name], index) => (name.toLowerCase() === wanted ? index : -1))
        .filter((n) => n >= 0);
      const index = at[edit.index - 1];
      if (edit.value === "") {
        if (index !== undefined) draft.headers.splice(index, 1);
      } else if (index === undefined) {
        draft.headers.push([edit.name, edit.value]);
      } else {
        draft.headers[index] = [edit.name, edit.value];
      }
      return;
    }
    case "addRecipient":
      recipients.add(edit.address);
      return;
    case "deleteRecipient":
      recipients.delete(edit.address);
      return;
    case "changeSender":
      draft.sender = edit.address;
      return;
    case "replaceBody":
      draft.body = Buffer.from(edit.body).toString("latin1");
      return;
    case "quarantine":
      draft.held = true;
  }
}

function bare(path = ""): string {
  return path.replace(/^<(.*)>$/, "$1");
}

function isPositive(pattern: ReplyPattern): boolean {
  if (pattern.kind === "closed") return false;
  return /^[/^]*[23]/.test(pattern.kind === "regex" ? pattern.regex.source : pattern.text);
}

/** The reply as it stands on the wire, lines joined by "\n". */
function wireText({ code, enhanced, lines }: Reply): string {
  const status = enhanced === "" ? "" : `${enhanced} `;
  return lines
    .map((line, index) => `${code}${index === lines.length - 1 ? " " : "-"}${status}${line}`)
    .join("\n");
}
