/** A private Postfix that parks outgoing mail, and the worker on it, in one process: what tests of the worker share. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { duplexPair } from "node:stream";
import type { TestContext } from "node:test";
import type { Parameters } from "../../postfix/layout.ts";
import { PrivatePostfix } from "../../postfix/private-instance.ts";
import { type CheckActions, type Checker, type CheckQuestion, UNCHANGED } from "../../src/queue/actions.ts";
import { QueueAgent } from "../../src/queue/agent.ts";
import { QueueClient } from "../../src/queue/client.ts";
import { headerData, headerLines } from "../../src/queue/header.ts";
import { Journal } from "../../src/queue/journal.ts";
import { PostfixQueue } from "../../src/queue/postfix.ts";
import { DEFAULTS, type WorkerSettings } from "../../src/queue/settings.ts";
import { QueueWorker } from "../../src/queue/worker.ts";
import { keptLog, type Mail, parked, send } from "./harness.ts";
import { QuickSink, type QuickSinkOptions } from "./quick-sink.ts";

export type Rule = (question: CheckQuestion) => Partial<CheckActions>;

/** A checker that is a function; keeps what it was asked. */
export function checker(rule: Rule): Checker & { readonly asked: CheckQuestion[] } {
  const asked: CheckQuestion[] = [];
  return {
    asked,
    check: async (question) => {
      asked.push(question);
      return { ...UNCHANGED, ...rule(question) };
    },
    close: async () => {},
  };
}

/** Priority as the header X-Priority says. */
export const byHeader: Rule = (question) => ({ priority: Number(header(question, "x-priority") ?? 50) });

/** Priority, and X-Force (retry or last), as the header says. */
export const asTold: Rule = (question) => {
  const force = header(question, "x-force");
  return { ...byHeader(question), forceRetry: force === "retry", forceLastTry: force === "last" };
};

export function header(question: CheckQuestion, name: string): string | undefined {
  return headerData(headerLines(question.file.header)).get(name);
}

export interface YardOptions {
  readonly sink?: QuickSinkOptions;
  readonly mainCf?: Parameters;
  readonly masterCf?: Parameters;
  readonly settings?: Partial<WorkerSettings>;
  readonly rule?: Rule;
  readonly now?: () => number;
  /** Directory of the journal. */
  readonly directory?: string;
}

export interface Staff {
  readonly worker: QueueWorker;
  readonly journal: Journal;
  readonly checker: ReturnType<typeof checker>;
  readonly client: QueueClient;
  readonly log: ReturnType<typeof keptLog>;
  close(): Promise<void>;
}

export interface Yard {
  readonly sink: QuickSink;
  readonly postfix: PrivatePostfix;
  readonly journalPath: string;
  /** Sends mail and waits until all of the queue is parked. */
  park(mails: readonly Mail[]): Promise<string[]>;
  /** A worker on it; a further one takes the journal of the one before. */
  staff(options?: Pick<YardOptions, "rule" | "settings" | "now">): Promise<Staff>;
}

export async function yard(context: TestContext, options: YardOptions = {}): Promise<Yard> {
  const sink = await QuickSink.start(options.sink);
  const postfix = await PrivatePostfix.start({
    sinkPort: sink.port,
    mainCf: { defer_transports: "smtp, relay", enable_long_queue_ids: "yes", ...options.mainCf },
    masterCf: options.masterCf ?? {},
  });
  const directory = options.directory ?? mkdtempSync(join(tmpdir(), "postlua-journal-"));
  const journalPath = join(directory, "queue.sqlite");
  const open = new Set<Staff>();
  context.after(async () => {
    for (const staff of open) await staff.close();
    await postfix.remove();
    await sink.stop();
    if (options.directory === undefined) rmSync(directory, { recursive: true });
  });
  return {
    sink,
    postfix,
    journalPath,
    park: async (mails) => {
      const ids = await send(postfix.port, mails);
      await parked(postfix, 0);
      return ids;
    },
    staff: async (other = {}) => {
      const { rule = byHeader, settings, now } = { ...options, ...other };
      const queue = await PostfixQueue.open(postfix);
      const [near, far] = duplexPair();
      const agent = new QueueAgent(queue, far, keptLog());
      const client = new QueueClient(near);
      const log = keptLog();
      const asking = checker(rule);
      const clock = now === undefined ? {} : { now };
      const journal = new Journal({ path: journalPath, log, ...clock });
      const worker = await QueueWorker.create({
        queue: client,
        checker: asking,
        journal,
        settings: { ...DEFAULTS, ...settings },
        log,
        ...clock,
      });
      const staff: Staff = {
        worker,
        journal,
        checker: asking,
        client,
        log,
        close: async () => {
          open.delete(staff);
          client.close();
          await agent.ended;
          journal.close();
        },
      };
      open.add(staff);
      return staff;
    },
  };
}

/** Mail with a priority for `byHeader`. */
export function mail(subject: string, to: string, priority = 50, size = 0): Mail {
  const body = "x"
    .repeat(70)
    .concat("\n")
    .repeat(Math.ceil(size / 71));
  return {
    to: [`<${to}>`],
    message: `Subject: ${subject}\nX-Priority: ${priority}\n\nb\n${body}`,
  };
}

/** Numbers from 0 in an order that looks random and is the same each time. */
export function shuffled(count: number): number[] {
  const numbers = Array.from({ length: count }, (_, i) => i);
  let seed = 12_345;
  for (let i = count - 1; i > 0; i--) {
    seed = (seed * 1_103_515_245 + 12_345) % 2_147_483_648;
    const other = seed % (i + 1);
    [numbers[i], numbers[other]] = [numbers[other] as number, numbers[i] as number];
  }
  return numbers;
}
