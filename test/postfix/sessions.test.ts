/** The golden conversations through a real Postfix; test/smtp/conversations.test.ts plays them without one. */
import { join } from "node:path";
import { compareOutcome } from "./compare.ts";
import { readConversations } from "./conversation.ts";
import { postfixTest } from "./harness.ts";
import { replayThroughPostfix } from "./replay-postfix.ts";

for (const conversation of readConversations(join(import.meta.dirname, "../sessions"))) {
  postfixTest(`${conversation.file}: ${conversation.title}`, async () => {
    compareOutcome(conversation, await replayThroughPostfix(conversation));
  });
}
