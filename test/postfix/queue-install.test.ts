/** `postlua queue install` and `uninstall` on a private Postfix: what changes, what comes back, and that no mail is stranded. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { writeSettled } from "../../postfix/layout.ts";
import { PrivatePostfix } from "../../postfix/private-instance.ts";
import { Sink } from "../../postfix/sink.ts";
import { SmtpClient } from "../../postfix/smtp-client.ts";
import { workerFiles } from "../../src/queue/files.ts";
import { takeLock } from "../../src/queue/lock.ts";
import { parked, send } from "../queue/harness.ts";
import { postfixTest } from "./harness.ts";

const MAIN = join(import.meta.dirname, "../../src/main.ts");

interface Ran {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** The command on an instance, with a configuration of its own. */
function queueCommand(postfix: PrivatePostfix, ...args: string[]): Promise<Ran> {
  const config = join(postfix.scratch.path, "postlua.toml");
  writeFileSync(
    config,
    `data_dir = "${postfix.scratch.path}"\nlog_dir = "${postfix.scratch.path}"\n[postfix]\nconfig_dir = "${postfix.configDirectory}"\n[queue]\nuser = "nobody"\n`,
  );
  return new Promise((resolve) => {
    execFile(process.execPath, [MAIN, "queue", ...args, "--config", config], (error, out, err) => {
      resolve({ code: error === null ? 0 : Number(error.code ?? -1), out, err });
    });
  });
}

function cf(postfix: PrivatePostfix): { main: string; master: string } {
  const read = (name: string) => readFileSync(join(postfix.configDirectory, name), "latin1");
  return { main: read("main.cf"), master: read("master.cf") };
}

function edit(postfix: PrivatePostfix, change: (text: string) => string): void {
  const path = join(postfix.configDirectory, "main.cf");
  writeSettled(path, change(readFileSync(path, "utf8")));
}

const mail = (n: number) => ({ to: [`<r${n}@remote.test>`], message: `Subject: ${n}\n\nb\n` });

postfixTest(
  "install parks outgoing mail, uninstall lets it go and leaves both files as they were",
  async () => {
    await using sink = await Sink.start();
    await using postfix = await PrivatePostfix.start({ sinkPort: sink.port });
    edit(postfix, (text) => `${text}# the admin's\nmynetworks = 127.0.0.1/32,\n\t[::1]/128\n`);
    const before = cf(postfix);

    const shown = await queueCommand(postfix, "install", "--dry-run");
    assert.equal(shown.code, 0, shown.err);
    assert.match(shown.out, /^ {2}defer_transports = smtp, relay$/m);
    assert.match(shown.out, /^ {2}enable_long_queue_ids = yes$/m);
    assert.match(shown.out, /^ {2}postlua-verify-smtp unix - - n - - smtp$/m);
    assert.match(shown.out, /^note: SMTP clients that go on sending by themselves: local, virtual;/m);
    const alone = await queueCommand(postfix, "install", "--yes");
    assert.equal(alone.code, 1);
    assert.match(
      alone.err,
      /no queue worker runs that would send it: `systemctl enable --now postlua-queue\.service`/,
    );
    const unasked = await queueCommand(postfix, "install", "--without-worker");
    assert.deepEqual([unasked.code, /say --yes/.test(unasked.err)], [1, true]);
    assert.deepEqual(cf(postfix), before);

    // A worker holds the lock.
    const { lock } = workerFiles(postfix.scratch.path, postfix.places.queue);
    const worker = takeLock(lock, "--watch");
    const installed = await queueCommand(postfix, "install", "--yes");
    if ("release" in worker) worker.release();
    assert.equal(installed.code, 0, installed.err);
    assert.match(installed.out, /^done: outgoing mail waits for the queue worker \(process \d+\)$/m);
    assert.equal(await postfix.parameter("defer_transports"), "smtp, relay");
    const again = await queueCommand(postfix, "install", "--yes", "--without-worker");
    assert.deepEqual([again.code, /nothing to do; smtp, relay wait/.test(again.out)], [0, true]);

    const ids = await send(postfix.port, [mail(1), mail(2)]);
    await parked(postfix, 2);
    assert.equal(sink.messages.length, 0);
    assert.ok(
      ids.every((id) => id.length > 12),
      ids.join(),
    );

    const look = await queueCommand(postfix, "uninstall", "--dry-run");
    assert.match(look.out, /^ {2}without defer_transports$/m);
    assert.match(look.out, /deferred: 2 messages$/m);
    assert.notDeepEqual(cf(postfix), before);
    const gone = await queueCommand(postfix, "uninstall", "--yes");
    assert.equal(gone.code, 0, gone.err);
    assert.match(gone.out, /^done: Postfix delivers by itself again$/m);
    assert.deepEqual(cf(postfix), before);
    for (const id of ids) await sink.waitFor(({ queueId }) => queueId === id);
    assert.equal((await queueCommand(postfix, "uninstall", "--yes")).code, 1);
  },
);

postfixTest(
  "what was changed since stays, and ours goes; a broken-off installation is taken back",
  async () => {
    await using postfix = await PrivatePostfix.start({
      mainCf: { defer_transports: "uucp", relayhost: "", default_transport: "smtp:[127.0.0.1]:1" },
      masterCf: { "slow/unix": "- - n - 1 smtp" },
    });
    const before = cf(postfix);
    const chosen = await queueCommand(
      postfix,
      "install",
      "--yes",
      "--without-worker",
      "--transports",
      "smtp",
      "slow",
    );
    assert.equal(chosen.code, 0, chosen.err);
    assert.equal(await postfix.parameter("defer_transports"), "uucp, smtp, slow");
    assert.equal(
      await postfix.parameter("address_verify_default_transport"),
      "postlua-verify-smtp:[127.0.0.1]:1",
    );
    edit(postfix, (text) =>
      text.replace("smtp, slow\n", "smtp, slow, lmtp\n").replace(/^(enable_long_queue_ids =) yes$/m, "$1 no"),
    );
    const undone = await queueCommand(postfix, "uninstall", "--yes");
    assert.equal(undone.code, 0, undone.err);
    assert.match(undone.out, /^left as it is, changed since: enable_long_queue_ids = no$/m);
    assert.match(undone.out, /^still parked, not by this command: uucp, lmtp$/m);
    assert.equal(await postfix.parameter("defer_transports"), "uucp, lmtp");
    assert.equal(await postfix.parameter("address_verify_default_transport"), "smtp:[127.0.0.1]:1");
    assert.equal(cf(postfix).master, before.master);

    edit(postfix, () => before.main);
    const strange = await queueCommand(
      postfix,
      "install",
      "--yes",
      "--without-worker",
      "--transports",
      "uucp",
    );
    assert.deepEqual([strange.code, /no SMTP client named uucp; it has/.test(strange.err)], [78, true]);
    await queueCommand(postfix, "install", "--yes", "--without-worker");
    // As a crash between its steps leaves it.
    const path = join(postfix.configDirectory, "postlua-queue.json");
    const record = JSON.parse(readFileSync(path, "utf8"));
    writeFileSync(path, JSON.stringify({ ...record, main: { before: record.main.before } }));
    edit(postfix, (text) => text.replace(/^enable_long_queue_ids.*\n/m, ""));
    assert.equal((await queueCommand(postfix, "uninstall", "--yes")).code, 0);
    assert.equal(await postfix.parameter("defer_transports"), "uucp");
  },
);

postfixTest("an unknown instance, one that is stopped, and a user without rights", async () => {
  await using postfix = await PrivatePostfix.start({});
  const unknown = await queueCommand(postfix, "install", "--yes", "--postfix-config", "/nonexistent");
  assert.equal(unknown.code, 78);
  assert.equal(
    unknown.err,
    "postlua: /nonexistent has no main.cf; name the Postfix instance's configuration directory\n",
  );
  await postfix.stop();
  const before = cf(postfix);
  assert.equal((await queueCommand(postfix, "install", "--yes", "--without-worker")).code, 0);
  const { out } = await queueCommand(postfix, "uninstall", "--yes");
  assert.match(out, /^done; Postfix does not run: it delivers what waits when it starts$/m);
  assert.deepEqual(cf(postfix), before);
});

postfixTest("address probes go out while mail waits", async () => {
  await using sink = await Sink.start({
    refuse: (recipient) => (recipient.startsWith("no") ? { code: 550, text: "5.1.1 none" } : undefined),
  });
  await using postfix = await PrivatePostfix.start({
    sinkPort: sink.port,
    mainCf: {
      smtpd_recipient_restrictions: "reject_unverified_recipient",
      unverified_recipient_reject_code: "550",
    },
  });
  assert.equal((await queueCommand(postfix, "install", "--yes", "--without-worker")).code, 0);
  const { client } = await SmtpClient.connect({ port: postfix.port });
  await client.command("EHLO client.test");
  await client.command("MAIL FROM:<a@example.test>");
  const ask = async (address: string) => {
    // The first answer may be 450, while the probe is under way.
    for (;;) {
      const { code } = await client.command(`RCPT TO:<${address}>`);
      if (code !== 450) return code;
    }
  };
  assert.deepEqual([await ask("yes@remote.test"), await ask("no@remote.test")], [250, 550]);
  await client.command("QUIT");
});
