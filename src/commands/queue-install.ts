/**
 * `postlua queue install` and `postlua queue uninstall`: shows what changes in
 * main.cf and master.cf, asks, does it, and takes it back. Runs no script.
 *
 * Neither leaves mail stranded: install wants a worker that will send what it
 * parks, uninstall has Postfix send what is parked.
 */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline/promises";
import type { Config } from "../config/load.ts";
import { words } from "../config/postconf.ts";
import { workerFiles } from "../queue/files.ts";
import { type Change, installPlan, type Plan } from "../queue/install-plan.ts";
import { lockHolder } from "../queue/lock.ts";
import { applyPlan, isRunning, missingRight, readRecord, readState, undo } from "../queue/main-cf.ts";
import { PostfixError, PostfixQueue, readSettings } from "../queue/postfix.ts";
import { isQueueId } from "../queue/queue-id.ts";
import { EX_CONFIG, EX_FAILED, EX_NOPERM } from "./queue-codes.ts";

export interface InstallOptions {
  readonly configDirectory: string;
  readonly dryRun: boolean;
  readonly yes: boolean;
}

export const UNIT = "postlua-queue.service";

const out = (line: string) => void process.stdout.write(`${line}\n`);

function refuse(sentence: string, code = EX_FAILED): number {
  process.stderr.write(`postlua: ${sentence}\n`);
  return code;
}

/** An instance that is none, and programs of Postfix that fail, as sentences. */
export async function reported(work: Promise<number>): Promise<number> {
  try {
    return await work;
  } catch (error) {
    if (!(error instanceof PostfixError)) throw error;
    return refuse(error.message, EX_CONFIG);
  }
}

/** @returns exit code: 0 done or nothing to do, 1 refused or failed, 77 no right to, 78 no such instance */
export async function queueInstall(
  config: Pick<Config, "data_dir">,
  options: InstallOptions & { readonly transports: readonly string[]; readonly withoutWorker: boolean },
): Promise<number> {
  const { configDirectory, dryRun } = options;
  const settings = await readSettings({ configDirectory });
  const plan = installPlan(await readState(configDirectory), options.transports);
  if (plan.problem !== "") return refuse(plan.problem, EX_CONFIG);
  const steps = plan.parameters.length + plan.services.length;
  if (steps === 0) {
    out(`${configDirectory}: nothing to do; ${plan.transports.join(", ")} wait for the queue worker already`);
    return 0;
  }
  if (readRecord(configDirectory) !== undefined) {
    return refuse(`${configDirectory} was set up before; \`postlua queue uninstall\` first`);
  }
  show(configDirectory, plan);
  const holder = lockHolder(workerFiles(config.data_dir, settings.queueDirectory).lock);
  const worker = holder?.doing === "--watch" ? `process ${holder.pid}` : undefined;
  if (dryRun) return 0;
  const missing = missingRight(configDirectory);
  if (missing !== undefined) return refuse(missing, EX_NOPERM);
  if (worker === undefined && !options.withoutWorker) {
    return refuse(
      `outgoing mail would wait, and no queue worker runs that would send it: \`systemctl enable --now ${UNIT}\` first, or say --without-worker if something else runs \`postlua queue --once\``,
    );
  }
  if (!(await agreed(options.yes))) return refuse("nothing was changed");
  await applyPlan(configDirectory, plan, new Date());
  out(
    `done: outgoing mail waits for ${worker === undefined ? "`postlua queue`" : `the queue worker (${worker})`}`,
  );
  out("`postlua queue uninstall` takes it back; `postqueue -f` sends everything at any time");
  return 0;
}

/** @returns exit code: as queueInstall */
export async function queueUninstall({ configDirectory, dryRun, yes }: InstallOptions): Promise<number> {
  const queue = await PostfixQueue.open({ configDirectory });
  const record = readRecord(configDirectory);
  if (record === undefined) {
    const { deferTransports } = queue.settings;
    const how =
      deferTransports.length === 0
        ? "and no transport is parked"
        : `but defer_transports = ${deferTransports.join(", ")}; take that out by hand if it is the worker's, then \`postfix reload\` and \`postqueue -f\``;
    return refuse(`${configDirectory} was not set up by \`postlua queue install\`, ${how}`);
  }
  out(`${configDirectory}, set up ${record.installed}:`);
  for (const change of [...record.parameters, ...record.services]) out(backLine(change as Change));
  const waiting = deferredMail(queue.queueDirectory);
  out(`then Postfix tries to deliver what is deferred: ${waiting} message${waiting === 1 ? "" : "s"}`);
  if (dryRun) return 0;
  const missing = missingRight(configDirectory);
  if (missing !== undefined) return refuse(missing, EX_NOPERM);
  if (!(await agreed(yes))) return refuse("nothing was changed");
  const left = await undo(configDirectory, record);
  for (const what of left) out(`left as it is, changed since: ${what}`);
  if (await isRunning(configDirectory)) {
    await queue.flush();
    out("done: Postfix delivers by itself again");
  } else {
    out("done; Postfix does not run: it delivers what waits when it starts");
  }
  const parked = words((await readState(configDirectory)).effective.get("defer_transports"));
  if (parked.length > 0) out(`still parked, not by this command: ${parked.join(", ")}`);
  out(`the worker has nothing to do any more: \`systemctl disable --now ${UNIT}\``);
  return 0;
}

function show(configDirectory: string, { parameters, services, notes }: Plan): void {
  out(`${configDirectory}/main.cf:`);
  for (const change of parameters) out(line(change));
  if (services.length > 0) {
    out(`${configDirectory}/master.cf:`);
    for (const { name, after } of services) out(`  ${name.replace("/", " ")} ${after}`);
  }
  for (const note of notes) out(`note: ${note}`);
}

function line({ name, before, after }: Change): string {
  return `  ${name} = ${after}${before === undefined ? "" : `   (was: ${before})`}`;
}

function backLine({ name, before }: Change): string {
  return before === undefined ? `  without ${name}` : `  ${name} = ${before}`;
}

async function agreed(yes: boolean): Promise<boolean> {
  if (yes) return true;
  if (!process.stdin.isTTY || !process.stdout.isTTY) {
    process.stderr.write("postlua: this is no terminal: say --yes, or look at it first with --dry-run\n");
    return false;
  }
  const prompt = createInterface({ input: process.stdin, output: process.stdout });
  try {
    return /^y(es)?$/i.test((await prompt.question("Change it? [y/N] ")).trim());
  } finally {
    prompt.close();
  }
}

/** By names alone: no file is read. */
function deferredMail(queueDirectory: string): number {
  try {
    const names = readdirSync(join(queueDirectory, "deferred"), { recursive: true, encoding: "latin1" });
    return names.filter((name) => isQueueId(name.split("/").at(-1) ?? "")).length;
  } catch {
    return 0;
  }
}
