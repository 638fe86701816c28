/** What a password must be like, and its hash; Dovecot's own reading of it is in test/commands/passwords.test.ts. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { compare } from "bcryptjs";
import { hashPassword, passwordProblem } from "../../src/directory/password.ts";

test("passwordProblem - characters count, not bytes or UTF-16 units", () => {
  assert.equal(passwordProblem("éééééé", 6), undefined);
  assert.match(passwordProblem("ééééé", 6) ?? "", /too short: 5 of at least 6 characters/);
  assert.match(passwordProblem("😀😀😀", 6) ?? "", /too short: 3 of/);
  assert.equal(passwordProblem("      ", 6), undefined);
});

test("passwordProblem - what bcrypt would cut is too long", () => {
  assert.equal(passwordProblem("x".repeat(72), 1), undefined);
  assert.match(passwordProblem("x".repeat(73), 1) ?? "", /73 bytes, and all beyond 72/);
  assert.equal(passwordProblem("é".repeat(36), 1), undefined);
  assert.match(passwordProblem("é".repeat(37), 1) ?? "", /74 bytes/);
});

test("passwordProblem - empty, control characters, half a character", () => {
  assert.match(passwordProblem("", 1) ?? "", /empty/);
  for (const text of ["a\nb", "a\tb", "a\x7fb", "a\x85b", "a\0b"]) {
    assert.match(passwordProblem(text, 1) ?? "", /control character/);
  }
  assert.match(passwordProblem("a\ud83d", 1) ?? "", /no valid Unicode/);
});

test("hashPassword - a salt of its own each time; nothing is cut", async () => {
  const [one, two] = [await hashPassword("sécret", 4), await hashPassword("sécret", 4)];
  assert.notEqual(one, two);
  assert.match(one, /^\{BLF-CRYPT\}\$2y\$04\$[./A-Za-z0-9]{53}$/);
  assert.equal(await compare("sécret", one.replace("{BLF-CRYPT}", "")), true);
  await assert.rejects(hashPassword("x".repeat(73), 4), /cut/);
});
