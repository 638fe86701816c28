/**
 * The pattern matcher against a table of what Lua 5.0 answers to string.find,
 * and the promises that Lua's own matcher does not make: no recursion, steps
 * that are counted, a search that can be interrupted anywhere.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { toBytes } from "../../src/bytes.ts";
import { FAILED, FOUND, Matcher, PAUSED } from "../../src/lua/matcher.ts";
import { compilePattern, type PatternDialect } from "../../src/lua/pattern.ts";

/** Subject, pattern, third argument of string.find; results, null for nil, or the error message. */
type Row = [subject: string, pattern: string, init: number, want: (string | number)[] | string | null];

// biome-ignore format: one case a line
const CASES: Row[] = [
  ["hello", "l+", 1, [3, 4]],
  ["hello", "l-", 1, [1, 0]],
  ["hello", "^l", 1, null],
  ["hello", "o$", 1, [5, 5]],
  ["a.b", "%.", 1, [2, 2]],
  ["a+b", "a+b", 1, null],
  ["aaab", "a*ab", 1, [1, 4]],
  ["aaab", "a-b", 1, [1, 4]],
  ["abc", ".-c", 1, [1, 3]],
  ["abc", "b?c", 1, [2, 3]],
  ["ac", "b?c", 2, [2, 2]],
  ["", ".*", 1, [1, 0]],
  ["", ".+", 1, null],
  ["abc", "", 3, [3, 2]],
  ["abc", "()", 4, [4, 3, 4]],
  ["abc", "$", 1, [4, 3]],
  ["abc", "a$", 1, null],
  ["a$c", "a$c", 1, [1, 3]],
  ["abc", "^", 2, [2, 1]],
  ["a^c", "a^c", 1, [1, 3]],
  ["abc", "^b", 2, [2, 2]],
  ["x*", "^*", 1, null],
  ["x*", "(*)", 1, [2, 2, "*"]],
  ["--x", "-+", 1, [1, 2]],
  ["+1", "^[+-]?%d+$", 1, [1, 2]],
  ["Ab1 _\t\n", "%a+", 1, [1, 2]],
  ["Ab1 _\t\n", "%A+", 1, [3, 7]],
  ["Ab1 _\t\n", "%w+", 1, [1, 3]],
  ["Ab1 _\t\n", "%W+", 1, [4, 7]],
  ["Ab1 _\t\n", "%s+", 1, [4, 4]],
  ["Ab1 _\t\n", "%S+", 1, [1, 3]],
  ["Ab1 _\t\n", "%c+", 1, [6, 7]],
  ["Ab1 _\t\n", "%C+", 1, [1, 5]],
  ["Ab1 _\t\n", "%p+", 1, [5, 5]],
  ["Ab1 _\t\n", "%d", 1, [3, 3]],
  ["Ab1 _\t\n", "%D+", 1, [1, 2]],
  ["Ab1 _\t\n", "%l", 1, [2, 2]],
  ["Ab1 _\t\n", "%u", 1, [1, 1]],
  ["xyz0f", "%x+", 1, [4, 5]],
  ["a\u0000b", "%z", 1, [2, 2]],
  ["a\u0000b", "%Z+", 1, [1, 1]],
  ["caf\xe9", "%a+$", 1, null],
  ["caf\xe9", "[^%a]", 1, [4, 4]],
  ["\xa0x", "%s", 1, null],
  ["[]", "%[%]", 1, [1, 2]],
  ["100%", "%d%%", 1, [3, 4]],
  ["g", "%g", 1, [1, 1]],
  ["x]y", "[]]", 1, [2, 2]],
  ["]x", "[^]]", 1, [2, 2]],
  ["a-z", "[a-]+", 1, [1, 2]],
  ["a-z", "[-z]+", 1, [2, 3]],
  ["m", "[a-z]", 1, [1, 1]],
  ["-", "[%a-z]+", 1, [1, 1]],
  ["^", "[%^x]", 1, [1, 1]],
  ["x^", "[x^]+", 1, [1, 2]],
  ["\xc0\xff", "[\x80-\xff]+", 1, [1, 2]],
  ["b", "[z-a]", 1, null],
  ["a]", "[a]]", 1, [1, 2]],
  ["%", "[%%]", 1, [1, 1]],
  ["]", "[a-%%]", 1, [1, 1]],
  ["$", "[$]", 1, [1, 1]],
  ["1.5e3", "[%d%.e]+", 1, [1, 5]],
  ["key = value", "^(%w+)%s*=%s*(%w+)$", 1, [1, 11, "key", "value"]],
  ["abc", "()b()", 1, [2, 2, 2, 3]],
  ["abc", "(a)(b)(c)", 1, [1, 3, "a", "b", "c"]],
  ["abc", "((a)(b))", 1, [1, 2, "ab", "a", "b"]],
  ["abc", "(a*(.)b)c()", 1, [1, 3, "ab", "a", 4]],
  ["\"it's\"", "([\"'])(.-)%1", 1, [1, 6, "\"", "it's"]],
  ["abab", "(ab)%1", 1, [1, 4, "ab"]],
  ["aa", "(a)%1", 1, [1, 2, "a"]],
  ["ab", "(a)%1", 1, null],
  ["aXb", "()X%1", 1, null],
  ["  trim  ", "^%s*(.-)%s*$", 1, [1, 8, "trim"]],
  ["", "()()", 1, [1, 0, 1, 1]],
  ["abc", "(((a)))", 1, [1, 1, "a", "a", "a"]],
  ["alo alo", "(.-)%s%1", 1, [1, 7, "alo"]],
  ["x", "(x)(y?)", 1, [1, 1, "x", ""]],
  ["f(a(b)c)d", "%b()", 1, [2, 8]],
  ["((x)", "%b()", 1, [2, 4]],
  ["xx", "%bxx", 1, [1, 2]],
  ["xyx", "%bxx", 1, [1, 3]],
  ["THE (quick) fox", "%((%a+)%)", 1, [5, 11, "quick"]],
  ["THE (quick) fox", "%f[%a]%a+%f[%A]", 5, [6, 10]],
  ["aaa", "%f[a]a", 2, null],
  ["foo", "%f[%z]", 1, [4, 3]],
  ["[[]]", "%f[[].", 1, [1, 1]],
  ["a b", "%f[%w]%w", 2, [3, 3]],
  ["hello", "l", -2, [4, 4]],
  ["hello", "l", -100, [3, 3]],
  ["hello", "l", 0, [3, 3]],
  ["abc", "b", 10, null],
  ["", "", 5, [1, 0]],
  ["abc", ".*", 4, [4, 3]],
  ["abc", "^.*", 4, [4, 3]],
  ["a\u0000b\u0000c", "\u0000c", 1, [4, 5]],
  ["ab", "b\u0000", 1, null],
  ["a)", ")", 1, [2, 2]],
  ["a]", "]", 1, [2, 2]],
  ["a}", "}", 1, [2, 2]],
  ["a.", "%.\u0000x", 1, [2, 2]],
  ["ab", "a.\u0000zzz", 1, [1, 2]],
  ["abc", "%", 1, "malformed pattern (ends with `%')"],
  ["abc", "a%", 1, "malformed pattern (ends with `%')"],
  ["abc", "x%", 1, null],
  ["abc", "[a", 1, "malformed pattern (missing `]')"],
  ["abc", "[", 1, "malformed pattern (missing `]')"],
  ["abc", "[]", 1, "malformed pattern (missing `]')"],
  ["abc", "[^]", 1, "malformed pattern (missing `]')"],
  ["abc", "[%", 1, "malformed pattern (missing `]')"],
  ["abc", "[a%]", 1, "malformed pattern (missing `]')"],
  ["abc", "x[", 1, null],
  ["abc", "(a", 1, "unfinished capture"],
  ["abc", "(z", 1, null],
  ["abc", "a.)", 1, "invalid pattern capture"],
  ["abc", "%1", 1, "invalid capture index"],
  ["abc", "(a%1)", 1, "invalid capture index"],
  ["abc", "%0", 1, "invalid capture index"],
  ["abc", "%b", 1, "unbalanced pattern"],
  ["abc", "%bx", 1, "unbalanced pattern"],
  ["abc", "%f", 1, "missing `[' after `%f' in pattern"],
  ["abc", "%fa", 1, "missing `[' after `%f' in pattern"],
  ["abc", "%f[a", 1, "malformed pattern (missing `]')"],
  ["abc", "(()", 1, "unfinished capture"],
  ["bob@example.com", "^([^@]+)@(.+)$", 1, [1, 15, "bob", "example.com"]],
  ["192.168.0.17", "^(%d+)%.(%d+)%.(%d+)%.(%d+)$", 1, [1, 12, "192", "168", "0", "17"]],
  ["Subject: [SPAM] x", "^(%S+):%s*%[(%u+)%]", 1, [1, 15, "Subject", "SPAM"]],
  ["=?utf-8?Q?a=20b?=", "=%?([^?]+)%?([QqBb])%?([^?]*)%?=", 1, [1, 17, "utf-8", "Q", "a=20b"]],
  ["a,b;c", "[,;]", 3, [4, 4]],
];

const EVERYTHING = Number.MAX_SAFE_INTEGER;

/** string.find as far as the matcher goes, `slice` steps at a time. */
function find(
  subject: string,
  pattern: string,
  init: number,
  slice: number,
  dialect: PatternDialect = "5.0",
) {
  const source = toBytes(subject);
  const compiled = compilePattern(toBytes(pattern), dialect);
  const from = Math.min(Math.max((init >= 0 ? init : source.length + init + 1) - 1, 0), source.length);
  if (compiled.literal) {
    const at = source.indexOf(toBytes(pattern), from);
    return at < 0 ? null : [at + 1, at + pattern.length];
  }
  const matcher = new Matcher();
  let status = matcher.search(compiled, source, from, false, slice);
  while (status === PAUSED) status = matcher.resume(slice);
  if (status === FAILED) return matcher.error;
  if (status !== FOUND) return null;
  const out: (string | number)[] = [matcher.start + 1, matcher.end];
  for (let i = 0; i < matcher.captures; i++) {
    if (matcher.isUnfinished(i)) return "unfinished capture";
    if (matcher.isPosition(i)) out.push(matcher.captureStart(i) + 1);
    else out.push(subject.slice(matcher.captureStart(i), matcher.captureEnd(i)));
  }
  return out;
}

test("finds what Lua 5.0 finds", () => {
  for (const [subject, pattern, init, want] of CASES)
    assert.deepEqual(find(subject, pattern, init, EVERYTHING), want, `${subject} ~ ${pattern} from ${init}`);
});

test("finds the same when it is interrupted at every step", () => {
  for (const slice of [1, 2, 7])
    for (const [subject, pattern, init, want] of CASES)
      assert.deepEqual(
        find(subject, pattern, init, slice),
        want,
        `${subject} ~ ${pattern} in steps of ${slice}`,
      );
});

test("has room for 32 captures and no more", () => {
  const x = "x".repeat(40);
  assert.deepEqual(find(x, "(x)".repeat(32), 1, EVERYTHING), [1, 32, ...Array(32).fill("x")]);
  assert.equal(find(x, "(x)".repeat(33), 1, EVERYTHING), "too many captures");
  assert.equal(find("", "()".repeat(33), 1, EVERYTHING), "too many captures");
  assert.equal(find("", `${"()".repeat(33)}z`, 1, EVERYTHING), "too many captures");
});

test("the 5.2 dialect knows %g and patterns with NUL bytes", () => {
  assert.deepEqual(find(" !", "%g", 1, EVERYTHING, "5.2"), [2, 2]);
  assert.deepEqual(find(" !", "[%g]", 1, EVERYTHING, "5.2"), [2, 2]);
  assert.deepEqual(find("ab\0c", ".\0c", 1, EVERYTHING, "5.2"), [2, 4]);
});

test("neither a long subject nor a long pattern needs a stack", () => {
  const long = "a".repeat(1_000_000);
  assert.deepEqual(find(long, "^a-$", 1, EVERYTHING), [1, 1_000_000]);
  assert.deepEqual(find(long, "^(.-)$", 1, EVERYTHING)?.slice(0, 2), [1, 1_000_000]);
  assert.deepEqual(find("a".repeat(50), "a?".repeat(200_000), 1, EVERYTHING), [1, 50]);
  assert.equal(find(long, ".-b", 1_000_000 - 100, EVERYTHING), null);
});

test("work is counted, so that a catastrophic pattern can be stopped", () => {
  const matcher = new Matcher();
  const pattern = compilePattern(toBytes(`${"a-".repeat(12)}b`), "5.0");
  const subject = toBytes("a".repeat(30));
  assert.equal(matcher.search(pattern, subject, 0, false, 100_000), PAUSED);
  for (let i = 0; i < 9; i++) assert.equal(matcher.resume(100_000), PAUSED);
  assert.ok(matcher.steps >= 1_000_000 && matcher.steps < 1_100_000, `${matcher.steps}`);
});

test("scanning a long subject counts as well", () => {
  const matcher = new Matcher();
  const subject = toBytes("a".repeat(80_000));
  for (const pattern of ["^a*$", "b", "[bc]", "^a-$", "^%bab", "^(a*)$"]) {
    matcher.steps = 0;
    matcher.search(compilePattern(toBytes(`${pattern}()`), "5.0"), subject, 0, false, EVERYTHING);
    assert.ok(matcher.steps >= 5_000, `${pattern}: ${matcher.steps}`);
  }
});
