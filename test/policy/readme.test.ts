/** The example of src/policy/README.md is a program that works. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { decodeAnswer } from "../../src/policy/action.ts";
import { encodeRequest } from "../../src/policy/request.ts";
import { asked } from "./requests.ts";

const POLICY = join(import.meta.dirname, "../../src/policy");

test("the example holds mail from one sender and nothing else", async (t) => {
  const [, program = ""] = /```ts\n(.*?)```/s.exec(readFileSync(join(POLICY, "README.md"), "utf8")) ?? [];
  const directory = mkdtempSync(join(tmpdir(), "postlua-policy-"));
  const file = join(directory, "example.ts");
  const port = 12_000 + Math.floor(Math.random() * 20_000);
  const changed = program.replace('"./connection.ts"', JSON.stringify(join(POLICY, "connection.ts")));
  assert.match(changed, /listen\(10040, "127\.0\.0\.1"\)/);
  const ready = `listen(${port}, "127.0.0.1", () => console.log("listening"))`;
  writeFileSync(file, changed.replace('listen(10040, "127.0.0.1")', ready));
  const child: ChildProcess = spawn(process.execPath, [file], { stdio: ["ignore", "pipe", "inherit"] });
  t.after(() => {
    child.kill();
    rmSync(directory, { recursive: true });
  });
  await new Promise((resolve) => child.stdout?.once("data", resolve));
  const answers = await new Promise<string[]>((resolve, reject) => {
    let text = "";
    const found: string[] = [];
    const socket = connect(port, "127.0.0.1");
    socket.setEncoding("latin1").on("error", reject);
    socket.on("data", (chunk: string) => {
      text += chunk;
      for (let one = decodeAnswer(text); one !== undefined; one = decodeAnswer(text)) {
        found.push(one.action);
        text = text.slice(one.length);
      }
      if (found.length < 2) return;
      socket.destroy();
      resolve(found);
    });
    for (const sender of ["odd@example.org", "even@example.org"]) {
      socket.write(encodeRequest(asked({ state: "MAIL", sender })));
    }
  });
  assert.deepEqual(answers, ["HOLD odd", "DUNNO"]);
});
