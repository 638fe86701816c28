/** ESMTP parameters that a script changes, as far as Postfix takes them from a milter. */
import assert from "node:assert/strict";
import { SmtpClient } from "../../postfix/smtp-client.ts";
import { postfixTest, Served } from "./harness.ts";

postfixTest("new RET, ENVID, NOTIFY and ORCPT reach the next host; others are warned of", async () => {
  await using served = await Served.start({
    scripts: {
      "SMTPSVR.LUA": `
        function DoMAILFROM(data, mailfrom, parameters)
          parameters.RET = "HDRS"
          parameters.ENVID = "lua1"
          parameters.XOWN = "1"
          return "", parameters
        end
        function DoRCPTTO(data, recipient, parameters)
          if recipient == "b@elsewhere.test" then
            parameters.NOTIFY = "NEVER"
            return "", parameters
          end
        end`,
    },
  });
  const { client } = await SmtpClient.connect({ port: served.postfix.port });
  await client.command("EHLO client.test");
  await client.command("MAIL FROM:<a@client.test>");
  await client.command("RCPT TO:<b@elsewhere.test>");
  await client.command("RCPT TO:<c@elsewhere.test> NOTIFY=FAILURE");
  await client.command("DATA");
  assert.equal((await client.message("Subject: x\r\n\r\n")).code, 250);
  await client.command("QUIT");
  await served.postfix.settled();
  const parameters = new Map<string, unknown>();
  for (const message of served.sink.messages) {
    assert.deepEqual(message.senderParameters, { RET: "HDRS", ENVID: "lua1" });
    for (const [index, recipient] of message.recipients.entries()) {
      parameters.set(recipient, message.recipientParameters[index]?.NOTIFY);
    }
  }
  assert.deepEqual([...parameters].sort(), [
    ["b@elsewhere.test", "NEVER"],
    ["c@elsewhere.test", "FAILURE"],
  ]);
  await served.postlua.waitFor(({ level, problem }) => level === "warn" && /XOWN/.test(String(problem)));
});
