/**
 * Verdicts and edits: what a session decides, as plain values that no
 * protocol owns. Doors (milter, policy) carry them out.
 */

import type { Edit } from "../message/edit.ts";

/** An SMTP reply. `lines` are byte strings without code, CR or LF; at least one. */
export interface Reply {
  /** 400 to 599. */
  readonly code: number;
  /** "4.7.1", or "" when the script gave none. */
  readonly enhanced: string;
  readonly lines: readonly string[];
}

export type Verdict =
  | { readonly kind: "continue" }
  | { readonly kind: "refuse"; readonly reply: Reply }
  /** Accept towards the client, deliver to nobody. */
  | { readonly kind: "discard" };

export const CONTINUE: Verdict = { kind: "continue" };
export const DISCARD: Verdict = { kind: "discard" };

export function refuse(reply: Reply): Extract<Verdict, { kind: "refuse" }> {
  return { kind: "refuse", reply };
}

export interface MessageResult {
  readonly verdict: Verdict;
  readonly edits: readonly Edit[];
}
