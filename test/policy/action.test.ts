/** Actions: exactly what is sent, and that nothing which Postfix would misread ever is. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { actionText, decodeAnswer, encodeAction, type PolicyAction } from "../../src/policy/action.ts";
import { PolicyActionError } from "../../src/policy/errors.ts";

const refuse = (code: number, enhanced: string, ...lines: string[]): PolicyAction => ({
  kind: "refuse",
  reply: { code, enhanced, lines },
});

const SENT: readonly [PolicyAction, string][] = [
  [{ kind: "dunno" }, "DUNNO"],
  [{ kind: "ok" }, "OK"],
  [{ kind: "rejectUnauthDestination" }, "reject_unauth_destination"],
  [refuse(550, "5.7.1", "No"), "550 5.7.1 No"],
  [refuse(450, "", "Later"), "450 Later"],
  [refuse(550, "", "one", "two"), "550 one two"],
  [refuse(550, "", ""), "550 Access denied"],
  [refuse(550, "", "a\r\nb\0c"), "550 a b c"],
  [refuse(550, "", "caf\xe9"), "550 caf?"],
  [refuse(550, "", "caf\xc3\xa9"), "550 caf\xc3\xa9"],
  [refuse(550, "", "x".repeat(500)), `550 ${"x".repeat(397)}...`],
  [{ kind: "deferIfPermit", text: "4.3.0 wait" }, "DEFER_IF_PERMIT 4.3.0 wait"],
  [{ kind: "hold", text: "" }, "HOLD"],
  [{ kind: "hold", text: "odd\n" }, "HOLD odd"],
  [{ kind: "discard", text: "spam" }, "DISCARD spam"],
  [{ kind: "filter", destination: "smtp:[127.0.0.1]:10025" }, "FILTER smtp:[127.0.0.1]:10025"],
  [{ kind: "filter", destination: "dummy:" }, "FILTER dummy:"],
  [{ kind: "redirect", address: "a@b.test" }, "REDIRECT a@b.test"],
  [{ kind: "bcc", address: "a@b.test" }, "BCC a@b.test"],
  [{ kind: "prepend", header: "X-Seen: yes" }, "PREPEND X-Seen: yes"],
];

const REFUSED: readonly PolicyAction[] = [
  refuse(250, "", "fine"),
  refuse(600, "", "x"),
  refuse(550, "5.7", "x"),
  refuse(550, "2.0.0", "x"),
  { kind: "filter", destination: "smtp" },
  { kind: "filter", destination: "smtp:a b" },
  { kind: "filter", destination: "smtp:a\nb" },
  { kind: "redirect", address: "nobody" },
  { kind: "redirect", address: "a@b\n" },
  { kind: "bcc", address: "a @b" },
  { kind: "prepend", header: "no header" },
  { kind: "prepend", header: "X-A: b\nX-B: c" },
  { kind: "prepend", header: "" },
];

test("every action as Postfix reads it", () => {
  for (const [action, text] of SENT) {
    const sent = encodeAction(action).toString("latin1");
    assert.equal(sent, `action=${text}\n\n`);
    assert.deepEqual(decodeAnswer(`${sent}more`), { action: text, length: sent.length });
  }
});

test("what Postfix would misread is refused", () => {
  for (const action of REFUSED)
    assert.throws(() => actionText(action), PolicyActionError, JSON.stringify(action));
});
