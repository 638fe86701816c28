import assert from "node:assert/strict";
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { rename, symlink, unlink } from "node:fs/promises";
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

/** Without following links. */
function everything(top: string): string[] {
  return readdirSync(top, { withFileTypes: true }).flatMap((entry) => {
    const path = join(top, entry.name);
    return entry.isDirectory() ? [path, ...everything(path)] : [path];
  });
}

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
  ["link/sub/deeper/a.txt", "link"],
  ["sub/link/a.txt", "link"],
  ["sub/link/link/a.txt", "link"],
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
    symlinkSync(root, join(directory, "sub", "link"));
    mkdirSync(join(root, "sub", "deeper"), { recursive: true });
    const before = everything(root);
    await assert.rejects(save(filename), (error) => error instanceof SaveError && error.code === code);
    assert.deepEqual(everything(root), before);
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

test("a directory that becomes a link while the file is written: it goes where the directory is now", async () => {
  mkdirSync(join(root, "outside"));
  const swapped = function* () {
    yield Buffer.from("by");
    renameSync(join(directory, "sub"), join(directory, "moved"));
    symlinkSync(join(root, "outside"), join(directory, "sub"));
    yield Buffer.from("tes");
  };
  await saveFile({ directory, overwrite: true }, "sub/a.txt", swapped());
  assert.equal(read("moved/a.txt"), "bytes");
  assert.deepEqual(readdirSync(join(root, "outside")), []);
});

test("a link that appears under the file's name while it is written is not followed", async () => {
  for (const overwrite of [false, true]) {
    writeFileSync(join(root, "target"), "precious");
    const linked = function* () {
      yield Buffer.from("new");
      symlinkSync(join(root, "target"), join(directory, "late"));
    };
    const saved = saveFile({ directory, overwrite }, "late", linked());
    if (overwrite) await saved;
    else await assert.rejects(saved, { code: "exists" });
    assert.equal(readFileSync(join(root, "target"), "utf8"), "precious");
    if (overwrite) assert.equal(read("late"), "new");
    rmSync(join(directory, "late"));
  }
});

test("somebody who swaps a directory and a link all the time leads no file outside", async () => {
  mkdirSync(join(root, "outside"));
  const [sub, aside] = [join(directory, "sub"), join(directory, "aside")];
  let over = false;
  const swapping = (async () => {
    while (!over) {
      await rename(sub, aside);
      await symlink(join(root, "outside"), sub);
      await unlink(sub);
      await rename(aside, sub);
    }
  })();
  for (let n = 0; n < 300; n++) {
    await save(`sub/${n}`).catch((error) => assert.ok(error instanceof SaveError, String(error)));
  }
  over = true;
  await swapping;
  assert.deepEqual(readdirSync(join(root, "outside")), []);
});

test("of many that save under one name at a time one does, and the file is whole", async () => {
  const texts = Array.from({ length: 20 }, (_, n) => String(n).repeat(50_000));
  const results = await Promise.allSettled(texts.map((text) => save("same", text)));
  const winners = results.flatMap(({ status }, n) => (status === "fulfilled" ? [n] : []));
  assert.equal(winners.length, 1);
  assert.equal(read("same"), texts[winners[0]!]);
  assert.deepEqual(readdirSync(directory).sort(), ["same", "sub"]);
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
