/** The two halves on a real queue, as root and as a user without rights: what each can do, and what it cannot. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { PrivatePostfix } from "../../postfix/private-instance.ts";
import { Sink } from "../../postfix/sink.ts";
import { accountFor, findAccount, PrivilegeError, startHalves } from "../../src/queue/halves.ts";
import { keptLog, parked, send } from "../queue/harness.ts";
import { postfixTest } from "./harness.ts";

const ENTRY = join(import.meta.dirname, "../queue/unprivileged-half.ts");

interface Report {
  readonly uid: number;
  readonly groups: readonly number[];
  readonly leftover: string | null;
  readonly tries: Readonly<Record<string, string>>;
  readonly environment: readonly string[];
  readonly messages: readonly { readonly id: string; readonly queue: string; readonly subject: string }[];
  readonly results: Readonly<Record<string, unknown>>;
}

async function run(
  postfix: PrivatePostfix,
  user: string,
  task: object,
): Promise<{ report: Report; status: number; log: string[]; statement: string }> {
  const log = keptLog();
  process.env.POSTLUA_TEST_SECRET = "secret";
  const halves = await startHalves({
    configDirectory: postfix.configDirectory,
    user,
    entry: ENTRY,
    args: [JSON.stringify({ ...task, config: postfix.configDirectory })],
    output: "pipe",
    log,
  });
  let out = "";
  let err = "";
  halves.child.stdout?.on("data", (chunk) => {
    out += chunk;
  });
  halves.child.stderr?.on("data", (chunk) => {
    err += chunk;
  });
  const status = await halves.ended;
  const line = out.split("\n").find((text) => text.startsWith("{"));
  assert.ok(line !== undefined || Object.hasOwn(task, "raw"), `no report; status ${status}; ${err}`);
  return { report: JSON.parse(line ?? "{}") as Report, status, log: log.lines, statement: halves.statement };
}

async function instance(sink: Sink): Promise<PrivatePostfix> {
  return PrivatePostfix.start({
    sinkPort: sink.port,
    mainCf: { defer_transports: "smtp", enable_long_queue_ids: "yes" },
  });
}

const mails = (count: number) =>
  Array.from({ length: count }, (_, i) => ({
    to: [`<r${i}@remote.test>`],
    message: `Subject: number ${i}\n\nb\n`,
  }));

postfixTest(
  "the scripts' half sees the queue and moves it through the other half, and has no right of its own",
  async () => {
    await using sink = await Sink.start();
    await using postfix = await instance(sink);
    const ids = await send(postfix.port, mails(5));
    await parked(postfix, 5);
    const [released = "", expired = "", held = ""] = ids;
    await postfix.run("postsuper", ["-h", held]);
    const { report, status, statement } = await run(postfix, "nobody", {
      release: [released, held],
      expire: [expired, held],
    });
    assert.equal(status, 0);
    const nobody = findAccount("nobody");
    assert.match(statement, /^scripts run as nobody \(\d+\), without any right to the queue$/);
    assert.equal(report.uid, nobody.uid);
    assert.deepEqual(report.groups, [nobody.gid]);
    assert.equal(report.leftover, null);
    assert.deepEqual(
      report.messages.map(({ subject }) => subject).sort(),
      mails(5).map(({ message }) => message.split("\n")[0]),
    );
    // It gets what it asks for, but for mail on hold.
    assert.deepEqual(report.results, {
      [`release ${released}`]: "taken",
      [`release ${held}`]: "held",
      expire: [expired],
      place: "hold",
    });
    await sink.waitFor(({ queueId }) => queueId === released);
    // Every other road is closed.
    const denied = /EACCES|EPERM|Permission denied|must be root|not permitted|superuser|mail system is down/i;
    for (const [what, result] of Object.entries(report.tries))
      assert.match(result, denied, `${what}: ${result}`);
    assert.deepEqual(Object.keys(report.tries).sort(), [
      "become root",
      "connect flush",
      "connect rewrite",
      "kill parent",
      "postqueue -f",
      "postqueue -i",
      "postsuper -d",
      "read deferred",
      "read file",
      "take group postdrop",
      "write file",
    ]);
    assert.ok(!report.environment.includes("POSTLUA_TEST_SECRET"));
    const left = await postfix.settled();
    assert.equal(left.length, 4);
  },
);

const GARBAGE: Readonly<Record<string, string>> = {
  "no JSON": "GET / HTTP/1.0\r\n\r\n",
  "an endless line": "x".repeat(100_000),
  bytes: "\x00\x01\xff\xfe\n",
};

for (const [what, raw] of Object.entries(GARBAGE)) {
  postfixTest(`${what} from the scripts' half ends it, and touches nothing`, async () => {
    await using sink = await Sink.start();
    await using postfix = await instance(sink);
    await send(postfix.port, mails(1));
    await parked(postfix, 1);
    const { status, log } = await run(postfix, "nobody", { raw, times: 3 });
    assert.equal(status, 70);
    assert.match(log.join("\n"), /connection closed reason=a line/);
    assert.equal((await postfix.settled()).length, 1);
  });
}

postfixTest("requests that are none of the few are refused, one by one", async () => {
  await using sink = await Sink.start();
  await using postfix = await instance(sink);
  const [id = ""] = await send(postfix.port, mails(1));
  await parked(postfix, 1);
  const requests = [
    {},
    null,
    [],
    "scan",
    { n: 1 },
    { n: 1, op: "exec", id },
    { n: -1, op: "flush" },
    { n: 1, op: "release", id: `${id}; rm -rf /`, waitMs: 0 },
    { n: 1, op: "release", id: "../../etc/passwd", waitMs: 0 },
    { n: 1, op: "release", id: "ALL", waitMs: 0 },
    { n: 1, op: "release", id: "-", waitMs: 0 },
    { n: 1, op: "release", id: "-f", waitMs: 0 },
    { n: 1, op: "release", id: ["x"], waitMs: 0 },
    { n: 1, op: "release", id, waitMs: 1e9 },
    { n: 1, op: "release", id, waitMs: 0, as: "root" },
    { n: 1, op: "read", id: "8/8ABCDEF0" },
    { n: 1, op: "read", id: "A".repeat(5_000) },
    { n: 1, op: "expire", ids: [id, "ALL"] },
    { n: 1, op: "expire", ids: Array.from({ length: 2_001 }, () => id) },
    { n: 1, op: "where", ids: `${id}\n` },
    { n: 1, op: "read", id: "DEADBEEF\0" },
    { n: 1, op: "deferLogs", ids: ["../main.cf"] },
    { n: 1, op: "note", id, words: "two\nlines" },
    { n: 1, op: "note", id, words: "x".repeat(501) },
    { n: 1, op: "note", id, words: "" },
    { n: 1, op: "note", id: "../8ABCDEF0", words: "x" },
    { n: 1, op: "left", id: "ALL" },
    { n: 1, op: "changes", waitMs: 1e9 },
    { n: 1, op: "scan", fresh: false, only: ["../../etc/passwd"] },
    { n: 1, op: "scan", fresh: "yes" },
    { n: 1, op: "scan", fresh: false, __proto__: { ids: 1 }, directory: "/etc" },
  ];
  const raw = `${requests.map((request) => JSON.stringify(request)).join("\n")}\n${JSON.stringify({ n: 99, op: "where", ids: [id] })}\n`;
  const { report, status, log } = await run(postfix, "nobody", { raw, until: 99 });
  assert.equal(status, 0);
  const answers = report.results.answers as { n: number; error?: string; result?: unknown }[];
  assert.equal(answers.length, requests.length + 1);
  for (const [i, answer] of answers.slice(0, -1).entries()) {
    assert.match(answer.error ?? "", /^bad request: /, JSON.stringify(requests[i]));
  }
  assert.equal(log.filter((line) => line.includes("request refused")).length, requests.length);
  assert.equal((await postfix.settled()).length, 1);
});

postfixTest("a scripts' half that dies, hangs or is told to end takes nothing with it", async () => {
  await using sink = await Sink.start();
  await using postfix = await instance(sink);
  await send(postfix.port, mails(1));
  await parked(postfix, 1);
  const start = () =>
    startHalves({
      configDirectory: postfix.configDirectory,
      user: "nobody",
      entry: ENTRY,
      args: [JSON.stringify({ hang: true })],
      output: "pipe",
      log: keptLog(),
    });
  const killed = await start();
  killed.kill("SIGKILL");
  assert.equal(await killed.ended, 128 + 9);
  const told = await start();
  told.kill("SIGTERM");
  assert.equal(await told.ended, 128 + 15);
  assert.equal(await told.agent.ended, undefined);
  assert.equal((await postfix.settled()).length, 1);
});

postfixTest(
  "started by Postfix's own user, both halves are that user and say so; what needs root fails in words",
  async () => {
    await using sink = await Sink.start();
    await using postfix = await instance(sink);
    const ids = await send(postfix.port, mails(2));
    await parked(postfix, 2);
    const { uid, gid } = findAccount("postfix");
    const program = join(import.meta.dirname, "../queue/both-halves.ts");
    const task = JSON.stringify({
      config: postfix.configDirectory,
      tame: true,
      release: ids.slice(0, 1),
      expire: ids.slice(1),
    });
    const { stdout } = await promisify(execFile)(
      process.execPath,
      [program, postfix.configDirectory, ENTRY, task],
      {
        uid,
        gid,
        cwd: "/",
      },
    );
    assert.match(
      stdout,
      /^statement scripts run as the same user as the half that touches the queue: started without root/m,
    );
    const report = JSON.parse(stdout.split("\n").find((line) => line.startsWith("{")) ?? "{}") as Report;
    assert.equal(report.uid, uid);
    assert.match(report.leftover ?? "", /^it can read .*active$/);
    assert.equal(report.messages.length, 2);
    assert.equal(report.results[`release ${ids[0]}`], "taken");
    assert.match(String(report.results.expire), /postsuper .*reserved for the superuser/);
    await sink.waitFor(({ queueId }) => queueId === ids[0]);
  },
);

postfixTest("users that would have rights are refused by name", async () => {
  const settings = { mailOwner: "postfix" };
  const refused = (user: string | undefined, words: RegExp) =>
    assert.throws(
      () => accountFor(user, settings),
      (error: Error) => {
        assert.ok(error instanceof PrivilegeError);
        assert.match(error.message, words);
        return true;
      },
    );
  refused(undefined, /need a user of their own/);
  refused("", /need a user of their own/);
  refused("root", /user root is root/);
  refused("postfix", /owns Postfix's queue/);
  refused("no-such-user-here", /there is no user no-such-user-here/);
  refused("--help", /not a user name/);
  assert.deepEqual(accountFor("nobody", settings), findAccount("nobody"));
});
