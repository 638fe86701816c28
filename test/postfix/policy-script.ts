/** What the tests of the policy service share: main.cf lines, a script that tells what it is asked, whole sessions. */
import type { Parameters } from "../../postfix/layout.ts";
import { SmtpClient } from "../../postfix/smtp-client.ts";
import type { Served } from "./harness.ts";

/** Every list asks, at once. */
export function everyList(policy: string): Parameters {
  const ask = `check_policy_service ${policy}`;
  return {
    ...lateLists(policy),
    smtpd_delay_reject: "no",
    smtpd_client_restrictions: ask,
    smtpd_helo_restrictions: ask,
    smtpd_sender_restrictions: ask,
    smtpd_data_restrictions: ask,
    smtpd_end_of_data_restrictions: ask,
  };
}

/** What every site has: the lists that ask at RCPT. */
export function lateLists(policy: string): Parameters {
  return {
    smtpd_relay_restrictions: `check_policy_service { ${policy}, policy_context=relay }, permit_mynetworks, permit_sasl_authenticated, reject_unauth_destination`,
    smtpd_recipient_restrictions: `check_policy_service ${policy}`,
    smtpd_authorized_xclient_hosts: "127.0.0.1",
  };
}

/** Prints a line for each callback, and obeys names in addresses. */
export const TELLING = `
function Start()
  print("Start " .. IPAddress)
  if IPAddress == "127.0.0.5" then return "550 5.7.1 Not from there" end
  if IPAddress == "127.0.0.4" then return "450 4.7.1 Not now" end
end
function GetMaxMessageSize(host, current) print("Size " .. host) return 2000 end
function DoHELO(host, refuse, extended)
  print("HELO " .. host .. " " .. tostring(extended))
  if host == "bad.test" then return true, "550 5.7.0 Bad name\\nindeed" end
end
function DoMAILFROM(data, sender)
  print("MAIL " .. data)
  if sender == "bad@b.test" then return "551 5.7.2 Bad sender" end
end
function DoRCPTTO(data, recipient, parameters, recipients)
  print("RCPT " .. data .. " after " .. table.concat(recipients, ","))
  if recipient == "bad@example.test" then return "552 5.7.3 Bad recipient\\nindeed" end
  if recipient == "grant@far.test" then LocalClientAddress = true end
  if recipient == "take@far.test" then LocalClientAddress = false end
end
function DoDATAStart(recipients)
  print("DATA " .. table.concat(recipients, ","))
  if recipients[1] == "nodata@example.test" then return "450 4.7.4 No data now" end
end
function ProcessMessage(sender, subject, recipients) print("MESSAGE " .. table.concat(recipients, ",")) end
function DoQUIT() print("QUIT") end
function End() print("End") end
`;

/** The script's lines, complete once postlua has stopped. */
export async function printed(served: Served): Promise<string[]> {
  await served.postfix.stop();
  await served.postlua.stop();
  return served.postlua
    .printed()
    .split("\n")
    .filter((line) => line !== "");
}

/** Commands and the whole replies to them, lines joined by "|"; "" is the greeting, and a command of its own the message. */
export async function converse(
  served: Served,
  from: string,
  commands: readonly string[],
): Promise<readonly string[]> {
  const { client, greeting } = await SmtpClient.connect({ port: served.postfix.port, from });
  const replies = [greeting.text];
  for (const command of commands) {
    const reply = await (command.includes("\n") ? client.message(command) : client.command(command));
    replies.push(reply.lines.join("|"));
  }
  client.close();
  return replies.map((text) => text.replace(/queued as .*/, "queued").replace(/^250-mx.*/, "250 EHLO"));
}

export const MESSAGE = "Subject: hello\r\n\r\nhi\r\n";
