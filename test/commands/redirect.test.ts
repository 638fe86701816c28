/** `postlua check`, `try` and `user show` with USER_REDIRECT.LUA, as an admin starts them. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { type TestContext, test } from "node:test";
import { Scratch } from "../../postfix/scratch.ts";

const MAIN = join(import.meta.dirname, "../../src/main.ts");

interface Site {
  /** Starts postlua on this site's configuration. */
  run(...args: readonly string[]): Promise<{ code: number; out: string }>;
  readonly message: string;
}

function site(context: TestContext, scripts: Readonly<Record<string, string>>): Site {
  const scratch = Scratch.create();
  context.after(() => scratch.remove());
  const path = (...names: string[]) => join(scratch.path, ...names);
  for (const [name, text] of Object.entries(scripts)) {
    mkdirSync(dirname(path("scripts", name)), { recursive: true });
    writeFileSync(path("scripts", name), text);
  }
  mkdirSync(path("data"));
  writeFileSync(path("message.eml"), "Subject: hello\r\nX-Spam-Score: 7.5\r\n\r\nHello\r\n");
  writeFileSync(
    path("postlua.toml"),
    `scripts_dir = "${path("scripts")}"\ndata_dir = "${path("data")}"\n` +
      `[postfix]\nconfig_dir = "${path("none")}"\n[store]\ndatabase = "sqlite:${path("data", "postlua.db")}"\n`,
  );
  const run = (...args: readonly string[]) =>
    new Promise<{ code: number; out: string }>((resolve) => {
      const all = [MAIN, ...args, "--config", path("postlua.toml")];
      execFile(process.execPath, all, (error, out, problems) => {
        resolve({ code: error === null ? 0 : Number(error.code), out: out + problems });
      });
    });
  return { run, message: path("message.eml") };
}

test("check tries scripts out as they will run, users' own in safety mode", async (context) => {
  const { run } = site(context, {
    "USER_REDIRECT.LUA": `Length = string.len(Subject)
function MainDoRoutin(user) end
function MainDoRouting(user) SpamScore = 1 end
function MailGetSettings(user) return {} end`,
    "users/Joe/user_redirect.lua": `if string.find(Headers1["Subject"], "x") then Forwards = "y" end`,
    "users/ann/USER_REDIRECT.LUA": `function MainDoRouting(user) end\nio.open("x")`,
    "users/bob/USER_REDIRECT.LUA": "if then",
    "users/eve/notes.txt": "",
  });
  const { code, out } = await run("check", "--json");
  assert.equal(code, 1);
  const { callbacks, findings } = JSON.parse(out);
  assert.deepEqual(
    callbacks.map(({ file, callback }: { file: string; callback: string }) => `${file} ${callback}`),
    ["USER_REDIRECT.LUA MainDoRouting", "USER_REDIRECT.LUA MailGetSettings"],
  );
  const found = findings.map(
    ({ level, file, line, text }: Record<string, unknown>) => `${level} ${file}:${line} ${text}`,
  );
  for (const wanted of [
    /^warning USER_REDIRECT\.LUA:2 function MainDoRoutin is never called; is MainDoRouting meant/,
    /^warning USER_REDIRECT\.LUA:3 SpamScore is read-only/,
    /^error users\/ann\/USER_REDIRECT\.LUA:2 .*io\.open is disabled in safety mode/,
    /^error users\/bob\/USER_REDIRECT\.LUA:1 /,
  ]) {
    assert.ok(
      found.some((line: string) => wanted.test(line)),
      `${wanted} in\n${found.join("\n")}`,
    );
  }
  assert.ok(!found.some((line: string) => /users\/(?:joe|eve)/i.test(line)), found.join("\n"));
});

test("try shows what each user's routing comes to", async (context) => {
  const { run, message } = site(context, {
    "users/joe/USER_REDIRECT.LUA": `if SpamScoreValid and SpamScore > 5 then Forwards, UseForwards = "spam@elsewhere.test", true end`,
  });
  for (const name of ["joe", "ann"]) {
    const { code, out } = await run("user", "add", name, "--address", `${name}@users.test`);
    assert.equal(code, 0, out);
  }
  await run("user", "set", "ann", "--setting", "Assistants=joe");
  const to = ["ann@users.test", "joe@users.test"].flatMap((address) => ["--to", address]);
  const played = await run("try", "--message", message, "--from", "friend@elsewhere.test", ...to);
  assert.equal(played.code, 0, played.out);
  assert.match(played.out, /^ {2}routing: ann: kept, and sent to joe$/m);
  assert.match(played.out, /^ {2}routing: joe: kept, and sent to spam@elsewhere\.test$/m);
  assert.match(played.out, /^ {2}edit: add recipient <spam@elsewhere\.test>$/m);
  assert.doesNotMatch(played.out, /edit: (?:add|delete) recipient <(?:joe|ann)/);
});
