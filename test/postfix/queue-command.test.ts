/** `postlua queue` on a private Postfix: what it prints, sends and leaves alone, who may run, and what scripts cannot do. */
import assert from "node:assert/strict";
import { chownSync, closeSync, existsSync, lstatSync, openSync, readdirSync, writeSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { queueLine, queueStatus } from "../../src/commands/queue-status.ts";
import { readHeartbeat } from "../../src/queue/heartbeat.ts";
import { Journal } from "../../src/queue/journal.ts";
import { keptLog } from "../queue/harness.ts";
import { QueuePlace } from "../queue/queue-place.ts";
import { postfixTest } from "./harness.ts";

/** The subject is the priority; what begins with a zero is skipped. */
const BY_SUBJECT = `function CheckFile(_, actions, size, created, from, to, headers)
  if string.find(headers.subject, "^0") then
    actions.SkipSend = true
    actions.Reason = "not now"
  else
    actions.Priority = tonumber(headers.subject)
  end
  return actions
end`;

function queueFiles(place: QueuePlace): string[] {
  const directory = join(place.postfix.places.queue, "deferred");
  return readdirSync(directory, { recursive: true, encoding: "utf8" })
    .map((name) => ({ name, stat: lstatSync(join(directory, name)) }))
    .filter(({ stat }) => stat.isFile())
    .map(({ name, stat }) => `${name} ${stat.mtimeMs} ${stat.ctimeMs} ${stat.mode} ${stat.ino}`)
    .sort();
}

postfixTest("--dry-run says and changes nothing, --once does it, list shows what is left", async () => {
  await using place = await QueuePlace.start({ queue: "window = 1" });
  place.script("RELAYOUT.LUA", BY_SUBJECT);
  const ids = await place.park(6, 5, "01", 70, 60, 8, 90);
  const before = queueFiles(place);
  const shown = await place.run("--dry-run");
  assert.equal(shown.code, 0, shown.err);
  const lines = shown.out.split("\n");
  assert.match(lines[0] ?? "", /^pos +queue id +state +prio +tries +next try +size +destination +reason$/);
  for (const [i, n] of [5, 2, 3, 4, 0].entries()) {
    assert.match(
      lines[i + 1] ?? "",
      new RegExp(`^ +${i + 1} +${ids[n]} +send .* smtp:\\[127\\.0\\.0\\.1\\]:\\d+$`),
    );
  }
  assert.match(lines[6] ?? "", new RegExp(`^ +- +${ids[1]} +skip +50 .* not now$`));
  assert.equal(lines[7], "6 messages: 5 send, 1 skip");
  const rows = JSON.parse((await place.run("--dry-run", "--json")).out);
  assert.deepEqual(
    rows.map(({ position, priority }: { position: number; priority: number }) => [position, priority]),
    [
      [1, 90],
      [2, 70],
      [3, 60],
      [4, 8],
      [5, 5],
      [0, 50],
    ],
  );
  assert.deepEqual(queueFiles(place), before);
  assert.equal(existsSync(place.files.journal), false);
  assert.equal(existsSync(place.files.lock), false);

  const once = await place.run("--once", "--json");
  assert.equal(once.code, 0, once.err);
  const { total, going, skipped } = JSON.parse(once.out);
  assert.deepEqual([total, going, skipped], [6, 5, 1]);
  assert.deepEqual(place.arrived, ["90", "70", "60", "8", "5"]);
  assert.match(once.err, /"event":"decision".*"queue":"\w+","result":"send, priority 90","ms":/);
  const { out } = await place.run("list");
  assert.match(out, new RegExp(`\n +- +${ids[1]} +skip +50 +0 .* not now\n1 message: 1 skip\n$`));
});

postfixTest(
  "--watch takes new mail at once, alone, and stops in order; a killed one leaves nothing behind",
  async () => {
    await using place = await QueuePlace.start();
    place.script("RELAYOUT.LUA", BY_SUBJECT);
    const watch = place.start("--watch");
    await watch.says(/"event":"queue: worker started"/);
    assert.match(watch.out, /"who":"scripts run as nobody \(\d+\), without any right to the queue"/);
    await place.mail(3, "04");
    await place.sink.waitFor(() => true);
    assert.deepEqual(place.arrived, ["3"]);

    const alive = await queueStatus(place.config);
    assert.ok(alive !== undefined && alive.pid > 0, JSON.stringify(alive));
    assert.match(queueLine(alive), /^queue: worker \d+, last sign of life 20.*Z, next session 20.*Z$/);
    const second = await place.run("--once");
    assert.equal(second.code, 75);
    assert.match(
      second.err,
      /^postlua: another queue worker, process \d+ \(--watch\), has this queue since 20/,
    );
    const live = place.start("list", "--live");
    await live.says(/skip +50 +0 .* not now\n1 message: 1 skip\n/);
    await place.postfix.run("postsuper", ["-d", "ALL"]);
    await live.says(/the queue is empty\n/);
    assert.equal((await live.stop("SIGINT")).code, 0);

    const waiting = place.start("--once", "--wait", "--json");
    const stopped = await watch.stop();
    assert.equal(stopped.code, 0, stopped.err);
    assert.match(stopped.out, /"event":"queue: worker stopped"/);
    assert.equal((await waiting.ended).code, 0);

    const doomed = place.start("--watch");
    await doomed.says(/"event":"queue: worker started"/);
    await doomed.stop("SIGKILL");
    await place.park(1, 9);
    const after = await place.run("--once", "--wait");
    assert.equal(after.code, 0, after.err);
    assert.deepEqual(place.arrived, ["3", "9"]);
  },
);

postfixTest("a broken script sends everything and says so; so does one that fails", async () => {
  await using place = await QueuePlace.start();
  place.script("RELAYOUT.LUA", "function CheckFile(");
  await place.park(2, 1, 2);
  const { code, out } = await place.run("--once");
  assert.equal(code, 0, out);
  assert.deepEqual(place.arrived, ["1", "2"]);
  assert.match(
    out,
    /"level":"error","event":"script error".*"script":"RELAYOUT\.LUA".*"line":1,"kind":"syntax"/,
  );
  assert.match(
    place.read("LUAERRORS.LOG"),
    /script=RELAYOUT\.LUA callback=\(top level\) line=1 error=syntax/,
  );
  place.script("RELAYOUT.LUA", "function CheckFile(f, a)\n  return a.x.y\nend");
  await place.park(1, 3);
  await place.run("--once");
  assert.deepEqual(place.arrived, ["1", "2", "3"]);
  assert.match(
    place.read("LUAERRORS.LOG"),
    /queue=\w+ script=RELAYOUT\.LUA callback=CheckFile line=2 error=runtime/,
  );
});

postfixTest(
  "on_change = false: mail waits for the schedule, and scripts begin anew with each session",
  async () => {
    await using place = await QueuePlace.start({ queue: 'schedule = "* * * * * *"\non_change = false' });
    place.script(
      "RELAYOUT.LUA",
      'print("top", SessionID)\nfunction CheckFile(f, a) print("asked", SessionID, QueueID) return a end',
    );
    const watch = place.start("--watch");
    await watch.says(/worker started/);
    const ids: string[] = [];
    for (const n of [1, 2]) {
      ids.push(...(await place.mail(n)));
      await place.sink.waitFor(({ queueId }) => queueId === ids.at(-1));
      // What arrives while a session sends belongs to it: the next one has begun when another is planned.
      for (const sent = Date.now(); readHeartbeat(place.files.journal).plannedMs <= sent + 1_000; ) {
        await delay(50);
      }
    }
    assert.equal((await watch.stop()).code, 0);
    const lines = place.read("LUA.OUT").split("\n");
    const sessions = ids.map(
      (id) => lines.find((line) => line.startsWith("asked") && line.endsWith(id))?.split("\t")[1],
    );
    assert.equal(new Set(sessions).size, 2, lines.join("\n"));
    for (const session of sessions)
      assert.equal(lines.filter((line) => line === `top\t${session}`).length, 1);
  },
);

postfixTest("a damaged queue file is named, and left to Postfix; the others go", async () => {
  await using place = await QueuePlace.start();
  const [damaged = ""] = await place.park(2, 1, 2);
  const deferred = join(place.postfix.places.queue, "deferred");
  const file = readdirSync(deferred, { recursive: true, encoding: "utf8" }).find((name) =>
    name.endsWith(damaged),
  );
  const fd = openSync(join(deferred, file ?? ""), "r+");
  writeSync(fd, "ZZZZ", 0);
  closeSync(fd);
  const { code, out } = await place.run("--once");
  assert.equal(code, 0, out);
  assert.match(
    out,
    new RegExp(`"event":"queue: a file cannot be read","queue":"${damaged}","problem":".*byte`),
  );
  assert.deepEqual(place.arrived, ["2"]);
  await place.postfix.waitFor(/saving corrupt file/);
  assert.deepEqual(readdirSync(join(place.postfix.places.queue, "corrupt")), [damaged]);
});

postfixTest("scripts cannot reach the queue; a user who could is refused", async () => {
  await using place = await QueuePlace.start();
  const { configDirectory, places } = place.postfix;
  place.script(
    "RELAYOUT.LUA",
    `local out = io.open("tried", "w")
function CheckFile(filename, actions)
  local file, why = io.open(filename)
  out:write("open ", tostring(file), " ", tostring(why), "\\n")
  for _, command in { "postsuper -c ${configDirectory} -d ALL", "postqueue -c ${configDirectory} -f", "ls ${places.queue}/deferred", "id -un" } do
    local code, lines = os.timedexecute(command, 10000)
    out:write(string.gsub(command, " .*", ""), " ", tostring(code), "\\n")
  end
  out:flush()
  actions.SkipSend = true
  return actions
end`,
  );
  await place.park(1, 1);
  const { code, out } = await place.run("--once");
  assert.equal(code, 0, out);
  const tried = place.read("tried");
  assert.match(tried, /^open nil .*Permission denied$/m, tried);
  assert.equal((await place.postfix.queue()).length, 1);
  assert.deepEqual(place.arrived, []);
  const programs = out.split("\n").filter((line) => line.includes('"event":"program"'));
  assert.match(programs.join("\n"), /nobody/);
  assert.match(programs.join("\n"), /postsuper.*(?:superuser|root|denied|not permitted)/i);
  for (const [user, sentence] of [
    ["root", /user root is root: scripts would have all rights/],
    ["postfix", /user postfix owns Postfix's queue; give the scripts a user of their own/],
    ["nosuchuser", /there is no user nosuchuser/],
  ] as const) {
    place.configure(`user = "${user}"`);
    const refused = await place.run("--once");
    assert.equal(refused.code, 78);
    assert.match(refused.err, sentence);
  }
  place.configure("");
  chownSync(place.directory, 0, 0);
  const closed = await place.run("--once");
  assert.deepEqual([closed.code, /data_dir must be writable by queue\.user/.test(closed.err)], [78, true]);
  const unknown = await place.run("--once", "--postfix-config", "/nonexistent");
  assert.equal(unknown.code, 78);
  assert.match(unknown.err, /^postlua: \/nonexistent has no main\.cf; name the Postfix instance/);
  const wrong = await place.run("--once", "--watch");
  assert.deepEqual([wrong.code, /say --watch, --once or --dry-run/.test(wrong.err)], [64, true]);
});

/** A worker's last sign of life in the journal. */
function aliveAt(place: QueuePlace, ms: number, plannedMs: number): void {
  const journal = new Journal({ path: place.files.journal, log: keptLog(), now: () => ms });
  journal.alive(plannedMs);
  journal.close();
}

postfixTest(
  "failsafe: mail goes when no worker runs, however that came, and never after an uninstall",
  async () => {
    await using place = await QueuePlace.start({ queue: "failsafe_after = 600" });
    place.script("RELAYOUT.LUA", "function CheckFile(f, a) a.SkipSend = true return a end");
    const now = Date.now();
    assert.equal((await place.run("failsafe")).code, 0);
    await place.park(1, 1);
    aliveAt(place, now - 3_600_000, now - 500_000);
    assert.equal((await place.run("failsafe")).code, 0);
    assert.equal((await place.postfix.queue()).length, 1);
    aliveAt(place, now - 3_600_000, now - 700_000);
    const dead = await queueStatus(place.config);
    assert.match(
      dead === undefined ? "" : queueLine(dead),
      /^queue: no worker runs, last sign .*\n {2}overdue: the queue worker's/,
    );
    const flushed = await place.run("failsafe");
    assert.equal(flushed.code, 1, flushed.err);
    assert.match(
      flushed.out,
      /"level":"error","event":"queue failsafe: Postfix sends everything","reason":"the queue worker's last sign of life is of 20.*; a session was due 20/,
    );
    await place.sink.waitFor(() => true);
    // Nothing waits: nothing to say.
    assert.equal((await place.run("failsafe")).code, 0);

    place.configure('user = "nosuchuser"');
    await place.park(1, 2);
    const anyway = await place.run("failsafe");
    assert.equal(anyway.code, 1);
    assert.match(anyway.out, /the journal cannot be asked: there is no user nosuchuser/);
    await place.sink.waitFor(({ recipients }) => recipients[0] === "r2@remote.test");

    place.configure("windwo = 1");
    await place.park(1, 4);
    const wrong = await place.run("failsafe");
    assert.equal(wrong.code, 1);
    assert.match(wrong.err, /postlua\.toml:\d+: queue\.windwo: unknown key/);
    assert.match(wrong.out, /Postfix sends everything.*the configuration is wrong/);
    await place.sink.waitFor(({ recipients }) => recipients[0] === "r4@remote.test");

    place.configure("failsafe_after = 600");
    await place.park(1, 3);
    await place.postfix.postconf({ defer_transports: "" });
    assert.equal((await place.run("failsafe")).code, 0);
    assert.equal((await place.postfix.queue()).length, 1);
  },
);

postfixTest("an admin's day: worker, install, mail in order, configuration changed, uninstall", async () => {
  await using place = await QueuePlace.start({ parked: false, queue: "window = 1" });
  place.script("RELAYOUT.LUA", BY_SUBJECT);
  const watch = place.start("--watch");
  const check = async () => (await place.postlua("check")).out;
  assert.match(
    await check(),
    /RELAYOUT\.LUA: warning: Postfix sends outgoing mail without asking: set it up/,
  );
  await watch.says(/no transport is parked, so Postfix sends by itself/);
  const installed = await place.run("install", "--yes");
  assert.equal(installed.code, 0, installed.err);
  await watch.says(/Postfix's configuration has changed; the worker begins anew[\s\S]*worker started/);
  const checked = await check();
  assert.match(checked, /RELAYOUT\.LUA:1: callback CheckFile\(filename, actions, size, /);
  assert.doesNotMatch(checked, /without asking/);
  const ids = await place.mail(1, "02", 3);
  await place.sink.waitFor(({ queueId }) => queueId === ids[0]);
  await place.sink.waitFor(({ queueId }) => queueId === ids[2]);
  assert.equal((await place.postfix.settled()).length, 1);
  const undone = await place.run("uninstall", "--yes");
  assert.equal(undone.code, 0, undone.err);
  assert.match(undone.out, /deferred: 1 message$/m);
  await place.sink.waitFor(({ queueId }) => queueId === ids[1]);
  assert.equal((await watch.stop()).code, 0);
});
