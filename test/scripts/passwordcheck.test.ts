/** PASSWORDCHECK.LUA: what Check is given, what its answers mean, and what of its errors may be told. */
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { decodeText } from "../../src/bytes.ts";
import type { Budget } from "../../src/lua/budget.ts";
import { LuaEngine } from "../../src/lua/engine.ts";
import { checkPassword, type PasswordAnswer } from "../../src/scripts/passwordcheck.ts";

const directory = mkdtempSync(join(tmpdir(), "postlua-passwordcheck-"));
after(() => rmSync(directory, { recursive: true }));

const BUDGET: Budget = {
  instructions: 1_000_000,
  cpuMs: 60_000,
  wallMs: 60_000,
  stringBytes: 1 << 24,
  outputBytes: 1 << 16,
  openFiles: 4,
};

const printed: string[] = [];
const engine = new LuaEngine({
  dialect: "5.0",
  dataDir: directory,
  scriptsDir: directory,
  modules: [],
  print: (text) => printed.push(text),
});

function ask(script: string, password: string, user = "joe"): Promise<PasswordAnswer> {
  writeFileSync(join(directory, "passwordcheck.LUA"), script);
  const question = { user, password, minLength: 8 };
  return checkPassword(question, { engine, scriptsDir: directory, budget: BUDGET, context: {} });
}

async function kind(body: string, password = "secret-é"): Promise<string> {
  const answer = await ask(`function Check(user, password, minlen) ${body} end`, password);
  return answer.kind === "refused" ? `refused ${decodeText(answer.reason)}`.trim() : answer.kind;
}

test("Check gets the user, the password as UTF-8 and the length as a number", async () => {
  const right = 'return user == "joe" and password == "secret-\\195\\169" and minlen == 8';
  assert.equal(await kind(right), "allowed");
  assert.equal(await kind("return string.len(password) == 9"), "allowed");
});

test("nothing but true allows", async () => {
  assert.equal(await kind("return true"), "allowed");
  for (const answer of [
    "",
    "return",
    "return nil",
    "return false",
    "return 1",
    'return "true"',
    "return {}",
  ]) {
    assert.equal(await kind(answer), "refused", answer);
  }
  assert.equal(await kind('return false, " Not \\195\\169 "'), "refused Not é");
  assert.equal(await kind("return false, {}"), "refused");
});

test("missing script, missing function: no objection; a broken one fails", async () => {
  assert.equal((await ask("x = 1", "secret-word")).kind, "allowed");
  assert.equal((await ask("function Check( end", "secret-word")).kind, "failed");
  assert.equal((await ask("error('top')", "secret-word")).kind, "failed");
  assert.equal((await ask("while true do end", "secret-word")).kind, "failed");
  rmSync(join(directory, "passwordcheck.LUA"));
  const question = { user: "joe", password: "secret-word", minLength: 8 };
  const surroundings = { engine, scriptsDir: directory, budget: BUDGET, context: {} };
  assert.equal((await checkPassword(question, surroundings)).kind, "allowed");
  const elsewhere = { ...surroundings, scriptsDir: join(directory, "nothing") };
  assert.equal((await checkPassword(question, elsewhere)).kind, "failed");
});

const FAILURES: readonly [string, RegExp][] = [
  ["error(password)", /^PASSWORDCHECK\.LUA:1: \(the message is withheld/],
  ['error("it is " .. string.upper(password) .. "!", 0)', /^PASSWORDCHECK\.LUA: \(the message is withheld/],
  ["error({password})", /the message is withheld/],
  ['loadstring("local x = nil .. 1 -- " .. password)()', /the message is withheld/],
  ["assert(false, password)", /the message is withheld/],
  ["assert(io.open(password))", /the message is withheld/],
  ["os.getdirectory(password)", /attempt to call field `getdirectory' \(a nil value\)/],
  ["return nil .. password", /^PASSWORDCHECK\.LUA:1: attempt to concatenate a nil value/],
  ["return password.x.y", /attempt to index/],
  ["return string.rep(password)", /bad argument #2 to `rep' \(number expected, got no value\)/],
  ['return string.find(password, "%")', /malformed pattern \(ends with/],
  [
    "pcall(function() while true do end end)",
    /^(?:PASSWORDCHECK\.LUA: )?budget exceeded: more than 1000000 /,
  ],
  ["local function f() return 1 + f() end return f()", /stack overflow/],
];

test("what may be told of a failure names the place and never the password", async () => {
  const password = "SeCret_Word";
  for (const [body, told] of FAILURES) {
    const failed = await ask(`function Check(user, password) ${body} end`, password);
    assert.equal(failed.kind, "failed", body);
    if (failed.kind !== "failed") continue;
    const text = `${failed.told.message}\n${failed.told.details.traceback}`;
    assert.match(text, told, body);
    assert.equal(text.toLowerCase().includes(password.toLowerCase()), false, text);
    assert.equal(failed.told.details.callback, "Check");
  }
});

test("what it prints goes nowhere unless somebody asks for it", async () => {
  await ask("print('top') function Check(u, p) print(p) return true end", "secret-word");
  assert.deepEqual(printed, []);
});

test("the example refuses what it says", async () => {
  const example = readFileSync(
    join(import.meta.dirname, "../../postfix/examples/PASSWORDCHECK.LUA"),
    "latin1",
  );
  const verdict = async (password: string, user = "joe.smith@example.com") => {
    const answer = await ask(example, password, user);
    return answer.kind === "refused" ? answer.reason : answer.kind;
  };
  assert.equal(await verdict("MyPassWord9"), 'It must not contain "password".');
  assert.equal(await verdict("xJoe.Smith99"), "It must not contain the user name.");
  assert.equal(await verdict("onlyletters"), "It needs a digit or a sign, or twice the length.");
  assert.equal(await verdict("onlylettersbutmany"), "allowed");
  assert.equal(await verdict("letters-and-more"), "allowed");
});
