/** Buffered files on real files: contents, positions, limits, and what is no file to a script. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { fromBytes, toBytes } from "../../src/bytes.ts";
import { LuaFile, openFile, openScratchFile } from "../../src/lua/file.ts";

const directory = mkdtempSync(join(tmpdir(), "postlua-file-"));
after(() => rmSync(directory, { recursive: true }));

let count = 0;
function pathOf(content?: string): string {
  const path = join(directory, `file${count++}`);
  if (content !== undefined) writeFileSync(path, content, "latin1");
  return path;
}
const contentOf = (path: string) => readFileSync(path, "latin1");
function open(path: string, mode: string): LuaFile {
  const file = openFile(Buffer.from(path), mode);
  assert.ok(file instanceof LuaFile, JSON.stringify(file));
  return file;
}
const anySize = () => {};
const line = (file: LuaFile) => text(file.readLine(anySize));
const text = (bytes: Uint8Array | undefined) => (bytes === undefined ? undefined : fromBytes(bytes));

test("lines of every shape", () => {
  const cases: [string, string[]][] = [
    ["", []],
    ["a", ["a"]],
    ["a\n", ["a"]],
    ["\n", [""]],
    ["a\n\nb", ["a", "", "b"]],
    ["a\r\nb\0c\n", ["a\r", "b\0c"]],
    [`${"x".repeat(16_384)}\ny`, ["x".repeat(16_384), "y"]],
    [`${"x".repeat(16_383)}\ny`, ["x".repeat(16_383), "y"]],
    [`${"x".repeat(50_000)}\n${"y".repeat(40_000)}`, ["x".repeat(50_000), "y".repeat(40_000)]],
  ];
  for (const [content, want] of cases) {
    const file = open(pathOf(content), "r");
    const got: string[] = [];
    for (let next = line(file); next !== undefined; next = line(file)) got.push(next);
    assert.deepEqual(got, want);
    assert.equal(file.atEnd(), true);
    assert.equal(file.close(), undefined);
  }
  assert.equal(text(open(pathOf("a\nb"), "r").readLine(anySize, true)), "a\n");
});

test("counted reads stop at the end of the file", () => {
  const content = Array.from({ length: 40_000 }, (_, i) => String.fromCharCode(i % 251)).join("");
  const file = open(pathOf(content), "r");
  assert.equal(text(file.readBytes(10, anySize)), content.slice(0, 10));
  assert.equal(text(file.readBytes(30_000, anySize)), content.slice(10, 30_010));
  assert.equal(text(file.readBytes(0, anySize)), "");
  assert.equal(file.seek("cur", 0), 30_010);
  assert.equal(text(file.readBytes(30_000, anySize)), content.slice(30_010));
  assert.equal(file.readBytes(1, anySize), undefined);
  file.close();
});

test("the size of a result is announced before it exists", () => {
  const file = open(pathOf("x".repeat(100_000)), "r");
  const sizes: number[] = [];
  const limited = (bytes: number) => {
    sizes.push(bytes);
    if (bytes > 50_000) throw new Error("too long");
  };
  assert.throws(() => file.readBytes(100_000, limited), /too long/);
  assert.ok(sizes.length > 1 && sizes.every((size) => size < 70_000));
  file.close();
});

test("modes", () => {
  const cases: [mode: string, before: string | undefined, after: string][] = [
    ["w", undefined, "new"],
    ["w", "something longer", "new"],
    ["wb", "old", "new"],
    ["w+", "something longer", "new"],
    ["a", "old", "oldnew"],
    ["a", undefined, "new"],
    ["a+b", "old", "oldnew"],
    ["r+", "older", "newer"],
    ["rb+", "older", "newer"],
  ];
  for (const [mode, before, want] of cases) {
    const path = pathOf(before);
    const file = open(path, mode);
    assert.equal(file.write(toBytes("new")), undefined);
    assert.equal(file.close(), undefined);
    assert.equal(contentOf(path), want, mode);
  }
  for (const mode of ["", "q", "b", "+r"])
    assert.deepEqual(openFile(Buffer.from(pathOf("x")), mode), { message: "Invalid argument", errno: 22 });
});

test("a file is read or written only as its mode says", () => {
  const path = pathOf("content");
  const reader = open(path, "r");
  assert.deepEqual(reader.write(toBytes("x")), { message: "Bad file descriptor", errno: 9 });
  reader.close();
  const writer = open(path, "a");
  assert.equal(writer.readLine(anySize), undefined);
  assert.equal(writer.seek("cur", 0), 7);
  writer.close();
  assert.equal(contentOf(path), "content");
});

test("reading, writing and seeking by turns", () => {
  const path = pathOf("0123456789");
  const file = open(path, "r+");
  assert.equal(text(file.readBytes(3, anySize)), "012");
  file.write(toBytes("AB"));
  assert.equal(text(file.readBytes(2, anySize)), "56");
  assert.equal(file.seek("cur", -1), 6);
  file.write(toBytes("C"));
  assert.equal(file.seek("end", 0), 10);
  file.write(toBytes("!"));
  assert.equal(file.seek("set", 20), 20);
  file.write(toBytes("far"));
  assert.equal(file.seek("set", 0), 0);
  assert.equal(text(file.readBytes(100, anySize)), `012AB5C789!${"\0".repeat(9)}far`);
  assert.deepEqual(file.seek("set", -1), { message: "Invalid argument", errno: 22 });
  assert.equal(file.seek("cur", 0), 23);
  file.close();

  const appended = open(path, "a+");
  assert.equal(text(appended.readBytes(2, anySize)), "01");
  appended.write(toBytes("end"));
  assert.equal(appended.seek("cur", 0), 26);
  appended.close();
});

test("writes are collected, flushed on demand, and large ones go straight through", () => {
  const path = pathOf();
  const file = open(path, "w");
  for (let i = 0; i < 100; i++) file.write(toBytes("0123456789"));
  assert.equal(contentOf(path), "");
  assert.equal(file.flush(), undefined);
  assert.equal(contentOf(path).length, 1000);
  file.write(toBytes("x".repeat(20_000)));
  assert.equal(contentOf(path).length, 21_000);
  file.write(toBytes("y"));
  file.close();
  assert.equal(contentOf(path).length, 21_001);
  assert.equal(file.close(), undefined);
});

test("what the system refuses is a value with C's words", () => {
  const refused = (path: string | Buffer, mode: string) => openFile(Buffer.from(path), mode);
  assert.deepEqual(refused(join(directory, "none"), "r"), { message: "No such file or directory", errno: 2 });
  assert.deepEqual(refused(join(directory, "no", "dir"), "w"), {
    message: "No such file or directory",
    errno: 2,
  });
  assert.deepEqual(refused(directory, "r"), { message: "Is a directory", errno: 21 });
  assert.deepEqual(refused(directory, "w"), { message: "Is a directory", errno: 21 });
  assert.deepEqual(refused(join(pathOf("x"), "y"), "r"), { message: "Not a directory", errno: 20 });
  assert.deepEqual(refused("a\0b", "r"), { message: "Invalid argument", errno: 22 });
  assert.deepEqual(refused(join(directory, "x".repeat(300)), "w"), {
    message: "File name too long",
    errno: 36,
  });
});

test("pipes, sockets and devices are not opened, and opening them does not wait", () => {
  const notRegular = { message: "Not a regular file", errno: 22 };
  const pipe = join(directory, "pipe");
  execFileSync("mkfifo", [pipe]);
  const link = join(directory, "link");
  symlinkSync(pipe, link);
  for (const path of [pipe, link, "/dev/zero", "/dev/tty", "/dev/full"])
    for (const mode of ["r", "w", "a", "r+"])
      assert.deepEqual(openFile(Buffer.from(path), mode), notRegular, `${path} ${mode}`);
});

test("/dev/null swallows and is empty", () => {
  const file = open("/dev/null", "r+");
  assert.equal(file.readLine(anySize), undefined);
  assert.equal(file.write(toBytes("x".repeat(100_000))), undefined);
  assert.equal(file.close(), undefined);
});

test("a name is bytes", () => {
  const path = Buffer.concat([Buffer.from(`${directory}/`), Buffer.from([0xff, 0xe4])]);
  const file = openFile(path, "w");
  assert.ok(file instanceof LuaFile);
  file.close();
  assert.equal(readFileSync(path).length, 0);
});

test("a scratch file has no name", () => {
  const path = join(directory, "scratch");
  const file = openScratchFile(path);
  assert.ok(file instanceof LuaFile);
  assert.throws(() => readFileSync(path), /ENOENT/);
  file.write(toBytes("text"));
  file.seek("set", 0);
  assert.equal(line(file), "text");
  file.close();
});
