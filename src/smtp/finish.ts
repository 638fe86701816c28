/**
 * What comes of a whole message, each step seeing the result of the one before:
 * ProcessMessage, block lists, routing for each local user, the signature.
 */
import { StoreUnavailable } from "../directory/store.ts";
import { verdictText } from "./decide.ts";
import { type Arrived, processMessage } from "./process.ts";
import { type Listing, listedEdits } from "./rbl.ts";
import { type Routable, routeMessage, STORE_DOWN } from "./route.ts";
import { clientAccess } from "./session-rules.ts";
import type { SessionScript } from "./session-script.ts";
import { signMessage, signs } from "./sign.ts";
import { CONTINUE, type MessageResult } from "./verdict.ts";

/** @returns the edits of all steps, none with a refusal */
export async function finishMessage(
  message: Arrived,
  script: SessionScript,
  listing: Listing,
): Promise<MessageResult> {
  const { context, decisions, envelope } = message;
  const since = performance.now();
  try {
    const { verdict, edits } = await processMessage(message, script.loaded);
    const denied = verdict.kind === "continue" ? clientAccess(context.globals) : verdict;
    if (denied.kind !== "continue") return { verdict: denied, edits: [] };
    return await routeAndSign({ ...message, edits: listedEdits(listing, edits, envelope, decisions) });
  } catch (error) {
    const verdict = decisions.failed(error);
    script.record("ProcessMessage", verdictText(verdict), since);
    return { verdict, edits: [] };
  }
}

async function routeAndSign(message: Routable): Promise<MessageResult> {
  const { services, context, envelope, decisions } = message;
  let result: MessageResult = { verdict: CONTINUE, edits: message.edits };
  if (services.uses.routing) result = await routeMessage(message);
  if (result.verdict.kind !== "continue" || !signs(services, context.globals, envelope)) return result;
  const since = performance.now();
  try {
    const signature = await signMessage({ ...message, edits: result.edits });
    return { verdict: CONTINUE, edits: [...result.edits, ...signature] };
  } catch (error) {
    if (!(error instanceof StoreUnavailable)) throw error;
    decisions.record("", "signature", verdictText(STORE_DOWN), since, error.message);
    return { verdict: STORE_DOWN, edits: [] };
  }
}
