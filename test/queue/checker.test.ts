/** CheckFile of RELAYOUT.LUA and MXOUT.LUA in the engine: what it is given, what its answers mean, what its failures cost. */
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import type { Budget } from "../../src/lua/budget.ts";
import { LuaEngine } from "../../src/lua/engine.ts";
import { type Checker, type CheckQuestion, type Route, UNCHANGED } from "../../src/queue/actions.ts";
import { LuaCheckers } from "../../src/queue/lua-checker.ts";
import type { QueueFile } from "../../src/queue/queue-file.ts";
import { BUDGET, keptLog } from "./harness.ts";

/** Checkers on scripts of their own, with what they logged and printed. */
function place(scripts: Readonly<Record<string, string>>, budget: Partial<Budget> = {}, sessionMs = 60_000) {
  const directory = mkdtempSync(join(tmpdir(), "postlua-checker-"));
  after(() => rmSync(directory, { recursive: true, force: true }));
  const write = (name: string, text: string) => writeFileSync(join(directory, name), text);
  for (const [name, text] of Object.entries(scripts)) write(name, text);
  const log = keptLog();
  const printed: string[] = [];
  const errors: string[] = [];
  const engine = new LuaEngine({
    dialect: "5.0",
    dataDir: directory,
    scriptsDir: directory,
    modules: [],
    print: (text) => printed.push(text.trimEnd()),
  });
  const checkers = new LuaCheckers({
    engine,
    scriptsDir: directory,
    budget: { ...BUDGET, ...budget },
    sessionMs,
    log,
    output: { print: () => {}, error: (error) => errors.push(error.message) },
  });
  return { checkers, write, remove: (name: string) => rmSync(join(directory, name)), log, printed, errors };
}

const FILE: QueueFile = {
  id: "4jXbgC4KgkzJmqs",
  inode: 1,
  fileSize: 900,
  mtimeMs: 0,
  expire: false,
  unthrottle: false,
  sender: "",
  recipients: [],
  arrivalTime: new Date(2026, 0, 2, 3, 4, 6).getTime() / 1000,
  arrivalMicroseconds: 0,
  createTime: new Date(2026, 0, 2, 3, 4, 5).getTime() / 1000,
  size: 321,
  warnTime: 0,
  filter: "",
  redirect: "",
  verp: "",
  envelopeId: "",
  dsnReturn: 0,
  fullName: "",
  attributes: {},
  header: "Received: one\n\tfolded\nX-A: first\nSubject: H\xc3\xa9\nx-a: last",
  headerComplete: true,
  bodyOffset: 0,
};

function question(route: Route, more: Partial<CheckQuestion> = {}, id = FILE.id): CheckQuestion {
  return {
    route,
    file: { ...FILE, id },
    path: `/q/deferred/${id}`,
    recipients: ["a@x.test", "b@x.test"],
    retries: 0,
    lastTry: undefined,
    ...more,
  };
}

const SHOW = `
local function show(v)
  if type(v) ~= "table" then return type(v) == "string" and '"' .. v .. '"' or tostring(v) end
  local keys, out = {}, {}
  for k in pairs(v) do table.insert(keys, k) end
  table.sort(keys, function(a, b) return tostring(a) < tostring(b) end)
  for _, k in ipairs(keys) do table.insert(out, tostring(k) .. "=" .. show(v[k])) end
  return "{" .. table.concat(out, ",") .. "}"
end
function CheckFile(...)
  print(arg.n)
  for i = 1, arg.n do print(show(arg[i])) end
  local h = arg[arg.n - 1]
  print(h["subject"], h.SUBJECT, h["X-A"], h.nothing)
  return arg[2]
end`;

const HEADERS = '{received="one\n\tfolded",subject="H\xc3\xa9",x-a="last"}';
const LINES = '{1="Received: one\n\tfolded",2="X-A: first",3="Subject: H\xc3\xa9",4="x-a: last"}';
const ANY_CASE = "H\xc3\xa9\tH\xc3\xa9\tlast\tnil";

test("RELAYOUT.LUA: the manual's eight arguments", async () => {
  const { checkers, printed } = place({ "RelayOut.lua": SHOW });
  const checker = checkers.session("s1");
  assert.deepEqual(await checker.check(question("relay", { retries: 3, lastTry: new Date() })), UNCHANGED);
  assert.deepEqual(printed, [
    "8",
    '"/q/deferred/4jXbgC4KgkzJmqs"',
    '{Priority=50,Reason="",SkipSend=false}',
    "321",
    '"20260102030405"',
    '""',
    '{1="a@x.test",2="b@x.test"}',
    HEADERS,
    LINES,
    ANY_CASE,
  ]);
  await checker.close();
});

test("MXOUT.LUA: the manual's ten arguments", async () => {
  const { checkers, printed } = place({ "MXOUT.LUA": SHOW });
  const checker = checkers.session("s1");
  await checker.check(question("mx"));
  const expected = [
    "10",
    '"/q/deferred/4jXbgC4KgkzJmqs"',
    '{ForceLastTry=false,ForceRetry=false,Priority=50,Reason="",SkipSend=false}',
    "321",
    '"20260102030405"',
    "0",
    '""',
    '""',
    '{1="a@x.test",2="b@x.test"}',
    HEADERS,
    LINES,
    ANY_CASE,
  ];
  assert.deepEqual(printed.splice(0), expected);
  const file = { ...FILE, sender: "joe@x.test" };
  await checker.check(question("mx", { file, retries: 7, lastTry: new Date(2030, 11, 31, 23, 59, 58) }));
  expected.splice(5, 3, "7", '"20301231235958"', '"joe@x.test"');
  assert.deepEqual(printed, expected);
  await checker.close();
});

/** The answer to one message, and what was logged besides the decision. */
async function answer(body: string, route: Route = "mx") {
  const name = route === "mx" ? "MXOUT.LUA" : "RELAYOUT.LUA";
  const { checkers, log, errors } = place({ [name]: `function CheckFile(f, Actions) ${body} end` });
  const checker = checkers.session("s1");
  const actions = await checker.check(question(route));
  await checker.close();
  return { actions, told: log.lines.filter((line) => !line.startsWith("decision")).join("\n"), errors };
}

test("entries of Actions: Lua's truth, and text that is a number", async () => {
  const all = "SkipSend=1, ForceRetry=0, ForceLastTry=true, Reason='big\\nand slow ', Priority='75'";
  assert.deepEqual(await answer(`return {${all}}`), {
    actions: { skipSend: true, forceRetry: true, forceLastTry: false, reason: "big and slow", priority: 75 },
    told: "",
    errors: [],
  });
  const last = await answer(
    "Actions.ForceLastTry = 1; Actions.Reason = 7; Actions.Priority = -3.5 return Actions",
  );
  assert.deepEqual(last.actions, { ...UNCHANGED, forceLastTry: true, reason: "7", priority: -3.5 });
  const cases: [string, number, RegExp][] = [
    ["1e300", 1e300, /^$/],
    ["1/0", Number.MAX_VALUE, /^$/],
    ["-1/0", -Number.MAX_VALUE, /^$/],
    ["' 0x10 '", 16, /^$/],
    ["nil", 50, /^$/],
    ["0/0", 50, /Priority is not a number \(NaN\); it stays 50/],
    ["'high'", 50, /Priority is "high"; it stays 50/],
    ["false", 50, /Priority is a boolean; it stays 50/],
    ["{}", 50, /Priority is a table; it stays 50/],
  ];
  for (const [value, priority, warning] of cases) {
    const { actions, told, errors } = await answer(`Actions.Priority = ${value} return Actions`);
    assert.equal(actions.priority, priority, value);
    assert.match(told, warning, value);
    assert.deepEqual(errors, []);
  }
});

test("no answer leaves a message as it is; one that is no table is the script's error", async () => {
  for (const body of ["", "return", "return nil", "return false", "return ''", "Actions.SkipSend = 1"]) {
    assert.deepEqual(await answer(body), { actions: UNCHANGED, told: "", errors: [] }, body);
  }
  for (const body of ["return 5", "return true", "return 'skip'", "return print"]) {
    const { actions, told, errors } = await answer(body);
    assert.equal(actions, UNCHANGED);
    assert.match(errors.join(), /^MXOUT\.LUA: CheckFile returned a \w+, where the Actions table belongs$/);
    assert.match(told, /^script error .*callback=CheckFile queue=4jXbgC4KgkzJmqs line=0 kind=runtime/);
    assert.match(told, /instead=the message goes as it is$/);
  }
  const other = await answer("return {'a', priority=3}");
  assert.deepEqual(other.actions, UNCHANGED);
  assert.match(other.told, /an entry 1, which means nothing/);
  assert.match(
    other.told,
    /an entry priority, which means nothing; it has SkipSend, ForceRetry, ForceLastTry/,
  );
  const relay = await answer("Actions.ForceRetry = true return Actions", "relay");
  assert.deepEqual(relay.actions, UNCHANGED);
  assert.match(relay.told, /an entry ForceRetry, which means nothing; it has SkipSend, Reason, Priority/);
});

const ask = async (checker: Checker, route: Route, count: number) => {
  const ids = Array.from({ length: count }, (_, n) => `4jXbgC4KgkzJm${String(n).padStart(3, "0")}`);
  return Promise.all(ids.map((id) => checker.check(question(route, {}, id))));
};

test("the top level runs once a session; sessions and scripts see nothing of each other", async () => {
  const count = `n = 0 print("top", n) function CheckFile(_, a) n = n + 1 a.Priority = n return a end`;
  const { checkers, printed } = place({ "MXOUT.LUA": count, "RELAYOUT.LUA": count });
  const one = checkers.session("s1");
  const two = checkers.session("s2");
  const priorities = async (checker: Checker, route: Route) =>
    (await ask(checker, route, 3)).map(({ priority }) => priority);
  assert.deepEqual(await priorities(one, "mx"), [1, 2, 3]);
  assert.deepEqual(printed, ["top\t0"]);
  assert.deepEqual(await priorities(one, "relay"), [1, 2, 3]);
  assert.deepEqual(await priorities(two, "mx"), [1, 2, 3]);
  assert.deepEqual(await priorities(one, "mx"), [4, 5, 6]);
  assert.equal(printed.length, 3);
  await one.close();
  assert.deepEqual((await ask(one, "mx", 1))[0], UNCHANGED);
  await two.close();
});

test("a decision is told once while it stays the same", async () => {
  const { checkers, write, log } = place({
    "MXOUT.LUA": "function CheckFile(_, a) a.SkipSend = true return a end",
  });
  const info: string[] = [];
  const keep = log.info;
  log.info = (event, fields) => {
    info.push(`${event} ${fields?.queue} ${fields?.result} ${fields?.detail}`);
    keep(event, fields);
  };
  for (const name of ["s1", "s2"]) {
    const checker = checkers.session(name);
    await checker.check(question("mx"));
    await checker.close();
  }
  write("MXOUT.LUA", "function CheckFile(_, a) a.Reason = 'now' return a end");
  await checkers.session("s3").check(question("mx"));
  assert.deepEqual(info, [
    `decision ${FILE.id} skip, priority 50 `,
    `decision ${FILE.id} send, priority 50 now`,
  ]);
  assert.equal(log.lines.length, 3);
});

test("failures: the message goes as it is, the logs say where, and many of them are counted", async () => {
  const { checkers, log, errors } = place({ "MXOUT.LUA": "function CheckFile()\n  error('no')\nend" });
  const checker = checkers.session("s1");
  for (const actions of await ask(checker, "mx", 25)) assert.equal(actions, UNCHANGED);
  assert.equal(errors.length, 10);
  assert.match(errors[0] ?? "", /MXOUT\.LUA:2: no/);
  await checker.close();
  assert.match(
    log.lines[0] ?? "",
    /^script error session=s1 script=MXOUT\.LUA callback=CheckFile .*line=2 kind=runtime/,
  );
  assert.match(log.lines.at(-1) ?? "", /problem=25 failures, 15 of them untold/);
});

test("endless loops and what raises now and then cost their own message alone", async () => {
  const script = `function CheckFile(f, a)
    if string.find(f, "001") then while true do end end
    if string.find(f, "002") then pcall(function() while true do end end) end
    if string.find(f, "003") then error({}) end
    a.Priority = 60 return a
  end`;
  const { checkers, errors } = place({ "MXOUT.LUA": script });
  const checker = checkers.session("s1");
  const priorities = (await ask(checker, "mx", 5)).map(({ priority }) => priority);
  assert.deepEqual(priorities, [60, 50, 50, 50, 60]);
  assert.equal(errors.length, 3);
  await checker.close();
});

test("a script that takes long for every message is not asked any more in this session", async () => {
  const script = "function CheckFile(_, a) a.Priority = 60 while true do end end";
  const { checkers, log, errors } = place({ "MXOUT.LUA": script }, { wallMs: 100, instructions: 1e12 }, 200);
  const checker = checkers.session("s1");
  const answers = await ask(checker, "mx", 40);
  assert.deepEqual(new Set(answers), new Set([UNCHANGED]));
  assert.ok(errors.length <= 4, `${errors.length} errors`);
  assert.match(errors[0] ?? "", /budget exceeded: more than 100 ms/);
  await checker.close();
  assert.match(log.lines.join("\n"), /problem=it has taken more than 200 ms of this session/);
  assert.match(log.lines.at(-1) ?? "", /not asked about 3[5-9] more messages, which go as they are/);
  const next = checkers.session("s2");
  await ask(next, "mx", 1);
  assert.match(log.lines.at(-1) ?? "", /session=s2 .*kind=budget:wall/);
  await next.close();
});

test("a broken, changed, missing or empty file", async () => {
  const works = (priority: number) => `function CheckFile(_, a) a.Priority = ${priority} return a end`;
  const { checkers, write, remove, log, errors } = place({ "MXOUT.LUA": "function CheckFile(" });
  const priority = async () => {
    const checker = checkers.session("s");
    const [actions] = await ask(checker, "mx", 1);
    await checker.close();
    return actions?.priority;
  };
  assert.equal(await priority(), 50);
  assert.match(errors.join(), /MXOUT\.LUA:1: /);
  assert.match(log.lines.at(-1) ?? "", /instead=every message goes as it is/);
  write("MXOUT.LUA", works(1));
  assert.equal(await priority(), 1);
  for (const broken of ["function", "error('at the top')"]) {
    write("MXOUT.LUA", broken);
    assert.equal(await priority(), 1);
    assert.match(
      log.lines.at(-2) ?? "",
      /^script error .*callback=\(top level\)? ?.*instead=the last good version stays/,
    );
  }
  write("MXOUT.LUA", works(2));
  assert.equal(await priority(), 2);
  write("MXOUT.LUA", "-- nothing");
  assert.equal(await priority(), 50);
  assert.match(log.lines.at(-1) ?? "", /it has no function CheckFile; every message goes as it is/);
  remove("MXOUT.LUA");
  const before = log.lines.length;
  assert.equal(await priority(), 50);
  assert.equal(log.lines.length, before);
});

test("the examples do what their comments say", async () => {
  const example = (name: string) =>
    readFileSync(join(import.meta.dirname, "../../postfix/examples", name), "utf8");
  const { checkers, log } = place({
    "MXOUT.LUA": example("MXOUT.LUA").replace("hour >= 20 or hour < 6", "false"),
    "RELAYOUT.LUA": example("RELAYOUT.LUA"),
  });
  const checker = checkers.session("s");
  const mx = (file: Partial<QueueFile>, retries = 0) =>
    checker.check(question("mx", { file: { ...FILE, sender: "a@x.test", ...file }, retries }));
  const reason = "marked as urgent";
  assert.deepEqual(await mx({ header: "X-Priority: 1 (Highest)" }), { ...UNCHANGED, priority: 100, reason });
  assert.equal((await mx({ header: "Precedence: List" })).priority, 10);
  assert.equal((await mx({ size: 6_000_000 })).skipSend, true);
  assert.deepEqual(await mx({ sender: "" }, 3), { ...UNCHANGED, forceLastTry: true });
  assert.deepEqual(await mx({}), UNCHANGED);
  const relay = (more: Partial<CheckQuestion>, file: Partial<QueueFile> = {}) =>
    checker.check(question("relay", { ...more, file: { ...FILE, ...file } }));
  assert.deepEqual(await relay({}), UNCHANGED);
  assert.equal((await relay({}, { size: 3_000_000 })).priority, 47);
  assert.equal((await relay({}, { header: "Subject: URGENT" })).priority, 90);
  const many = await relay({ recipients: Array.from({ length: 21 }, (_, n) => `r${n}@x.test`) });
  assert.deepEqual([many.priority, many.reason], [5, "21 recipients"]);
  assert.ok(
    log.lines.every((line) => line.startsWith("decision")),
    log.lines.join("\n"),
  );
  await checker.close();
});
