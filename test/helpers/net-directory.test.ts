import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { directoryModule } from "../../src/helpers/os-directory.ts";
import { callHost } from "./net-call.ts";

const dataDir = mkdtempSync(join(tmpdir(), "postlua-dir-"));
after(() => rmSync(dataDir, { recursive: true }));
const module = directoryModule({ dataDir });

interface Entry {
  readonly Size: number;
  readonly Attributes: string;
  readonly Creation: string;
  readonly LastAccess: string;
  readonly LastWrite: string;
}

async function list(name: string, own = module): Promise<Map<string, Entry>> {
  return (await callHost(own, "getdirectory", [name]))[0] as unknown as Map<string, Entry>;
}

test("getdirectory - sizes, letters and local times, without . and ..", async () => {
  const at = (name: string) => join(dataDir, "mail", name);
  mkdirSync(at("sub"), { recursive: true });
  writeFileSync(at("plain.txt"), "12345");
  writeFileSync(at(".hidden"), "");
  writeFileSync(at(".locked"), "x");
  chmodSync(at(".locked"), 0o444);
  const written = new Date(2031, 0, 2, 3, 4, 5);
  utimesSync(at("plain.txt"), new Date(1999, 11, 31, 23, 59, 59), written);
  symlinkSync("plain.txt", at("link"));
  symlinkSync("nowhere", at("dangling"));
  writeFileSync(Buffer.concat([Buffer.from(`${at("")}/`), Buffer.from([0xe9, 0x2e, 0x78])]), "xy");

  const entries = await list("mail");
  assert.deepEqual(
    [...entries].map(([name, entry]) => `${name} ${entry.Attributes}`).sort(),
    [".hidden H", ".locked HR", "dangling ", "link ", "plain.txt ", "sub D", "\xe9.x "].sort(),
  );
  const plain = entries.get("plain.txt")!;
  assert.equal(plain.Size, 5);
  assert.equal(plain.LastWrite, "20310102030405");
  assert.equal(plain.LastAccess, "19991231235959");
  assert.match(plain.Creation, /^20\d{12}$/);
  assert.equal(entries.get("link")!.Size, 5);
  assert.equal(entries.get("\xe9.x")!.Size, 2);
  assert.deepEqual(await list(join(dataDir, "mail")), entries);
  assert.deepEqual(await list("mail/"), entries);
  assert.deepEqual([...(await list("")).keys()], ["mail"]);
});

test("getdirectory - what cannot be listed is empty", async () => {
  writeFileSync(join(dataDir, "file"), "");
  for (const name of ["missing", "file", "a\0b", "/nonexistent/x", "x".repeat(5000)]) {
    assert.equal((await list(name)).size, 0, name.slice(0, 20));
  }
});

test("getdirectory - a big directory is charged as it is read, and has an end", async () => {
  const big = join(dataDir, "big");
  mkdirSync(big);
  for (let i = 0; i < 300; i++) writeFileSync(join(big, `f${i}`), "");
  assert.equal((await list("big")).size, 300);
  let charged = 0;
  const charge = (steps: number) => {
    charged += steps;
    if (charged > 5000) throw new Error("budget");
  };
  await assert.rejects(callHost(module, "getdirectory", ["big"], { charge }), /budget/);
  assert.ok(charged < 10_000);
  const small = directoryModule({ dataDir, maxEntries: 299 });
  await assert.rejects(list("big", small), { name: "LuaRaise", message: /more than 299 entries/ });
});
