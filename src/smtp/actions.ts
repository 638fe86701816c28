/**
 * What the actions of ProcessMessage mean: a verdict, and edits of recipients
 * and header (manual, "ProcessMessage()").
 */

import type { Edit } from "../message/edit.ts";
import type { HeaderFields } from "../message/headers.ts";
import { applyModifiers } from "../message/modifiers.ts";
import { nearest } from "../scripts/lint.ts";
import { ACTION_NAMES, type ProcessActions } from "../scripts/process-actions.ts";
import { type Origin, wrongValue } from "../scripts/results.ts";
import type { Envelope } from "./envelope.ts";
import { refusalReply, reply } from "./reply.ts";
import { CONTINUE, DISCARD, refuse, type Verdict } from "./verdict.ts";

export interface ActionOutcome {
  readonly verdict: Verdict;
  readonly edits: readonly Edit[];
  /** Original recipients that still get the message. */
  readonly kept: (address: string) => boolean;
  /** For the log: modifiers that were left out, and why; entries that mean nothing. */
  readonly warnings: readonly string[];
}

const KEEP_ALL = () => true;
/** For Delete with Ignore; Reason may bring a text and a code of its own. */
const REFUSED = reply(554, "5.7.1", "Message refused");

/** @throws ScriptError when a new recipient is no address: guessing could lose the message */
export function carryOut(
  actions: ProcessActions,
  envelope: Envelope,
  headers: HeaderFields,
  origin: Origin,
): ActionOutcome {
  const warnings = actions.unknown.map(unknownEntry);
  const decided = (verdict: Verdict): ActionOutcome => ({ verdict, edits: [], kept: KEEP_ALL, warnings });
  if (actions.ignore && actions.delete) return decided(refuse(refusalReply(actions.reason, REFUSED)));
  if (actions.ignore) return decided(DISCARD);
  const added = actions.recipients.map((recipient) =>
    recipientAddress(recipient, origin, "actions.Recipients"),
  );
  if (!actions.sendToOriginalRecipients && added.length === 0) return decided(DISCARD);

  const wanted = new Set(added);
  const kept = actions.sendToOriginalRecipients ? KEEP_ALL : (address: string) => wanted.has(address);
  const modified = applyModifiers(headers, actions.headerModifiers);
  const edits: Edit[] = [...modified.edits];
  const original = new Set(envelope.addresses());
  for (const address of original) {
    if (!kept(address)) edits.push({ kind: "deleteRecipient", address });
  }
  for (const address of wanted) {
    if (!original.has(address)) edits.push({ kind: "addRecipient", address, parameters: "" });
  }
  if (actions.hold !== "")
    edits.push({ kind: "quarantine", reason: actions.hold.replace(/[\x00-\x1f\x7f]/g, " ") });
  for (const { modifier, why } of modified.ignored) {
    warnings.push(`header modifier "${modifier}" left out: ${why}`);
  }
  return { verdict: CONTINUE, edits, kept, warnings };
}

function unknownEntry(name: string): string {
  const near = nearest(name, ACTION_NAMES);
  return `actions.${name} means nothing; ${near === undefined ? `there are ${ACTION_NAMES.join(", ")}` : `is ${near} meant?`}`;
}

/** An address that a script wants as a recipient, without <>. @throws ScriptError when it is none */
export function recipientAddress(text: string, origin: Origin, name: string): string {
  const address = text.trim().replace(/^<(.*)>$/, "$1");
  if (address !== "" && /^[^\s<>\x00-\x1f\x7f]+$/.test(address)) return address;
  throw wrongValue(origin, `returned "${text}" in ${name}, which is no address`);
}
