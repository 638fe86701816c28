/** The golden conversations, through the session core alone. */
import { join } from "node:path";
import { test } from "node:test";
import { compareOutcome } from "../postfix/compare.ts";
import { readConversations } from "../postfix/conversation.ts";
import { replayDirectly } from "./replay-direct.ts";

for (const conversation of readConversations(join(import.meta.dirname, "../sessions"))) {
  test(`${conversation.file}: ${conversation.title}`, async () => {
    compareOutcome(conversation, await replayDirectly(conversation));
  });
}
