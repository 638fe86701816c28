/**
 * The map files of postfix/maps in a real Postfix, on both databases: what is
 * changed in the store is true for the next mail. Dovecot reads the same
 * store, and tells Postfix who has logged in.
 */
import assert from "node:assert/strict";
import { type SpawnSyncReturns, spawnSync } from "node:child_process";
import {
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { basename, join } from "node:path";
import { setTimeout as delay, setImmediate } from "node:timers/promises";
import { installation } from "../../postfix/layout.ts";
import { PrivatePostfix } from "../../postfix/private-instance.ts";
import { Sink } from "../../postfix/sink.ts";
import { SmtpClient, type SmtpReply } from "../../postfix/smtp-client.ts";
import { sqlitePath } from "../../src/config/database.ts";
import { openStore } from "../../src/directory/open.ts";
import type { Store } from "../../src/directory/store.ts";
import { type Backend, onBoth, postgresServer, SQLITE, type StoreConfig } from "../directory/backends.ts";
import { postfixTest } from "./harness.ts";

const MAPS = join(import.meta.dirname, "../../postfix/maps");
const NOBODY = 65_534;
const LONG = process.env.POSTLUA_LONG !== undefined;
/** What a client asks, and what scripts set meanwhile. */
const LOOKUPS = LONG ? 20_000 : 500;
const WRITES = LONG ? 20_000 : 500;

interface Mail extends AsyncDisposable {
  readonly postfix: PrivatePostfix;
  readonly sink: Sink;
  readonly store: Store;
  readonly config: StoreConfig;
  rcpt(...addresses: string[]): Promise<SmtpReply[]>;
  send(...addresses: string[]): Promise<void>;
  /** How many messages lie in a mailbox. */
  inbox(mailbox: string): number;
}

/** A file of postfix/maps, with this test's database in it. */
async function shipped(name: string, config: StoreConfig, user: string): Promise<string> {
  const text = readFileSync(join(MAPS, name), "utf8");
  const path = sqlitePath(config.database);
  if (path !== undefined) return text.replace("/var/lib/postlua/postlua.db", path);
  const database = new URL(config.database);
  return text
    .replace("hosts = 127.0.0.1", `hosts = inet:127.0.0.1:${database.port}`)
    .replace("host=127.0.0.1", `host=127.0.0.1 port=${database.port}`)
    .replace("dbname = postlua", `dbname = ${database.pathname.slice(1)}`)
    .replace("dbname=postlua", `dbname=${database.pathname.slice(1)}`)
    .replace(/secret/, `${user}-secret`);
}

async function grant(config: StoreConfig): Promise<void> {
  const server = await postgresServer();
  for (const role of ["postfix", "dovecot"]) {
    const known = await server.query(`SELECT 1 FROM pg_roles WHERE rolname = '${role}'`);
    if (known.length === 0) await server.query(`CREATE ROLE ${role} LOGIN PASSWORD '${role}-secret'`);
  }
  await server.query(
    readFileSync(join(MAPS, "grants.sql"), "utf8"),
    new URL(config.database).pathname.slice(1),
  );
}

async function startMail(backend: Backend, { through = "proxy:" } = {}): Promise<Mail> {
  const config = { ...(await backend.fresh()), group: "postfix" };
  const path = sqlitePath(config.database);
  if (path !== undefined) mkdirSync(join(path, ".."), { mode: 0o755 });
  const store = await openStore(config);
  if (path === undefined) await grant(config);
  const sink = await Sink.start();
  const postfix = PrivatePostfix.create({
    sinkPort: sink.port,
    masterCf: { "virtual/unix": "- n n - - virtual" },
  });
  const type = path === undefined ? "pgsql" : "sqlite";
  const map = async (name: string) => {
    const text = await shipped(`${name}.${type}.cf`, config, "postfix");
    return `${through}${type}:${postfix.writeTable(`${name}.cf`, text)}`;
  };
  const base = join(postfix.scratch.path, "vmail");
  mkdirSync(base);
  chownSync(base, NOBODY, NOBODY);
  const maps = {
    virtual_mailbox_domains: await map("domains"),
    virtual_mailbox_maps: await map("mailboxes"),
    virtual_alias_maps: await map("aliases"),
    smtpd_sender_login_maps: await map("senders"),
  };
  await postfix.postconf({
    ...maps,
    proxy_read_maps: Object.values(maps).join(" "),
    virtual_transport: "virtual",
    virtual_mailbox_base: base,
    virtual_uid_maps: `static:${NOBODY}`,
    virtual_gid_maps: `static:${NOBODY}`,
    recipient_delimiter: "+",
    enable_original_recipient: "no",
    service_throttle_time: "1s",
  });
  await postfix.start();
  const inbox = (mailbox: string) => {
    try {
      return readdirSync(join(base, mailbox, "new")).length;
    } catch {
      return 0;
    }
  };
  const rcpt = async (...addresses: string[]) => {
    const { client } = await SmtpClient.connect({ port: postfix.port, from: "127.0.0.2" });
    await client.command("EHLO client.example.net");
    await client.command("MAIL FROM:<sender@example.net>");
    const replies = [];
    for (const address of addresses) replies.push(await client.command(`RCPT TO:<${address}>`));
    client.close();
    return replies;
  };
  const send = async (...addresses: string[]) => {
    const { client } = await SmtpClient.connect({ port: postfix.port, from: "127.0.0.2" });
    await client.command("EHLO client.example.net");
    await client.command("MAIL FROM:<sender@example.net>");
    for (const address of addresses) {
      assert.equal((await client.command(`RCPT TO:<${address}>`)).code, 250, address);
    }
    await client.command("DATA");
    assert.equal((await client.message("Subject: x\r\n\r\nhello\r\n")).code, 250);
    client.close();
    assert.deepEqual(await postfix.settled(), []);
  };
  return {
    postfix,
    sink,
    store,
    config,
    rcpt,
    send,
    inbox,
    async [Symbol.asyncDispose]() {
      await postfix.remove();
      await sink.stop();
      await store.close();
    },
  };
}

onBoth("a user has mail the moment it is added, and none the moment it is gone", async (backend) => {
  await using mail = await startMail(backend);
  const { store } = mail;
  await store.addUser({ name: "ann", addresses: ["ann@example.com"] });
  assert.match((await mail.rcpt("joe@example.com"))[0]?.text ?? "", /^550 5\.1\.1 /);
  await store.addUser({ name: "joe", addresses: ["Joe@Example.com", "joe.bloggs@example.com"] });
  await mail.send("JOE@example.COM");
  assert.equal(mail.inbox("example.com/joe/"), 1);
  await mail.send("joe.bloggs@example.com", "joe@example.com", "joe+tag@example.com");
  assert.equal(mail.inbox("example.com/joe/"), 3, "two addresses of a user are one recipient");
  await store.changeUser("joe", { enabled: false });
  assert.match((await mail.rcpt("joe@example.com"))[0]?.text ?? "", /^550 5\.1\.1 /);
  await store.changeUser("joe", { enabled: true, mailbox: "elsewhere/joe/" });
  await mail.send("joe@example.com");
  assert.equal(mail.inbox("elsewhere/joe/"), 1);
  await store.removeUser("joe");
  assert.match((await mail.rcpt("joe@example.com"))[0]?.text ?? "", /^550 5\.1\.1 /);
});

for (const through of ["", "proxy:"]) {
  postfixTest(`settings that are set all the time do not disturb ${through}sqlite:`, async () => {
    await using mail = await startMail(SQLITE, { through });
    const { store, postfix } = mail;
    await store.addUser({ name: "ann", addresses: ["ann@example.com"] });
    await store.setSetting("count", "0", { create: true });
    await store.setUserSetting("ann", "count", "0", { create: true });
    const after = postfix.logSize();
    const { client } = await SmtpClient.connect({ port: postfix.port, from: "127.0.0.2" });
    await client.command("EHLO client.example.net");
    let writes = 0;
    let over = false;
    const setting = (async () => {
      while (!over) {
        await store.setSetting("count", String(++writes));
        await store.setUserSetting("ann", "count", String(++writes));
        await setImmediate();
      }
    })();
    try {
      // The error of one would show at the next, too.
      for (let n = 0; n < LOOKUPS || writes < WRITES; n++) {
        if (n % 100 === 0) {
          await client.command("RSET");
          await client.command("MAIL FROM:<sender@example.net>");
        }
        assert.equal((await client.command("RCPT TO:<ann@example.com>")).code, 250, `RCPT ${n}`);
      }
    } finally {
      over = true;
      await setting;
    }
    client.close();
    assert.doesNotMatch(postfix.log(after), /fatal|locked|throttling/);
  });
}

onBoth("a list reaches users, lists and addresses, each once", async (backend) => {
  await using mail = await startMail(backend);
  const { store, sink } = mail;
  await store.addUser({ name: "Ann", addresses: ["ann@example.com", "a@example.com"] });
  await store.addUser({ name: "joe", addresses: ["joe@example.com"] });
  await store.addUser({ name: "gone", addresses: ["gone@example.com"], enabled: false });
  await store.addList({ name: "inner", address: "inner@example.com", members: ["joe", "out@example.org"] });
  const members = ["ANN", "a@example.com", "Inner", "gone", "gone@example.com", "away@example.org"];
  await store.addList({ name: "all", address: "all@example.com", members });
  await mail.send("all@example.com");
  assert.equal(mail.inbox("example.com/ann/"), 1);
  assert.equal(mail.inbox("example.com/joe/"), 1);
  assert.equal(mail.inbox("example.com/gone/"), 0);
  const outside = sink.messages.flatMap(({ recipients }) => recipients).sort();
  assert.deepEqual(outside, ["away@example.org", "out@example.org"]);
  await store.changeList("all", { members: [] });
  assert.equal((await mail.rcpt("all@example.com"))[0]?.code, 550, "a list without members is nobody");
});

onBoth("a catch-all of the domain takes no user's mail", async (backend) => {
  await using mail = await startMail(backend);
  await mail.store.addUser({ name: "ann", addresses: ["ann@example.com"] });
  const aliases = await mail.postfix.parameter("virtual_alias_maps");
  const table = mail.postfix.writeTable("catch-all", "@example.com  rest@example.org\n");
  await mail.postfix.postconf({ virtual_alias_maps: `${aliases} texthash:${table}` });
  await mail.send("ann@example.com", "unknown@example.com");
  assert.equal(mail.inbox("example.com/ann/"), 1);
  assert.deepEqual(
    mail.sink.messages.flatMap(({ recipients }) => recipients),
    ["rest@example.org"],
  );
});

onBoth("the hands of Postfix reach no further than they have to", async (backend) => {
  await using mail = await startMail(backend);
  const path = sqlitePath(mail.config.database);
  if (path !== undefined) {
    const { mode, gid } = statSync(path);
    assert.equal(mode & 0o777, 0o640);
    assert.equal(gid, installation().ownerGroup);
    return;
  }
  await mail.store.addUser({ name: "ann", addresses: [], passwordHash: "{PLAIN}hidden" });
  const text = (await shipped("senders.pgsql.cf", mail.config, "postfix")).replace(
    /query = .*/,
    "query = SELECT password FROM postlua.logins WHERE login = '%s'",
  );
  const table = mail.postfix.writeTable("curious.cf", text);
  await assert.rejects(mail.postfix.run("postmap", ["-q", "ann", `pgsql:${table}`]), /permission denied/);
});

onBoth(
  "while the store is away mail waits: an answer comes later, or 4xx, and never 5xx",
  async (backend) => {
    await using mail = await startMail(backend);
    await mail.store.addUser({ name: "ann", addresses: ["ann@example.com"] });
    const path = sqlitePath(mail.config.database);
    if (path === undefined) {
      for (const name of ["virtual_mailbox_domains", "virtual_mailbox_maps", "virtual_alias_maps"]) {
        const map = (await mail.postfix.parameter(name)).replace(/^proxy:pgsql:/, "");
        const text = readFileSync(map, "utf8").replace(/^(hosts = .*):\d+$/m, "$1:1");
        assert.match(text, /:1$/m);
        mail.postfix.writeTable(basename(map), text);
      }
      await mail.postfix.reload();
      for (const { text } of await mail.rcpt("ann@example.com", "unknown@example.com"))
        assert.match(text, /^4/);
      return;
    }
    // Postfix's process for tables ends at a SQLite file that it cannot read; whoever asked it asks again.
    await mail.postfix.reload();
    const after = mail.postfix.logSize();
    renameSync(path, `${path}.away`);
    const asked = mail.rcpt("ann@example.com");
    await mail.postfix.waitFor(/proxymap\[\d+\]: fatal: /, { after });
    renameSync(`${path}.away`, path);
    assert.deepEqual(
      (await asked).map(({ code }) => code),
      [250],
    );
  },
);

/** A private Dovecot that does nothing but authenticate, by the files in postfix/maps. */
async function startDovecot(
  mail: Mail,
): Promise<{ doveadm(...args: string[]): SpawnSyncReturns<string>; socket: string }> {
  const { scratch } = mail.postfix;
  const directory = join(scratch.path, "dovecot");
  mkdirSync(join(directory, "run"), { recursive: true });
  const type = sqlitePath(mail.config.database) === undefined ? "pgsql" : "sqlite";
  const sql = join(directory, "sql.conf.ext");
  writeFileSync(sql, await shipped(`dovecot-${type}.conf.ext`, mail.config, "dovecot"));
  const socket = join(directory, "run", "postfix-auth");
  const include = readFileSync(join(MAPS, "dovecot.conf.inc"), "utf8")
    .replaceAll("/etc/postlua/maps/dovecot-sqlite.conf.ext", sql)
    .replace("uid=vmail gid=vmail", `uid=${NOBODY} gid=${NOBODY}`);
  const file = join(directory, "dovecot.conf");
  writeFileSync(
    file,
    `base_dir = ${directory}/run
state_dir = ${directory}
log_path = ${directory}/log
protocols =
ssl = no
disable_plaintext_auth = no
auth_mechanisms = plain
auth_failure_delay = 0
service anvil {
  unix_listener anvil-auth-penalty {
    mode = 0
  }
}
service auth {
  extra_groups = postfix
  unix_listener ${socket} {
    mode = 0666
  }
}
service stats {
  chroot =
}
${include}`,
  );
  scratch.spawn("dovecot", ["-F", "-c", file], { stdio: "ignore" });
  const log = () => (existsSync(`${directory}/log`) ? readFileSync(`${directory}/log`, "utf8") : "");
  for (const end = Date.now() + 30_000; !existsSync(socket); await delay(10)) {
    if (Date.now() > end) throw new Error(`Dovecot did not start: ${log()}`);
  }
  const doveadm = (...args: string[]) =>
    spawnSync("doveadm", ["-c", file, ...args], { encoding: "utf8", timeout: 20_000 });
  return { doveadm, socket };
}

onBoth(
  "Dovecot lets users in by their passwords, and Postfix lets them send as themselves",
  async (backend) => {
    await using mail = await startMail(backend);
    const { store, postfix } = mail;
    await store.addUser({ name: "Ann", addresses: ["ann@example.com"], passwordHash: "{PLAIN}right" });
    await store.addUser({ name: "joe", addresses: ["joe@example.com"] });
    await store.addUser({
      name: "off",
      addresses: ["off@example.com"],
      passwordHash: "{PLAIN}right",
      enabled: false,
    });
    const { doveadm, socket } = await startDovecot(mail);
    const test = (user: string, password: string) => doveadm("auth", "test", user, password).status;
    assert.equal(test("ann", "right"), 0);
    assert.equal(test("ANN", "right"), 0);
    assert.equal(test("ann", "wrong"), 77);
    for (const user of ["joe", "off", "nobody", "' OR ''='"]) assert.equal(test(user, "right"), 77, user);
    assert.match(doveadm("user", "ann").stdout, /mail\s+maildir:\/var\/vmail\/example.com\/ann\//);
    assert.match(doveadm("user", "*").stdout, /^Ann\njoe\n$/);
    await store.changeUser("ann", { passwordHash: "{PLAIN}changed" });
    assert.equal(test("ann", "right"), 77);
    await postfix.postconf({
      smtpd_sasl_auth_enable: "yes",
      smtpd_sasl_type: "dovecot",
      smtpd_sasl_path: socket,
      smtpd_sender_restrictions: "reject_sender_login_mismatch",
      smtpd_relay_restrictions: "permit_sasl_authenticated, reject_unauth_destination",
    });
    const { client } = await SmtpClient.connect({ port: postfix.port, from: "127.0.0.2" });
    await client.command("EHLO client.example.net");
    const login = Buffer.from("\0ann\0changed").toString("base64");
    assert.equal((await client.command(`AUTH PLAIN ${login}`)).code, 235);
    const tries: [string, number][] = [
      ["ann@example.com", 250],
      ["joe@example.com", 553],
    ];
    for (const [sender, code] of tries) {
      await client.command(`MAIL FROM:<${sender}>`);
      assert.equal((await client.command("RCPT TO:<out@example.org>")).code, code, sender);
      await client.command("RSET");
    }
    client.close();
  },
);
