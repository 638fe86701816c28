/** Users' routing on real mail: who gets a message, and who gets it no more. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { SmtpClient } from "../../postfix/smtp-client.ts";
import { fromBytes } from "../../src/bytes.ts";
import { postfixTest } from "./harness.ts";
import { Routed } from "./redirect.ts";

const user = (name: string) => `${name}@users.test`;
const KEEP_NOTHING = { SendToNormalRecipient: "false" };

postfixTest("settings alone: forwards, assistants and redirects", async () => {
  await using routed = await Routed.start({
    people: {
      plain: {},
      fwd: { settings: { Forwards: "away@elsewhere.test", ...KEEP_NOTHING } },
      fwdkeep: { settings: { forwards: "away@elsewhere.test; plain" } },
      off: { settings: { Forwards: "away@elsewhere.test", UseForwards: "no" } },
      boss: { settings: { Assistants: "helper" } },
      chief: { settings: { Assistants: user("helper"), RedirectToAssistant: "true" } },
      helper: { addresses: [user("helper"), user("assistant")] },
      big: { settings: { "BigRedirect.Target": "huge@elsewhere.test", "BigRedirect.Threshold": "20" } },
      bigcopy: {
        settings: {
          "BigRedirect.Target": "huge@elsewhere.test",
          "BigRedirect.Threshold": "20",
          "BigRedirect.Copy": "true",
        },
      },
      small: { settings: { "SmallRedirect.Target": "tiny@elsewhere.test", "SmallRedirect.Threshold": "20" } },
      gone: { settings: KEEP_NOTHING },
    },
  });
  const cases: [what: string, mail: Parameters<Routed["send"]>[0], to: string[]][] = [
    ["nothing asked", { to: [user("plain")] }, [user("plain")]],
    ["forward", { to: [user("fwd")] }, ["away@elsewhere.test"]],
    ["forward, typed in capitals", { to: ["FWD@Users.Test"] }, ["away@elsewhere.test"]],
    ["forward and keep", { to: [user("fwdkeep")] }, ["away@elsewhere.test", user("fwdkeep"), user("plain")]],
    ["forward switched off", { to: [user("off")] }, [user("off")]],
    ["assistant", { to: [user("boss")] }, [user("boss"), user("helper")]],
    ["redirect to the assistant", { to: [user("chief")] }, [user("helper")]],
    ["from the assistant", { from: user("helper"), to: [user("chief")] }, [user("chief")]],
    ["from the assistant's other address", { from: user("Assistant"), to: [user("boss")] }, [user("boss")]],
    ["null sender", { from: "", to: [user("chief")] }, [user("helper")]],
    ["big, and small enough", { to: [user("big")] }, [user("big")]],
    ["big", { to: [user("big")], size: 21_000 }, ["huge@elsewhere.test"]],
    ["big with a copy", { to: [user("bigcopy")], size: 21_000 }, ["huge@elsewhere.test", user("bigcopy")]],
    ["small", { to: [user("small")] }, ["tiny@elsewhere.test"]],
    ["small, and too big", { to: [user("small")], size: 21_000 }, [user("small")]],
    ["nobody is left", { to: [user("gone")] }, []],
    ["two users with one message", { to: [user("gone"), user("plain")] }, [user("plain")]],
    [
      "others of the same message",
      { to: [user("fwd"), "stranger@other.test", user("plain"), user("chief")] },
      ["away@elsewhere.test", user("helper"), user("plain"), "stranger@other.test"],
    ],
    ["who is reached already", { to: [user("chief"), user("helper")] }, [user("helper")]],
    ["two who forward to one", { to: [user("chief"), user("boss")] }, [user("boss"), user("helper")]],
  ];
  for (const [what, mail, to] of cases) {
    const sent = await routed.send(mail);
    assert.match(sent.reply, /^250 /, what);
    assert.deepEqual(sent.to, to.sort(), what);
  }
  const decisions = routed.served.postlua.decisions.map(({ result }) => result);
  assert.ok(decisions.includes("fwd: sent to away@elsewhere.test"), decisions.join("\n"));
});

postfixTest("aliases, lists, catch-alls and circles: the other members still get it, once", async () => {
  const forwards = (to: string) => ({ settings: { Forwards: to, ...KEEP_NOTHING } });
  await using routed = await Routed.start({
    people: {
      plain: {},
      other: {},
      fwd: forwards("away@elsewhere.test"),
      ping: forwards("pong"),
      pong: forwards("ping"),
      selfish: forwards(user("selfish")),
      selfless: forwards(`${user("selfless")}; away@elsewhere.test`),
      member: forwards(user("club")),
      passing: forwards("fwd"),
      lost: { settings: { Assistants: user("nobody"), RedirectToAssistant: "yes" } },
      broken: {
        settings: { Forwards: "x y@z; <>, plain", UseForwards: "perhaps", "BigRedirect.Threshold": "lots" },
      },
    },
    lists: {
      team: ["plain", "fwd", "guest@elsewhere.test"],
      club: ["member", "plain"],
      nest: ["team", "other"],
    },
    aliases: [
      "role@users.test fwd@users.test, plain@users.test",
      "direct@alias.test fwd@users.test",
      "@catchall.test fwd@users.test, other@users.test",
      "fwd+copy@users.test fwd+copy@users.test, archive@elsewhere.test",
      "loop1@users.test loop2@users.test",
      "loop2@users.test loop1@users.test",
      "again@users.test fwd@users.test, stubborn@users.test",
      "stubborn@users.test stubborn@users.test, fwd@users.test",
      "",
    ].join("\n"),
    mainCf: { virtual_alias_domains: "alias.test, catchall.test", virtual_alias_recursion_limit: "20" },
  });
  const cases: [what: string, mail: Parameters<Routed["send"]>[0], to: string[]][] = [
    ["alias", { to: ["role@users.test"] }, ["away@elsewhere.test", user("plain")]],
    ["alias, typed in capitals", { to: ["ROLE@users.TEST"] }, ["away@elsewhere.test", user("plain")]],
    ["alias for one", { to: ["direct@alias.test"] }, ["away@elsewhere.test"]],
    ["catch-all", { to: ["anything@catchall.test"] }, ["away@elsewhere.test", user("other")]],
    ["list", { to: [user("team")] }, ["away@elsewhere.test", "guest@elsewhere.test", user("plain")]],
    [
      "list in a list",
      { to: [user("nest")] },
      ["away@elsewhere.test", "guest@elsewhere.test", user("other"), user("plain")],
    ],
    [
      "list beside its member",
      { to: [user("team"), user("plain")] },
      ["away@elsewhere.test", "guest@elsewhere.test", user("plain")],
    ],
    ["user and alias", { to: [user("fwd"), "role@users.test"] }, ["away@elsewhere.test", user("plain")]],
    ["two who forward to each other", { to: [user("ping")] }, [user("ping")]],
    ["both of them", { to: [user("ping"), user("pong")] }, [user("ping"), user("pong")]],
    ["to oneself", { to: [user("selfish")] }, [user("selfish")]],
    ["to oneself and away", { to: [user("selfless")] }, ["away@elsewhere.test", user("selfless")]],
    ["to a list with oneself", { to: [user("member")] }, [user("member"), user("plain")]],
    ["to somebody who forwards", { to: [user("passing")] }, ["away@elsewhere.test"]],
    ["to nobody", { to: [user("lost")] }, [user("lost")]],
    ["nonsense in settings", { to: [user("broken")] }, [user("broken"), user("plain")]],
    ["away, which gets it anyway", { to: [user("fwd"), "away@elsewhere.test"] }, ["away@elsewhere.test"]],
  ];
  for (const [what, mail, to] of cases) {
    const sent = await routed.send(mail);
    assert.match(sent.reply, /^250 /, what);
    assert.deepEqual(sent.to, to.sort(), what);
  }
  const back = await routed.send({ to: [user("again")] });
  assert.ok(back.to.includes(user("fwd")), "Postfix would bring it back, so it stays");
  assert.ok(back.to.includes("away@elsewhere.test"));
  const warnings = routed.served.postlua.lines
    .filter(({ level }) => level === "warn")
    .map(({ problem }) => problem);
  assert.ok(
    warnings.some((problem) => /bring the mail back to fwd/.test(String(problem))),
    warnings.join("\n"),
  );
});

postfixTest("NOTIFY and ORCPT go with the recipient", async () => {
  await using routed = await Routed.start({
    people: { plain: {}, fwd: { settings: { Forwards: "away@elsewhere.test", ...KEEP_NOTHING } } },
    aliases: "role@users.test fwd@users.test, plain@users.test\n",
  });
  const sent = await routed.send({
    to: [["role@users.test", "NOTIFY=FAILURE,DELAY ORCPT=rfc822;role@first.test"], "plain2@elsewhere.test"],
  });
  assert.deepEqual(sent.to, ["away@elsewhere.test", "plain2@elsewhere.test", user("plain")]);
  for (const { recipients, recipientParameters } of sent.messages) {
    for (const [n, recipient] of recipients.entries()) {
      const { NOTIFY, ORCPT } = recipientParameters[n] ?? {};
      if (recipient === "plain2@elsewhere.test") assert.equal(NOTIFY, undefined);
      else
        assert.deepEqual([recipient, NOTIFY, ORCPT], [recipient, "FAILURE,DELAY", "rfc822;role@first.test"]);
    }
  }
});

const GLOBALS_SCRIPT = `
function MainDoRouting(user)
  if string.find(Subject, "stop") then error("stopped by the script") end
  if string.find(Subject, "wrong") then Assistants = {} end
  if string.find(Subject, "spin") then while true do end end
  if Headers1["x-pass-to"] then Forwards, UseForwards = Headers1["X-Pass-To"], true end
  if user == "carol" then
    print(User, Sender, MessageSize, SpamScore, SpamScoreValid, Headers2[1], UserSettings.colour, UserSettings["Shade"])
  end
  return "seen by " .. user
end
function MailGetSettings(user)
  return { { Name = "Shade", Title = "Shade", Type = "string", Default = "dark" } }
end
`;

postfixTest("a script for all users: variables, results, errors", async () => {
  await using routed = await Routed.start({
    scripts: { "user_redirect.lua": GLOBALS_SCRIPT },
    config: "[limits]\ncpu_ms = 300\n",
    people: { carol: { settings: { Colour: "red" } }, dave: {} },
  });
  const header =
    "X-Spam-Status: Yes, score=6.1 required=5.0\r\nX-Pass-To: no@elsewhere.test\r\nX-PASS-TO: yes@elsewhere.test\r\n";
  const sent = await routed.send({ to: [user("carol"), user("dave"), "CAROL@users.test"], header });
  assert.deepEqual(sent.to, [user("carol"), user("dave"), "yes@elsewhere.test"]);
  const said = routed.served.postlua.decisions.filter(({ callback }) => callback === "MainDoRouting");
  assert.deepEqual(said.map(({ detail }) => detail).sort(), ["seen by carol", "seen by dave"]);
  for (const [subject, why] of [
    ["stop", /stopped by the script/],
    ["wrong", /left a table in Assistants, where a string belongs/],
    ["spin", /processor time|cpu/i],
  ] as const) {
    const { reply } = await routed.send({
      to: [user("dave")],
      header: `Subject: ${subject}\r\n`,
      subject: "",
    });
    assert.match(reply, /^451 4\.3\.0 /, subject);
    await routed.served.postlua.waitFor(
      ({ event, message }) => event === "script error" && why.test(String(message)),
    );
  }
  assert.deepEqual((await routed.send({ to: ["stranger@other.test"] })).to, ["stranger@other.test"]);
  assert.deepEqual(await routed.store.definitions(), [
    { name: "Shade", title: "Shade", type: "string", fallback: "dark" },
  ]);
  const shown = await promisify(execFile)(process.execPath, [
    join(import.meta.dirname, "../../src/main.ts"),
    ...["user", "show", "carol", "--config", routed.served.postlua.configFile],
  ]);
  assert.match(shown.stdout, /Shade.*dark/);
  assert.match(shown.stdout, /Colour.*red/);
  await routed.served.postlua.stop();
  assert.match(
    routed.served.postlua.printed(),
    /^carol\tfriend@elsewhere\.test\t\d+\t6\.1\ttrue\tSubject: m1\tred\tdark\n$/,
  );
});

const PRYING = `
local function try(f, ...)
  local fine, what = pcall(f, unpack(arg))
  print(tostring(fine) .. " " .. tostring(what))
end
try(io.open, "secret", "w")
try(VPOP3.GetSetting, "Global")
try(VPOP3.GetUserSetting, "dave", "Colour")
try(VPOP3.GetUserSetting, User, "Colour")
try(os.clearsafety, "guess")
try(VPOP3.RunUserScript)
Forwards, UseForwards, SendToNormalRecipient = "own@elsewhere.test", true, false
`;

postfixTest("users' own scripts: safety mode, changes, mistakes", async () => {
  await using routed = await Routed.start({
    people: {
      carol: { script: PRYING, settings: { Colour: "red" } },
      dave: {
        script: "function MainDoRouting(user) Forwards, UseForwards = Subject .. '@elsewhere.test', true end",
      },
      erin: { script: "if then" },
      frank: {},
    },
  });
  const { postlua } = routed.served;
  assert.deepEqual((await routed.send({ to: [user("carol")] })).to, ["own@elsewhere.test"]);
  assert.deepEqual((await routed.send({ to: [user("dave")] })).to, [user("dave"), "m2@elsewhere.test"]);
  assert.deepEqual((await routed.send({ to: [user("frank")] })).to, [user("frank")]);
  assert.match((await routed.send({ to: [user("frank"), user("erin")] })).reply, /^451 /);
  await postlua.waitFor(
    ({ event, script }) => event === "script error" && script === "users/erin/USER_REDIRECT.LUA",
  );

  writeFileSync(postlua.scriptPath("users/erin/USER_REDIRECT.LUA"), "Assistants = 'frank'");
  mkdirSync(postlua.scriptPath("users/FRANK"));
  writeFileSync(
    postlua.scriptPath("users/FRANK/User_Redirect.lua"),
    "SendToNormalRecipient = string.find(Sender, 'boss')",
  );
  await postlua.waitFor(
    ({ event, script }) => event === "script loaded" && script === "users/erin/USER_REDIRECT.LUA",
  );
  assert.deepEqual((await routed.send({ to: [user("erin")] })).to, [user("erin")]);
  assert.deepEqual((await routed.send({ to: [user("erin")], from: "boss@other.test" })).to, [
    user("erin"),
    user("frank"),
  ]);
  await postlua.stop();
  assert.deepEqual(postlua.printed().split("\n"), [
    "false io.open is disabled in safety mode",
    "false VPOP3.GetSetting is disabled in safety mode",
    "false the settings of dave are closed to the script of carol",
    "true red",
    "true false",
    "false a user's script can only be run by a USER_REDIRECT.LUA for all users",
    "",
  ]);
});

postfixTest("the shipped script's times", async () => {
  const today = new Date();
  const day = (offset: number) =>
    new Date(today.getTime() + offset * 86_400_000).toLocaleDateString("en-US", { weekday: "short" });
  const forward = { TimedRouting: "forward", TimedForward: "timed@elsewhere.test" };
  const only = { Forwards: "away@elsewhere.test", TimedRouting: "only" };
  await using routed = await Routed.start({
    people: {
      now: { settings: { ...forward, TimedDays: `${day(-1)}-${day(1)}`, TimedCopy: "no" } },
      later: { settings: { ...forward, TimedDays: `${day(3)}; ${day(-3)}` } },
      dates: { settings: { ...forward, TimedDates: "2000-01-01 to 2999-12-31", TimedHours: "00:00-24:00" } },
      past: { settings: { ...only, TimedDates: "2000-01-01; 2001-01-01 to 2001-02-01" } },
      always: { settings: only },
      never: { settings: { ...only, timedrouting: "Never" } },
      junk: { settings: { ...only, TimedHours: "nine to five" } },
    },
  });
  const expected: Record<string, string[]> = {
    now: ["timed@elsewhere.test"],
    later: [user("later")],
    dates: [user("dates"), "timed@elsewhere.test"],
    past: [user("past")],
    always: [user("always"), "away@elsewhere.test"],
    never: [user("never")],
    junk: [user("junk"), "away@elsewhere.test"],
  };
  for (const [name, to] of Object.entries(expected)) {
    assert.deepEqual((await routed.send({ to: [user(name)] })).to, to.sort(), name);
  }
  const junk = await routed.served.postlua.waitFor(({ detail }) => /^left alone/.test(String(detail)));
  assert.equal(junk.detail, 'left alone: TimedHours has "nine to five", which cannot be read');
  assert.deepEqual((await routed.store.definitions()).map(({ name }) => name).sort(), [
    "TimedCopy",
    "TimedDates",
    "TimedDays",
    "TimedForward",
    "TimedHours",
    "TimedRouting",
  ]);
});

postfixTest(
  "100 users of one message; settings count from the next message; nothing is asked without any",
  async () => {
    const names = Array.from({ length: 100 }, (_, n) => `user${n}`);
    await using routed = await Routed.start({ people: Object.fromEntries(names.map((name) => [name, {}])) });
    const to = names.map(user);
    assert.deepEqual((await routed.send({ to })).to, [...to].sort());
    assert.deepEqual(routed.served.postlua.decisions, []);
    for (const name of names.slice(0, 50)) {
      await routed.store.setUserSetting(name, "Forwards", "everything@elsewhere.test", { create: true });
      await routed.store.setUserSetting(name, "SendToNormalRecipient", "no", { create: true });
    }
    // The worker hears of it in its own time.
    for (
      const end = Date.now() + 30_000;
      routed.served.postlua.decisions.length === 0 && Date.now() < end;
    ) {
      await routed.send({ to: [user("user0")] });
    }
    assert.deepEqual((await routed.send({ to })).to, ["everything@elsewhere.test", ...to.slice(50)].sort());
  },
);

postfixTest("signatures from the store", async () => {
  await using routed = await Routed.start({
    people: {
      zoe: { settings: { Signature: "Zoë & Co" } },
      bare: { settings: { Signature: "<blank>" } },
      other: { settings: { Forwards: "away@elsewhere.test" } },
    },
    prepare: (store) => store.setSetting("Signature", "Example Ltd", { create: true }).then(() => {}),
  });
  const body = async (from: string) =>
    (await routed.send({ from, to: ["reader@elsewhere.test"], size: 7 })).messages[0]?.body;
  assert.equal(
    await body(user("zoe")),
    `xxxxx\r\n${fromBytes(Buffer.from("Zoë & Co"))}\r\n`.replace("Zo\xc3\xab", "Zo=C3=AB"),
  );
  assert.equal(await body(user("bare")), "xxxxx\r\n");
  assert.equal(await body("stranger@other.test"), "xxxxx\r\nExample Ltd\r\n");
  assert.equal(
    (await routed.send({ from: user("zoe"), to: [user("bare")], size: 7 })).messages[0]?.body,
    "xxxxx\r\n",
  );
});

postfixTest("mail from sendmail(1) is routed, too", async () => {
  await using routed = await Routed.start({
    internal: true,
    people: { plain: {}, fwd: { settings: { Forwards: "away@elsewhere.test", ...KEEP_NOTHING } } },
  });
  const { postfix, sink } = routed.served;
  await postfix.run(
    "sendmail",
    ["-f", "cron@other.test", user("fwd"), user("plain")],
    "Subject: x\n\nHello\n",
  );
  await sink.waitFor(({ recipients }) => recipients.includes("away@elsewhere.test"));
  await postfix.settled();
  assert.deepEqual(sink.messages.flatMap(({ recipients }) => recipients).sort(), [
    "away@elsewhere.test",
    user("plain"),
  ]);
});

postfixTest("a user's script that kills workers is switched off; other users' mail goes on", async () => {
  await using routed = await Routed.start({
    main: join(import.meta.dirname, "../fault/bad-main.ts"),
    config: "[limits]\nwatchdog_ms = 400\nscript_deaths = 1\n",
    people: { plain: {}, evil: { script: "Bad.Spin()" } },
  });
  const { postlua, postfix } = routed.served;
  const reply = async () => {
    const { client } = await SmtpClient.connect({ port: postfix.port });
    await client.command("EHLO client.test");
    await client.command("MAIL FROM:<friend@elsewhere.test>");
    await client.command(`RCPT TO:<${user("evil")}>`);
    await client.command("DATA");
    const { text } = await client.message("Subject: x\r\n\r\nHello\r\n");
    await client.command("QUIT");
    return text;
  };
  assert.match(await reply(), /^4/);
  const off = await postlua.waitFor(({ event }) => event === "script switched off");
  assert.equal(off.script, "users/evil/USER_REDIRECT.LUA");
  assert.match(await reply(), /^451 4\.3\.0 /);
  assert.deepEqual((await routed.send({ to: [user("plain")] })).to, [user("plain")]);
});
