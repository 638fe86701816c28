import assert from "node:assert/strict";
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, test } from "node:test";
import { encodeText } from "../../src/bytes.ts";
import { attachments } from "../../src/message/attachment.ts";
import { structure } from "../../src/message/mime.ts";
import { SaveError, saveAttachment, saveFile } from "../../src/message/save.ts";
import { MessageStore } from "../../src/message/store.ts";

let root = "";
let directory = "";

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "postlua-test-"));
  directory = join(root, "saved");
  mkdirSync(join(directory, "sub"), { recursive: true });
});
afterEach(() => rmSync(root, { recursive: true }));

const save = (filename: string, text = "bytes", overwrite = false) =>
  saveFile({ directory, overwrite }, filename, [Buffer.from(text.slice(0, 2)), Buffer.from(text.slice(2))]);
const read = (name: string) => readFileSync(join(directory, name), "utf8");

const GOOD: [filename: string, file: string][] = [
  ["a.txt", "a.txt"],
  ["sub/a.txt", "sub/a.txt"],
  ["sub\\a.txt", "sub/a.txt"],
  ["./sub//a.txt", "sub/a.txt"],
  [".hidden", ".hidden"],
  ["a b;`$x`.txt", "a b;`$x`.txt"],
  ["...", "..."],
  [encodeText("grün.txt"), "grün.txt"],
];

for (const [filename, file] of GOOD) {
  test(`${filename} is saved as ${file}, and nothing else is left behind`, async () => {
    await save(filename);
    assert.equal(read(file), "bytes");
    const names = readdirSync(directory, { recursive: true }).sort();
    assert.deepEqual(names, [file, "sub"].sort());
    assert.equal(statSync(join(directory, file)).mode & 0o007, 0);
  });
}

test("an absolute name inside the directory is taken as such", async () => {
  await save(`${directory}/sub/a.txt`);
  assert.equal(read("sub/a.txt"), "bytes");
});

const BAD: [filename: string, code: string][] = [
  ["", "name"],
  [".", "name"],
  ["a\0b", "name"],
  ["sub/", "name"],
  ["../a.txt", "outside"],
  ["sub/../../a.txt", "outside"],
  ["sub\\..\\a.txt", "outside"],
  ["..", "outside"],
  ["/etc/a.txt", "outside"],
  ["\\etc\\a.txt", "outside"],
  ["C:\\VPOP3\\a.txt", "outside"],
  ["none/a.txt", "missing"],
  ["file/a.txt", "link"],
  ["link/a.txt", "link"],
  ["file", "exists"],
  ["link", "exists"],
  ["dangling", "exists"],
  ["sub", "exists"],
];

for (const [filename, code] of BAD) {
  test(`"${filename}" is refused: ${code}`, async () => {
    writeFileSync(join(directory, "file"), "old");
    symlinkSync(root, join(directory, "link"));
    symlinkSync(join(root, "target"), join(directory, "dangling"));
    const before = readdirSync(root, { recursive: true }).sort();
    await assert.rejects(save(filename), (error) => error instanceof SaveError && error.code === code);
    assert.deepEqual(readdirSync(root, { recursive: true }).sort(), before);
    assert.equal(read("file"), "old");
  });
}

test("overwriting, when allowed, replaces a file or a link itself, never what the link leads to", async () => {
  writeFileSync(join(directory, "file"), "old");
  writeFileSync(join(root, "target"), "precious");
  symlinkSync(join(root, "target"), join(directory, "link"));
  await save("file", "new", true);
  await save("link", "new", true);
  assert.equal(read("file"), "new");
  assert.equal(read("link"), "new");
  assert.equal(readFileSync(join(root, "target"), "utf8"), "precious");
  await assert.rejects(save("sub", "new", true), { code: "exists" });
});

test("pieces that fail leave nothing behind", async () => {
  function* broken() {
    yield Buffer.from("x");
    throw new Error("the source broke");
  }
  await assert.rejects(saveFile({ directory, overwrite: false }, "a.txt", broken()), {
    code: "io",
    message: /the source broke/,
  });
  assert.deepEqual(readdirSync(directory), ["sub"]);
});

test("a save directory that is not there is an error in words", async () => {
  const target = { directory: join(root, "none"), overwrite: false };
  await assert.rejects(saveFile(target, "a.txt", []), {
    code: "io",
    message: /"a.txt" cannot be written: ENOENT/,
  });
});

test("an attachment is saved decoded", async () => {
  const raw = "Content-Type: application/x; name=x\nContent-Transfer-Encoding: base64\n\naGVsbG8A\n";
  const store = MessageStore.fromBytes(Buffer.from(raw));
  const [attachment] = attachments(store, structure(store).parts);
  assert.ok(attachment);
  assert.equal(await saveAttachment({ directory, overwrite: false }, "a.bin", store, attachment), "");
  assert.equal(read("a.bin"), "hello\0");
  assert.match(
    await saveAttachment({ directory, overwrite: false }, "a.bin", store, attachment),
    /exists already/,
  );
});

test("a large attachment is saved whole", async () => {
  const bytes = Buffer.alloc(3_000_000, "0123456789");
  const store = new MessageStore();
  store.addHeader("Content-Type", " application/x");
  store.addHeader("Content-Transfer-Encoding", " BASE64");
  store.addBody(Buffer.from(bytes.toString("base64").replace(/.{76}/g, "$&\r\n")));
  const [attachment] = attachments(store, structure(store).parts);
  assert.equal(attachment?.size, bytes.length);
  assert.equal(await saveAttachment({ directory, overwrite: false }, "big", store, attachment!), "");
  assert.ok(readFileSync(join(directory, "big")).equals(bytes));
});

test("a directory that may not be written to", {
  skip: process.getuid?.() === 0 && "root may write anywhere",
}, async () => {
  chmodSync(join(directory, "sub"), 0o500);
  await assert.rejects(save("sub/a.txt"), { code: "io" });
});
