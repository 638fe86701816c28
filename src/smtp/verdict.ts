/**
 * Verdicts and edits: what a session decides, as plain values that no
 * protocol owns. Doors (milter, policy, proxy) carry them out.
 */

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

export function refuse(reply: Reply): Verdict {
  return { kind: "refuse", reply };
}

/**
 * One edit of a message, applied in order. Header values carry no CR; folds
 * are "\n" followed by white space; the leading space is part of the value.
 */
export type Edit =
  | { readonly kind: "addHeader"; readonly name: string; readonly value: string }
  /** `index` 0 is above the MTA's own trace header, 1 right below it. */
  | { readonly kind: "insertHeader"; readonly index: number; readonly name: string; readonly value: string }
  /** `index` counts from 1 among the received fields of that name; "" deletes. */
  | { readonly kind: "changeHeader"; readonly name: string; readonly index: number; readonly value: string }
  /** `parameters` as after RCPT TO:<a>, e.g. "NOTIFY=NEVER"; "" for none. */
  | { readonly kind: "addRecipient"; readonly address: string; readonly parameters: string }
  /** `address` as it stood in RCPT TO, without <>. */
  | { readonly kind: "deleteRecipient"; readonly address: string }
  /** `parameters` as after MAIL FROM:<a>, e.g. "RET=HDRS ENVID=x"; "" for none. */
  | { readonly kind: "changeSender"; readonly address: string; readonly parameters: string }
  | { readonly kind: "replaceBody"; readonly body: Uint8Array }
  | { readonly kind: "quarantine"; readonly reason: string };

export interface MessageResult {
  readonly verdict: Verdict;
  readonly edits: readonly Edit[];
}
