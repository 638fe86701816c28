/**
 * A Postfix with every kind of table that expansion goes through, addresses
 * for it, and what it really does with a message to each of them: read from
 * the log of real deliveries.
 */
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { PrivatePostfix } from "../../postfix/private-instance.ts";
import { Sink } from "../../postfix/sink.ts";
import { SmtpClient } from "../../postfix/smtp-client.ts";
import { openStore } from "../../src/directory/open.ts";
import type { Store } from "../../src/directory/store.ts";
import { storeConfig } from "../directory/backends.ts";

const MAPS = join(import.meta.dirname, "../../postfix/maps");
const DEPTH = 20;

const VIRTUAL = `
plain@valias.test        joe
two@valias.test          joe, far@default.test
space@valias.test        joe ann
named@valias.test        Joe Doe <joe@example.test>, "Ann, the other" <ann@example.test>
comment@valias.test      joe (the boss)
full@valias.test         joe@example.test
self@valias.test         self@valias.test, joe
self@default.test        self@default.test, joe
a@default.test           b@default.test
b@default.test           c@default.test
c@default.test           joe@example.test, far@default.test
circle1@default.test     circle2@default.test
circle2@default.test     circle1@default.test
sub+key@default.test     ann@example.test
sub@default.test         joe@example.test
ext@default.test         far@default.test
case@default.test        Far.Away@Default.Test
"quoted one"@default.test joe@example.test
quotes@default.test      "two words"@default.test
@catch.test              caught@default.test
kept@catch.test          nested@catch.test
@same.test               @default.test
@whole.test              @example.test
ann@example.test         ann@example.test, copy@default.test
barelocal                joe@example.test
tolocal@default.test     staff
tolist@default.test      list@example.test
tounknown@default.test   nobody@vmail.test, user@vmail.test
tounknownlocal@default.test nosuchuser@example.test, joe@example.test
torelay@default.test     unlisted@relay.test
nothing@default.test     error@dead.test
wide@default.test        ${Array.from({ length: 60 }, (_, n) => `w${n}@default.test`).join(", ")}
${Array.from({ length: DEPTH }, (_, n) => `nest${n}@default.test nest${n + 1}@default.test`).join("\n")}
nest${DEPTH}@default.test bottom@default.test
pct@default.test         joe%example.test
`;

const VIRTUAL_PCRE = `
/^num-(\\d+)@default\\.test$/     number-$1@default.test
/^patternonly@/                  joe@example.test
`;

const ALIASES = (directory: string) => `
staff: joe, ann
one: joe
full: joe@example.test
away: far@default.test
viavirtual: plain@valias.test
owner-list: joe
list: ann, far@default.test, bob
withinclude: :include:${directory}/members
lostinclude: :include:${directory}/missing, joe
openinclude: :include:${directory}/open, joe
onlylost: :include:${directory}/missing
program: "|exec /bin/cat > /dev/null"
file: /dev/null
mixed: joe, "|exec /bin/cat > /dev/null", far@default.test
joe2: joe2, far@default.test
ringa: ringb
ringb: ringa
ringreal: ringreal2, joe
ringreal2: ringreal
deepalias0: deepalias1
${Array.from({ length: 19 }, (_, n) => `deepalias${n + 1}: deepalias${n + 2}`).join("\n")}
deepalias20: joe
toodeep0: toodeep1
${Array.from({ length: 30 }, (_, n) => `toodeep${n + 1}: toodeep${n + 2}`).join("\n")}
toodeep31: joe
tilde: ~/mail
backvirtual: back@default2.test
exact+ext: bob
quoted: "two words"@default.test
nonuser: nosuchuser
`;

const MEMBERS =
  '# the members\njoe\nann, far@default.test\n\n"|exec /bin/cat"\nexample-member@default.test\n';

const TABLES: Readonly<Record<string, string>> = {
  mailboxes: "user@vmail.test vmail.test/user/\nother+box@vmail.test vmail.test/box/\n@all.vmail.test all/\n",
  transport:
    "dead.test error:5.1.2 no such place\n.wild.test smtp:[127.0.0.1]:SINK\nblackhole@default.test discard:\nrouted@vmail.test smtp:\n",
  canonical:
    "old.name@example.test joe@example.test\n@renamed.test @example.test\nren@default.test far@default.test\n",
  relocated: "moved@example.test joe@elsewhere.test\n",
  relayrcpt: "known@relay.test x\n@open.relay.test x\n",
  mailusers:
    "joe smtp:[127.0.0.1]:SINK\nann smtp:[127.0.0.1]:SINK\nbob smtp:[127.0.0.1]:SINK\njoe2 smtp:[127.0.0.1]:SINK\nmoved smtp:[127.0.0.1]:SINK\n",
};

/** As typed in RCPT TO. */
export const ADDRESSES: readonly string[] = [
  ..."plain two space named comment full self".split(" ").map((name) => `${name}@valias.test`),
  "unknown@valias.test",
  "PLAIN@VALIAS.TEST",
  "Two@Valias.Test",
  "plain+more@valias.test",
  "self@default.test",
  "a@default.test",
  "circle1@default.test",
  "sub@default.test",
  "sub+key@default.test",
  "sub+other@default.test",
  "sub+a+b@default.test",
  "ext+tag@default.test",
  "case@default.test",
  '"quoted one"@default.test',
  '"quoted\\ one"@default.test',
  "quotes@default.test",
  '"a b"@default.test',
  '"joe"@example.test',
  "anything@catch.test",
  "anything+x@catch.test",
  "kept@catch.test",
  "kept+x@catch.test",
  "who@same.test",
  "who+x@same.test",
  "joe@whole.test",
  "nosuchuser@whole.test",
  "ann@example.test",
  "ann",
  "joe",
  "joe+tag@example.test",
  "joe+tag",
  "JOE@Example.Test",
  "joe@mx.example.test",
  "joe@localhost",
  "joe@[127.0.0.1]",
  "joe@example.test.",
  "barelocal@example.test",
  "barelocal@localhost",
  "barelocal@default.test",
  "tolocal@default.test",
  "tolist@default.test",
  "tounknown@default.test",
  "tounknownlocal@default.test",
  "torelay@default.test",
  "nothing@default.test",
  "wide@default.test",
  "nest0@default.test",
  "pct@default.test",
  "num-42@default.test",
  "num-42+x@default.test",
  "patternonly@default.test",
  "patternonly@elsewhere.test",
  "staff@example.test",
  "one@example.test",
  "one+tag@example.test",
  "full@example.test",
  "STAFF@example.test",
  "away@example.test",
  "viavirtual@example.test",
  "list@example.test",
  "owner-list@example.test",
  "list-request@example.test",
  "withinclude@example.test",
  "lostinclude@example.test",
  "openinclude@example.test",
  "onlylost@example.test",
  "program@example.test",
  "file@example.test",
  "mixed@example.test",
  "joe2@example.test",
  "ringa@example.test",
  "ringreal@example.test",
  "deepalias0@example.test",
  "toodeep0@example.test",
  "tilde@example.test",
  "exact+ext@example.test",
  "exact@example.test",
  "quoted@example.test",
  "nonuser@example.test",
  "nosuchuser@example.test",
  "postmaster@example.test",
  "postmaster",
  "user@vmail.test",
  "USER@vmail.test",
  "user+tag@vmail.test",
  "other@vmail.test",
  "other+box@vmail.test",
  "nobody@vmail.test",
  "any@all.vmail.test",
  "routed@vmail.test",
  "known@relay.test",
  "unlisted@relay.test",
  "any@open.relay.test",
  "any@sub.relay.test",
  "far@default.test",
  "Far.Away@Default.Test",
  "far+tag@default.test",
  "x@dead.test",
  "x@deep.wild.test",
  "blackhole@default.test",
  "old.name@example.test",
  "joe@renamed.test",
  "ren+x@default.test",
  "moved@example.test",
  "far%default.test@example.test",
  "joe%example.test",
  "default.test!far",
  "@example.test:far@default.test",
  "-dash@default.test",
  "far@bad_.test",
  "far@-bad.test",
  "far@default..test",
  "far@[192.0.2.1]",
  "stored@store.test",
  "stored+tag@store.test",
  "Second@Store.Test",
  "off@store.test",
  "absent@store.test",
  "team@store.test",
  "everybody@store.test",
];

export interface Deliveries {
  readonly address: string;
  /** Whom a delivery agent reported as served: addresses in lower case, "|command" and "/file". */
  readonly sent: readonly string[];
  /** Postfix refused it, sent something back, or keeps it. */
  readonly failed: boolean;
}

export interface World extends AsyncDisposable {
  readonly postfix: PrivatePostfix;
  readonly sink: Sink;
  readonly store: Store;
  /** Sends a message to each address and waits until the queue has settled. */
  deliver(addresses: readonly string[]): Promise<Deliveries[]>;
}

export async function startWorld(): Promise<World> {
  const sink = await Sink.start();
  const postfix = PrivatePostfix.create({
    sinkPort: sink.port,
    masterCf: { "local/unix": "- n n - - local", "virtual/unix": "- n n - - virtual" },
  });
  const files = join(postfix.scratch.path, "files");
  mkdirSync(join(files, "vmail"), { recursive: true });
  chmodSync(join(files, "vmail"), 0o777);
  writeFileSync(join(files, "members"), MEMBERS);
  writeFileSync(join(files, "open"), "ann\n");
  chmodSync(join(files, "open"), 0o666);
  const config = storeConfig({ database: `sqlite:${join(files, "store.db")}`, group: "postfix" });
  const store = await openStore(config);
  await store.addUser({ name: "stored", addresses: ["stored@store.test", "second@store.test"] });
  await store.addUser({ name: "off", addresses: ["off@store.test"], enabled: false });
  await store.addList({
    name: "team",
    address: "team@store.test",
    members: ["stored@store.test", "far@default.test"],
  });
  await store.addList({
    name: "everybody",
    address: "everybody@store.test",
    members: ["team@store.test", "joe@example.test"],
  });
  const shipped = (name: string) => {
    const text = readFileSync(join(MAPS, `${name}.sqlite.cf`), "utf8");
    const path = postfix.writeTable(
      `store-${name}.cf`,
      text.replace("/var/lib/postlua/postlua.db", join(files, "store.db")),
    );
    return `sqlite:${path}`;
  };
  await postfix.postconf({});
  const hash = async (name: string, text: string, command = "postmap") => {
    const path = postfix.writeTable(name, text.replaceAll("SINK", String(sink.port)));
    await postfix.run(command, [`hash:${path}`]);
    return `hash:${path}`;
  };
  const built = new Map<string, string>();
  for (const [name, text] of Object.entries(TABLES)) built.set(name, await hash(name, text));
  const aliases = await hash("aliases", ALIASES(files), "postalias");
  const pattern = `pcre:${postfix.writeTable("virtual.pcre", VIRTUAL_PCRE)}`;
  await postfix.postconf({
    recipient_delimiter: "+",
    virtual_alias_domains: "valias.test catch.test same.test whole.test",
    virtual_alias_maps: `${await hash("virtual", VIRTUAL)} ${pattern} ${shipped("aliases")}`,
    virtual_mailbox_domains: `vmail.test all.vmail.test ${shipped("domains")}`,
    virtual_mailbox_maps: `${built.get("mailboxes")}, ${shipped("mailboxes")}`,
    virtual_mailbox_base: join(files, "vmail"),
    virtual_transport: "virtual",
    virtual_uid_maps: "static:65534",
    virtual_gid_maps: "static:65534",
    relay_domains: "relay.test",
    relay_recipient_maps: built.get("relayrcpt") ?? "",
    transport_maps: built.get("transport") ?? "",
    canonical_maps: built.get("canonical") ?? "",
    relocated_maps: built.get("relocated") ?? "",
    alias_maps: aliases,
    mailbox_transport_maps: built.get("mailusers") ?? "",
    local_recipient_maps: `${aliases} ${built.get("mailusers")}`,
    mail_spool_directory: join(files, "vmail"),
    // One bounce a case, and no notices about them.
    notify_classes: "",
  });
  await postfix.start();
  let sent = 0;
  return {
    postfix,
    sink,
    store,
    async deliver(addresses) {
      const after = postfix.logSize();
      const first = sent;
      const { client } = await SmtpClient.connect({ port: postfix.port });
      const refused: boolean[] = [];
      await client.command("EHLO client.test");
      for (const address of addresses) {
        const id = sent++;
        await client.command("MAIL FROM:<sender@sender.test>");
        let reply = await client.command(`RCPT TO:<${address}>`);
        if (reply.code < 400) {
          await client.command("DATA");
          reply = await client.message(`Message-ID: <case${id}@case.test>\r\nSubject: x\r\n\r\nx\r\n`);
        }
        refused.push(reply.code >= 400);
        if (reply.code >= 400) await client.command("RSET");
      }
      await client.command("QUIT");
      await postfix.settled();
      const found = deliveries(postfix.log(after));
      return addresses.map((address, n) => {
        const one = found.get(`case${first + n}@case.test`) ?? { sent: [], failed: false };
        return { address, sent: one.sent, failed: one.failed || refused[n] === true };
      });
    },
    async [Symbol.asyncDispose]() {
      await store.close();
      await postfix.remove();
      await sink.stop();
    },
  };
}

/** By message ID, which forwarded copies share and bounces do not. */
function deliveries(log: string): Map<string, { sent: string[]; failed: boolean }> {
  const messages = new Map<string, string>();
  const found = new Map<string, { sent: string[]; failed: boolean }>();
  for (const line of log.split("\n")) {
    const [, queue = "", id] = /cleanup\[\d+\]: (\w+): message-id=<([^>]*)>/.exec(line) ?? [];
    if (id !== undefined) messages.set(queue, id);
    const delivery = /\/(\w+)\[\d+\]: (\w+): to=<(.*?)>, .*?relay=([^,]*).*?status=(\w+) \((.*)\)$/.exec(
      line,
    );
    if (delivery === null) continue;
    const [, agent, queued = "", to = "", relay = "", status, text = ""] = delivery;
    const message = messages.get(queued) ?? "";
    const one = found.get(message) ?? { sent: [], failed: false };
    found.set(message, one);
    // The sink takes no quoted addresses; Postfix has done its part.
    if (relay.startsWith("127.0.0.1[")) one.sent.push(to.toLowerCase());
    else if (status !== "sent") one.failed = true;
    else if (agent !== "discard" && !/^(?:forwarded as|discarded)/.test(text)) {
      const target = /^delivered to (command|file): (.*)$/.exec(text);
      const name = target?.[1] === "command" ? `|${target[2]}` : target?.[2];
      one.sent.push(name ?? to.toLowerCase());
    }
  }
  return found;
}
