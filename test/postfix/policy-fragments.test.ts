/** The ready main.cf and master.cf fragments, each loaded into a real Postfix beside the postlua that it is for. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { ServiceOptions } from "../../postfix/service.ts";
import { SmtpClient } from "../../postfix/smtp-client.ts";
import { postfixTest, Served } from "./harness.ts";
import { converse, MESSAGE } from "./policy-script.ts";

const FRAGMENTS = join(import.meta.dirname, "../../postfix/fragments");

/** Logical lines: comments and empty lines left out, indented lines joined to those before. */
function lines(name: string): string[] {
  return readFileSync(join(FRAGMENTS, name), "utf8")
    .split("\n")
    .filter((line) => line.trim() !== "" && !line.startsWith("#"))
    .join("\n")
    .replace(/\n\s+/g, " ")
    .split("\n");
}

function parameters(name: string, directory: string): Record<string, string> {
  const rows = lines(name).map((line) => {
    const at = line.indexOf("=");
    return [
      line.slice(0, at).trim(),
      line
        .slice(at + 1)
        .trim()
        .replaceAll("/run/postlua", directory),
    ] as const;
  });
  return Object.fromEntries(rows);
}

const SCRIPT = `
function Start() if IPAddress == "127.0.0.5" then return "554 5.7.1 Not you" end end
function DoRCPTTO(data, recipient)
  if recipient == "bad@example.test" then return "550 5.7.1 Not there" end
  if recipient == "grant@far.test" then LocalClientAddress = true end
end
function DoRoute(sender, recipient) return "PREPEND X-Route: " .. recipient end
function ProcessMessage() return { HeaderModifiers = { "X-Processed: yes" } } end
`;

interface Expected {
  readonly doors: NonNullable<ServiceOptions["doors"]>;
  readonly banner: RegExp;
  readonly refusal: string;
  readonly relayed: number;
  readonly fields: readonly string[];
}

const EXPECTED: Readonly<Record<string, Expected>> = {
  milter: {
    doors: ["milter"],
    banner: /^554 mx\.example\.test ESMTP not accepting connections$/,
    refusal: "550 5.7.1 Not there",
    relayed: 454,
    fields: ["X-Processed"],
  },
  "milter-policy": {
    doors: ["milter", "policy"],
    banner: /^521 5\.7\.1 <unknown\[127\.0\.0\.5\]>: Client host rejected: Not you$/,
    refusal: "550 5.7.1 Not there",
    relayed: 250,
    fields: ["X-Processed", "X-Route"],
  },
  policy: {
    doors: ["policy"],
    banner: /^521 5\.7\.1 <unknown\[127\.0\.0\.5\]>: Client host rejected: Not you$/,
    refusal: "550 5.7.1 <bad@example.test>: Recipient address rejected: Not there",
    relayed: 250,
    fields: ["X-Route"],
  },
};

for (const [name, expected] of Object.entries(EXPECTED)) {
  postfixTest(`fragment ${name}: Postfix takes it, and it does what it says`, async () => {
    const services: Record<string, string> = {};
    let submission = 0;
    for (const line of lines(`${name}.master.cf`)) {
      const [service = "", type, ...fields] = line.split(/\s+/);
      assert.equal(type, "inet");
      // The instance has a port of its own; only the submission service can have the next that is free.
      if (service === "submission") submission = 32_000 + Math.floor(Math.random() * 700);
      if (service === "submission") services[`127.0.0.1:${submission}/inet`] = fields.join(" ");
      else assert.equal(fields.join(" "), "n - n - - smtpd");
    }
    await using served = await Served.start({
      scripts: { "SMTPSVR.LUA": SCRIPT },
      doors: expected.doors,
      masterCf: services,
      // Without a policy service Postfix decides on relaying: default main.cf, but for the one list of the harness.
      mainCf: (policy) => ({
        smtpd_relay_restrictions: "permit_mynetworks, permit_sasl_authenticated, defer_unauth_destination",
        ...parameters(`${name}.main.cf`, policy.replace(/^unix:|\/policy\.sock$/g, "")),
      }),
    });
    const { client, greeting } = await SmtpClient.connect({ port: served.postfix.port, from: "127.0.0.5" });
    assert.match(greeting.text, expected.banner);
    client.close();
    const recipients = ["x@example.test", "bad@example.test", "grant@far.test"].map(
      (to) => `RCPT TO:<${to}>`,
    );
    const replies = await converse(served, "127.0.0.2", [
      "EHLO c.test",
      "MAIL FROM:<a@b.test>",
      ...recipients,
      "DATA",
      MESSAGE,
      "QUIT",
    ]);
    assert.equal(replies[4], expected.refusal);
    assert.equal(Number(replies[5]?.slice(0, 3)), expected.relayed);
    assert.equal(replies[7], "250 2.0.0 Ok: queued");
    await served.postfix.settled();
    const names = served.sink.messages[0]?.headers.map(([field]) => field) ?? [];
    assert.deepEqual([...new Set(names.filter((field) => field.startsWith("X-")))].sort(), expected.fields);
    const { greeting: submitted, client: user } = await SmtpClient.connect({
      port: submission,
      from: "127.0.0.2",
    });
    assert.match(submitted.text, /^220 /);
    user.close();
    assert.doesNotMatch(await served.postfix.run("postconf", ["-n"]), /warning/);
    assert.deepEqual(served.postfix.log().match(/(?:warning|error|fatal): (?!SASL|.*TLS).*/g) ?? [], []);
  });
}
