/** The service when whoever reads its log is gone, as when the journal is started anew: mail needs no log. */
import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { test } from "node:test";
import { promisify } from "node:util";

const MAIN = join(import.meta.dirname, "../../src/main.ts");

test("the service outlives the reader of its log", async (t) => {
  const directory = mkdtempSync(join(tmpdir(), "postlua-reader-"));
  const config = join(directory, "postlua.toml");
  const path = (name: string) => JSON.stringify(join(directory, name));
  writeFileSync(join(directory, "SMTPSVR.LUA"), "function Start() end\n");
  writeFileSync(
    config,
    `scripts_dir = ${path("")}\ndata_dir = ${path("")}\nlog_dir = ${path("")}
[milter]\nlisten = ["unix:${join(directory, "milter.sock")}"]\n[control]\nsocket = ${path("control.sock")}
[store]\ndatabase = "sqlite:${join(directory, "store/postlua.db")}"\n[postfix]\nconfig_dir = ${path("")}\n`,
  );
  const argv = [MAIN, "serve", "--workers", "1", "--config", config];
  const service = spawn(process.execPath, argv, { stdio: ["ignore", "pipe", "inherit"] });
  t.after(async () => {
    service.kill("SIGTERM");
    if (service.exitCode === null && service.signalCode === null) await once(service, "exit");
    rmSync(directory, { recursive: true });
  });
  const lines = createInterface({ input: service.stdout });
  for await (const line of lines) if (line.includes('"event":"ready"')) break;
  service.stdout.destroy();

  const postlua = (command: string) =>
    promisify(execFile)(process.execPath, [MAIN, command, "--config", config]);
  writeFileSync(join(directory, "SMTPSVR.LUA"), "function Start() end\nfunction End() end\n");
  assert.match((await postlua("reload")).stdout, /SMTPSVR\.LUA (loaded|unchanged)/);
  const { stdout } = await postlua("status");
  assert.match(stdout, /callbacks Start End/);
  assert.doesNotMatch(stdout, /died/);
  assert.equal(service.exitCode, null);
});
