/**
 * Runs one program for a script, in a process group of its own, for a limited
 * time. Nothing of the group outlives the call, but for a process that made
 * itself a new session. The program gets a small environment, no input, and
 * its output goes line by line to a callback, bounded.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { constants } from "node:os";
import type { Readable } from "node:stream";
import { fromBytes } from "../bytes.ts";

export interface RunOptions {
  readonly cwd: string;
  readonly env: Readonly<Record<string, string>>;
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
  /** A line of standard output or error, a byte string. */
  readonly output: (line: string) => void;
  readonly maxLines: number;
}

export interface RunResult {
  /** The program's own; 128 + n when signal n ended it; -1 when it did not start or was killed at the limit. */
  readonly exitCode: number;
  /** 0 when it started, 110 (ETIMEDOUT) when it was killed, else the errno of starting it. */
  readonly errorCode: number;
}

export const ETIMEDOUT = 110;
const EIO = 5;
const MAX_LINE = 1000;
/** Past this much output the pipe is closed, so that a flood does not occupy the worker for the rest of the time. */
const MAX_OUTPUT = 16 << 20;
/** How long output may still come in after the program itself has ended. */
const DRAIN_MS = 200;

/** Never rejects. */
export function runProgram(
  program: string,
  args: readonly string[],
  options: RunOptions,
): Promise<RunResult> {
  return new Promise((resolve) => {
    let child: ChildProcess;
    try {
      child = spawn(program, args, {
        cwd: options.cwd,
        env: options.env,
        detached: true,
        stdio: ["ignore", "pipe", "pipe"],
      });
    } catch (error) {
      resolve({ exitCode: -1, errorCode: errnoOf(error) });
      return;
    }
    const tell = boundedLines(options.output, options.maxLines);
    for (const stream of [child.stdout, child.stderr]) if (stream) readLines(stream, tell);
    let killed = false;
    let drain: NodeJS.Timeout | undefined;
    const kill = () => {
      killed = true;
      killGroup(child);
    };
    const limit = setTimeout(kill, options.timeoutMs);
    if (options.signal.aborted) kill();
    else options.signal.addEventListener("abort", kill, { once: true });

    const finish = (result: RunResult) => {
      clearTimeout(limit);
      clearTimeout(drain);
      options.signal.removeEventListener("abort", kill);
      child.stdout?.destroy();
      child.stderr?.destroy();
      resolve(result);
    };
    child.on("error", (error) => {
      if (child.pid === undefined) finish({ exitCode: -1, errorCode: errnoOf(error) });
    });
    child.on("exit", (code, name) => {
      clearTimeout(limit);
      options.signal.removeEventListener("abort", kill);
      // Children left behind would hold the output open and outlive their limit.
      killGroup(child);
      const result = killed
        ? { exitCode: -1, errorCode: ETIMEDOUT }
        : { exitCode: code ?? 128 + signalNumber(name), errorCode: 0 };
      child.on("close", () => finish(result));
      drain = setTimeout(() => finish(result), DRAIN_MS);
    });
  });
}

/** Kills the whole group; one that has gone already is fine. */
function killGroup(child: ChildProcess): void {
  if (child.pid === undefined) return;
  try {
    process.kill(-child.pid, "SIGKILL");
  } catch {
    // ESRCH: nobody is left.
  }
}

function boundedLines(output: (line: string) => void, maxLines: number): (line: string) => boolean {
  let lines = 0;
  return (line) => {
    if (lines < maxLines) output(line);
    else if (lines === maxLines) output(`(output after ${maxLines} lines dropped)`);
    return ++lines <= maxLines;
  };
}

/** Passes on the lines of a stream, each cut at MAX_LINE bytes, until `tell` wants no more; then only drains it. */
function readLines(stream: Readable, tell: (line: string) => boolean): void {
  let partial = "";
  let wanted = true;
  let bytes = 0;
  stream.on("data", (chunk: Buffer) => {
    bytes += chunk.length;
    if (bytes > MAX_OUTPUT) stream.destroy();
    if (!wanted) return;
    const pieces = fromBytes(chunk).split("\n");
    for (const [i, piece] of pieces.entries()) {
      if (partial.length < MAX_LINE) partial += piece.slice(0, MAX_LINE - partial.length);
      if (i === pieces.length - 1) break;
      wanted = tell(partial.replace(/\r$/, ""));
      partial = "";
      if (!wanted) return;
    }
  });
  stream.on("close", () => {
    if (wanted && partial !== "") tell(partial);
  });
  // A read error only ends the output.
  stream.on("error", () => {});
}

function errnoOf(error: unknown): number {
  const { errno } = error as NodeJS.ErrnoException;
  return typeof errno === "number" && errno !== 0 ? Math.abs(errno) : EIO;
}

function signalNumber(name: NodeJS.Signals | null): number {
  return name === null ? 0 : constants.signals[name];
}
