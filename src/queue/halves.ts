/**
 * Two processes instead of one: this one keeps the rights it was started with
 * and runs no script; a child, which runs the scripts, starts as another user
 * and can never get them back. The privileged one is the parent, so that it is
 * there first, gives the child nothing but one end of a socket pair, and
 * outlives it to clear up.
 *
 * The child changes its user (groups, group, user, for good) between fork and
 * exec: not a line of JavaScript runs in it before. It has no controlling
 * terminal, an environment of a few harmless variables, and, where setpriv(1)
 * is installed, no_new_privs, which keeps set-user-ID and set-group-ID
 * programs (postqueue is one) from giving it rights.
 *
 * Not started as root, both halves are the same user, and `statement` says so.
 */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { accessSync, constants, existsSync } from "node:fs";
import { join } from "node:path";
import type { Duplex } from "node:stream";
import type { Log } from "../log.ts";
import { QueueAgent } from "./agent.ts";
import { AGENT_FD } from "./client.ts";
import { PostfixQueue, type QueueSettings } from "./postfix.ts";

/** A user that the scripts' half can be run as. */
export interface Account {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
}

/** The halves cannot be kept apart as asked; the message says what to do. */
export class PrivilegeError extends Error {
  override name = "PrivilegeError";
}

export interface HalvesOptions {
  readonly configDirectory: string;
  /** Name of the user for the scripts' half; needed when started as root, and only then made use of. */
  readonly user: string | undefined;
  /** Module that is the scripts' half; it gets its line with QueueClient.inherited(). */
  readonly entry: string;
  readonly args: readonly string[];
  /** Further variables for its environment. */
  readonly env?: Readonly<Record<string, string>>;
  /** Where its standard output and error go; default: this process's own. */
  readonly output?: "inherit" | "pipe";
  readonly log: Log;
}

export interface Halves {
  readonly child: ChildProcess;
  readonly agent: QueueAgent;
  readonly settings: QueueSettings;
  /** Who runs what, in a sentence for the log. */
  readonly statement: string;
  /** Resolves when the child is gone, with its exit status; 128 + signal when it was killed, 70 when it broke the protocol. */
  readonly ended: Promise<number>;
  /** Passes a signal on. */
  kill(signal: NodeJS.Signals): void;
}

const PASSED_ON = [
  "PATH",
  "LANG",
  "LC_ALL",
  "LC_CTYPE",
  "TZ",
  "TERM",
  "COLORTERM",
  "NO_COLOR",
  "COLUMNS",
  "LINES",
];
const SETPRIV = ["/usr/bin/setpriv", "/bin/setpriv"];
const BROKEN_PROTOCOL = 70;
const KILL_AFTER_MS = 10_000;

/**
 * Starts the scripts' half and serves it.
 *
 * @throws PrivilegeError, PostfixError
 */
export async function startHalves(options: HalvesOptions): Promise<Halves> {
  const queue = await PostfixQueue.open(options);
  const { settings } = queue;
  const account = accountFor(options.user, settings);
  const { command, args, guarded } = commandLine(options);
  const child = spawn(command, args, {
    cwd: "/",
    env: { ...passedOn(), ...options.env },
    stdio: ["ignore", options.output ?? "inherit", options.output ?? "inherit", "pipe"],
    // A session of its own: nothing that scripts start can type into our terminal.
    detached: true,
    ...(account === undefined ? {} : { uid: account.uid, gid: account.gid }),
  });
  const agent = new QueueAgent(queue, child.stdio[AGENT_FD] as Duplex, options.log);
  const kill = (signal: NodeJS.Signals) => {
    if (child.exitCode === null && child.signalCode === null) child.kill(signal);
  };
  // What hangs or talks nonsense must not stay: it could not do anything useful any more.
  let broken = false;
  let timer: NodeJS.Timeout | undefined;
  void agent.ended.then((reason) => {
    broken = reason !== undefined;
    if (broken) kill("SIGKILL");
    else timer = setTimeout(() => kill("SIGKILL"), KILL_AFTER_MS).unref();
  });
  const ended = new Promise<number>((resolve, reject) => {
    child.once("error", reject);
    child.once("exit", (code, signal) => {
      clearTimeout(timer);
      resolve(broken ? BROKEN_PROTOCOL : (code ?? 128 + signalNumber(signal)));
    });
  });
  return { child, agent, settings, statement: statementOf(account, guarded), ended, kill };
}

/** The user to drop to; undefined when this process is not root and has nothing to drop. @throws PrivilegeError */
export function accountFor(
  user: string | undefined,
  settings: Pick<QueueSettings, "mailOwner">,
): Account | undefined {
  if (process.getuid?.() !== 0) return undefined;
  if (user === undefined || user === "") {
    throw new PrivilegeError("started as root, the scripts need a user of their own; name one");
  }
  const account = findAccount(user);
  if (account.uid === 0) throw new PrivilegeError(`user ${user} is root: scripts would have all rights`);
  const owner = findAccount(settings.mailOwner);
  if (account.uid === owner.uid) {
    throw new PrivilegeError(`user ${user} owns Postfix's queue; give the scripts a user of their own`);
  }
  return account;
}

/** @throws PrivilegeError when there is no such user */
export function findAccount(name: string): Account {
  if (!/^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}\$?$/.test(name))
    throw new PrivilegeError(`not a user name: ${name}`);
  try {
    const ask = (what: string) =>
      Number(execFileSync("id", [what, name], { encoding: "utf8", stdio: "pipe" }));
    return { name, uid: ask("-u"), gid: ask("-g") };
  } catch {
    throw new PrivilegeError(`there is no user ${name}`);
  }
}

/**
 * For the scripts' half, before it loads anything: which right to the queue it has and should not have; undefined
 * when it has none.
 */
export function leftoverRight(settings: Pick<QueueSettings, "queueDirectory">): string | undefined {
  if (process.getuid?.() === 0 || process.geteuid?.() === 0) return "it runs as root";
  for (const directory of ["active", "deferred", "incoming", "hold", "private"]) {
    const path = join(settings.queueDirectory, directory);
    try {
      accessSync(path, constants.R_OK);
      return `it can read ${path}`;
    } catch {}
  }
  return undefined;
}

function commandLine(options: HalvesOptions): { command: string; args: readonly string[]; guarded: boolean } {
  const node = [process.execPath, options.entry, ...options.args];
  const setpriv = SETPRIV.find((path) => existsSync(path));
  if (setpriv === undefined) return { command: process.execPath, args: node.slice(1), guarded: false };
  return { command: setpriv, args: ["--no-new-privs", ...node], guarded: true };
}

function passedOn(): Record<string, string> {
  const env: Record<string, string> = {};
  for (const name of PASSED_ON) {
    const value = process.env[name];
    if (value !== undefined) env[name] = value;
  }
  return env;
}

function statementOf(account: Account | undefined, guarded: boolean): string {
  if (account === undefined) {
    return "scripts run as the same user as the half that touches the queue: started without root, there is none to change to";
  }
  const programs = guarded ? "" : "; setpriv is not installed, so programs they start may run postqueue";
  return `scripts run as ${account.name} (${account.uid}), without any right to the queue${programs}`;
}

function signalNumber(signal: NodeJS.Signals | null): number {
  return signal === "SIGKILL" ? 9 : signal === "SIGTERM" ? 15 : signal === "SIGINT" ? 2 : 1;
}
