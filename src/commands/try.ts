/**
 * `postlua try`: a whole SMTP session with a message file, played through the
 * same session core as real mail, without sockets and without a mail server.
 */
import { readFileSync } from "node:fs";
import { decodeText, encodeText } from "../bytes.ts";
import type { Config } from "../config/load.ts";
import type { Directory } from "../directory/directory.ts";
import { createLog, type Log } from "../log.ts";
import type { Edit } from "../message/edit.ts";
import { readNotice } from "../message/notice.ts";
import { MessageStore } from "../message/store.ts";
import { SMTPSVR_FILE } from "../scripts/callbacks.ts";
import { unreadableDirectory } from "../scripts/loader.ts";
import { errorEntry, type ScriptOutput } from "../scripts/output.ts";
import type { CallTrace } from "../scripts/smtpsvr.ts";
import { makeDirectory } from "../serve/directory.ts";
import { helperModules } from "../serve/helpers.ts";
import { Service } from "../serve/service.ts";
import { Decisions, verdictText } from "../smtp/decide.ts";
import { removedKeywords } from "../smtp/ehlo.ts";
import { processNotice } from "../smtp/notice.ts";
import { LOOK_UP } from "../smtp/rbl.ts";
import { SmtpSession } from "../smtp/session.ts";
import { CONTINUE, type Verdict } from "../smtp/verdict.ts";
import { jsonEdit, jsonValue, showEdit, showValue } from "./show.ts";
import { unasked } from "./try-unasked.ts";

export interface TryOptions {
  readonly message: string;
  readonly from: string;
  readonly to: readonly string[];
  readonly ip: string;
  readonly helo: string;
  readonly user: string;
  readonly json: boolean;
  /** The message is a notice of Postfix's, for ERRORS.LUA. */
  readonly notice: boolean;
}

/**
 * Plays the session and prints it on standard output.
 * @returns exit code: 0 played, 1 a script failed, 2 message or scripts cannot be read, or it is no notice
 */
export async function tryMessage(config: Config, options: TryOptions): Promise<number> {
  let raw: Buffer;
  try {
    raw = readFileSync(options.message);
  } catch (error) {
    process.stderr.write(
      `postlua: ${options.message}: cannot be read (${(error as NodeJS.ErrnoException).code})\n`,
    );
    return 2;
  }
  const unreadable = unreadableDirectory(config.scripts_dir);
  if (unreadable !== undefined) {
    process.stderr.write(`postlua: ${unreadable}; name the scripts' directory with --scripts\n`);
    return 2;
  }
  const play = new Play(config, options);
  let outcome: object | undefined;
  try {
    outcome = options.notice ? await play.runNotice(raw) : await play.run(raw);
  } finally {
    await play.close();
  }
  if (outcome === undefined) {
    process.stderr.write(`postlua: ${options.message}: no notice of Postfix's; try --from double-bounce\n`);
    return 2;
  }
  process.stdout.write(options.json ? `${JSON.stringify(outcome, undefined, 2)}\n` : "");
  return play.errors > 0 ? 1 : 0;
}

class Play {
  errors = 0;
  readonly #config: Config;
  readonly #options: TryOptions;
  readonly #steps: unknown[] = [];
  readonly #printed: string[] = [];
  #calls: CallTrace[] = [];
  /** Scripts of which a callback was called. */
  readonly #asked = new Set<string>();
  /** Scripts and callbacks that were passed over, and why. */
  #notAsked: readonly string[] = [];
  /** What became of users' mail, in the step that is played. */
  #routing: string[] = [];
  /** What became of the signature, in the step that is played. */
  #signature = "";
  /** What look-ups in block lists said, likewise. */
  #blockLists = "";
  #directory: Directory | undefined;

  constructor(config: Config, options: TryOptions) {
    this.#config = config;
    this.#options = options;
  }

  async run(raw: Buffer): Promise<object> {
    const { from, to, ip, helo, user } = this.#options;
    const service = await this.#service();
    await this.#keywords(service, ip);
    const session = new SmtpSession(service, { address: ip, port: 0, hostname: "" }, service.newSessionId());
    const refused = (verdict: Verdict) => verdict.kind === "refuse";
    let verdict = this.#step("connect", await session.start());
    let edits: readonly Edit[] = [];
    const recipients: string[] = [];
    if (!refused(verdict)) verdict = this.#step(`EHLO ${helo}`, await session.helo(encodeText(helo), true));
    if (!refused(verdict)) {
      const args = [`<${from}>`, `SIZE=${raw.length}`];
      verdict = this.#step(`MAIL FROM:${args.join(" ")}`, await session.mailFrom(args.map(encodeText), user));
    }
    if (!refused(verdict)) {
      for (const address of to) {
        const answer = this.#step(
          `RCPT TO:<${address}>`,
          await session.rcptTo([encodeText(`<${address}>`)], undefined),
        );
        if (!refused(answer)) recipients.push(address);
      }
      if (recipients.length > 0) {
        verdict = this.#step("DATA", await session.dataStart());
        if (!refused(verdict)) {
          const store = MessageStore.fromBytes(raw);
          const result = await session.message(store, store.size);
          edits = result.edits;
          verdict = this.#step("end of message", result.verdict, edits);
        }
      }
    }
    await session.quit();
    this.#step("QUIT", CONTINUE);
    await session.end();
    this.#step("disconnect", CONTINUE);
    this.#showUnasked(service, recipients.length > 0 && !refused(verdict));
    const nobody = recipients.length === 0 && !refused(verdict);
    return this.#report(nobody ? "no recipient accepted" : verdictText(verdict), recipients, edits);
  }

  #showUnasked(service: Service, delivered: boolean): void {
    const notes = unasked(this.#config.scripts_dir, this.#asked, delivered);
    const state = service.script(SMTPSVR_FILE);
    if (state.kind === "loaded" && state.loaded.callbacks.has("DoRoute")) {
      notes.unshift("DoRoute: the policy service alone asks it");
    }
    this.#notAsked = notes;
    if (this.#options.json) return;
    for (const note of notes) process.stdout.write(`not asked: ${note}\n`);
  }

  /** What Postfix would ask before the connection, if the script has an answer. */
  async #keywords(service: Service, ip: string): Promise<void> {
    const { ehlo } = this.#config.facts;
    const removed = await removedKeywords(service, ehlo, ip, service.newSessionId(), new Set());
    if (this.#calls.length > 0)
      this.#step(`EHLO keywords not offered: ${removed.join(" ") || "none"}`, CONTINUE);
  }

  /** @returns undefined when the message is no notice */
  async runNotice(raw: Buffer): Promise<object | undefined> {
    const sender = encodeText(this.#options.from);
    const recipients = this.#options.to.map(encodeText);
    const store = MessageStore.fromBytes(raw);
    const notice = readNotice(store, sender);
    if (notice === undefined) return undefined;
    const service = await this.#service();
    const id = service.newSessionId();
    const decisions = new Decisions(service, id);
    const globals = { SessionID: id, QueueID: "" };
    const mail = { sender, recipients, store, notice };
    const { verdict, edits } = await processNotice(service, mail, { globals }, decisions);
    this.#step(`notice (${notice.kind})`, verdict, edits);
    return this.#report(verdictText(verdict), this.#options.to, edits);
  }

  #report(verdict: string, recipients: readonly string[], edits: readonly Edit[]): object {
    return {
      verdict,
      recipients,
      edits: edits.map(jsonEdit),
      steps: this.#steps,
      printed: this.#printed.join(""),
      errors: this.errors,
      not_asked: this.#notAsked,
    };
  }

  async close(): Promise<void> {
    await this.#directory?.close();
  }

  async #service(): Promise<Service> {
    const log = createLog({ level: "warn", stream: process.stderr, text: true });
    const directory = makeDirectory(this.#config, log);
    this.#directory = directory;
    const output: ScriptOutput = {
      print: (text) => {
        if (this.#options.json) this.#printed.push(decodeText(text));
        else process.stdout.write(decodeText(text).replace(/^(?=.)/gm, "    print: "));
      },
      error: (error, place) => {
        this.errors++;
        if (this.#options.json) return;
        process.stdout.write(decodeText(errorEntry(error, place)).replace(/^(?=.)/gm, "    error: "));
      },
    };
    const decisions: Log = {
      ...log,
      info: (event, { callback, result, detail } = {}) => {
        if (event === "decision" && callback === "signature") this.#signature = `${result} ${detail}`.trim();
        if (event === "decision" && (callback === "routing" || callback === "MainDoRouting")) {
          this.#routing.push(decodeText(`${result} ${detail === "" ? "" : `(${detail})`}`.trim()));
        }
        if (event === "decision" && callback === LOOK_UP) this.#blockLists = `${result} ${detail}`.trim();
      },
    };
    const modules = helperModules(this.#config, log, directory);
    const service = new Service(this.#config, modules, decisions, output, {
      directory,
      trace: (call) => {
        this.#calls.push(call);
        this.#asked.add(call.script);
        if (!this.#options.json) process.stdout.write(showCall(call));
      },
    });
    await service.load();
    return service;
  }

  #step(command: string, verdict: Verdict, edits: readonly Edit[] = []): Verdict {
    const calls = this.#calls;
    this.#calls = [];
    const text = verdictText(verdict);
    const signature = this.#signature;
    this.#signature = "";
    const routing = this.#routing;
    this.#routing = [];
    const blockLists = this.#blockLists;
    this.#blockLists = "";
    this.#steps.push({
      command,
      verdict: text,
      ...(routing.length === 0 ? {} : { routing }),
      ...(signature === "" ? {} : { signature }),
      ...(blockLists === "" ? {} : { block_lists: blockLists }),
      calls: calls.map(({ callback, args, results, ms, error }) => ({
        callback,
        args: args.map(jsonValue),
        results: results.map(jsonValue),
        ms,
        failed: error !== undefined,
      })),
    });
    if (!this.#options.json) {
      process.stdout.write(`${command}: ${text}\n`);
      if (blockLists !== "") process.stdout.write(`  block lists: ${blockLists}\n`);
      for (const line of routing) process.stdout.write(`  routing: ${line}\n`);
      if (signature !== "") process.stdout.write(`  signature: ${signature}\n`);
      for (const edit of edits) process.stdout.write(`  edit: ${showEdit(edit)}\n`);
    }
    return verdict;
  }
}

function showCall({ callback, args, results, ms, error }: CallTrace): string {
  const given = args.map((arg) => showValue(arg)).join(", ");
  if (error !== undefined) return `  ${callback}(${given})\n    failed after ${ms.toFixed(2)} ms\n`;
  const returned = results.length === 0 ? "nothing" : results.map((result) => showValue(result)).join(", ");
  return `  ${callback}(${given})\n    returned ${returned} in ${ms.toFixed(2)} ms\n`;
}
