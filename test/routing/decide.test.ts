/** What routing values mean, case by case; the values that settings give. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { encodeText } from "../../src/bytes.ts";
import { LuaTable, type LuaValue } from "../../src/lua/values.ts";
import { HeaderFields } from "../../src/message/headers.ts";
import { spamScore } from "../../src/message/spam-score.ts";
import { enteringValues, type RoutingValues, valuesOf } from "../../src/scripts/redirect-values.ts";
import { decideRouting } from "../../src/smtp/route-decide.ts";

const NONE = { target: "", threshold: 0, copy: false };
const START: RoutingValues = {
  shouldForward: true,
  assistants: "",
  redirectToAssistant: false,
  sendToNormalRecipient: true,
  forwards: "",
  useForwards: false,
  bigRedirect: { ...NONE, bigger: true },
  smallRedirect: { ...NONE, bigger: false },
};
const big = (target: string, threshold: number, copy = false) => ({
  bigRedirect: { target, threshold, copy, bigger: true },
});
const small = (target: string, threshold: number, copy = false) => ({
  smallRedirect: { target, threshold, copy, bigger: false },
});

/** In these cases "nobody@x" does not exist and "sender@x" has sent the message, which is of 10 kB. */
const CASES: [what: string, values: Partial<RoutingValues>, keep: boolean, targets: string[]][] = [
  ["nothing", {}, true, []],
  ["dropped", { sendToNormalRecipient: false }, false, []],
  ["assistant", { assistants: "a@x" }, true, ["a@x"]],
  ["assistants", { assistants: "a@x; <b@x>,A@X ;;" }, true, ["a@x", "b@x"]],
  ["assistant alone", { assistants: "a@x", redirectToAssistant: true }, false, ["a@x"]],
  ["redirect without assistant", { redirectToAssistant: true }, true, []],
  ["redirect to nobody", { assistants: "nobody@x", redirectToAssistant: true }, true, []],
  ["from the assistant", { assistants: "sender@x", redirectToAssistant: true }, true, []],
  ["from one of two", { assistants: "sender@x;a@x", redirectToAssistant: true }, true, ["a@x"]],
  ["forward", { forwards: "f@x", useForwards: true }, true, ["f@x"]],
  ["forward instead", { forwards: "f@x", useForwards: true, sendToNormalRecipient: false }, false, ["f@x"]],
  ["forward not used", { forwards: "f@x" }, true, []],
  ["forward to the sender", { forwards: "sender@x", useForwards: true }, true, ["sender@x"]],
  [
    "forward and assistant",
    { forwards: "f@x, a@x", useForwards: true, assistants: "a@x" },
    true,
    ["a@x", "f@x"],
  ],
  [
    "no forwarding",
    { shouldForward: false, assistants: "a@x", redirectToAssistant: true, ...big("b@x", 1) },
    true,
    [],
  ],
  [
    "no forwarding, dropped",
    { shouldForward: false, forwards: "f@x", useForwards: true, sendToNormalRecipient: false },
    false,
    [],
  ],
  ["big", big("b@x", 9), false, ["b@x"]],
  ["just big enough", big("b@x", 10), true, []],
  ["big with a copy", big("b@x", 9, true), true, ["b@x"]],
  ["big copy, dropped", { ...big("b@x", 9, true), sendToNormalRecipient: false }, false, ["b@x"]],
  ["big without target", big(" ; ", 9), true, []],
  ["big to nobody", big("nobody@x", 9), true, []],
  ["small", small("s@x", 11), false, ["s@x"]],
  ["just small enough", small("s@x", 10), true, []],
  ["small copy", small("s@x", 11, true), true, ["s@x"]],
  ["big, then not small", { ...big("b@x", 9), ...small("s@x", 11) }, false, ["b@x"]],
  ["big copy, then small", { ...big("b@x", 9, true), ...small("s@x", 11) }, false, ["b@x", "s@x"]],
  [
    "big turned round",
    { bigRedirect: { target: "b@x", threshold: 11, copy: false, bigger: false } },
    false,
    ["b@x"],
  ],
  [
    "everything",
    {
      assistants: "a@x",
      redirectToAssistant: true,
      forwards: "f@x",
      useForwards: true,
      ...big("b@x", 9, true),
    },
    false,
    ["a@x", "f@x", "b@x"],
  ],
];

test("what values mean", () => {
  for (const [what, values, keep, targets] of CASES) {
    const kind = (address: string) =>
      address === "nobody@x" ? "nobody" : address === "sender@x" ? "sender" : "somebody";
    const decision = decideRouting({ ...START, ...values }, 10 * 1024, kind);
    assert.deepEqual([what, decision.keep, decision.targets], [what, keep, targets]);
  }
});

const settings = (values: Record<string, string>) =>
  new Map(Object.entries(values).map(([name, value]) => [name.toLowerCase(), value]));

test("values from settings", () => {
  assert.deepEqual(enteringValues(new Map(), new Map(), undefined), { values: START, problems: [] });
  const { values, problems } = enteringValues(
    settings({
      ASSISTANTS: " jürgen ",
      redirecttoassistant: "Yes",
      Forwards: "f@x",
      "BigRedirect.Target": "b@x",
      "BigRedirect.Threshold": "1.5",
      "BigRedirect.Copy": "1",
      "SmallRedirect.Threshold": "few",
      SendToNormalRecipient: "maybe",
    }),
    new Map(),
    undefined,
  );
  assert.deepEqual(values, {
    ...START,
    assistants: encodeText("jürgen"),
    redirectToAssistant: true,
    forwards: "f@x",
    useForwards: true,
    ...big("b@x", 1.5, true),
  });
  assert.deepEqual(problems.toSorted(), [
    'setting SendToNormalRecipient is "maybe", neither true nor false; taken as true',
    'setting SmallRedirect.Threshold is "few", no number; taken as not set',
  ]);
});

test("spam is not forwarded, unless wanted", () => {
  const enters = (user: Record<string, string>, everybody: Record<string, string>, score?: number) =>
    enteringValues(settings(user), settings(everybody), score).values.shouldForward;
  assert.equal(enters({ SpamThreshold: "5" }, {}, 4.9), true);
  assert.equal(enters({ SpamThreshold: "5" }, {}, 5), false);
  assert.equal(enters({ SpamThreshold: "5" }, {}), true);
  assert.equal(enters({}, {}, 100), true);
  assert.equal(enters({}, { SpamThreshold: "5" }, 6), false);
  assert.equal(enters({ SpamThreshold: "8" }, { SpamThreshold: "5" }, 6), true);
  assert.equal(enters({ ForwardSpam: "yes" }, { SpamThreshold: "5" }, 6), true);
  assert.equal(enters({}, { SpamThreshold: "5", ForwardSpam: "on" }, 6), true);
  assert.equal(enters({ ShouldForward: "no" }, {}), false);
});

test("values of a wrong type are errors that name the variable", () => {
  const read = (globals: Record<string, LuaValue>) =>
    valuesOf((name) => globals[name], { script: "USER_REDIRECT.LUA", callback: "MainDoRouting" });
  const table = (entries: Record<string, LuaValue>) => new LuaTable(new Map(Object.entries(entries)));
  assert.deepEqual(read({}), { ...START, shouldForward: false, sendToNormalRecipient: false });
  assert.deepEqual(read({ BigRedirect: table({ Target: "b@x", Threshold: "12", Copy: 1 }) }).bigRedirect, {
    target: "b@x",
    threshold: 12,
    copy: true,
    bigger: true,
  });
  const wrong: [globals: Record<string, LuaValue>, message: RegExp][] = [
    [{ Assistants: new LuaTable() }, /left a table in Assistants, where a string belongs/],
    [{ ShouldForward: "no" }, /left "no" in ShouldForward, where true or false belongs/],
    [{ BigRedirect: "b@x" }, /left "b@x" in BigRedirect, where a table belongs/],
    [
      { SmallRedirect: table({ Threshold: "x" }) },
      /left "x" in SmallRedirect.Threshold, where a number belongs/,
    ],
    [
      { SmallRedirect: table({ Target: true }) },
      /left a boolean in SmallRedirect.Target, where a string belongs/,
    ],
  ];
  for (const [globals, message] of wrong) assert.throws(() => read(globals), message);
});

test("spam scores as rspamd and SpamAssassin write them", () => {
  const names = ["X-Spamd-Result", "X-Spam-Status", "X-Spam-Score"];
  const cases: [header: string, score: number | undefined][] = [
    ["X-Spamd-Result: default: False [6.10 / 15.00];\r\n\tR_SPF_ALLOW(-0.20)[+ip4:192.0.2.0/24]", 6.1],
    ["X-Spamd-Result: default: False [-2.60 / 15.00]", -2.6],
    ["x-spam-status: Yes, score=6.1 required=5.0\r\n\ttests=A,B", 6.1],
    ["X-Spam-Status: No, hits=-0.1 required=5.0", -0.1],
    ["X-Spam-Score: 12", 12],
    ["X-Spam-Score: 3.4 (+++)", 3.4],
    ["X-Spam-Score: +++", undefined],
    ["X-Spam-Score: 1.2.3", undefined],
    ["X-Spam-Score: 0.1\r\nX-Spam-Score: 9", 9],
    ["X-Spam-Score: 1\r\nX-Spamd-Result: x [2.0 / 3.0]", 2],
    ["X-Spam-Status: whatever\r\nX-Spam-Score: 7", 7],
    ["Subject: score=9", undefined],
  ];
  for (const [header, score] of cases) {
    const { headers } = HeaderFields.parse(Buffer.from(`${header}\r\n\r\n`));
    assert.deepEqual([header, spamScore(headers, names)], [header, score]);
  }
});
