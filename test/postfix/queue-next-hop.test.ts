/** Next hops: what the resolver says before a delivery is what Postfix's log says after it. */
import assert from "node:assert/strict";
import type { TestContext } from "node:test";
import { PrivatePostfix } from "../../postfix/private-instance.ts";
import { type HopKind, type NextHop, NextHopResolver } from "../../src/queue/next-hop.ts";
import { PostfixQueue } from "../../src/queue/postfix.ts";
import { readQueueFile } from "../../src/queue/queue-file.ts";
import { QueueScanner } from "../../src/queue/scan.ts";
import { send } from "../queue/harness.ts";
import { postfixTest } from "./harness.ts";

interface Case {
  readonly to: string;
  readonly from?: string;
  readonly kind: HopKind;
  /** "transport host:port", "transport domain" or "transport text"; ports of 127.0.0.1 as ":n". */
  readonly goes: string;
}

const TABLES: Readonly<Record<string, string>> = {
  recipient_delimiter: "+",
  relay_domains: "relayed.test, relayed-by-map.test",
  virtual_mailbox_domains: "vmail.test, vmail-by-map.test",
  transport_maps: `inline:{ ${[
    "mapped.test=smtp:[127.0.0.1]:4",
    "user@exact.test=smtp:[127.0.0.1]:5",
    ".sub.test=smtp:[127.0.0.1]:6",
    "direct.test=smtp:direct.test",
    "{bypass.test=:}",
    "{own.test=smtp:}",
    "port.test=smtp:port.test:26",
    "bracket.test=smtp:[bracket.test]",
    "{upper.test=smtp:UPPER.test}",
    "second.test=second:[127.0.0.1]:7",
    "lmtp.test=lmtp:inet:127.0.0.1:8",
    "{error.test=error:5.1.1 no such place}",
    "{retry.test=retry:4.3.0 not now}",
    "{discard.test=discard:thrown away}",
    "relayed-by-map.test=relay:[127.0.0.1]:9",
    "vmail-by-map.test=smtp:[127.0.0.1]:10",
    "elsewhere@redirected.test=smtp:[127.0.0.1]:11",
  ].join(" ")} }`,
  sender_dependent_relayhost_maps:
    "inline:{ s1@example.test=[127.0.0.1]:12 @senders.test=[127.0.0.1]:13 s2@example.test=DUNNO }",
  sender_dependent_default_transport_maps:
    "inline:{ s3@example.test=second:[127.0.0.1]:14 s4@example.test=second }",
  smtpd_recipient_restrictions: `check_recipient_access inline:{ ${[
    "{filter.test=FILTER smtp:[127.0.0.1]:15}",
    "{filter-second.test=FILTER second:}",
    "{redirect.test=REDIRECT elsewhere@redirected.test}",
  ].join(" ")} }`,
};

const COMMON: readonly Case[] = [
  { to: "a@mapped.test", kind: "relay", goes: "smtp :4" },
  { to: "a@MAPPED.Test", kind: "relay", goes: "smtp :4" },
  { to: "user@exact.test", kind: "relay", goes: "smtp :5" },
  { to: "user+more@exact.test", kind: "relay", goes: "smtp :5" },
  { to: "a@x.sub.test", kind: "relay", goes: "smtp :6" },
  { to: "a@direct.test", kind: "mx", goes: "smtp direct.test" },
  { to: "a@port.test", kind: "relay", goes: "smtp port.test:26" },
  { to: "a@bracket.test", kind: "relay", goes: "smtp bracket.test" },
  { to: "a@upper.test", kind: "mx", goes: "smtp UPPER.test" },
  { to: "a@second.test", kind: "relay", goes: "second :7" },
  { to: "a@lmtp.test", kind: "local", goes: "lmtp :8" },
  { to: "a@error.test", kind: "local", goes: "error no such place" },
  { to: "a@retry.test", kind: "local", goes: "retry not now" },
  { to: "a@discard.test", kind: "local", goes: "discard thrown away" },
  { to: "a@example.test", kind: "local", goes: "local :1" },
  { to: "a@vmail.test", kind: "local", goes: "virtual :1" },
  { to: "a@vmail-by-map.test", kind: "relay", goes: "smtp :10" },
  { to: "a@relayed-by-map.test", kind: "relay", goes: "relay :9" },
  { to: "a@remote.test", from: "s1@example.test", kind: "relay", goes: "smtp :12" },
  { to: "b@remote.test", from: "any@senders.test", kind: "relay", goes: "smtp :13" },
  { to: "c@mapped.test", from: "s1@example.test", kind: "relay", goes: "smtp :4" },
  { to: "c@remote.test", from: "s3@example.test", kind: "relay", goes: "second :14" },
  { to: "a@filter.test", kind: "relay", goes: "smtp :15" },
  { to: "a@filter-second.test", kind: "mx", goes: "second filter-second.test" },
  { to: "a@redirect.test", kind: "relay", goes: "smtp :11" },
];

const WITH_RELAYHOST: readonly Case[] = [
  ...COMMON,
  { to: "d@remote.test", kind: "relay", goes: "smtp :3" },
  { to: "d@remote.test", from: "", kind: "relay", goes: "smtp :3" },
  { to: "e@remote.test", from: "s2@example.test", kind: "relay", goes: "smtp :3" },
  { to: "f@remote.test", from: "s4@example.test", kind: "relay", goes: "second :3" },
  { to: "a@relayed.test", kind: "relay", goes: "relay :3" },
  { to: "a@bypass.test", kind: "relay", goes: "smtp :3" },
  { to: "a@own.test", kind: "mx", goes: "smtp own.test" },
  { to: "a@[127.0.0.9]", kind: "relay", goes: "smtp :3" },
];

const WITHOUT: readonly Case[] = [
  ...COMMON,
  { to: "d@remote.test", kind: "mx", goes: "smtp remote.test" },
  { to: '"a b"@remote.test', kind: "mx", goes: "smtp remote.test" },
  { to: "f@remote.test", from: "s4@example.test", kind: "mx", goes: "second remote.test" },
  { to: "a@relayed.test", kind: "mx", goes: "relay relayed.test" },
  { to: "a@[127.0.0.9]", kind: "mx", goes: "smtp 127.0.0.9:25" },
];

/** What a hop says in the words of Case.goes. */
function said({ transport, nexthop }: NextHop): string {
  const text = nexthop.replace(/^inet:/, "").replace(/^\d\.\d\.\d /, "");
  const [, host, port = ""] = /^\[([^\]]+)\](?::(\d+))?$/.exec(text) ?? [];
  if (host === undefined) return `${transport} ${text}`.replace(/127\.0\.0\.1:/, ":");
  return `${transport} ${host}:${port || (/^[\d.]+$/.test(host) ? "25" : "")}`
    .replace(/127\.0\.0\.1:/, ":")
    .replace(/:$/, "");
}

/** The same from the delivery's line in the log: service name, then where the connection was tried or the name looked up. */
function done(log: string, id: string): string {
  const [, service = "", relay = "", reason = ""] =
    new RegExp(
      `hop/([\\w-]+)/\\w+\\[\\d+\\]: ${id}: to=<.*?relay=(\\S+?),.*? status=\\w+ \\((.*)\\)$`,
      "m",
    ).exec(log) ?? [];
  const [, tried] = /connect to [^[]+\[([\d.]+\]:\d+)/.exec(reason) ?? [];
  if (tried !== undefined) return `${service} ${tried.replace("]", "").replace("127.0.0.1:", ":")}`;
  const [, name] =
    /Name service error for name=(\S+)|unable to look up host (\S+?):/.exec(reason)?.filter(Boolean) ?? [];
  if (name !== undefined) return `${service} ${name}`;
  return `${service} ${relay === "none" ? reason : relay}`;
}

const SERVICES = ["smtp", "relay", "second", "lmtp", "error", "retry", "discard", "local", "virtual"];
const PROGRAMS: Readonly<Record<string, string>> = {
  retry: "error",
  relay: "smtp",
  second: "smtp",
  local: "smtp",
  virtual: "smtp",
};

async function check(context: TestContext, cases: readonly Case[], relayhost: string): Promise<void> {
  const services = SERVICES.map((name) => [
    `${name}/unix`,
    `- - n - - ${PROGRAMS[name] ?? name} -o syslog_name=hop/${name}`,
  ]);
  await using postfix = await PrivatePostfix.start({
    // On hold first: what is discarded or bounced leaves no file to ask about.
    mainCf: { ...TABLES, relayhost, header_checks: "static:HOLD" },
    masterCf: Object.fromEntries(services),
  });
  const { settings } = await PostfixQueue.open(postfix);
  const resolver = new NextHopResolver({ ...settings, deferTransports: ["smtp", "relay", "second"] });
  context.after(() => resolver.close());
  const scanner = new QueueScanner(postfix.places.queue);
  for (const { to, from = "from@example.test", kind, goes } of cases) {
    const about = `${from} to ${to}`;
    const before = postfix.logSize();
    // smtpd itself refuses mail for these two.
    if (/@(error|retry)\.test/.test(to)) await postfix.run("sendmail", ["-f", from, to], "Subject: s\n\n");
    else await send(postfix.port, [{ from: `<${from}>`, to: [`<${to}>`], message: "Subject: s\n\n" }]);
    const [, id = ""] = await postfix.waitFor(/cleanup\[\d+\]: (\w+): hold: header/, { after: before });
    await postfix.waitFor(new RegExp(`cleanup\\[\\d+\\]: ${id}: message-id=`), { after: before });
    await postfix.settled();
    const path = scanner.locate(id)?.path ?? "";
    const file = readQueueFile(`${postfix.places.queue}/${path}`);
    assert.ok(typeof file === "object", about);
    const [hop] = await resolver.hops(file);
    assert.ok(hop !== undefined, about);
    assert.equal(said(hop), goes, about);
    assert.equal(hop.kind, kind, about);
    assert.equal(hop.destination, `${hop.transport}:${hop.nexthop}`.toLowerCase());
    const after = postfix.logSize();
    await postfix.run("postsuper", ["-H", id]);
    await postfix.run("postqueue", ["-i", id]);
    await postfix.waitFor(new RegExp(`hop/.*: ${id}: to=<.*status=`), { after });
    const real = done(postfix.log(after), id);
    if (hop.transport === "error" || hop.transport === "retry" || hop.transport === "discard") {
      assert.ok(
        real.startsWith(`${hop.transport} `) && real.includes(goes.split(" ").slice(1).join(" ")),
        `${about}: ${real}`,
      );
    } else {
      // Of a name that is not found the log has no port.
      assert.equal(real.toLowerCase(), goes.toLowerCase().replace(/(\.test):\d+$/, "$1"), about);
    }
  }
}

postfixTest("with a relayhost, hops are those that Postfix takes", (context) =>
  check(context, WITH_RELAYHOST, "[127.0.0.1]:3"),
);

postfixTest("without a relayhost, hops are those that Postfix takes", (context) =>
  check(context, WITHOUT, ""),
);
