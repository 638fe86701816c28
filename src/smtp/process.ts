/**
 * End of message: ProcessMessage is called with the structure of what came,
 * and everything the session has collected becomes one list of edits.
 */

import type { OpenMessage } from "../helpers/message.ts";
import { type Attachment, attachmentSteps } from "../message/attachment.ts";
import type { Edit } from "../message/edit.ts";
import { decodedSubject } from "../message/header-text.ts";
import type { MimePart } from "../message/mime.ts";
import { topLines } from "../message/modifiers.ts";
import { MessageReader } from "../message/reader.ts";
import { saveAttachment } from "../message/save.ts";
import { inTurns } from "../message/steps.ts";
import type { MessageStore } from "../message/store.ts";
import { structureOf } from "../message/structure-of.ts";
import { messageArguments } from "../scripts/message-arguments.ts";
import type { SmtpScript } from "../scripts/smtpsvr.ts";
import { type ActionOutcome, carryOut } from "./actions.ts";
import { type Decisions, verdictText } from "./decide.ts";
import { type Envelope, parameterEdits } from "./envelope.ts";
import type { SessionServices } from "./services.ts";
import type { SessionContext } from "./session-script.ts";
import { CONTINUE, type MessageResult } from "./verdict.ts";

/** A message at its end. */
export interface Arrived {
  readonly services: SessionServices;
  readonly context: SessionContext;
  readonly decisions: Decisions;
  readonly envelope: Envelope;
  readonly store: MessageStore;
  /** Bytes, also when the store kept only a part. */
  readonly size: number;
}

/** @throws ScriptError when ProcessMessage fails or returns something of the wrong type */
export async function processMessage(
  { services, context, decisions, envelope, store, size }: Arrived,
  script: SmtpScript | undefined,
): Promise<MessageResult> {
  const name = script?.name ?? "";
  const since = performance.now();
  let outcome: ActionOutcome = { verdict: CONTINUE, edits: [], kept: () => true, warnings: [] };
  let results = "";
  const asked = script?.has("ProcessMessage") === true;
  if (script !== undefined && asked) {
    const { parts, complete } = await structureOf(store);
    if (!complete) decisions.warn(name, "ProcessMessage", "the message has more MIME parts than are listed");
    const attached = await inTurns(attachmentSteps(store, parts));
    context.message = openMessage(services, store, parts, attached, (problem) =>
      decisions.warn(name, "ProcessMessage", problem),
    );
    try {
      const answer = await script.processMessage(
        messageArguments({
          sender: envelope.sender.address,
          subject: decodedSubject(store.headers),
          recipients: envelope.addresses(),
          parts,
          attachments: attached,
          size,
        }),
      );
      results = answer.results;
      outcome = carryOut(answer.actions, envelope, store.headers, script.origin("ProcessMessage"));
    } finally {
      context.message = undefined;
    }
  }
  for (const warning of outcome.warnings) decisions.warn(name, "ProcessMessage", warning);
  const edits = outcome.verdict.kind === "continue" ? collect(outcome, envelope, decisions, name) : [];
  if (asked) decisions.record(name, "ProcessMessage", resultText(outcome, edits), since, results);
  return { verdict: outcome.verdict, edits };
}

/**
 * What ProcessMessage wants, then the header lines of DoDATAStart, then changed ESMTP parameters. Lines for the top
 * come after every change of a received field, whose numbers they would shift.
 */
function collect(outcome: ActionOutcome, envelope: Envelope, decisions: Decisions, name: string): Edit[] {
  const top = topLines(envelope.headerLines);
  for (const { line, why } of top.ignored) {
    decisions.warn(name, "DoDATAStart", `header line "${line}" left out: ${why}`);
  }
  const parameters = parameterEdits(envelope, outcome.kept);
  for (const what of parameters.unserved) {
    decisions.warn(
      name,
      what.startsWith("MAIL") ? "DoMAILFROM" : "DoRCPTTO",
      `Postfix takes no new ${what} parameter`,
    );
  }
  return [...outcome.edits, ...top.edits, ...parameters.edits];
}

function resultText(outcome: ActionOutcome, edits: readonly Edit[]): string {
  if (outcome.verdict.kind !== "continue") return verdictText(outcome.verdict);
  if (edits.length === 0) return "accept";
  const kinds = new Map<string, number>();
  for (const { kind } of edits) kinds.set(kind, (kinds.get(kind) ?? 0) + 1);
  return `accept with ${[...kinds].map(([kind, count]) => (count === 1 ? kind : `${kind} x${count}`)).join(", ")}`;
}

function openMessage(
  services: SessionServices,
  store: MessageStore,
  parts: readonly MimePart[],
  attached: readonly Attachment[],
  problem: (text: string) => void,
): OpenMessage {
  return {
    reader: new MessageReader(store, parts),
    problem,
    save: async (number, filename) => {
      const attachment = attached[number - 1];
      if (attachment === undefined)
        return `there is no attachment ${number}; the message has ${attached.length}`;
      return saveAttachment(services.save, filename, store, attachment);
    },
  };
}
