/**
 * os.sleep and os.timedexecute. Both make only the calling script wait.
 *
 * timedexecute runs no shell (os-process-args.ts says how the line is split)
 * and has the worker's rights; safety mode disables it.
 */
import { constants } from "node:os";
import { decodeText, toBytes } from "../bytes.ts";
import type { HostModule } from "../lua/host.ts";
import { Gate } from "../net/gate.ts";
import { splitCommand } from "./os-process-args.ts";
import { ETIMEDOUT, runProgram } from "./os-process-run.ts";

export interface ProcessModuleOptions {
  /** Working directory of programs, and their HOME. */
  readonly dataDir: string;
  /** A line a program wrote, a byte string; `program` as in the command line, `context` the call's. */
  readonly output: (program: string, line: string, context: object) => void;
  /** Programs running at once; more wait, their time begins when they start. */
  readonly maxPrograms?: number;
  /** Lines of output passed on for one call. */
  readonly maxLines?: number;
}

/** setTimeout takes no more. */
const MAX_TIMER_MS = 2 ** 31 - 1;

/** Linux takes no longer argument. */
const MAX_COMMAND = 128 << 10;

const { E2BIG, ENOENT, EINVAL, EILSEQ } = constants.errno;

export function processModule(options: ProcessModuleOptions): HostModule {
  const { dataDir, output, maxPrograms = 16, maxLines = 500 } = options;
  const gate = new Gate(maxPrograms);
  const env = programEnvironment(dataDir);
  return {
    table: "os",
    functions: {
      /** (milliseconds) -> nothing. */
      sleep(call) {
        const ms = timerMs(call.number(1));
        return new Promise((resolve) => {
          const { signal } = call;
          const wake = () => {
            clearTimeout(timer);
            signal.removeEventListener("abort", wake);
            resolve([]);
          };
          const timer = setTimeout(wake, ms);
          signal.addEventListener("abort", wake, { once: true });
        });
      },

      /**
       * (command line, milliseconds [, show]) -> exit code, error code (RunResult). `show` has no meaning here.
       * Before a program is started: 2 for an empty line, 7 for one over 128 KiB, 22 for an open quote or a NUL byte, 84 for bytes that are
       * not UTF-8, which Node cannot pass on.
       */
      async timedexecute(call) {
        const line = call.string(1);
        const timeoutMs = timerMs(call.number(2));
        call.charge(line.length);
        if (line.length > MAX_COMMAND) return [-1, E2BIG];
        if (line.includes("\0")) return [-1, EINVAL];
        const text = decodeText(line);
        if (toBytes(line).compare(Buffer.from(text)) !== 0) return [-1, EILSEQ];
        const words = splitCommand(text);
        if (!words) return [-1, EINVAL];
        const [program, ...args] = words;
        if (!program) return [-1, ENOENT];
        if (!(await gate.enter(call.signal))) return [-1, ETIMEDOUT];
        try {
          const result = await runProgram(program, args, {
            cwd: dataDir,
            env,
            timeoutMs,
            signal: call.signal,
            output: (text) => output(program, text, call.context),
            maxLines,
          });
          return [result.exitCode, result.errorCode];
        } finally {
          gate.leave();
        }
      },
    },
  };
}

/** Nothing of the service's own environment but the time zone: it may hold what scripts must not see. */
function programEnvironment(dataDir: string): Readonly<Record<string, string>> {
  const { TZ } = process.env;
  return {
    PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    HOME: dataDir,
    LANG: "C.UTF-8",
    ...(TZ !== undefined && { TZ }),
  };
}

function timerMs(value: number): number {
  return value > 0 ? Math.min(value, MAX_TIMER_MS) : 0;
}
