/**
 * A worker's end of LUA.OUT and LUAERRORS.LOG: everything goes to the one
 * writer, the primary. What is printed within one turn of the event loop goes
 * in one message. When the primary falls behind, output is dropped, not mail.
 */
import type { ScriptError } from "../lua/errors.ts";
import { type ErrorPlace, errorEntry, type ScriptOutput } from "../scripts/output.ts";
import type { WorkerFigures } from "./figures.ts";
import type { ToPrimary } from "./messages.ts";

const MAX_UNDERWAY = 8 * 1024 * 1024;

export class WorkerOutput implements ScriptOutput {
  readonly #figures: WorkerFigures;
  #texts: string[] = [];
  #flush: NodeJS.Immediate | undefined;
  #underway = 0;

  constructor(figures: WorkerFigures) {
    this.#figures = figures;
  }

  print(text: string): void {
    if (this.#underway > MAX_UNDERWAY) return;
    this.#underway += text.length;
    this.#texts.push(text);
    this.#flush ??= setImmediate(() => void this.#send());
  }

  /** Resolves when everything printed so far has left. */
  async flush(): Promise<void> {
    clearImmediate(this.#flush);
    await this.#send();
  }

  error(error: ScriptError, place: ErrorPlace): void {
    this.#figures.failed(error);
    const { message, details } = error;
    tell({
      type: "scriptError",
      error: { ...place, entry: errorEntry(error, place), problem: { message, details } },
    });
  }

  #send(): Promise<void> {
    const text = this.#texts.join("");
    this.#texts = [];
    this.#flush = undefined;
    if (text === "") return Promise.resolve();
    return tell({ type: "print", text }).then(() => {
      this.#underway -= text.length;
    });
  }
}

/** Resolves when the message has left this process, or never will because the primary is gone. */
export function tell(message: ToPrimary): Promise<void> {
  return new Promise((resolve) => {
    if (!process.connected || process.send === undefined) resolve();
    else process.send(message, undefined, {}, () => resolve());
  });
}
