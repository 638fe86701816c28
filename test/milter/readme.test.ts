import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { test } from "node:test";
import { MilterClient } from "../../src/milter/client.ts";
import { CLIENT, scratch } from "./serve.ts";

const SOURCE = join(import.meta.dirname, "../../src/milter");
const README = readFileSync(join(SOURCE, "README.md"), "utf8");

test("the program in the README runs as it stands", async (context) => {
  const program = /```ts\n(.*?)```/s.exec(README)?.[1];
  assert.ok(program !== undefined);
  const folder = scratch(context);
  const file = join(folder, "filter.ts");
  writeFileSync(file, program.replaceAll('from "./', `from "${SOURCE}/`));
  const child = spawn(process.execPath, [file, `unix:${folder}/s`], { stdio: ["ignore", "pipe", "inherit"] });
  context.after(() => child.kill("SIGKILL"));
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]();
  assert.equal((await lines.next()).value, "listening");

  const mta = await MilterClient.connect(`unix:${folder}/s`);
  context.after(() => mta.destroy());
  await mta.negotiate();
  await mta.connect(CLIENT);
  await mta.mail("<a@example.org>");
  assert.deepEqual(await mta.rcpt("<nobody@example.org>"), {
    kind: "replycode",
    code: 550,
    enhanced: "5.1.1",
    lines: ["Nobody is not here"],
  });
  assert.deepEqual(await mta.rcpt("<somebody@example.org>"), { kind: "continue" });
  await mta.header("Subject", " Hello");
  mta.macros("eom", { i: "4ABCDEF" });
  assert.deepEqual(await mta.endOfMessage(), {
    edits: [{ kind: "addHeader", name: "X-Filtered", value: " yes" }],
    reply: { kind: "continue" },
  });
  assert.equal((await lines.next()).value, "4ABCDEF: Hello");

  child.kill("SIGTERM");
  const [code] = await once(child, "exit");
  assert.equal(code, 0);
});

test("the README lists every file", () => {
  const listed = [...README.matchAll(/`(\w+\.ts)`(?=[^`]*[|,])/g)].map((match) => match[1]);
  const files = readdirSync(SOURCE).filter((name) => name.endsWith(".ts"));
  assert.deepEqual(
    files.filter((name) => !listed.includes(name)),
    [],
  );
});
