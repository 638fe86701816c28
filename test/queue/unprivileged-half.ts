/** A scripts' half for tests: reports what it is, what it can do by itself, and what it gets from the other half. */
import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { connect, Socket } from "node:net";
import { join } from "node:path";
import { AGENT_FD, QueueClient } from "../../src/queue/client.ts";
import { leftoverRight } from "../../src/queue/halves.ts";
import { headerData, headerLines } from "../../src/queue/header.ts";

interface Task {
  readonly config: string;
  readonly release?: readonly string[];
  readonly expire?: readonly string[];
  /** Sent as it is, `times` times. */
  readonly raw?: string;
  readonly times?: number;
  /** The answer to wait for after `raw`. */
  readonly until?: number;
  readonly hang?: boolean;
  /** Leaves out what only a user without rights should try. */
  readonly tame?: boolean;
}

const task = JSON.parse(process.argv[2] ?? "{}") as Task;

function attempt(work: () => unknown): string {
  try {
    return `it worked: ${String(work())}`;
  } catch (error) {
    const { stderr, message } = error as { stderr?: Buffer; message: string };
    return stderr?.length ? stderr.toString() : message;
  }
}

function reach(path: string): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect(path, () => {
      socket.destroy();
      resolve("it worked");
    });
    socket.once("error", (error) => resolve(error.message));
  });
}

async function raw(text: string): Promise<void> {
  const line = new Socket({ fd: AGENT_FD });
  line.on("error", () => {});
  line.write(Buffer.from(text.repeat(task.times ?? 1), "latin1"));
  if (task.until === undefined) {
    // The other half is to close the line and end this process.
    setInterval(() => {}, 1_000);
    return;
  }
  let got = "";
  for await (const chunk of line) {
    got += chunk;
    const answers = got
      .split("\n")
      .slice(0, -1)
      .map((answer) => JSON.parse(answer));
    if (answers.some(({ n }) => n === task.until)) {
      console.log(JSON.stringify({ results: { answers } }));
      break;
    }
  }
}

async function everyRoad(queueDirectory: string, path: string, id: string): Promise<Record<string, string>> {
  const program = (name: string, ...args: string[]) =>
    attempt(() => execFileSync(`/usr/sbin/${name}`, ["-c", task.config, ...args], { stdio: "pipe" }));
  return {
    "read deferred": attempt(() => readdirSync(join(queueDirectory, "deferred"))),
    "read file": attempt(() => readFileSync(path)),
    "write file": attempt(() => writeFileSync(path, "")),
    "connect flush": await reach(join(queueDirectory, "public", "flush")),
    "connect rewrite": await reach(join(queueDirectory, "private", "rewrite")),
    "postsuper -d": program("postsuper", "-d", id),
    "postqueue -i": program("postqueue", "-i", id),
    "postqueue -f": program("postqueue", "-f"),
    "become root": attempt(() => process.setuid?.(0)),
    "take group postdrop": attempt(() => process.setgid?.("postdrop")),
    "kill parent": attempt(() => process.kill(process.ppid, 0)),
  };
}

async function report(): Promise<void> {
  const client = QueueClient.inherited();
  const settings = await client.settings();
  const leftover = leftoverRight(settings) ?? null;
  await client.refresh();
  const messages = [...client.messages.values()].map(({ id, queue, header }) => ({
    id,
    queue,
    subject: `Subject: ${headerData(headerLines(header)).get("subject")}`,
  }));
  const { queueDirectory } = settings;
  const path = [...client.messages.values()][0]?.path ?? "";
  const tries = task.tame === true ? {} : await everyRoad(queueDirectory, path, messages[0]?.id ?? "");
  const results: Record<string, unknown> = {};
  for (const one of task.release ?? []) results[`release ${one}`] = await client.release(one);
  results.expire = await client.expire(task.expire ?? []).catch((error: Error) => error.message);
  results.place = (await client.where(task.release?.slice(1) ?? []))[0]?.queue;
  const environment = Object.keys(process.env);
  const groups = process.getgroups?.() ?? [];
  console.log(
    JSON.stringify({ uid: process.getuid?.(), groups, leftover, tries, environment, messages, results }),
  );
  client.close();
}

if (task.hang === true) setInterval(() => {}, 1_000);
else if (task.raw !== undefined) await raw(task.raw);
else await report();
