/** `postlua passwd` and `postlua password-check` as processes; hashes as Dovecot reads them. */
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { chmodSync, existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { MAIN, Place } from "./place.ts";

const SECRET = "Tr0ub4dor-é";

/** What Dovecot says of a password and a hash. */
function dovecotTakes(hash: string, password: string): boolean {
  try {
    execFileSync("doveadm", ["-c", "/dev/null", "pw", "-t", hash, "-p", password], { stdio: "pipe" });
    return true;
  } catch (error) {
    assert.match(
      String((error as { stderr?: unknown }).stderr),
      /reverse password verification check failed/,
    );
    return false;
  }
}

async function hashOf(place: Place, user: string): Promise<string> {
  const store = await place.open();
  try {
    return (await store.passwordHash(user)) ?? "";
  } finally {
    await store.close();
  }
}

test("passwd --stdin: the hash is one that Dovecot takes, for this password alone", async () => {
  using place = new Place({ passwords: "min_length = 4" });
  await place.json("user", "add", "joe", "--address", "joe@example.com");
  const longest = "é".repeat(36);
  for (const password of [SECRET, " pass word ", "日本語パスワード", longest]) {
    const { code, out, err } = await place.run(["passwd", "joe@example.com", "--stdin"], `${password}\n`);
    assert.deepEqual([code, out, err], [0, "password of joe changed\n", ""]);
    const hash = await hashOf(place, "joe");
    assert.match(hash, /^\{BLF-CRYPT\}\$2y\$04\$/);
    assert.equal(dovecotTakes(hash, password), true, password);
    assert.equal(dovecotTakes(hash, password.slice(0, -1)), false, password);
  }
  const before = await hashOf(place, "joe");
  const cut = await place.run(["passwd", "joe", "--stdin"], `${longest}a\n`);
  assert.equal(cut.code, 1);
  assert.match(cut.err, /too long: 73 bytes, and all beyond 72 would not count/);
  assert.equal(await hashOf(place, "joe"), before);
  assert.deepEqual(await place.json("passwd", "joe", "--remove"), { user: "joe", changed: true, reason: "" });
  assert.equal(await hashOf(place, "joe"), "");
});

test("what comes on standard input is one password: to the first NUL, without one line end", async () => {
  using place = new Place();
  const cases: [string | Buffer, RegExp | undefined][] = [
    ["éééééééé\r\n", undefined],
    ["secret12\0\0rubbish", undefined],
    ["secret12\n\n", /control character/],
    ["", /is empty/],
    [Buffer.from("gr\xfcnkohl", "latin1"), /not UTF-8/],
    ["x".repeat(100_000), /cannot be read: there are more than/],
  ];
  const ran = await Promise.all(cases.map(([input]) => place.run(["password-check", "joe"], input)));
  for (const [n, { code, out, err }] of ran.entries()) {
    const [input, refusal] = cases[n]!;
    assert.equal(code, refusal === undefined ? 0 : 1, `${JSON.stringify(input)}: ${out}${err}`);
    assert.match(out, refusal ?? /^$/);
    assert.equal(err, "");
  }
});

const SCRIPT = `
function Check(user, password, minlen)
  print("asked about " .. password)
  if password == "second result" then return false, "Not " .. user end
  if password == "raise-me-now" then error("no: " .. password) end
  if password == "endless-loop" then pcall(function() while true do end end) end
  if password == "program-name" then os.timedexecute("/bin/echo " .. password, 5000) end
  return true
end`;

test("Check decides; its errors refuse, and no password comes to light", async () => {
  using place = new Place();
  place.script(SCRIPT);
  const cases: [string, number, RegExp][] = [
    ["second result", 1, /^Not jöe\n$/],
    ["raise-me-now", 70, /cannot be checked now/],
    ["endless-loop", 70, /cannot be checked now/],
    ["program-name", 0, /^$/],
  ];
  const ran = await Promise.all(
    cases.map(([password]) => place.run(["password-check", "jöe"], `${password}\n`)),
  );
  for (const [n, { code, out, err }] of ran.entries()) {
    const [password, expected, reason] = cases[n]!;
    assert.equal(code, expected, `${password}: ${out}${err}`);
    assert.match(out, reason, password);
    assert.equal(err === "", expected !== 70, err);
    assert.equal((out + err).includes(password), false, out + err);
  }
  const log = place.errors();
  assert.match(
    log,
    /callback=Check line=5 error=runtime\n {4}PASSWORDCHECK\.LUA:5: \(the message is withheld/,
  );
  assert.match(log, /callback=Check line=6 error=budget:(?:cpu|instructions)/);
  for (const name of readdirSync(place.file("log"))) {
    const text = readFileSync(join(place.file("log"), name), "utf8");
    for (const [password] of cases) assert.equal(text.includes(password), false, `${name} has ${password}`);
  }
  assert.equal(existsSync(place.file("log/LUA.OUT")), false);
  const debug = await place.run(["password-check", "joe", "--debug"], "raise-me-now");
  assert.match(debug.err, /asked about raise-me-now/);
  assert.match(debug.err, /no: raise-me-now\nstack traceback:/);
});

test("a broken script refuses everything; a missing one or one without Check has no objection", async () => {
  using place = new Place();
  const ask = () => place.run(["password-check", "joe", "--json"], SECRET);
  assert.deepEqual(JSON.parse((await ask()).out), { user: "joe", allowed: true, reason: "" });
  place.script("function check() return false end");
  assert.equal((await ask()).code, 0);
  const { findings } = JSON.parse((await place.run(["check", "--json"])).out);
  const texts = findings.map(({ text }: { text: string }) => text);
  assert.ok(
    texts.some((text: string) => /function check is never called; is Check meant/.test(text)),
    texts.join("\n"),
  );
  place.script("function Check(");
  const { code, out, err } = await ask();
  assert.equal(code, 70);
  assert.equal(JSON.parse(out).allowed, false);
  assert.match(err, /PASSWORDCHECK\.LUA:1: /);
  rmSync(place.file("scripts"), { recursive: true });
  assert.equal((await ask()).code, 70);
});

test("Check reads the store by its helpers, and refuses while the store cannot answer", async () => {
  using place = new Place();
  place.script(`function Check(user, password)
    local found, word = VPOP3.GetSetting("Blocked word")
    return not found or not string.find(password, word, 1, 1), "It has the blocked word."
  end`);
  await place.json("setting", "set", "Blocked word", "trouba");
  const ask = (password: string) => place.run(["password-check", "joe"], password);
  assert.equal((await ask("something else")).code, 0);
  assert.deepEqual(await ask("mytroubador"), { code: 1, out: "It has the blocked word.\n", err: "" });
  writeFileSync(place.database, "no database at all ".repeat(500));
  const { code, out, err } = await ask("something else");
  assert.deepEqual([code, (out + err).includes("something else")], [70, false]);
  assert.match(err, /PASSWORDCHECK\.LUA:2: /);
  assert.match(err, /postlua\.db/);
});

test("passwd asks Check, says why not, and stores nothing then", async () => {
  using place = new Place();
  place.script(SCRIPT);
  await place.json("user", "add", "joe");
  const refused = await place.run(["passwd", "joe", "--stdin"], "second result\n");
  assert.deepEqual([refused.code, refused.out, refused.err], [1, "", "postlua: Not joe\n"]);
  const failed = await place.run(["passwd", "joe", "--stdin", "--json"], "raise-me-now\n");
  assert.equal(failed.code, 70);
  assert.equal(JSON.parse(failed.out).changed, false);
  assert.equal(await hashOf(place, "joe"), "");
});

test("passwd --batch: each line for itself, as chpasswd takes them", async () => {
  using place = new Place();
  place.script(SCRIPT);
  await place.json("user", "add", "joe", "--address", "joe@example.com");
  await place.json("user", "add", "ann");
  const lines = "joe@example.com:with:colons:in:it\nann:short\nnobody:whatever it is\nno colon\n";
  const { code, out } = await place.run(["passwd", "--batch", "--json"], lines);
  assert.equal(code, 1);
  assert.deepEqual(JSON.parse(out), [
    { line: 1, user: "joe", changed: true, reason: "" },
    {
      line: 2,
      user: "ann",
      changed: false,
      reason: "The password is too short: 5 of at least 8 characters.",
    },
    { line: 3, user: "nobody", changed: false, reason: 'there is no user "nobody"' },
    { line: 4, user: "", changed: false, reason: "This line is not USER:PASSWORD." },
  ]);
  assert.equal(dovecotTakes(await hashOf(place, "joe"), "with:colons:in:it"), true);
  assert.equal(await hashOf(place, "ann"), "");
});

/** `postlua passwd joe` on a terminal: `answers` are typed one at each prompt. */
async function onTerminal(place: Place, answers: readonly string[]): Promise<{ code: number; seen: string }> {
  const command = [process.execPath, MAIN, "passwd", "joe", "--config", place.config].join(" ");
  // script(1) has a pseudo terminal.
  const child = spawn("script", ["-qec", command, "/dev/null"], { stdio: ["pipe", "pipe", "inherit"] });
  const left = [...answers];
  let seen = "";
  let answered = 0;
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    seen += text;
    const prompts = seen.split(/(?:New password|Once more): /).length - 1;
    while (answered < prompts && left.length > 0) {
      answered++;
      child.stdin.write(left.shift()!);
    }
  });
  const code = await new Promise<number>((resolve) => child.once("close", (status) => resolve(status ?? -1)));
  return { code, seen };
}

test("on a terminal it is asked for twice and never shown", async () => {
  using place = new Place();
  await place.json("user", "add", "joe");
  const right = await onTerminal(place, [`wrong\x15${SECRET}\r`, `${SECRET}\r`]);
  assert.equal(right.code, 0, right.seen);
  assert.equal(right.seen.includes("Tr0ub"), false, right.seen);
  assert.match(right.seen, /password of joe changed/);
  const hash = await hashOf(place, "joe");
  assert.equal(dovecotTakes(hash, SECRET), true);
  const different = await onTerminal(place, [`${SECRET}\r`, "something else\r"]);
  assert.equal(different.code, 1);
  assert.match(different.seen, /the two are not the same; nothing is changed/);
  const givenUp = await onTerminal(place, [`${SECRET}\r`, "\x03"]);
  assert.equal(givenUp.code, 1);
  assert.match(givenUp.seen, /given up; nothing is changed/);
  assert.equal(await hashOf(place, "joe"), hash);
  const none = await place.run(["passwd", "joe"], `${SECRET}\n`);
  assert.equal(none.code, 1);
  assert.match(none.err, /no terminal; hand the password over with --stdin/);
});

test("a process that knows a password leaves no memory image", async () => {
  using place = new Place();
  // The script waits until somebody makes a file; its programs are told apart from it by the same limits.
  const ready = place.file("ready");
  place.script(`function Check() os.timedexecute("/bin/cp /proc/self/limits ${ready}", 60000)
    os.sleep(60000) return true end`);
  chmodSync(place.scratch.path, 0o700);
  // The shell allows cores without limit, and says when there was one.
  const shell = spawn(
    "sh",
    ["-c", `ulimit -c unlimited; cd "$0"; "$@"; echo "status $?"`, place.scratch.path].concat(
      process.execPath,
      MAIN,
      "password-check",
      "joe",
      "--config",
      place.config,
    ),
    { stdio: ["pipe", "pipe", "pipe"] },
  );
  shell.stdin.end(SECRET);
  let said = "";
  for (const stream of [shell.stdout, shell.stderr]) {
    stream.setEncoding("utf8").on("data", (text: string) => {
      said += text;
    });
  }
  const closed = new Promise((resolve) => shell.once("close", resolve));
  while (!existsSync(ready) || readFileSync(ready, "utf8") === "") {
    assert.equal(shell.exitCode, null, said);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  const zero = /^Max core file size +0 +0 /m;
  assert.match(readFileSync(ready, "utf8"), zero);
  const [pid = ""] = readFileSync(`/proc/${shell.pid}/task/${shell.pid}/children`, "utf8").split(" ");
  assert.match(readFileSync(`/proc/${pid}/limits`, "utf8"), zero);
  assert.match(readFileSync(`/proc/${pid}/coredump_filter`, "utf8"), /^0+$/m);
  assert.equal(readFileSync(`/proc/${pid}/cmdline`, "utf8").includes(SECRET), false);
  assert.equal(readFileSync(`/proc/${pid}/environ`, "utf8").includes(SECRET), false);
  process.kill(Number(pid), "SIGSEGV");
  await closed;
  assert.match(said, /status 139/);
  assert.equal(/core dumped/.test(said), false, said);
  assert.deepEqual(
    readdirSync(place.scratch.path).filter((name) => name.startsWith("core")),
    [],
  );
});
