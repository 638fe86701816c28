/** `postlua check` and `postlua try` with ERRORS.LUA, as an admin starts them. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

const MAIN = join(import.meta.dirname, "../../src/main.ts");
const NOTICES = join(import.meta.dirname, "../notices");

interface Run {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

function postlua(...args: readonly string[]): Promise<Run> {
  return new Promise((resolve) => {
    execFile(process.execPath, [MAIN, ...args], (error, out, err) => {
      resolve({ code: error === null ? 0 : Number(error.code), out, err });
    });
  });
}

function directory(script: string): { path: string; [Symbol.dispose]: () => void } {
  const path = mkdtempSync(join(tmpdir(), "postlua-commands-"));
  writeFileSync(join(path, "errors.lua"), script, "latin1");
  writeFileSync(
    join(path, "postlua.toml"),
    `scripts_dir = "${path}"\ndata_dir = "${path}"\n[postfix]\nconfig_dir = "${path}"\n`,
  );
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true }) };
}

const SCRIPT = `function ProcessError(item, err, conn, sid, subject, fid, format)
  return "Changed", "%1 is unknown", "boss@example.test"
end
function ProcessEror() end`;

test("check lists the callbacks of ERRORS.LUA and names misspelt ones", async () => {
  using scripts = directory(SCRIPT);
  const { code, out } = await postlua("check", "--config", join(scripts.path, "postlua.toml"), "--json");
  assert.equal(code, 0);
  const { callbacks, findings } = JSON.parse(out);
  assert.deepEqual(callbacks, [
    {
      file: "ERRORS.LUA",
      line: 1,
      callback: "ProcessError",
      signature:
        "ProcessError(itemid, error text, connection error, subject resource id, subject text, message format resource id, message format text, message text parameters, error message target, error message sender) -> subject, message format text, target, sender, force message",
    },
  ]);
  const texts = findings.map(({ line, text }: { line: number; text: string }) => `${line} ${text}`);
  assert.ok(
    texts.includes("4 function ProcessEror is never called; is ProcessError meant?"),
    texts.join("\n"),
  );
  assert.ok(!texts.some((text: string) => /does not call it/.test(text)));
});

test("check fails for an ERRORS.LUA that is broken", async () => {
  using scripts = directory("x = 1\nfunction ProcessError(");
  const { code, out } = await postlua("check", "--config", join(scripts.path, "postlua.toml"));
  assert.equal(code, 1);
  assert.match(out, /^ERRORS\.LUA:2: error: /m);
});

test("try --notice plays ERRORS.LUA with a saved notice", async () => {
  using scripts = directory(SCRIPT);
  const common = ["try", "--notice", "--scripts", scripts.path, "--to", "ann@example.test"];
  const { code, out } = await postlua(...common, "--message", join(NOTICES, "bounce.eml"), "--json");
  assert.equal(code, 0);
  const { verdict, edits, steps } = JSON.parse(out);
  assert.equal(verdict, "continue");
  assert.deepEqual(
    edits.map(({ kind }: { kind: string }) => kind),
    ["deleteRecipient", "addRecipient", "changeHeader", "changeHeader", "replaceBody"],
  );
  assert.equal(steps[0].command, "notice (bounce)");
  assert.equal(steps[0].calls[0].callback, "ProcessError");
  const copy = [...common, "--from", "double-bounce@mx.example.test"];
  const shown = await postlua(...copy, "--message", join(NOTICES, "server-errors.eml"));
  assert.match(shown.out, /^notice \(server session\): continue$/m);
});

test("try --notice says when the message is none", async () => {
  using scripts = directory(SCRIPT);
  const message = join(NOTICES, "submission.eml");
  const { code, err } = await postlua("try", "--notice", "--scripts", scripts.path, "--message", message);
  assert.equal(code, 2);
  assert.match(err, /submission\.eml: no notice of Postfix's/);
});
