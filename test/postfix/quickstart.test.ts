/** `npm run quickstart` as its user sees it: output, exit codes, and what is left behind (nothing). */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { SmtpClient } from "../../postfix/smtp-client.ts";
import { postfixTest } from "./harness.ts";

const QUICKSTART = join(import.meta.dirname, "../../postfix/quickstart.ts");

class Run {
  readonly child: ChildProcess;
  output = "";
  readonly #exit: Promise<unknown[]>;
  #watch: () => void = () => {};

  constructor(...args: readonly string[]) {
    this.child = spawn(process.execPath, [QUICKSTART, ...args], { stdio: ["ignore", "pipe", "pipe"] });
    this.#exit = once(this.child, "exit");
    for (const stream of [this.child.stdout, this.child.stderr]) {
      stream?.on("data", (bytes: Buffer) => {
        this.output += bytes.toString("utf8");
        this.#watch();
      });
    }
  }

  /** Resolves once the output has `text`; rejects when the program ends without it. */
  async has(text: string): Promise<void> {
    const seen = new Promise<void>((resolve) => {
      this.#watch = () => this.output.includes(text) && resolve();
      this.#watch();
    });
    await Promise.race([seen, this.#exit]);
    assert.ok(this.output.includes(text), `no "${text}" in:\n${this.output}`);
  }

  async code(): Promise<unknown> {
    const [code] = await this.#exit;
    return code;
  }

  get directory(): string {
    return /all its files are in (\S+)/.exec(this.output)?.[1] ?? "";
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, "close");
  return port;
}

postfixTest("three messages are tagged, refused and discarded, and nothing is left", async () => {
  const run = new Run("--once", "--port", String(await freePort()));
  assert.equal(await run.code(), 0, run.output);
  for (const text of [
    "DoRCPTTO          refuse 550 5.1.6 Please write to office@example.test instead",
    "S: 550 5.1.6 Please write to office@example.test instead",
    "ProcessMessage    accept with",
    "X-Checked: message 1 from 127.0.0.1",
    "ProcessMessage    discard (discarded for its subject)",
    "goodbye to 127.0.0.1 after 1 message(s)",
  ]) {
    assert.ok(run.output.includes(text), `no "${text}" in:\n${run.output}`);
  }
  assert.equal(run.output.match(/nothing arrived/g)?.length, 2);
  assert.ok(!run.output.includes("\x1b["), "no colours without a terminal");
  assert.equal(existsSync(run.directory), false);
});

for (const signal of ["SIGINT", "SIGTERM"] as const) {
  postfixTest(`it stays up for one's own mail until ${signal}`, async () => {
    const port = await freePort();
    const run = new Run("--port", String(port));
    await run.has(`swaks --server 127.0.0.1:${port}`);
    const { client } = await SmtpClient.connect({ port });
    await client.command("EHLO client.test");
    await client.command("MAIL FROM:<spammer@junk.test>");
    await run.has("refuse 550 5.7.1 Mail from spammer@junk.test is not accepted here");
    assert.ok(existsSync(run.directory));
    run.child.kill(signal);
    assert.equal(await run.code(), 0, run.output);
    assert.equal(existsSync(run.directory), false);
  });
}

postfixTest("a taken port is told, with what to do", async () => {
  const occupant = createServer().listen(0, "127.0.0.1");
  await once(occupant, "listening");
  const { port } = occupant.address() as { port: number };
  const run = new Run("--port", String(port));
  assert.equal(await run.code(), 69);
  assert.match(
    run.output,
    /port \d+ of 127\.0\.0\.1 is taken by another program; choose another with --port/,
  );
  occupant.close();
});
