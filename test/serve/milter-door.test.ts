import assert from "node:assert/strict";
import { test } from "node:test";
import { ScriptError } from "../../src/lua/errors.ts";
import type { LuaScript } from "../../src/lua/script.ts";
import { SMFIF_ADDHDRS, SMFIF_CHGBODY, SMFIF_CHGHDRS } from "../../src/milter/protocol.ts";
import { SIGNATURE_FILE, SMTPSVR, SMTPSVR_FILE } from "../../src/scripts/callbacks.ts";
import type { ScriptState } from "../../src/scripts/loader.ts";
import { filterNeeds } from "../../src/serve/needs.ts";

const ABSENT: ScriptState = { kind: "absent" };

function scriptWith(callbacks: readonly string[], words: readonly string[] = []): ScriptState {
  const script = { name: "SMTPSVR.LUA" } as LuaScript;
  const mentions = (word: string) => words.includes(word);
  return { kind: "loaded", loaded: { script, callbacks: new Set(callbacks), mentions } };
}

function scripts(smtpsvr: ScriptState, signature: ScriptState = ABSENT) {
  const states: Record<string, ScriptState> = { [SMTPSVR_FILE]: smtpsvr, [SIGNATURE_FILE]: signature };
  return { script: (name: string) => states[name] ?? ABSENT };
}

/** Events that wait for an answer are in capitals, quiet ones are not. */
function wanted(state: ScriptState, hasRules = false, signature: ScriptState = ABSENT): string {
  const needs = filterNeeds(scripts(state, signature), { hasRules, seesRelaying: true });
  return needs.events.map((event) => (needs.quiet.includes(event) ? event : event.toUpperCase())).join(" ");
}

const CASES: [name: string, state: ScriptState, hasRules: boolean, events: string][] = [
  ["no script, no rules", { kind: "absent" }, false, "CONNECT"],
  ["no script, but rules", { kind: "absent" }, true, "CONNECT helo MAIL"],
  ["Start alone", scriptWith(["Start"]), false, "CONNECT MAIL"],
  ["DoHELO", scriptWith(["DoHELO"]), false, "CONNECT HELO MAIL"],
  ["DoRCPTTO", scriptWith(["DoRCPTTO"]), false, "CONNECT MAIL RCPT"],
  ["DoRSET must know HELO to tell RSET apart", scriptWith(["DoRSET"]), false, "CONNECT helo MAIL"],
  ["DoDATAStart", scriptWith(["DoDATAStart"]), false, "CONNECT MAIL rcpt DATA"],
  ["ProcessMessage collects quietly", scriptWith(["ProcessMessage"]), false, "CONNECT MAIL rcpt header body"],
  [
    "GetMaxMessageSize counts quietly",
    scriptWith(["GetMaxMessageSize"]),
    false,
    "CONNECT HELO MAIL header body",
  ],
  ["DoUnrecognised", scriptWith(["DoUnrecognised"]), false, "CONNECT MAIL UNKNOWN"],
  ["relaying taken away", scriptWith(["Start"], ["LocalClientAddress"]), false, "CONNECT MAIL RCPT"],
  ["everything", scriptWith(Object.keys(SMTPSVR)), false, "CONNECT HELO MAIL RCPT DATA header body UNKNOWN"],
];

for (const [name, state, hasRules, events] of CASES) {
  test(`needs of: ${name}`, () => assert.equal(wanted(state, hasRules), events));
}

test("a broken script is asked at every step that can refuse", () => {
  const error = new ScriptError("x", {
    kind: "syntax",
    script: "SMTPSVR.LUA",
    callback: "",
    line: 1,
    traceback: "",
  });
  assert.equal(wanted({ kind: "broken", error }), "CONNECT helo MAIL");
});

test("edits are asked for only by scripts that can make some", () => {
  const actions = (...callbacks: readonly string[]) =>
    filterNeeds(scripts(scriptWith(callbacks)), { seesRelaying: true }).actions;
  assert.equal(actions("Start", "DoHELO", "End"), 0);
  assert.notEqual(actions("ProcessMessage"), 0);
  assert.notEqual(actions("DoDATAStart"), 0);
  assert.equal(actions("ProcessMessage") & SMFIF_CHGBODY, 0);
});

test("only a signature script needs the message for itself, and to change its body", () => {
  const signature = scriptWith(["GetSignature"]);
  assert.equal(wanted(ABSENT, false, signature), "CONNECT mail rcpt header body");
  assert.equal(wanted(scriptWith(["DoRCPTTO"]), false, signature), "CONNECT MAIL RCPT header body");
  assert.equal(wanted(ABSENT, false, scriptWith(["Other"])), "CONNECT");
  const { actions } = filterNeeds(scripts(ABSENT, signature), { seesRelaying: true });
  assert.equal(actions, SMFIF_CHGBODY | SMFIF_CHGHDRS | SMFIF_ADDHDRS);
});

test("notices need envelope and content, quietly, and every edit", () => {
  const needs = (state: ScriptState) => {
    const { events, quiet, actions } = filterNeeds(scripts(state), { notices: true });
    assert.equal(actions & SMFIF_CHGBODY, SMFIF_CHGBODY);
    return events.map((event) => (quiet.includes(event) ? event : event.toUpperCase())).join(" ");
  };
  assert.equal(needs(ABSENT), "CONNECT mail rcpt header body");
  assert.equal(needs(scriptWith(["DoRCPTTO"])), "CONNECT MAIL RCPT header body");
  assert.equal(needs(scriptWith(Object.keys(SMTPSVR))), "CONNECT HELO MAIL RCPT DATA header body UNKNOWN");
});
