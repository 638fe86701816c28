/** What follows ProcessMessage when it has not refused: routing for each local user, then the signature. */
import { StoreUnavailable } from "../directory/store.ts";
import { verdictText } from "./decide.ts";
import { type Routable, routeMessage, STORE_DOWN } from "./route.ts";
import { signMessage, signs } from "./sign.ts";
import { CONTINUE, type MessageResult } from "./verdict.ts";

/** @returns all edits of the message, those of the steps before among them */
export async function finishMessage(message: Routable): Promise<MessageResult> {
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
