/** USER_REDIRECT.LUA and users' settings through the policy service alone, for messages with one recipient. */
import assert from "node:assert/strict";
import { postfixTest } from "./harness.ts";
import { lateLists } from "./policy-script.ts";
import { Routed } from "./redirect.ts";

const user = (name: string) => `${name}@users.test`;
const KEEP_NOTHING = { SendToNormalRecipient: "false" };

postfixTest("users' routing without a milter: redirected, copied, dropped, left alone", async () => {
  await using routed = await Routed.start({
    doors: ["policy"],
    mainCf: (policy) => ({
      ...lateLists(policy),
      smtpd_end_of_data_restrictions: `check_policy_service ${policy}`,
    }),
    people: {
      plain: {},
      fwd: { settings: { Forwards: "away@elsewhere.test", ...KEEP_NOTHING } },
      copy: { settings: { Forwards: "away@elsewhere.test" } },
      two: { settings: { Forwards: "away@elsewhere.test; other@elsewhere.test", ...KEEP_NOTHING } },
      gone: { settings: KEEP_NOTHING },
      large: { settings: { "BigRedirect.Target": "huge@elsewhere.test", "BigRedirect.Threshold": "20" } },
      script: {
        script:
          'function MainDoRouting() Forwards = "by-script@elsewhere.test" UseForwards = true SendToNormalRecipient = false end',
      },
    },
  });
  const to = async (recipients: string[], size = 10) => (await routed.send({ to: recipients, size })).to;
  assert.deepEqual(await to([user("plain")]), [user("plain")]);
  assert.deepEqual(await to([user("fwd")]), ["away@elsewhere.test"]);
  assert.deepEqual(await to([user("copy")]), ["away@elsewhere.test", user("copy")]);
  assert.deepEqual(await to([user("gone")]), []);
  assert.deepEqual(await to([user("large")]), [user("large")]);
  assert.deepEqual(await to([user("large")], 25_000), ["huge@elsewhere.test"]);
  assert.deepEqual(await to([user("script")]), ["by-script@elsewhere.test"]);
  assert.deepEqual(await to([user("two")]), [user("two")], "more than one answer can say");
  assert.deepEqual(await to([user("fwd"), user("plain")]), [user("fwd"), user("plain")], "two recipients");
  const warned = routed.served.postlua.lines.filter(({ problem }) =>
    String(problem).includes("attach the milter"),
  );
  assert.equal(warned.length, 1);
});
