/** A store of users on SQLite, and sessions whose mail is routed by it; no Postfix, so addresses are the store's alone. */
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { Scratch } from "../../postfix/scratch.ts";
import { encodeText } from "../../src/bytes.ts";
import { type Config, completeConfig, parseConfig } from "../../src/config/load.ts";
import type { Directory } from "../../src/directory/directory.ts";
import type { Store } from "../../src/directory/store.ts";
import type { Log } from "../../src/log.ts";
import type { Edit } from "../../src/message/edit.ts";
import { MessageStore } from "../../src/message/store.ts";
import type { ScriptState } from "../../src/scripts/loader.ts";
import { makeDirectory } from "../../src/serve/directory.ts";
import { helperModules } from "../../src/serve/helpers.ts";
import { Service } from "../../src/serve/service.ts";
import { SmtpSession } from "../../src/smtp/session.ts";
import type { Verdict } from "../../src/smtp/verdict.ts";

export interface Result {
  readonly verdict: Verdict;
  readonly edits: readonly Edit[];
  /** "-joe@x" and "+joe@x NOTIFY=NEVER". */
  readonly changes: readonly string[];
}

export interface SentMail {
  readonly from?: string;
  /** As after RCPT TO:, such as "<joe@x> NOTIFY=NEVER". */
  readonly to: readonly string[];
  readonly header?: string;
}

export class Place implements AsyncDisposable {
  readonly scratch: Scratch;
  readonly directory: Directory;
  readonly service: Service;
  readonly #userScripts = new Map<string, Promise<ScriptState>>();
  /** Whether users' scripts are read once, as workers have them, instead of for each message. */
  keepsScripts = false;
  /** Whether sessions route. */
  routing = true;
  readonly decisions: string[] = [];
  readonly warnings: string[] = [];

  private constructor(scratch: Scratch, config: Config) {
    this.scratch = scratch;
    const log: Log = {
      error: () => {},
      debug: () => {},
      warn: (_event, { problem } = {}) => this.warnings.push(String(problem)),
      info: (event, { callback, result, detail } = {}) => {
        if (event === "decision") this.decisions.push(`${callback}: ${result} ${detail}`.trimEnd());
      },
    };
    const directory = makeDirectory(config, log);
    const output = { print: () => {}, error: () => {} };
    this.directory = directory;
    this.service = new Service(config, helperModules(config, log, directory), log, output, { directory });
  }

  static async open(scripts: Readonly<Record<string, string>> = {}, toml = ""): Promise<Place> {
    const scratch = Scratch.create();
    const path = (...names: string[]) => join(scratch.path, ...names);
    for (const name of ["scripts", "data", "log"]) mkdirSync(path(name));
    for (const [name, text] of Object.entries(scripts)) {
      mkdirSync(dirname(path("scripts", name)), { recursive: true });
      writeFileSync(path("scripts", name), text);
    }
    const text = `scripts_dir = "${path("scripts")}"
data_dir = "${path("data")}"
log_dir = "${path("log")}"
local_networks = ["127.0.0.1"]
${toml}
[store]
database = "sqlite:${path("data", "postlua.db")}"
[postfix]
config_dir = "${path("no-postfix")}"
`;
    const config = await completeConfig(parseConfig(text, "test.toml"), "test.toml");
    const place = new Place(scratch, config);
    await place.service.load();
    return place;
  }

  get store(): Store {
    return this.directory.store;
  }

  /** Adds a user with one address, NAME@users.test. */
  async user(name: string, settings: Readonly<Record<string, string>> = {}): Promise<void> {
    await this.store.addUser({ name, addresses: [`${name}@users.test`] });
    for (const [key, value] of Object.entries(settings)) {
      await this.store.setUserSetting(name, key, value, { create: true });
    }
  }

  async send({ from = "<friend@elsewhere.test>", to, header = "Subject: x\r\n" }: SentMail): Promise<Result> {
    const client = { address: "127.0.0.1", port: 1, hostname: "" };
    const { service } = this;
    const services = service.with({
      scripts: this.service.loaded,
      userScript: (user) => this.#userScript(user),
      uses: { routing: this.routing, signatures: this.routing },
    });
    const session = new SmtpSession(services, client, service.newSessionId());
    await session.start();
    await session.mailFrom([from], "");
    for (const recipient of to) await session.rcptTo(encodeText(recipient).split(" "), undefined);
    const store = MessageStore.fromBytes(Buffer.from(`${header}\r\nHello\r\n`, "latin1"));
    const { verdict, edits } = await session.message(store, store.size);
    await session.end();
    const changes = edits.flatMap((edit) => {
      if (edit.kind === "deleteRecipient") return [`-${edit.address}`];
      if (edit.kind === "addRecipient") return [`+${edit.address} ${edit.parameters}`.trimEnd()];
      return [];
    });
    return { verdict, edits, changes };
  }

  #userScript(user: string): Promise<ScriptState> {
    if (!this.keepsScripts) return this.service.userScript(user);
    const state = this.#userScripts.get(user) ?? this.service.userScript(user);
    this.#userScripts.set(user, state);
    return state;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.directory.close();
    this.scratch.remove();
  }
}
