/** Users' routing on real mail: who gets a message, and who gets it no more. */
import assert from "node:assert/strict";
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
