/** A real Postfix with postlua under load, and ways to hurt it. */

import { request } from "node:http";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { SmtpClient } from "../../postfix/smtp-client.ts";
import type { ReloadReport, Status } from "../../src/serve/status.ts";
import { Served, type ServedOptions } from "../postfix/harness.ts";
import { type Account, account, assertNothingLost, enter } from "./ledger.ts";
import { Load, type LoadOptions } from "./load.ts";

/** Refuses what it must, stamps what it lets pass, and prints. */
export const SCRIPT = `
function DoRCPTTO(data, recipient)
  if string.find(recipient, "^refused") then return "550 5.7.1 refused by script" end
end
function ProcessMessage(sender, subject, recipients, actions)
  print("message from " .. sender)
  if subject == "bad" then
    actions.Delete, actions.Ignore, actions.Reason = 1, 1, "554 5.7.1 bad by script"
  else
    actions.HeaderModifiers = { "X-Checked: " .. SessionID }
  end
  return actions
end
`;

export const LONG = process.env.POSTLUA_LONG !== undefined;

export class Field {
  readonly served: Served;
  readonly #loads: Load[] = [];

  private constructor(served: Served) {
    this.served = served;
  }

  static async start(
    options: Partial<ServedOptions> & { readonly script?: string; readonly bad?: boolean } = {},
  ) {
    const { script = SCRIPT, bad = false, ...rest } = options;
    return new Field(
      await Served.start({
        scripts: { "SMTPSVR.LUA": script },
        workers: 2,
        ...(bad ? { main: join(import.meta.dirname, "bad-main.ts") } : {}),
        ...rest,
      }),
    );
  }

  load(options: Partial<LoadOptions> = {}): Load {
    const load = new Load({ port: this.served.postfix.port, clients: 8, ...options });
    this.#loads.push(load);
    return load;
  }

  /** Ends the load, waits until all is delivered, and counts. */
  async settle(load: Load, fault: string, note: string): Promise<Account> {
    await load.finish();
    await this.served.postfix.flush();
    await this.served.postfix.settled();
    const found = account(load.sent, this.served.sink.messages);
    enter(fault, found, note);
    assertNothingLost(found);
    return found;
  }

  /** One session up to RCPT. @returns the first reply that refuses, "" when none does */
  async provoke(sender: string, recipient = "user@example.test"): Promise<string> {
    const { client } = await SmtpClient.connect({ port: this.served.postfix.port, timeoutMs: 120_000 });
    try {
      for (const command of ["EHLO load.test", `MAIL FROM:<${sender}>`, `RCPT TO:<${recipient}>`]) {
        const reply = await client.command(command);
        if (reply.code >= 400) return reply.text;
      }
      return "";
    } finally {
      client.close();
    }
  }

  status(): Promise<Status> {
    return this.#ask("GET", "/status") as Promise<Status>;
  }

  reload(): Promise<ReloadReport> {
    return this.#ask("POST", "/reload") as Promise<ReloadReport>;
  }

  #ask(method: string, path: string): Promise<unknown> {
    const { control } = this.served.postlua;
    return new Promise((resolve, reject) => {
      const sent = request({ socketPath: control, method, path }, (response) => {
        let text = "";
        response.on("data", (chunk) => {
          text += chunk;
        });
        response.on("end", () => resolve(JSON.parse(text)));
      });
      sent.on("error", reject);
      sent.end();
    });
  }

  async workers(): Promise<number[]> {
    return (await this.status()).workers.filter(({ state }) => state === "serving").map(({ pid }) => pid);
  }

  /** Log lines of one kind so far. */
  lines(event: string) {
    return this.served.postlua.lines.filter((line) => line.event === event);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const load of this.#loads) load.abort();
    await this.served[Symbol.asyncDispose]();
  }
}

/** Kills a process if it is still there. */
export function signal(pid: number | undefined, name: NodeJS.Signals): boolean {
  try {
    return pid !== undefined && process.kill(pid, name);
  } catch {
    return false;
  }
}

/** Does something every `everyMs` for `forMs`. @returns how often */
export async function repeat(everyMs: number, forMs: number, action: () => unknown): Promise<number> {
  let times = 0;
  for (const end = performance.now() + forMs; performance.now() < end; times++) {
    await action();
    await delay(everyMs);
  }
  return times;
}
