/** Plays a golden conversation through a real Postfix with postlua attached, each conversation with its own pair. */
import assert from "node:assert/strict";
import type { PrivatePostfix } from "../../postfix/private-instance.ts";
import type { SinkMessage } from "../../postfix/sink.ts";
import { SmtpClient } from "../../postfix/smtp-client.ts";
import {
  type ArrivedMessage,
  type ClientPart,
  type Conversation,
  matches,
  type Outcome,
  patternText,
  type Step,
} from "./conversation.ts";
import { Served } from "./harness.ts";

export async function replayThroughPostfix(conversation: Conversation): Promise<Outcome> {
  const { scripts, config, mainCf } = conversation;
  await using served = await Served.start({ scripts, config, mainCf });
  const { sink, postfix, postlua } = served;
  for (const part of conversation.clients) await playClient(conversation.file, part, postfix);
  const queue = await postfix.settled();
  assert.equal(await postlua.stop(), 0, `${conversation.file}: exit code of postlua`);
  return {
    arrived: mergeDeliveries(sink.messages),
    held: queue
      .filter(({ queue_name }) => queue_name === "hold")
      .map(({ sender, recipients }) => ({
        sender: sender === "MAILER-DAEMON" ? "" : sender,
        recipients: recipients.map(({ address }) => address),
      })),
    decisions: postlua.decisions.map(({ callback, result }) => `${callback} ${result}`),
    printed: postlua.printed(),
    errors: postlua.errors(),
  };
}

async function playClient(file: string, part: ClientPart, postfix: PrivatePostfix): Promise<void> {
  const steps = part.steps.filter((step) => step.kind !== "expect" || step.door !== "direct");
  const first = steps[0];
  const { client, greeting } = await SmtpClient.connect({ port: postfix.port, from: part.from });
  // A greeting that the file says nothing about must be the usual one.
  const greeted = first?.kind === "expect";
  if (greeted) compareReply(file, first, greeting.text);
  else assert.match(greeting.text, /^220 /, `${file}: greeting`);
  for (const step of steps.slice(greeted ? 1 : 0)) {
    if (step.kind === "send") client.write(step.bytes);
    else if (step.kind === "drop") client.close();
    else if (step.reply.kind === "closed") await client.closed;
    else compareReply(file, step, (await client.reply()).text);
  }
  client.close();
  await client.closed;
}

function compareReply(file: string, step: Step & { kind: "expect" }, reply: string): void {
  assert.ok(
    matches(step.reply, reply),
    `${file}:${step.line}: expected\n${patternText(step.reply)}\nand Postfix said\n${reply}`,
  );
}

/** One message may reach the sink in several deliveries, one a transport; its queue ID tells. */
function mergeDeliveries(deliveries: readonly SinkMessage[]): ArrivedMessage[] {
  const byId = new Map<string, ArrivedMessage>();
  for (const [index, delivery] of deliveries.entries()) {
    const id = delivery.queueId || `#${index}`;
    const before = byId.get(id);
    const recipients = [...(before?.recipients ?? []), ...delivery.recipients];
    byId.set(id, { ...delivery, recipients });
  }
  return [...byId.values()];
}
