/**
 * main.cf and master.cf of an instance: read, changed by Postfix's own
 * postconf, and put back as they were. A record beside them holds what was
 * there before, from before the first change on, so that a change that broke
 * off half-way can be taken back, too.
 *
 * Files that nobody has touched since come back byte by byte; else each value
 * that is still ours is put back by itself, and the others are left alone.
 */
import { execFile } from "node:child_process";
import {
  accessSync,
  chmodSync,
  chownSync,
  constants,
  existsSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { parameterValues, words } from "../config/postconf.ts";
import { PLAN_PARAMETERS, type Plan, type PostfixState } from "./install-plan.ts";
import { PostfixError } from "./postfix.ts";

const RECORD_FILE = "postlua-queue.json";
const TIMEOUT_MS = 60_000;
const SETTLED_S = 10;

const CHANGE = z.strictObject({ name: z.string(), before: z.string().optional(), after: z.string() });
const FILE = z.strictObject({ before: z.string(), after: z.string().optional() });
const RECORD = z.strictObject({
  installed: z.string(),
  parameters: z.array(CHANGE),
  services: z.array(CHANGE),
  main: FILE,
  master: FILE,
});

/** What an installation changed; texts of files are byte strings. */
export type InstallRecord = z.infer<typeof RECORD>;

/** The record of an installation; undefined when there is none. @throws PostfixError when it cannot be read */
export function readRecord(configDirectory: string): InstallRecord | undefined {
  const path = join(configDirectory, RECORD_FILE);
  if (!existsSync(path)) return undefined;
  try {
    return RECORD.parse(JSON.parse(readFileSync(path, "utf8")));
  } catch (error) {
    throw new PostfixError(`${path} cannot be read (${(error as Error).message}); it says what to undo`);
  }
}

/** What stops this process from changing an instance's configuration; undefined when nothing does. */
export function missingRight(configDirectory: string): string | undefined {
  if (process.getuid?.() !== 0) return "only root can change Postfix's configuration and reload it";
  for (const path of [
    configDirectory,
    join(configDirectory, "main.cf"),
    join(configDirectory, "master.cf"),
  ]) {
    try {
      accessSync(path, constants.W_OK);
    } catch (error) {
      return `${path} cannot be written (${(error as NodeJS.ErrnoException).code})`;
    }
  }
  return undefined;
}

/** @throws PostfixError */
export async function readState(configDirectory: string): Promise<PostfixState> {
  const postconf = (...args: string[]) => run("postconf", configDirectory, args);
  const [explicit, effective, services] = await Promise.all([
    postconf("-n"),
    postconf("-x", ...PLAN_PARAMETERS),
    postconf("-M"),
  ]);
  return {
    explicit: parameterValues(explicit),
    effective: parameterValues(effective),
    services: new Map(
      services
        .split("\n")
        .filter((line) => line.trim() !== "")
        .map((line) => {
          const [name = "", type = "", ...fields] = line.trim().split(/\s+/);
          return [`${name}/${type}`, fields.join(" ")];
        }),
    ),
  };
}

/** Carries a plan out and has Postfix read it. What fails is taken back. @throws PostfixError */
export async function applyPlan(configDirectory: string, plan: Plan, now: Date): Promise<void> {
  const files = { main: join(configDirectory, "main.cf"), master: join(configDirectory, "master.cf") };
  const record: InstallRecord = {
    installed: now.toISOString(),
    parameters: plan.parameters.map((one) => ({ ...one })),
    services: plan.services.map((one) => ({ ...one })),
    main: { before: bytes(files.main) },
    master: { before: bytes(files.master) },
  };
  writeRecord(configDirectory, record);
  try {
    if (plan.services.length > 0) {
      const lines = plan.services.map(({ name, after }) => `${name}=${name.replace("/", " ")} ${after}`);
      await edit(configDirectory, ["-M", ...lines]);
    }
    if (plan.parameters.length > 0) {
      const lines = plan.parameters.map(({ name, after }) => `${name}=${after}`);
      await edit(configDirectory, ["-e", ...lines]);
    }
    record.main.after = bytes(files.main);
    record.master.after = bytes(files.master);
    writeRecord(configDirectory, record);
    await reload(configDirectory);
  } catch (error) {
    await undo(configDirectory, record);
    throw error;
  }
}

/**
 * Puts back what an installation changed and has Postfix read it.
 *
 * @returns what was left alone, because somebody changed it since
 * @throws PostfixError; the record then stays
 */
export async function undo(configDirectory: string, record: InstallRecord): Promise<string[]> {
  const left: string[] = [];
  const main = join(configDirectory, "main.cf");
  const master = join(configDirectory, "master.cf");
  if (bytes(main) === record.main.after) replaceFile(main, record.main.before);
  else left.push(...(await undoParameters(configDirectory, record)));
  if (bytes(master) === record.master.after) replaceFile(master, record.master.before);
  else left.push(...(await undoServices(configDirectory, record)));
  await reload(configDirectory);
  rmSync(join(configDirectory, RECORD_FILE), { force: true });
  return left;
}

/** Whether the instance's master runs. */
export async function isRunning(configDirectory: string): Promise<boolean> {
  try {
    await run("postfix", configDirectory, ["status"]);
    return true;
  } catch {
    return false;
  }
}

async function reload(configDirectory: string): Promise<void> {
  if (await isRunning(configDirectory)) await run("postfix", configDirectory, ["reload"]);
}

async function undoParameters(configDirectory: string, record: InstallRecord): Promise<string[]> {
  const { explicit } = await readState(configDirectory);
  const left: string[] = [];
  const set: string[] = [];
  const remove: string[] = [];
  for (const { name, before, after } of record.parameters) {
    const now = explicit.get(name);
    let value = before;
    if (now === before) continue;
    if (now !== after) {
      if (name !== "defer_transports" || now === undefined) {
        left.push(`${name} = ${now ?? ""}`);
        continue;
      }
      // Somebody added to the list; ours come out of it.
      const ours = words(after).filter((word) => !words(before).includes(word));
      const rest = words(now).filter((word) => !ours.includes(word));
      value = rest.length === 0 ? before : rest.join(", ");
    }
    if (value === undefined) remove.push(name);
    else set.push(`${name}=${value}`);
  }
  if (set.length > 0) await edit(configDirectory, ["-e", ...set]);
  if (remove.length > 0) await edit(configDirectory, ["-X", ...remove]);
  return left;
}

async function undoServices(configDirectory: string, record: InstallRecord): Promise<string[]> {
  const { services } = await readState(configDirectory);
  const left: string[] = [];
  for (const { name, before, after } of record.services) {
    const now = services.get(name);
    if (now === before || now === undefined) continue;
    if (now !== after) left.push(`${name} of master.cf`);
    else if (before === undefined) await edit(configDirectory, ["-MX", name]);
    else await edit(configDirectory, ["-M", `${name}=${name.replace("/", " ")} ${before}`]);
  }
  return left;
}

/** Edits of main.cf or master.cf by postconf. */
async function edit(configDirectory: string, args: readonly string[]): Promise<void> {
  await run("postconf", configDirectory, args);
  for (const name of ["main.cf", "master.cf"]) settle(join(configDirectory, name));
}

/**
 * Postfix takes a file changed within the last seconds for one still being written, and each program waits two
 * seconds for it. What was put in place in one step needs no waiting.
 */
function settle(path: string): void {
  const then = Date.now() / 1000 - SETTLED_S;
  if (statSync(path).mtimeMs / 1000 > then) utimesSync(path, then, then);
}

function bytes(path: string): string {
  return readFileSync(path, "latin1");
}

function writeRecord(configDirectory: string, record: InstallRecord): void {
  const path = join(configDirectory, RECORD_FILE);
  writeFileSync(`${path}.new`, `${JSON.stringify(record, undefined, 2)}\n`, { mode: 0o600, flush: true });
  renameSync(`${path}.new`, path);
}

/** In one step, with owner and mode as they were. */
function replaceFile(path: string, text: string): void {
  const { mode, uid, gid } = statSync(path);
  const next = `${path}.postlua`;
  writeFileSync(next, text, { encoding: "latin1", flush: true });
  chownSync(next, uid, gid);
  chmodSync(next, mode & 0o7777);
  renameSync(next, path);
  settle(path);
}

function run(program: string, configDirectory: string, args: readonly string[]): Promise<string> {
  const env = { PATH: "/usr/sbin:/usr/local/sbin:/usr/bin:/sbin:/bin", LANG: "C", LC_ALL: "C" };
  return new Promise((resolve, reject) => {
    execFile(
      program,
      ["-c", configDirectory, ...args],
      { env, cwd: "/", encoding: "latin1", timeout: TIMEOUT_MS, maxBuffer: 1 << 26 },
      (error, out, err) => {
        if (error === null) resolve(out);
        else
          reject(
            new PostfixError(
              `${program} ${args.join(" ")}: ${err.trim().replaceAll("\n", "; ") || error.message}`,
            ),
          );
      },
    );
  });
}
