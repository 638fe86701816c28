/** The recipients of a message as the steps before have left them, and the edits that bring the MTA to a plan. */
import type { Edit } from "../message/edit.ts";
import type { Envelope } from "./envelope.ts";
import type { Recipient, RecipientPlan } from "./route-plan.ts";

/** What an added recipient may have (RFC 3461), as Postfix takes it from a milter. */
const KEPT_PARAMETERS = ["NOTIFY", "ORCPT"];

/** Each address once, with the parameters that its mail has so far. */
export function currentRecipients(envelope: Envelope, edits: readonly Edit[]): Recipient[] {
  const current = new Map<string, Recipient>();
  for (const { address, parameters } of envelope.recipients) {
    const kept = KEPT_PARAMETERS.filter((name) => (parameters.get(name) ?? "") !== "").map(
      (name) => `${name}=${parameters.get(name)}`,
    );
    if (!current.has(address)) current.set(address, { address, parameters: kept.join(" ") });
  }
  for (const edit of edits) {
    if (edit.kind === "deleteRecipient") current.delete(edit.address);
    else if (edit.kind === "addRecipient") {
      current.set(edit.address, { address: edit.address, parameters: edit.parameters });
    }
  }
  return [...current.values()];
}

/** `edits` with those of recipients brought to what the plan says. */
export function recipientEdits(
  envelope: Envelope,
  edits: readonly Edit[],
  current: readonly Recipient[],
  plan: RecipientPlan,
): Edit[] {
  if (plan.removed.length === 0 && plan.added.length === 0) return [...edits];
  const gone = new Set(plan.removed.map(({ address }) => address));
  const typed = new Set(envelope.addresses());
  const added = new Map(
    edits.flatMap((edit) => (edit.kind === "addRecipient" ? [[edit.address, edit] as const] : [])),
  );
  const deleted = new Set(edits.flatMap((edit) => (edit.kind === "deleteRecipient" ? [edit.address] : [])));
  const others = edits.filter(({ kind }) => kind !== "addRecipient" && kind !== "deleteRecipient");
  const recipients: Edit[] = [];
  for (const address of typed) {
    if (deleted.has(address) || gone.has(address)) recipients.push({ kind: "deleteRecipient", address });
  }
  for (const { address } of current) {
    const edit = added.get(address);
    if (edit !== undefined && !gone.has(address)) recipients.push(edit);
  }
  for (const recipient of plan.added) recipients.push({ kind: "addRecipient", ...recipient });
  return [...others, ...recipients];
}
