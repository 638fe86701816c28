/** What the commands say to somebody who uses them for the first time, and gets something wrong. */
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { closeSync, openSync } from "node:fs";
import { test } from "node:test";
import { MAIN, Place } from "./place.ts";

/** With just these arguments. */
function postlua(...args: readonly string[]): { code: number | null; out: string; err: string } {
  const { status, stdout, stderr } = spawnSync(process.execPath, [MAIN, ...args], { encoding: "utf8" });
  return { code: status, out: stdout, err: stderr };
}

test("check - what would keep the service from starting, and what is wrong with a script, each said once", () => {
  using place = new Place();
  place.write("scripts/SMTPSVR.LUA", "function Start()\nend end\n");
  place.write("scripts/extra.lua", "x = = 1\n");
  place.write("scripts/ERRORS.LUA", "");
  place.write("other.toml", `scripts_dir = "${place.file("scripts")}"\ndata_dir = "${place.file("none")}"\n`);
  const { code, out } = postlua("check", "--config", place.file("other.toml"));
  assert.equal(code, 1);
  assert.match(out, /^SMTPSVR\.LUA:2: error: <eof> expected near `end'$/m);
  assert.match(out, /^extra\.lua:1: error: unexpected symbol near `='$/m);
  assert.match(out, /^ERRORS\.LUA: warning: the file is empty/m);
  assert.match(out, /warning: postlua serve will not start: data_dir \S+none: no such directory; make it/);

  place.write("third.toml", `scripts_dir = "${place.file("nowhere")}"\n`);
  const nowhere = postlua("check", "--config", place.file("third.toml"));
  assert.equal(nowhere.code, 1);
  assert.equal(nowhere.out.match(/nowhere cannot be read \(ENOENT\)/g)?.length, 1);
});

test("check - a script without callbacks is told, and which there are", async () => {
  using place = new Place();
  place.write("scripts/SMTPSVR.LUA", "function CheckSender() end\n");
  place.write("scripts/USER_REDIRECT.LUA", "ShouldForward = false\n");
  const { out } = await place.run(["check"]);
  assert.match(
    out,
    /^SMTPSVR\.LUA: note: defines no callback, so only its top level runs; there are Start, /m,
  );
  assert.match(out, /^USER_REDIRECT\.LUA: note: defines no callback; the whole of it runs for each user$/m);
});

test("check - what callbacks have in common is said once", async () => {
  using place = new Place();
  place.write("scripts/SMTPSVR.LUA", "function Start() end\nfunction DoHELO(h, refuse) return refuse end\n");
  const { out } = await place.run(["check"]);
  assert.match(out, /^SMTPSVR\.LUA:1: note: Start, DoHELO: a 2xx text cannot be shown/m);
});

test("try - scripts that are not asked are named, and how to have them asked", async () => {
  using place = new Place();
  place.write("message", "Subject: x\n\ny\n");
  place.write("scripts/SMTPSVR.LUA", "function DoRoute() end\n");
  for (const name of ["USER_REDIRECT", "SIGNATURE", "ERRORS", "MXOUT", "PASSWORDCHECK"]) {
    place.write(`scripts/${name}.LUA`, "x = 1\n");
  }
  const message = ["--message", place.file("message")];
  const { code, out } = await place.run(["try", ...message]);
  assert.equal(code, 0);
  assert.deepEqual(
    [...out.matchAll(/^not asked: ([\w.]+):/gm)].map(([, name]) => name),
    ["DoRoute", "USER_REDIRECT.LUA", "SIGNATURE.LUA", "ERRORS.LUA", "MXOUT.LUA", "PASSWORDCHECK.LUA"],
  );
  const nowhere = await place.run(["try", ...message, "--scripts", place.file("nowhere")]);
  assert.deepEqual([nowhere.code, nowhere.out], [2, ""]);
  assert.match(nowhere.err, /nowhere cannot be read \(ENOENT\); name the scripts' directory with --scripts/);
});

test("a configuration file that is named and is not there is no reason to ask another service", () => {
  using place = new Place();
  for (const command of ["status", "reload"]) {
    const { code, err } = postlua(command, "--config", place.file("none.toml"));
    assert.equal(code, 78);
    assert.match(err, /none\.toml: cannot be read \(ENOENT\); name another file with --config/);
  }
});

test("run - a script that cannot be read ends with 2, one that fails with 1", () => {
  using place = new Place();
  assert.equal(postlua("run", "--config", place.config, place.file("none.lua")).code, 2);
  assert.equal(postlua("run", "--config", place.config, place.write("bad.lua", "error('no')")).code, 1);
});

test("try - whoever reads only the first lines sees no stack trace", async () => {
  using place = new Place();
  place.write("message", "Subject: x\n\ny\n");
  place.write(
    "scripts/SMTPSVR.LUA",
    "function Start() for i = 1, 20000 do print('a line of this script', i) end end\n",
  );
  const child = spawn(process.execPath, [
    MAIN,
    "try",
    ...["--config", place.config, "--message", place.file("message")],
  ]);
  let err = "";
  child.stderr.on("data", (bytes: Buffer) => {
    err += bytes.toString();
  });
  child.stdout.once("data", () => child.stdout.destroy());
  const [code] = await once(child, "close");
  assert.deepEqual([code, err], [0, ""]);
});

test("user list - a full disk under standard output is told in a sentence", async () => {
  using place = new Place();
  await place.run(["user", "add", "joe", "--address", "joe@example.com"]);
  const full = openSync("/dev/full", "w");
  const argv = [MAIN, "user", "list", "--config", place.config];
  const { status, stderr } = spawnSync(process.execPath, argv, {
    encoding: "utf8",
    stdio: ["ignore", full, "pipe"],
  });
  closeSync(full);
  assert.equal(status, 1);
  assert.match(stderr, /^postlua: standard output: .*ENOSPC.*\n$/);
});
