/**
 * Macro values of one session, kept by the stage that sent them: a stage that
 * is sent again replaces its own values alone, and the later stage wins.
 */
import {
  SMFIC_BODY,
  SMFIC_BODYEOB,
  SMFIC_CONNECT,
  SMFIC_DATA,
  SMFIC_EOH,
  SMFIC_HEADER,
  SMFIC_HELO,
  SMFIC_MAIL,
  SMFIC_RCPT,
  SMFIC_UNKNOWN,
} from "./protocol.ts";

/** Those of a transaction, latest first. */
const TRANSACTION_STAGES = [
  SMFIC_BODYEOB,
  SMFIC_BODY,
  SMFIC_EOH,
  SMFIC_HEADER,
  SMFIC_DATA,
  SMFIC_RCPT,
  SMFIC_MAIL,
];
const STAGES = [...TRANSACTION_STAGES, SMFIC_UNKNOWN, SMFIC_HELO, SMFIC_CONNECT];

export class MacroTable {
  /** Names and values in turn, as they came, by stage code. */
  readonly #stages = new Map<number, readonly string[]>();

  set(stage: number, values: readonly string[]): void {
    this.#stages.set(stage, values);
  }

  get(name: string): string | undefined {
    const bare = bareName(name);
    for (const stage of STAGES) {
      const values = this.#stages.get(stage);
      if (values === undefined) continue;
      for (let i = 0; i < values.length; i += 2) {
        if (bareName(values[i]!) === bare) return values[i + 1];
      }
    }
    return undefined;
  }

  /** The queue id and the addresses of one message say nothing about the next. */
  clearTransaction(): void {
    for (const stage of TRANSACTION_STAGES) this.#stages.delete(stage);
  }

  clear(): void {
    this.#stages.clear();
  }
}

function bareName(name: string): string {
  return name.startsWith("{") && name.endsWith("}") ? name.slice(1, -1) : name;
}
