/**
 * A scratch directory and the processes that work in it. Both are gone when
 * this process ends: on stop, on exit, on SIGINT, SIGTERM and SIGHUP. After a
 * kill -9 nothing can run, so the next scratch directory made on this machine
 * clears what was left.
 *
 * Trusts only what it can check: a process is killed when its start time is
 * the one that was written down, so a re-used process ID is never hit.
 */
import { type ChildProcess, type SpawnOptions, spawn } from "node:child_process";
import {
  appendFileSync,
  chmodSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";

const PREFIX = "postlua-";
const OWNER = ".owner";
const PROCESSES = ".processes";
const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

const live = new Set<Scratch>();
let guarding = false;

export class Scratch {
  readonly path: string;
  readonly #groups = new Set<number>();

  private constructor(path: string) {
    this.path = path;
  }

  /**
   * Makes a directory below TMPDIR, or /tmp where TMPDIR cannot be reached by
   * other users (Postfix's daemons are another user). Clears remains of dead
   * owners first.
   */
  static create(): Scratch {
    const base = reachableBase();
    sweep(base);
    const path = mkdtempSync(join(base, PREFIX));
    chmodSync(path, 0o755);
    // Renamed into place: another process's sweep must never see an empty owner file.
    writeFileSync(join(path, `${OWNER}.new`), identity(process.pid) ?? "");
    renameSync(join(path, `${OWNER}.new`), join(path, OWNER));
    const scratch = new Scratch(path);
    live.add(scratch);
    guard();
    return scratch;
  }

  /**
   * Starts a program as the leader of its own process group; the whole group
   * dies with this directory. The program does not keep this process alive:
   * who waits for its end must call ref().
   */
  spawn(command: string, args: readonly string[], options: SpawnOptions = {}): ChildProcess {
    const child = spawn(command, args, { ...options, detached: true });
    child.unref();
    const pid = child.pid;
    if (pid !== undefined) {
      this.#groups.add(pid);
      appendFileSync(join(this.path, PROCESSES), `${identity(pid) ?? ""}\n`);
      child.once("exit", () => {
        killGroup(pid);
        this.#groups.delete(pid);
      });
    }
    return child;
  }

  /** Kills every process group and removes the directory. Synchronous, so that it also works while exiting. */
  remove(): void {
    for (const pid of this.#groups) killGroup(pid);
    this.#groups.clear();
    live.delete(this);
    rmSync(this.path, { recursive: true, force: true, maxRetries: 20, retryDelay: 10 });
  }
}

/** Removes scratch directories below `base` whose owner is dead, and kills what still runs for them. */
export function sweep(base: string): void {
  for (const name of readdirSync(base)) {
    if (!name.startsWith(PREFIX)) continue;
    const path = join(base, name);
    try {
      if (statSync(path).uid !== process.getuid?.()) continue;
      if (!existsSync(join(path, OWNER)) || isAlive(readFileSync(join(path, OWNER), "utf8"))) continue;
      const processes = join(path, PROCESSES);
      for (const line of existsSync(processes) ? readFileSync(processes, "utf8").split("\n") : []) {
        if (isAlive(line)) killGroup(Number(line.split(" ")[0]));
      }
      rmSync(path, { recursive: true, force: true, maxRetries: 20, retryDelay: 10 });
    } catch (error) {
      // Another process may be clearing the same remains.
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    }
  }
}

/** "PID START", where START is the process's start time in clock ticks since boot; undefined when there is none. */
function identity(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    // The second field is the program's name in parentheses and may hold spaces.
    const start = stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19];
    return `${pid} ${start}`;
  } catch {
    return undefined;
  }
}

function isAlive(recorded: string): boolean {
  const pid = Number(recorded.split(" ")[0]);
  return pid > 0 && identity(pid) === recorded.trim();
}

function killGroup(pid: number): void {
  try {
    process.kill(-pid, "SIGKILL");
  } catch {
    // Nobody left.
  }
}

function reachableBase(): string {
  for (const base of [tmpdir(), "/tmp"]) {
    if (isReachable(base)) return base;
  }
  throw new Error(`neither ${tmpdir()} nor /tmp can be entered by every user, as Postfix needs`);
}

function isReachable(path: string): boolean {
  if (!existsSync(path) || (statSync(path).mode & 0o001) === 0) return false;
  const parent = dirname(path);
  return parent === path || isReachable(parent);
}

/**
 * A program that listens to a signal itself is left to end in its own way;
 * its exit then runs the cleaning. Otherwise the signal is sent again after
 * the cleaning, so that the parent sees the right cause of death.
 */
function guard(): void {
  if (guarding) return;
  guarding = true;
  const clean = () => {
    for (const scratch of [...live]) scratch.remove();
  };
  process.on("exit", clean);
  for (const signal of SIGNALS) {
    const onSignal = () => {
      if (process.listenerCount(signal) > 1) return;
      clean();
      process.off(signal, onSignal);
      process.kill(process.pid, signal);
    };
    process.on(signal, onSignal);
  }
}
