/** Who is outside for a real Postfix whose transport_maps sends domains of both kinds elsewhere. */
import assert from "node:assert/strict";
import { SmtpClient } from "../../postfix/smtp-client.ts";
import { postfixTest, Served } from "./harness.ts";

/** RCPT TO, and whether the recipient is outside. */
const RECIPIENTS: [string, boolean][] = [
  ["joe@example.test", false],
  ["joe@own-by-custom.test", false],
  ["joe@below.own-by-custom.test", false],
  ["joe@own-by-smtp.test", false],
  ["joe@alias.test", false],
  ["joe@elsewhere.test", true],
  ["joe@theirs-by-custom.test", true],
];

function started(relayDomains: string): Promise<Served> {
  return Served.start({
    scripts: {
      "SIGNATURE.LUA": 'function GetSignature() return "-- signed" end',
      "SMTPSVR.LUA": 'function DoHELO(name) if name == "taken.test" then LocalClientAddress = false end end',
    },
    mainCf: {
      relay_domains: relayDomains,
      virtual_alias_domains: "alias.test",
      virtual_alias_maps: "inline:{ joe@alias.test=joe@example.test }",
      transport_maps:
        "inline:{ own-by-custom.test=custom:$relayhost .own-by-custom.test=custom:$relayhost own-by-smtp.test=smtp:$relayhost theirs-by-custom.test=custom:$relayhost }",
    },
    // Postfix knows nothing of it but its name.
    masterCf: { "custom/unix": "- - n - - smtp" },
  });
}

/** Sends a message to each; resolves with the replies to RCPT TO. */
async function send(served: Served, name: string): Promise<string[]> {
  const { client } = await SmtpClient.connect({ port: served.postfix.port });
  const said: string[] = [];
  await client.command(`EHLO ${name}`);
  for (const [recipient] of RECIPIENTS) {
    await client.command("MAIL FROM:<ann@example.test>");
    const { text, code } = await client.command(`RCPT TO:<${recipient}>`);
    said.push(text);
    if (code !== 250) {
      await client.command("RSET");
      continue;
    }
    await client.command("DATA");
    assert.match((await client.message(`Subject: ${recipient}\r\n\r\nHello\r\n`)).text, /^250 /);
  }
  await client.command("QUIT");
  return said;
}

postfixTest("domains stay own or foreign whatever transport transport_maps gives them", async () => {
  await using served = await started("own-by-custom.test, own-by-smtp.test");
  await send(served, "client.test");
  for (const [recipient, outside] of RECIPIENTS) {
    const { body } = await served.sink.waitFor(({ bytes }) => bytes.includes(`Subject: ${recipient}\r\n`));
    assert.equal(body, outside ? "Hello\r\n-- signed\r\n" : "Hello\r\n", recipient);
  }
  const said = await send(served, "taken.test");
  for (const [n, [recipient, outside]] of RECIPIENTS.entries()) {
    assert.match(said[n] ?? "", outside ? /^554 5\.7\.1 Relay access denied$/ : /^250 /, recipient);
  }
});

postfixTest(
  "where a table may hold the domain, nobody is refused for a transport of the admin's own",
  async () => {
    await using served = await started("inline:{ own-by-custom.test=x own-by-smtp.test=x }");
    const said = await send(served, "taken.test");
    const codes = RECIPIENTS.map(([recipient], n) => [recipient, said[n]?.slice(0, 3)]);
    assert.deepEqual(
      codes.filter(([, code]) => code !== "250").map(([recipient]) => recipient),
      // What Postfix sends where everything foreign goes counts as foreign.
      ["joe@own-by-smtp.test", "joe@elsewhere.test"],
    );
  },
);
