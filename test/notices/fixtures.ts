/** The captured notices: what a real Postfix shows a milter, with the envelope (see capture.ts). */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { MessageStore } from "../../src/message/store.ts";

export interface Captured {
  /** Without <>. */
  readonly sender: string;
  readonly recipients: readonly string[];
  readonly bytes: Buffer;
  readonly store: MessageStore;
}

const ENVELOPES = JSON.parse(readFileSync(join(import.meta.dirname, "envelopes.json"), "utf8")) as Record<
  string,
  { sender: string; recipients: string[] }
>;

export const NAMES: readonly string[] = Object.keys(ENVELOPES);

export function captured(name: string): Captured {
  const envelope = ENVELOPES[name];
  if (envelope === undefined) throw new Error(`nothing was captured as ${name}`);
  const bytes = readFileSync(join(import.meta.dirname, `${name}.eml`));
  return { ...envelope, bytes, store: MessageStore.fromBytes(Buffer.from(bytes), { verbatim: true }) };
}
