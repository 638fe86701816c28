/** Clients that really log in: Postfix asks a private Dovecot, and what postlua makes of the name. */
import assert from "node:assert/strict";
import { PrivateDovecot } from "../../postfix/private-dovecot.ts";
import { SmtpClient } from "../../postfix/smtp-client.ts";
import { postfixTest, Served } from "./harness.ts";

/** Not in mynetworks. */
const ROAMING = "127.0.0.2";
const USERS = { ann: "one", bob: "two", "Zoë@example.test": "drei" };

interface Roaming {
  readonly served: Served;
  readonly dovecot: PrivateDovecot;
  [Symbol.asyncDispose](): Promise<void>;
}

async function started(scripts: Record<string, string>, config = ""): Promise<Roaming> {
  const served = await Served.start({
    scripts,
    config,
    mainCf: {
      smtpd_relay_restrictions: "permit_mynetworks, permit_sasl_authenticated, reject_unauth_destination",
    },
  });
  try {
    const dovecot = await PrivateDovecot.start({ scratch: served.postfix.scratch, users: USERS });
    await served.postfix.postconf(dovecot.parameters);
    return {
      served,
      dovecot,
      [Symbol.asyncDispose]: async () => {
        await dovecot.stop();
        await served[Symbol.asyncDispose]();
      },
    };
  } catch (error) {
    await served[Symbol.asyncDispose]();
    throw error;
  }
}

const plain = (user: string, password: string) =>
  `AUTH PLAIN ${Buffer.from(`\0${user}\0${password}`).toString("base64")}`;

/** One session; resolves with the replies, by command. */
async function session({ served }: Roaming, ...commands: string[]): Promise<string[]> {
  const { client } = await SmtpClient.connect({ port: served.postfix.port, from: ROAMING });
  const replies: string[] = [];
  for (const command of ["EHLO client.test", ...commands, "QUIT"]) {
    const isContent = replies.at(-1)?.startsWith("354") === true;
    const { text } = isContent ? await client.message(command) : await client.command(command);
    replies.push(text);
  }
  return replies.slice(1, -1);
}

const MESSAGE = "Subject: x\r\n\r\nHello\r\n";
const codes = (replies: readonly string[]) => replies.map((reply) => reply.slice(0, 3)).join(" ");

postfixTest("a login gives AuthUser, relaying and a signature to a client from anywhere", async () => {
  await using roaming = await started({
    "SMTPSVR.LUA": `
function DoMAILFROM() print("MAIL [" .. AuthUser .. "] " .. tostring(LocalClientAddress)) end
function ProcessMessage() print("message [" .. AuthUser .. "]") end`,
    "SIGNATURE.LUA":
      'function GetSignature(format, user, sender) return "-- " .. user .. " as " .. sender end',
  });
  const { served } = roaming;
  const mail = ["MAIL FROM:<ann@example.test>", "RCPT TO:<out@elsewhere.test>"];
  assert.equal(codes(await session(roaming, ...mail)), "250 554");
  assert.equal(codes(await session(roaming, plain("ann", "wrong"), ...mail)), "535 250 554");
  assert.equal(
    codes(await session(roaming, plain("ann", "one"), ...mail, "DATA", MESSAGE)),
    "235 250 250 354 250",
  );
  const { body } = await served.sink.waitFor(({ recipients }) => recipients.includes("out@elsewhere.test"));
  assert.equal(body, "Hello\r\n-- ann as ann@example.test\r\n");
  // The name is not ASCII.
  const zoe = ["MAIL FROM:<zoe@example.test>", "RCPT TO:<two@elsewhere.test>", "DATA", MESSAGE];
  assert.equal(
    codes(await session(roaming, plain("Zoë@example.test", "drei"), ...zoe)),
    "235 250 250 354 250",
  );
  const { bytes } = await served.sink.waitFor(({ recipients }) => recipients.includes("two@elsewhere.test"));
  assert.match(bytes.toString(), /- Zo(=C3=AB|ë)@example\.test as zoe@example\.test/);
  // Mail that stays inside gets none, with a login or without.
  const inside = ["MAIL FROM:<ann@example.test>", "RCPT TO:<joe@example.test>", "DATA", MESSAGE];
  assert.equal(codes(await session(roaming, plain("ann", "one"), ...inside)), "235 250 250 354 250");
  const stayed = await served.sink.waitFor(({ recipients }) => recipients.includes("joe@example.test"));
  assert.equal(stayed.body, "Hello\r\n");
  await served.postlua.stop();
  assert.deepEqual(served.postlua.printed().trimEnd().split("\n"), [
    "MAIL [] false",
    "MAIL [] false",
    "MAIL [ann] false",
    "message [ann]",
    "MAIL [Zo\xc3\xab@example.test] false",
    "message [Zo\xc3\xab@example.test]",
    "MAIL [ann] false",
    "message [ann]",
  ]);
});

postfixTest("AuthenticationRequired and AllowedUsers let in who has logged in", async () => {
  await using roaming = await started(
    { "SMTPSVR.LUA": "function Start() end" },
    `
[[clients]]
network = "${ROAMING}"
authentication_required = true
allowed_users = "bob carol"`,
  );
  const mail = "MAIL FROM:<x@example.test>";
  assert.deepEqual(await session(roaming, mail), ["530 5.7.0 Authentication required"]);
  const [, ann] = await session(roaming, plain("ann", "one"), mail);
  assert.equal(ann, "535 5.7.8 This user may not send from here");
  assert.equal(codes(await session(roaming, plain("bob", "two"), mail)), "235 250");
  // Refused first, then logged in, in the same session.
  assert.equal(codes(await session(roaming, mail, plain("bob", "two"), mail)), "530 235 250");
});

postfixTest("a script decides by the login: who must, who may, who relays", async () => {
  await using roaming = await started({
    "SMTPSVR.LUA": `
function DoHELO() AuthenticationRequired = true end
function DoMAILFROM(data, sender)
  if AuthUser == "ann" and sender ~= "ann@example.test" then return "553 5.7.1 " .. AuthUser .. " is not " .. sender end
  if AuthUser == "bob" then AllowedUsers = "ann" end
  LocalClientAddress = false
end`,
  });
  const ann = plain("ann", "one");
  assert.deepEqual(await session(roaming, "MAIL FROM:<ann@example.test>"), [
    "530 5.7.0 Authentication required",
  ]);
  assert.deepEqual(
    (await session(roaming, ann, "MAIL FROM:<boss@example.test>"))[1],
    "553 5.7.1 ann is not boss@example.test",
  );
  const [, bob] = await session(roaming, plain("bob", "two"), "MAIL FROM:<bob@example.test>");
  assert.equal(bob, "535 5.7.8 This user may not send from here");
  // Relaying by a login is not what LocalClientAddress takes away.
  const relayed = await session(roaming, ann, "MAIL FROM:<ann@example.test>", "RCPT TO:<out@elsewhere.test>");
  assert.equal(codes(relayed), "235 250 250");
});
