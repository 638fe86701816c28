/** Every golden conversation twice: through the session core alone and through a real Postfix. */
import { join } from "node:path";
import { test } from "node:test";
import { compareOutcome } from "./compare.ts";
import { readConversations } from "./conversation.ts";
import { postfixTest } from "./harness.ts";
import { replayDirectly } from "./replay-direct.ts";
import { replayThroughPostfix } from "./replay-postfix.ts";

for (const conversation of readConversations(join(import.meta.dirname, "../sessions"))) {
  const { file, title } = conversation;
  test(`${file}: ${title} (session alone)`, async () => {
    compareOutcome(conversation, await replayDirectly(conversation));
  });
  postfixTest(`${file}: ${title} (Postfix)`, async () => {
    compareOutcome(conversation, await replayThroughPostfix(conversation));
  });
}
