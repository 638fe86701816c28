/** `postlua check` and `postlua try` with SIGNATURE.LUA, as an admin starts them. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

const MAIN = join(import.meta.dirname, "../../src/main.ts");

function postlua(...args: readonly string[]): Promise<{ code: number; out: string }> {
  return new Promise((resolve) => {
    execFile(process.execPath, [MAIN, ...args], (error, out) => {
      resolve({ code: error === null ? 0 : Number(error.code), out });
    });
  });
}

function directory(script: string, message = ""): { path: string; [Symbol.dispose]: () => void } {
  const path = mkdtempSync(join(tmpdir(), "postlua-commands-"));
  writeFileSync(join(path, "Signature.lua"), script, "latin1");
  writeFileSync(join(path, "message.eml"), message, "latin1");
  writeFileSync(
    join(path, "postlua.toml"),
    `scripts_dir = "${path}"\ndata_dir = "${path}"\n[postfix]\nconfig_dir = "${path}"\n`,
  );
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true }) };
}

const SCRIPT = `function GetSignature(format, authuser, sender, subject)
  if sender == "raise@example.test" then error("no signature") end
  return authuser .. " of " .. format
end
function GetInternalSignature() end
function GetSignatur() end`;

test("check lists GetSignature, names what is never called and what is misspelt", async () => {
  using scripts = directory(SCRIPT);
  const { code, out } = await postlua("check", "--config", join(scripts.path, "postlua.toml"), "--json");
  assert.equal(code, 0);
  const { callbacks, findings } = JSON.parse(out);
  assert.deepEqual(callbacks, [
    {
      file: "SIGNATURE.LUA",
      line: 1,
      callback: "GetSignature",
      signature: "GetSignature(format, authuser, sender, subject) -> signature",
    },
  ]);
  const warnings = findings
    .filter(({ file }: { file: string }) => file === "SIGNATURE.LUA")
    .map(({ line, text }: { line: number; text: string }) => `${line} ${text}`);
  assert.equal(warnings.length, 2, warnings.join("\n"));
  assert.match(warnings[0]!, /^5 GetInternalSignature: .*never called/);
  assert.match(warnings[1]!, /^6 .*GetSignatur\b.*GetSignature/);
});

test("check fails for a SIGNATURE.LUA that is broken", async () => {
  using scripts = directory("x = 1\nfunction GetSignature(");
  const { code, out } = await postlua("check", "--config", join(scripts.path, "postlua.toml"));
  assert.equal(code, 1);
  assert.match(out, /^SIGNATURE\.LUA:2: error: /m);
});

const BOTH =
  "Subject: hello\nContent-Type: multipart/alternative; boundary=b\n\n" +
  "--b\n\nHello\n--b\nContent-Type: text/html\n\n<p>Hello</p>\n--b--\n";

test("try shows the calls, where the signature goes and the edit", async () => {
  using scripts = directory(SCRIPT, BOTH);
  const session = ["try", "--scripts", scripts.path, "--message", join(scripts.path, "message.eml")];
  const user = [...session, "--from", "joe@example.test", "--to", "ann@example.org", "--user", "joe"];
  const { code, out } = await postlua(...user, "--ip", "192.0.2.1", "--json");
  assert.equal(code, 0);
  const { edits, steps } = JSON.parse(out);
  assert.deepEqual(
    edits.map(({ kind }: { kind: string }) => kind),
    ["replaceBody"],
  );
  const end = steps.find(({ command }: { command: string }) => command === "end of message");
  assert.equal(end.signature, "put into 1, 2");
  assert.deepEqual(
    end.calls.map(({ args, results }: { args: unknown; results: unknown }) => [args, results]),
    [
      [["PLAIN", "joe", "joe@example.test", "hello"], ["joe of PLAIN"]],
      [["HTML", "joe", "joe@example.test", "hello"], ["joe of HTML"]],
    ],
  );
  const shown = await postlua(...user);
  assert.match(shown.out, /^ {2}signature: put into 1, 2$/m);
  assert.match(shown.out, /^ {2}edit: replace body by \d+ bytes$/m);
});

test("try: no signature for a stranger; a script that fails is said", async () => {
  using scripts = directory(SCRIPT, "Subject: x\n\nHello\n");
  const session = [
    "try",
    "--scripts",
    scripts.path,
    "--message",
    join(scripts.path, "message.eml"),
    "--json",
  ];
  const stranger = JSON.parse((await postlua(...session, "--ip", "192.0.2.1", "--from", "a@b.test")).out);
  assert.deepEqual(stranger.edits, []);
  const { code, out } = await postlua(...session, "--ip", "127.0.0.1", "--from", "raise@example.test");
  assert.equal(code, 1);
  assert.deepEqual(JSON.parse(out).edits, []);
});
