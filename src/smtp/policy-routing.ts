/**
 * What the policy service alone can do about a message, nothing of whose
 * content is known: at DATA one header line, at END-OF-MESSAGE one answer,
 * which can redirect the message or add one recipient. Block lists may want
 * that, and USER_REDIRECT.LUA for a message with one recipient; what would
 * need more is left alone, with a warning.
 */
import { MessageStore } from "../message/store.ts";
import { USER_REDIRECT_FILE } from "../scripts/callbacks.ts";
import { DUNNO, type PolicyAnswer, type RouteAction, readRoute } from "./policy-answer.ts";
import type { Listing } from "./rbl.ts";
import { type Routable, routeMessage } from "./route.ts";
import type { Verdict } from "./verdict.ts";

/** A verdict about a message in the words of the policy service. */
export function answerOf(verdict: Verdict): PolicyAnswer {
  if (verdict.kind === "discard") return { kind: "discard", text: "" };
  return verdict.kind === "refuse" ? verdict : DUNNO;
}

/** What block lists want done when a request tells of this state of a message; listedEdits says it to a milter. */
export function listedRoute({ redirect, header }: Listing, state: string): RouteAction {
  let wanted = "";
  if (state === "DATA" && header !== "") wanted = `PREPEND ${header.split(/[\r\n]/, 1)[0]}`;
  if (state === "END-OF-MESSAGE" && redirect !== "") wanted = `REDIRECT ${redirect}`;
  const action = readRoute(wanted);
  return typeof action === "string" ? DUNNO : action;
}

/** @returns what makes Postfix deliver as users' settings and scripts say */
export async function routeUnseen(message: Omit<Routable, "store" | "edits">): Promise<PolicyAnswer> {
  const store = new MessageStore();
  store.endOfHeaders();
  try {
    const { verdict, edits } = await routeMessage({ ...message, store, edits: [] });
    if (verdict.kind !== "continue") return answerOf(verdict);
    const [added, ...others] = edits.flatMap((edit) => (edit.kind === "addRecipient" ? [edit.address] : []));
    const removed = edits.some(({ kind }) => kind === "deleteRecipient");
    if (added === undefined) return DUNNO;
    if (others.length === 0) return { kind: removed ? "redirect" : "bcc", address: added };
    const more = removed ? "redirect it to more than one address" : "add more than one recipient";
    message.decisions.warn(
      USER_REDIRECT_FILE,
      "routing",
      `the policy service cannot ${more}, so nothing is changed; attach the milter`,
    );
    return DUNNO;
  } finally {
    store.close();
  }
}
