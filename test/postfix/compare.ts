/** Compares what a golden conversation led to with what its file says. Fails with an assertion that names the section. */
import assert from "node:assert/strict";
import type { ArrivedMessage, Conversation, ExpectedMessage, Outcome } from "./conversation.ts";

export function compareOutcome(conversation: Conversation, outcome: Outcome): void {
  const { file } = conversation;
  comparePartners(file, "arrived", conversation.arrived, outcome.arrived, compareContent);
  comparePartners(file, "held", conversation.held, outcome.held, () => {});

  let from = 0;
  for (const wanted of conversation.decisions) {
    const at = outcome.decisions.findIndex((decision, index) => index >= from && decision.startsWith(wanted));
    assert.ok(
      at >= 0,
      `${file}: no decision "${wanted}" after the first ${from} of:\n${outcome.decisions.join("\n")}`,
    );
    from = at + 1;
  }
  if (conversation.printed !== undefined) {
    assert.equal(outcome.printed, conversation.printed, `${file}: printed`);
  }
  for (const wanted of conversation.errors) {
    assert.ok(
      outcome.errors.includes(wanted),
      `${file}: LUAERRORS.LOG lacks "${wanted}":\n${outcome.errors}`,
    );
  }
  if (conversation.errors.length === 0) assert.equal(outcome.errors, "", `${file}: LUAERRORS.LOG`);
}

/** Pairs each expected message with one that has its envelope; none may be left over on either side. */
function comparePartners<T extends Pick<ArrivedMessage, "sender" | "recipients">>(
  file: string,
  section: string,
  expected: readonly ExpectedMessage[],
  actual: readonly T[],
  compare: (place: string, expected: ExpectedMessage, actual: T) => void,
): void {
  const left = [...actual];
  for (const wanted of expected) {
    const place = `${file}:${wanted.line}: ${section}`;
    const at = left.findIndex(
      ({ sender, recipients }) =>
        (wanted.from === undefined || wanted.from === sender) &&
        [...recipients].sort().join() === wanted.to.join(),
    );
    assert.ok(at >= 0, `${place}: no message to ${wanted.to.join(", ")} among:\n${envelopes(left)}`);
    compare(place, wanted, left[at] as T);
    left.splice(at, 1);
  }
  assert.equal(left.length, 0, `${file}: ${section} although nothing says so:\n${envelopes(left)}`);
}

function envelopes(messages: readonly Pick<ArrivedMessage, "sender" | "recipients">[]): string {
  return messages.map(({ sender, recipients }) => `<${sender}> to ${recipients.join(", ")}`).join("\n");
}

function compareContent(place: string, expected: ExpectedMessage, actual: ArrivedMessage): void {
  const lines = actual.headers.map(([name, value]) => `${name}:${value}`);
  const shown = `\n${lines.join("\n")}`;
  for (const wanted of expected.headers) {
    const found = lines.some((line) => (typeof wanted === "string" ? line === wanted : wanted.test(line)));
    assert.ok(found, `${place}: no header line ${wanted} in:${shown}`);
  }
  const names = actual.headers.map(([name]) => name.toLowerCase());
  for (const name of expected.absent) {
    assert.ok(!names.includes(name.toLowerCase()), `${place}: header ${name} is there:${shown}`);
  }
  const belowTrace = lines.slice(names.findIndex((name) => name !== "received"));
  assert.deepEqual(
    belowTrace.slice(0, expected.top.length),
    expected.top,
    `${place}: top of the header:${shown}`,
  );
  if (expected.body !== undefined) assert.equal(actual.body, expected.body, `${place}: body`);
}
