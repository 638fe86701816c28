/** The store's files are no files for scripts, whatever they are called; nor is the memory of a process. */
import assert from "node:assert/strict";
import { linkSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { toBytes } from "../../src/bytes.ts";
import { ClosedFiles, storeFiles } from "../../src/config/closed-files.ts";
import { LuaEngine } from "../../src/lua/engine.ts";
import { saveFile } from "../../src/message/save.ts";

const root = mkdtempSync(join(tmpdir(), "postlua-closed-"));
after(() => rmSync(root, { recursive: true }));
const data = join(root, "data");
const scripts = join(root, "scripts");
for (const directory of [data, scripts, join(data, "sub")]) mkdirSync(directory);

const FILES = storeFiles({
  database: `sqlite:${join(data, "postlua.db")}`,
  password_file: join(scripts, "password"),
});
const SECRET = "return 'the secret'";
for (const file of FILES) writeFileSync(file, SECRET);
writeFileSync(join(data, "postlua.db-journal"), SECRET);
writeFileSync(join(data, "open.txt"), "return 'open'");
symlinkSync("postlua.db", join(data, "link"));
symlinkSync("postlua.db-wal", join(data, "dangling"));
linkSync(join(data, "postlua.db"), join(data, "sub", "hard"));
linkSync(join(data, "postlua-settings.db"), join(scripts, "hard.lua"));

const NAMES = [
  "postlua.db",
  "./postlua.db",
  "sub/../postlua.db",
  "//".repeat(3) + join(data, "postlua.db").slice(1),
  "postlua.db-journal",
  "postlua-settings.db",
  "link",
  "sub/hard",
  "hard.lua",
  "password",
  join(scripts, "password"),
  `/proc/self/root${join(data, "postlua.db")}`,
  "/proc/self/cwd/../../../../../../../../../../../../".concat(join(data, "postlua.db").slice(1)),
];

async function run(code: string): Promise<unknown> {
  const engine = new LuaEngine({
    dialect: "5.0",
    dataDir: data,
    scriptsDir: scripts,
    closedFiles: FILES,
    modules: [],
    print: () => {},
  });
  const script = engine.compile("TEST.LUA", "TEST.LUA", toBytes(code));
  const budget = {
    instructions: 1e7,
    cpuMs: 10_000,
    wallMs: 10_000,
    stringBytes: 1e8,
    outputBytes: 1e6,
    openFiles: 64,
  };
  const env = engine.open(script, { context: {}, budget });
  try {
    await env.start();
    return env.get("result");
  } finally {
    env.close();
  }
}

test("no name opens, loads or removes them", async () => {
  const before = FILES.map((file) => readFileSync(file, "utf8"));
  for (const name of NAMES) {
    const q = JSON.stringify(name);
    for (const mode of ["r", "r+", "w", "a", "a+"]) {
      // Writing never falls back to the scripts' directory.
      if (mode !== "r" && (name === "password" || name === "hard.lua")) continue;
      assert.match(
        String(await run(`local f, e = io.open(${q}, "${mode}"); result = f and "opened" or e`)),
        /no file for scripts/,
        name + mode,
      );
    }
    for (const call of ["io.lines", "io.input", "dofile"]) {
      const said = await run(`local ok, e = pcall(${call}, ${q}); result = ok and "done" or e`);
      assert.match(String(said), /no file for scripts|No such file/, `${call} ${name}`);
    }
    const loaded = await run(`local f, e = loadfile(${q}); result = f and "loaded" or e`);
    assert.match(String(loaded), /no file for scripts|No such file/, name);
  }
  assert.equal(await run(`result = pcall(require, "hard")`), false);
  assert.match(
    String(await run(`local ok, e = pcall(io.output, "postlua.db"); result = e`)),
    /no file for scripts/,
  );
  assert.deepEqual(
    FILES.map((file) => readFileSync(file, "utf8")),
    before,
  );
  assert.equal(await run(`result = io.open("open.txt"):read("*a")`), "return 'open'");
});

test("nothing is put in their place or beside them, and nothing moves them", async () => {
  const refused = /no file for scripts/;
  for (const name of [
    "dangling",
    "postlua.db-wal",
    "sub/../postlua.db-mj0123",
    "postlua-settings.db-journal",
  ]) {
    assert.match(
      String(await run(`local f, e = io.open(${JSON.stringify(name)}, "w"); result = e`)),
      refused,
      name,
    );
  }
  for (const [from, to] of [
    ["postlua.db", "x"],
    ["open.txt", "postlua.db"],
    ["open.txt", "postlua.db-shm"],
    ["sub/hard", "x"],
    [data, join(root, "elsewhere")],
    [root, `${root}-elsewhere`],
    [scripts, join(data, "sub", "s")],
  ]) {
    const said = await run(
      `local ok, e = os.rename(${JSON.stringify(from)}, ${JSON.stringify(to)}); result = e`,
    );
    assert.match(String(said), refused, `${from} to ${to}`);
  }
  for (const name of ["postlua.db", "./postlua.db-journal", join(scripts, "password")]) {
    assert.match(
      String(await run(`local ok, e = os.remove(${JSON.stringify(name)}); result = e`)),
      refused,
      name,
    );
  }
  for (const directory of [data, join(data, "sub", "..")]) {
    const target = { directory, overwrite: true, closed: new ClosedFiles(FILES) };
    for (const name of ["postlua.db", "postlua.db-journal", "postlua.db-wal", "postlua-settings.db"]) {
      await assert.rejects(saveFile(target, name, [toBytes("x")]), refused);
    }
    await saveFile(target, "saved", [toBytes("x")]);
  }
  assert.equal(await run(`result = os.rename("open.txt", "sub/moved") and os.remove("sub/moved")`), true);
});

test("the memory of a process is no file, what /proc says of the machine is", async () => {
  for (const name of ["/proc/self/mem", "/proc/self/environ", "/proc/self/maps", "/proc/thread-self/mem"]) {
    for (const mode of ["r", "r+"]) {
      const said = await run(`local f, e = io.open("${name}", "${mode}"); result = f and "opened" or e`);
      assert.match(String(said), /no file for scripts/, name);
    }
  }
  assert.match(String(await run(`result = io.open("/proc/loadavg"):read("*a")`)), /^\d/);
});
