/**
 * What tests on a real Postfix share. Such tests fail where the set-up script
 * could have made them possible (root), and are skipped, with a loud line,
 * for other users.
 */
import { type TestContext, test } from "node:test";
import { whyNoPostfix } from "../../postfix/layout.ts";

let told = false;

/** A test that needs a private Postfix. */
export function postfixTest(name: string, body: (context: TestContext) => Promise<void>): void {
  if (process.getuid?.() === 0) {
    test(name, body);
    return;
  }
  const skip = `NOT RUN: ${whyNoPostfix()}`;
  if (!told) process.stderr.write(`\n*** ${skip}; tests on a real Postfix are skipped ***\n\n`);
  told = true;
  test(name, { skip }, () => {});
}
