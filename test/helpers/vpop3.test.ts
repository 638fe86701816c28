/** VPOP3.GetSetting and its kin as scripts meet them: a real store, a real expander, scripts that call. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { decodeText, encodeText } from "../../src/bytes.ts";
import { CONFIG } from "../../src/config/schema.ts";
import type { Directory } from "../../src/directory/directory.ts";
import { vpop3Module } from "../../src/helpers/vpop3.ts";
import type { Log } from "../../src/log.ts";
import { LuaEngine } from "../../src/lua/engine.ts";
import { ScriptError } from "../../src/lua/errors.ts";
import { makeDirectory } from "../../src/serve/directory.ts";

const LIMITS = {
  instructions: 10_000_000,
  cpuMs: 5_000,
  wallMs: 20_000,
  stringBytes: 1 << 24,
  outputBytes: 1 << 20,
  openFiles: 4,
};

const SILENT: Log = { error() {}, warn() {}, info() {}, debug() {} };
const base = mkdtempSync(join(tmpdir(), "postlua-vpop3-"));
const errors: unknown[] = [];
let directory: Directory;

function directoryAt(database: string, log = SILENT): Directory {
  const config = CONFIG.parse({ store: { database }, postfix: { config_dir: join(base, "no-postfix") } });
  return makeDirectory(config, log);
}

before(async () => {
  directory = directoryAt(`sqlite:${join(base, "store.db")}`);
  const { store } = directory;
  await store.addUser({ name: "Joe", addresses: ["joe@x.test"], passwordHash: "{BLF-CRYPT}$2y$secret" });
  await store.addUser({ name: "jürgen", addresses: ["j@x.test"] });
  await store.addList({ name: "all", address: "all@x.test", members: ["joe@x.test", "far@y.test"] });
  await store.setSetting("SpamThreshold", "100", { create: true });
  await store.setSetting("Ort", "Köln", { create: true });
  await store.setUserSetting("Joe", "Forwards", "a@y.test", { create: true });
  await store.setUserSetting("jürgen", "Forwards", "b@y.test", { create: true });
});

after(async () => {
  await directory.close();
  rmSync(base, { recursive: true });
});

interface Script {
  readonly context?: object;
  readonly safetyKey?: string;
  readonly directory?: Directory;
}

/** Runs a chunk; returns what it printed. */
async function run(
  source: string,
  { context = {}, safetyKey, directory: other }: Script = {},
): Promise<string> {
  let printed = "";
  const engine = new LuaEngine({
    dialect: "5.0",
    dataDir: base,
    scriptsDir: base,
    modules: [vpop3Module(other ?? directory)],
    print: (text) => {
      printed += text;
    },
  });
  const script = engine.compile("T.LUA", "/T.LUA", Buffer.from(encodeText(source), "latin1"));
  const env = engine.open(script, {
    context,
    budget: LIMITS,
    ...(safetyKey === undefined ? {} : { safetyKey }),
  });
  try {
    await env.start();
  } catch (error) {
    assert.ok(error instanceof ScriptError, String(error));
    return decodeText(error.message);
  } finally {
    env.close();
  }
  return decodeText(printed).trimEnd();
}

test("GetSetting gives true and the value, or false and nil", async () => {
  assert.equal(await run('print(VPOP3.GetSetting("SpamThreshold"))'), "true\t100");
  assert.equal(await run('print(VPOP3.GetSetting("SPAMTHRESHOLD"))'), "true\t100");
  assert.equal(await run('print(VPOP3.GetSetting("nothing"))'), "false\tnil");
  assert.equal(await run('local _, v = VPOP3.GetSetting("SpamThreshold") print(type(v))'), "string");
});

test("SetSetting changes what there is and makes nothing", async () => {
  assert.equal(
    await run('print(VPOP3.SetSetting("Ort", "Bonn"), VPOP3.GetSetting("Ort"))'),
    "true\ttrue\tBonn",
  );
  assert.equal(
    await run('print(VPOP3.SetSetting("New", "1"), VPOP3.GetSetting("New"))'),
    "false\tfalse\tnil",
  );
  assert.equal(await run('print(VPOP3.SetSetting("Ort", 7), VPOP3.GetSetting("Ort"))'), "true\ttrue\t7");
});

test("texts are UTF-8 in scripts and Unicode in the store", async () => {
  assert.equal(
    await run('print(VPOP3.SetSetting("Ort", "Köln"), VPOP3.GetSetting("Ort"))'),
    "true\ttrue\tKöln",
  );
  assert.equal(await directory.store.setting("Ort"), "Köln");
  assert.equal(await run('print(VPOP3.GetUserSetting("jürgen", "Forwards"))'), "b@y.test");
  assert.match(
    await run('print(VPOP3.SetSetting("Ort", "K\\246ln"))'),
    /^T\.LUA:1: bad argument #2 \(its bytes are no UTF-8 text\)/,
  );
});

test("GetUserList is a table of names, numbered from 1", async () => {
  const source = `local l = VPOP3.GetUserList() table.sort(l) print(table.getn(l), l[1], l[2], l[3], l.n)`;
  assert.equal(await run(source), "2\tJoe\tjürgen\tnil\tnil");
});

test("GetUserSetting gives the value or nil; SetUserSetting makes nothing", async () => {
  assert.equal(await run('print(VPOP3.GetUserSetting("joe", "forwards"))'), "a@y.test");
  assert.equal(await run('print(VPOP3.GetUserSetting("joe", "nothing"))'), "nil");
  assert.equal(await run('print(VPOP3.GetUserSetting("nobody", "Forwards"))'), "nil");
  const set =
    'print(VPOP3.SetUserSetting("joe", "Forwards", "c@y.test"), VPOP3.GetUserSetting("joe", "Forwards"))';
  assert.equal(await run(set), "true\tc@y.test");
  assert.equal(await run('print(VPOP3.SetUserSetting("joe", "New", "x"))'), "false");
  assert.equal(await run('print(VPOP3.SetUserSetting("nobody", "Forwards", "x"))'), "false");
});

test("a declared setting is every user's, with its default", async () => {
  await directory.store.define([{ name: "Colour", title: "Colour", type: "string", fallback: "grün" }]);
  assert.equal(await run('print(VPOP3.GetUserSetting("joe", "colour"))'), "grün");
  assert.equal(await run('print(VPOP3.GetUserSetting("nobody", "Colour"))'), "nil");
  assert.equal(await run('print(VPOP3.SetUserSetting("nobody", "Colour", "x"))'), "false");
  const set = 'print(VPOP3.SetUserSetting("joe", "COLOUR", "blau"), VPOP3.GetUserSetting("joe", "Colour"))';
  assert.equal(await run(set), "true\tblau");
});

test("ExpandAddress has the manual's entries", async () => {
  const source = `
    for i, row in ipairs(VPOP3.ExpandAddress("all@x.test", -1)) do
      local keys = {}
      for key, value in pairs(row) do table.insert(keys, key .. "=" .. tostring(value)) end
      table.sort(keys)
      print(i, table.concat(keys, " "))
    end`;
  assert.deepEqual((await run(source)).split("\n"), [
    "1\tDeferredExpansion=false Forwarded=false List=true Name=all Remote=false",
    "2\tForwarded=false List=false Name=Joe Remote=false",
    "3\tForwarded=false List=false Name=far@y.test Remote=true",
  ]);
  assert.equal(await run('print(table.getn(VPOP3.ExpandAddress("")))'), "0");
  assert.match(
    await run("VPOP3.ExpandAddress({}, -1)"),
    /bad argument #1 to `ExpandAddress' \(string expected/,
  );
  assert.match(
    await run('VPOP3.ExpandAddress("a@b", "x")'),
    /bad argument #2 to `ExpandAddress' \(number expected/,
  );
});

test("no setting of any name is the password hash", async () => {
  for (const name of ["password", "passwordhash", "password_hash", "Password", "passwd", "hash"]) {
    assert.equal(await run(`print(VPOP3.GetUserSetting("Joe", "${name}"))`), "nil");
    assert.equal(await run(`print(VPOP3.GetSetting("${name}"))`), "false\tnil");
  }
});

test("safety mode takes GetSetting and SetSetting away, and nothing else", async () => {
  const safe = { safetyKey: "k" };
  assert.match(await run('VPOP3.GetSetting("Ort")', safe), /VPOP3\.GetSetting is disabled in safety mode/);
  assert.match(
    await run('VPOP3.SetSetting("Ort", "x")', safe),
    /VPOP3\.SetSetting is disabled in safety mode/,
  );
  assert.equal(await run('print(VPOP3.GetUserSetting("jürgen", "Forwards"))', safe), "b@y.test");
  assert.equal(
    await run(
      'os.setsafety("a") print(pcall(VPOP3.GetSetting, "Ort")) os.clearsafety("a") print(VPOP3.GetSetting("Ort"))',
    ),
    "false\tVPOP3.GetSetting is disabled in safety mode\ntrue\tKöln",
  );
});

test("a user's own script has its own user's settings alone", async () => {
  const own = { context: { onlyUser: "joe" } };
  assert.equal(await run('print(VPOP3.GetUserSetting("JOE", "Forwards"))', own), "c@y.test");
  assert.equal(await run('print(VPOP3.SetUserSetting("Joe", "Forwards", "d@y.test"))', own), "true");
  const refusal = /the settings of jürgen are closed to the script of joe/;
  assert.match(await run('print(VPOP3.GetUserSetting("jürgen", "Forwards"))', own), refusal);
  assert.match(await run('print(VPOP3.SetUserSetting("jürgen", "Forwards", "x"))', own), refusal);
  assert.equal(await directory.store.userSetting("jürgen", "Forwards"), "b@y.test");
});

test("a store that cannot be opened raises, and says so in the log once", async () => {
  const log = { ...SILENT, error: (event: string, fields?: object) => void errors.push([event, fields]) };
  const broken = directoryAt(`sqlite:/dev/null/store.db`, log);
  for (const call of [
    'GetSetting("Ort")',
    'SetSetting("Ort", "x")',
    "GetUserList()",
    'GetUserSetting("Joe", "Forwards")',
    'SetUserSetting("Joe", "Forwards", "x")',
    'ExpandAddress("joe@x.test", -1)',
  ]) {
    const said = await run(`print(VPOP3.${call})`, { directory: broken });
    assert.match(said, new RegExp(`^T\\.LUA:1: ${call.replace(/\(.*/, "")}: .*/dev/null`), call);
  }
  // A script may go on without it.
  assert.match(
    await run('print(pcall(VPOP3.GetSetting, "Ort"))', { directory: broken }),
    /^false\tGetSetting: /,
  );
  assert.equal(errors.length, 1);
  await broken.close();
});
