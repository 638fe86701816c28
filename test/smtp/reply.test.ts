import assert from "node:assert/strict";
import { test } from "node:test";
import { parseResult, replyText } from "../../src/smtp/reply.ts";

const REFUSALS: [result: string, wire: string][] = [
  ["550 No", "550 No"],
  ["550 5.7.1 No", "550 5.7.1 No"],
  ["550-5.7.1 No", "550 5.7.1 No"],
  ["550", "550 "],
  [" 451 4.7.0 Later \r\n", "451 4.7.0 Later"],
  ["550 5.7.1 a\nb", "550 5.7.1 a / b"],
  ["550-5.7.1 a\r\n550 5.7.1 b", "550 5.7.1 a / b"],
  ["550 a\r550 b", "550 a / b"],
  ["550 100% sure", "550 100% sure"],
  ["554 \xfcber", "554 \xfcber"],
  ["421 bye", "421 bye"],
];

for (const [result, wire] of REFUSALS) {
  test(`refusal ${JSON.stringify(result)}`, () => {
    const parsed = parseResult(result);
    assert.equal(parsed.kind, "refuse");
    if (parsed.kind !== "refuse") return;
    assert.equal(replyText(parsed.reply), wire);
    assert.equal(parsed.problem, "");
  });
}

test("a status that does not go with the code is left out, with a word", () => {
  const parsed = parseResult("550 4.7.1 No");
  assert.equal(parsed.kind, "refuse");
  if (parsed.kind !== "refuse") return;
  assert.equal(replyText(parsed.reply), "550 No");
  assert.match(parsed.problem, /4\.7\.1 does not go with code 550/);
});

test("control characters cannot reach the wire", () => {
  const parsed = parseResult("550 a\0b\x1b[31m\x7f");
  assert.equal(parsed.kind, "refuse");
  if (parsed.kind !== "refuse") return;
  assert.deepEqual(parsed.reply.lines, ["a?b?[31m?"]);
  assert.match(parsed.problem, /control characters/);
});

test("long lines are split within the reply line limit, many lines are cut", () => {
  const long = parseResult(`550 5.7.1 ${"x".repeat(1200)}`);
  assert.equal(long.kind, "refuse");
  if (long.kind === "refuse") {
    assert.deepEqual(
      long.reply.lines.map((line) => line.length),
      [500, 500, 200],
    );
  }
  const many = parseResult(`550 ${"a\n".repeat(1000)}b`);
  assert.equal(many.kind, "refuse");
  if (many.kind === "refuse") {
    assert.equal(many.reply.lines.length, 32);
    assert.match(many.problem, /first 32 lines/);
  }
  const huge = parseResult(`550 ${"x".repeat(100_000)}`);
  if (huge.kind === "refuse") assert.equal(huge.reply.lines.length, 32);
});

const OTHERS: [result: string, kind: string][] = [
  ["", "default"],
  ["  \r\n", "default"],
  ["250 fine", "positive"],
  ["220 hello", "positive"],
  ["354 go", "positive"],
  ["hello", "uncoded"],
  ["5", "uncoded"],
  ["55 x", "uncoded"],
  ["5501 x", "malformed"],
  ["550x", "malformed"],
  ["600 x", "malformed"],
  ["199 x", "malformed"],
  ["000", "malformed"],
];

for (const [result, kind] of OTHERS) {
  test(`${JSON.stringify(result)} is ${kind}`, () => assert.equal(parseResult(result).kind, kind));
}
