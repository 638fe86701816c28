/**
 * USER_REDIRECT.LUA through the policy service alone: at END-OF-MESSAGE, for a
 * message with one recipient, nothing of whose content is known. One answer can
 * redirect a message or add one recipient; what would need more is left alone,
 * with a warning.
 */
import { MessageStore } from "../message/store.ts";
import { USER_REDIRECT_FILE } from "../scripts/callbacks.ts";
import { DUNNO, type PolicyAnswer } from "./policy-answer.ts";
import { type Routable, routeMessage } from "./route.ts";

/** @returns what makes Postfix deliver as users' settings and scripts say */
export async function routeUnseen(message: Omit<Routable, "store" | "edits">): Promise<PolicyAnswer> {
  const store = new MessageStore();
  store.endOfHeaders();
  try {
    const { verdict, edits } = await routeMessage({ ...message, store, edits: [] });
    if (verdict.kind === "refuse") return verdict;
    if (verdict.kind === "discard") return { kind: "discard", text: "" };
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
