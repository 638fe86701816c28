/**
 * Tries scripts out in a process that serves no mail, so that whatever their
 * top level does, no session notices. The process stays for a while, because
 * files are often saved several times in a row.
 */
import { ScriptError } from "../lua/errors.ts";
import type { ScriptCandidate, ToPrimary, ToWorker } from "./messages.ts";
import { type ProcessSettings, WorkerProcess } from "./worker-process.ts";

export interface TrialOptions {
  readonly process: ProcessSettings;
  /** The first message to the process. */
  readonly init: () => ToWorker;
  /** Longest that a script's top level may take by its own budgets, milliseconds. */
  readonly wallMs: number;
}

const IDLE_MS = 10_000;
const LOOK_MS = 500;
/** Starting a process, and the watchdog's time, on top of the script's own. */
const GRACE_MS = 30_000;

export class Trial {
  readonly #options: TrialOptions;
  #process: WorkerProcess | undefined;
  #look: NodeJS.Timeout | undefined;
  #idle: NodeJS.Timeout | undefined;
  #stopped = false;
  #answer: ((answer: ToPrimary & { type: "tried" }) => void) | undefined;

  constructor(options: TrialOptions) {
    this.#options = options;
  }

  /**
   * Compiles `candidate` and runs its top level. One at a time.
   *
   * @returns the callbacks it defines
   * @throws ScriptError when it is broken, or when the process did not survive it
   */
  async run(candidate: ScriptCandidate): Promise<readonly string[]> {
    if (this.#stopped) throw failure(candidate, "not tried out, the service stops", 0);
    clearTimeout(this.#idle);
    const process = this.#start();
    const answer = new Promise<ToPrimary & { type: "tried" }>((resolve) => {
      this.#answer = resolve;
    });
    const tooLong = setTimeout(
      () => process.kill("silent", "no answer in time"),
      this.#options.wallMs + GRACE_MS,
    );
    process.tell({ type: "try", candidate });
    const outcome = await Promise.race([answer, process.gone]);
    clearTimeout(tooLong);
    this.#answer = undefined;
    if (!("type" in outcome)) {
      this.close();
      throw failure(
        candidate,
        `the process that tried it out died: ${outcome.detail}`,
        outcome.place?.line ?? 0,
      );
    }
    this.#idle = setTimeout(() => this.close(), IDLE_MS);
    if (outcome.problem !== undefined) {
      throw new ScriptError(outcome.problem.message, outcome.problem.details);
    }
    return outcome.callbacks;
  }

  /** Tries nothing any more. */
  stop(): void {
    this.#stopped = true;
    this.close();
  }

  /** Ends the process, if there is one; the next trial starts another. */
  close(): void {
    clearTimeout(this.#idle);
    clearInterval(this.#look);
    this.#process?.kill("stopped", "");
    this.#process = undefined;
  }

  #start(): WorkerProcess {
    if (this.#process !== undefined) return this.#process;
    const process = new WorkerProcess(this.#options.process, LOOK_MS, (message) => {
      if (message.type === "tried") this.#answer?.(message);
    });
    process.tell(this.#options.init());
    this.#process = process;
    this.#look = setInterval(() => process.look(performance.now()), LOOK_MS);
    void process.gone.then(() => {
      if (this.#process === process) this.close();
    });
    return process;
  }
}

function failure(candidate: ScriptCandidate, message: string, line: number): ScriptError {
  return new ScriptError(`${candidate.path}: ${message}`, {
    kind: "stopped",
    script: candidate.name,
    callback: "",
    line,
    traceback: "",
  });
}
