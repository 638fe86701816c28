/** A running `postlua serve` without a Postfix, milter clients for it, and its control socket; gone after the test. */
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { Scratch } from "../../postfix/scratch.ts";
import { type LogLine, PostluaService, type ServiceOptions } from "../../postfix/service.ts";
import { MilterClient } from "../../src/milter/client.ts";
import type { MilterReply } from "../../src/milter/reply.ts";
import type { ReloadReport, Status } from "../../src/serve/status.ts";

const CLIENT = { hostname: "client.test", family: "inet", address: "192.0.2.1", port: 40000 } as const;
const BAD_MAIN = join(import.meta.dirname, "../fault/bad-main.ts");
const DEADLINE_MS = 30_000;

export interface StartOptions extends Partial<ServiceOptions> {
  /** The text of SMTPSVR.LUA. */
  readonly script: string;
  /** Something else lies where the control socket should be. */
  readonly occupyControl?: boolean;
  /** Scripts have the helpers of test/fault/bad-worker.ts. */
  readonly bad?: boolean;
}

export class Running {
  readonly service: PostluaService;
  readonly #clients: MilterClient[] = [];

  constructor(service: PostluaService) {
    this.service = service;
  }

  /** A negotiated milter connection. */
  async client(): Promise<MilterClient> {
    const client = await MilterClient.connect(this.service.milter);
    this.#clients.push(client);
    await client.negotiate();
    return client;
  }

  /** The first reply that is not "continue" up to one RCPT, in a session of its own. */
  async rcpt(recipient: string, sender = "<a@b.test>"): Promise<string> {
    const client = await this.client();
    const steps = [
      () => client.connect(CLIENT),
      () => client.helo("client.test"),
      () => client.mail(sender),
      () => client.rcpt(`<${recipient}>`),
    ];
    let text = "";
    for (const step of steps) {
      text = replyText(await step());
      if (text !== "continue") break;
    }
    client.quit();
    return text;
  }

  /** A session up to MAIL. */
  async session(): Promise<MilterClient> {
    const client = await this.client();
    await client.connect(CLIENT);
    await client.helo("client.test");
    await client.mail("<a@b.test>");
    return client;
  }

  status(): Promise<Status> {
    return this.ask("GET", "/status") as Promise<Status>;
  }

  reload(): Promise<ReloadReport> {
    return this.ask("POST", "/reload") as Promise<ReloadReport>;
  }

  async ask(method: string, path: string): Promise<unknown> {
    return JSON.parse(await this.text(method, path));
  }

  text(method: string, path: string): Promise<string> {
    return new Promise((resolve, reject) => {
      const sent = request({ socketPath: this.service.control, method, path }, (response) => {
        let text = "";
        response.on("data", (chunk) => {
          text += chunk;
        });
        response.on("end", () => resolve(text));
      });
      sent.on("error", reject);
      sent.end();
    });
  }

  /** Process IDs of the workers that serve. */
  async workers(): Promise<number[]> {
    const { workers } = await this.status();
    return workers.filter(({ state }) => state === "serving").map(({ pid }) => pid);
  }

  /** Log lines of one kind so far. */
  lines(event: string): LogLine[] {
    return this.service.lines.filter((line) => line.event === event);
  }

  /** Resolves with the `nth` line of a kind. */
  async line(event: string, nth = 1): Promise<LogLine> {
    await this.service.waitFor(() => this.lines(event).length >= nth);
    return this.lines(event)[nth - 1] as LogLine;
  }

  close(): void {
    for (const client of this.#clients) client.destroy();
  }
}

/** Starts the service; it is stopped when the test is over. */
export async function start(context: TestContext, options: StartOptions): Promise<Running> {
  const scratch = Scratch.create();
  const { script, bad = false, occupyControl = false, ...rest } = options;
  const service = new PostluaService({
    scratch,
    configDirectory: scratch.path,
    scripts: { "SMTPSVR.LUA": script },
    ...(bad ? { main: BAD_MAIN } : {}),
    ...rest,
  });
  const running = new Running(service);
  context.after(async () => {
    const { passed } = context as TestContext & { readonly passed: boolean };
    if (!passed) for (const line of service.lines) context.diagnostic(JSON.stringify(line));
    running.close();
    await service.stop();
    scratch.remove();
  });
  if (occupyControl) writeFileSync(service.control, "");
  await service.start();
  return running;
}

/** "continue", "550 5.7.1 text" and the like. */
export function replyText(reply: MilterReply): string {
  if (reply.kind !== "replycode") return reply.kind;
  return [reply.code, reply.enhanced, reply.lines.join("\n")].filter((part) => part !== "").join(" ");
}

/** Polls until `wanted` gives something. */
export async function until<T>(
  wanted: () => Promise<T | undefined | false> | T | undefined | false,
): Promise<T> {
  for (const end = Date.now() + DEADLINE_MS; ; ) {
    const found = await wanted();
    if (found !== undefined && found !== false) return found;
    if (Date.now() > end) throw new Error(`not within ${DEADLINE_MS} ms: ${wanted}`);
    await delay(10);
  }
}

/** The processes that `pid` has started. */
export function children(pid: number): number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .filter((name) => parentOf(name) === pid)
    .map(Number);
}

function parentOf(pid: string): number {
  try {
    return Number(/^PPid:\s*(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "latin1"))?.[1]);
  } catch {
    return 0;
  }
}
