import assert from "node:assert/strict";
import { test } from "node:test";
import type { FilterNeeds } from "../../src/milter/filter.ts";
import { encodeAgreement, negotiate, type Offer } from "../../src/milter/negotiate.ts";
import { actionNames, type MilterEvent, stepNames } from "../../src/milter/protocol.ts";
import { decodeResponse } from "../../src/milter/response.ts";
import { onePacket, raw, testCuts } from "./feed.ts";
import { EVERY } from "./serve.ts";

const NOTHING: FilterNeeds = { events: [], quiet: [], actions: 0, leadingSpace: false };
const EVERYTHING: FilterNeeds = { events: EVERY, quiet: EVERY, actions: 0xff, leadingSpace: true };

/** As Postfix 3.7 offers it for milter_protocol = 6, 4, 3 and 2, and what else is met. */
const OFFERS: Readonly<Record<string, Offer>> = {
  "Postfix, version 6": { version: 6, actions: 0x1ff, steps: 0x1fffff },
  "Postfix, version 4": { version: 4, actions: 0x1ff, steps: 0x37f },
  "Postfix, version 3": { version: 3, actions: 0x1ff, steps: 0x17f },
  "Postfix, version 2": { version: 2, actions: 0x1ff, steps: 0x7f },
  "version 5": { version: 5, actions: 0x3f, steps: 0x3ff },
  "version 4, no_header_reply": { version: 4, actions: 0x3f, steps: 0x3ff },
  "Sendmail with larger chunks": { version: 6, actions: 0x1ff, steps: 0x301fffff },
  "a later version": { version: 7, actions: 0xffffffff, steps: 0xffffffff },
  "no flags at all": { version: 2, actions: 0, steps: 0 },
};

const TABLE: readonly [
  offer: string,
  needs: FilterNeeds,
  transport: "unix" | "tcp",
  version: number,
  actions: string,
  steps: string,
][] = [
  [
    "Postfix, version 6",
    NOTHING,
    "unix",
    6,
    "none",
    "NOCONNECT NOHELO NOMAIL NORCPT NOBODY NOHDRS NOEOH NOUNKNOWN NODATA SKIP",
  ],
  [
    "Postfix, version 6",
    NOTHING,
    "tcp",
    6,
    "none",
    "NOCONNECT NOHELO NOMAIL NORCPT NOBODY NOHDRS NOEOH NOUNKNOWN SKIP",
  ],
  [
    "Postfix, version 6",
    EVERYTHING,
    "unix",
    6,
    "ADDHDRS CHGBODY ADDRCPT DELRCPT CHGHDRS QUARANTINE CHGFROM ADDRCPT_PAR",
    "NR_HDR SKIP NR_CONN NR_HELO NR_MAIL NR_RCPT NR_DATA NR_UNKN NR_EOH NR_BODY HDR_LEADSPC",
  ],
  [
    "Postfix, version 6",
    EVERYTHING,
    "tcp",
    6,
    "ADDHDRS CHGBODY ADDRCPT DELRCPT CHGHDRS QUARANTINE CHGFROM ADDRCPT_PAR",
    "NR_HDR SKIP NR_CONN NR_HELO NR_MAIL NR_RCPT NR_UNKN NR_EOH NR_BODY HDR_LEADSPC",
  ],
  [
    "Postfix, version 4",
    NOTHING,
    "unix",
    4,
    "none",
    "NOCONNECT NOHELO NOMAIL NORCPT NOBODY NOHDRS NOEOH NOUNKNOWN NODATA",
  ],
  ["Postfix, version 4", EVERYTHING, "unix", 4, "ADDHDRS CHGBODY ADDRCPT DELRCPT CHGHDRS QUARANTINE", "none"],
  [
    "Postfix, version 3",
    NOTHING,
    "unix",
    3,
    "none",
    "NOCONNECT NOHELO NOMAIL NORCPT NOBODY NOHDRS NOEOH NOUNKNOWN",
  ],
  ["Postfix, version 3", EVERYTHING, "unix", 3, "ADDHDRS CHGBODY ADDRCPT DELRCPT CHGHDRS QUARANTINE", "none"],
  ["Postfix, version 2", NOTHING, "unix", 2, "none", "NOCONNECT NOHELO NOMAIL NORCPT NOBODY NOHDRS NOEOH"],
  ["Postfix, version 2", EVERYTHING, "unix", 2, "ADDHDRS CHGBODY ADDRCPT DELRCPT CHGHDRS QUARANTINE", "none"],
  [
    "version 5",
    NOTHING,
    "unix",
    5,
    "none",
    "NOCONNECT NOHELO NOMAIL NORCPT NOBODY NOHDRS NOEOH NOUNKNOWN NODATA",
  ],
  [
    "version 4, no_header_reply",
    EVERYTHING,
    "unix",
    4,
    "ADDHDRS CHGBODY ADDRCPT DELRCPT CHGHDRS QUARANTINE",
    "NR_HDR",
  ],
  [
    "Sendmail with larger chunks",
    EVERYTHING,
    "unix",
    6,
    "ADDHDRS CHGBODY ADDRCPT DELRCPT CHGHDRS QUARANTINE CHGFROM ADDRCPT_PAR",
    "NR_HDR SKIP NR_CONN NR_HELO NR_MAIL NR_RCPT NR_DATA NR_UNKN NR_EOH NR_BODY HDR_LEADSPC",
  ],
  [
    "a later version",
    NOTHING,
    "unix",
    6,
    "none",
    "NOCONNECT NOHELO NOMAIL NORCPT NOBODY NOHDRS NOEOH NOUNKNOWN NODATA SKIP",
  ],
  ["no flags at all", NOTHING, "unix", 2, "none", "NOCONNECT NOHELO NOMAIL NORCPT NOBODY NOHDRS"],
  ["no flags at all", EVERYTHING, "unix", 2, "ADDHDRS CHGBODY ADDRCPT DELRCPT", "none"],
];

for (const [name, needs, transport, version, actions, steps] of TABLE) {
  const what = needs === NOTHING ? "nothing" : "everything";
  test(`${name}, ${transport}: a filter that needs ${what}`, () => {
    const agreement = negotiate(OFFERS[name]!, needs, transport);
    assert.equal(agreement.version, version);
    assert.equal(actionNames(agreement.actions).replaceAll("SMFIF_", ""), actions);
    assert.equal(stepNames(agreement.steps).replaceAll("SMFIP_", ""), steps);
    assert.equal(agreement.missing, needs.actions & ~agreement.actions);
  });
}

test("each event has its own bits", () => {
  const bits: readonly [MilterEvent, number, number][] = [
    ["connect", 0x1, 0x1000],
    ["helo", 0x2, 0x2000],
    ["mail", 0x4, 0x4000],
    ["rcpt", 0x8, 0x8000],
    ["data", 0x200, 0x10000],
    ["header", 0x20, 0x80],
    ["eoh", 0x40, 0x40000],
    ["body", 0x10, 0x80000],
    ["unknown", 0x100, 0x20000],
  ];
  for (const [event, no, quiet] of bits) {
    const offer = OFFERS["Postfix, version 6"]!;
    const without = { ...NOTHING, events: EVERY.filter((other) => other !== event), quiet: [event] };
    assert.equal(negotiate(offer, without, "unix").steps, no | 0x400, `without ${event}`);
    assert.equal(
      negotiate(offer, { ...without, events: EVERY }, "unix").steps,
      quiet | 0x400,
      `quiet ${event}`,
    );
  }
});

test("rejected recipients are asked for by name alone", () => {
  const needs = { ...EVERYTHING, quiet: [], rejectedRecipients: true };
  assert.equal(
    stepNames(negotiate(OFFERS["Postfix, version 6"]!, needs, "unix").steps),
    "SMFIP_SKIP SMFIP_RCPT_REJ SMFIP_HDR_LEADSPC",
  );
});

test("version 1 is refused", () => {
  for (const version of [0, 1]) {
    const offer = { version, actions: 0, steps: 0 };
    assert.throws(() => negotiate(offer, NOTHING, "unix"), { code: "ERR_MILTER_VERSION" });
  }
});

test("actions that the MTA lacks are left out and told", () => {
  const { actions, missing } = negotiate(
    OFFERS["Postfix, version 4"]!,
    { ...NOTHING, actions: 0x61 },
    "unix",
  );
  assert.equal(actionNames(actions), "SMFIF_ADDHDRS SMFIF_QUARANTINE");
  assert.equal(actionNames(missing), "SMFIF_CHGFROM");
});

testCuts("macro lists follow the options, in the order of their stages", (cut) => {
  const macros = { eoh: [], eom: ["i"], connect: ["j", "{client_addr}", "daemon_name"] };
  const agreement = negotiate({ version: 6, actions: 0x1ff, steps: 0 }, { ...NOTHING, macros }, "unix");
  const bytes = encodeAgreement(agreement);
  assert.equal(actionNames(agreement.actions), "SMFIF_SETSYMLIST");
  const lists = "\0\0\0\0j {client_addr} {daemon_name}\0\0\0\0\x05i\0\0\0\0\x06\0";
  assert.deepEqual(bytes, raw("O", `\0\0\0\x06\0\0\x01\0\0\0\0\x3f${lists}`));
  assert.deepEqual(decodeResponse(onePacket(bytes, cut)), {
    kind: "optneg",
    version: 6,
    actions: 0x100,
    steps: 0x3f,
    macros: [
      { stage: 0, names: "j {client_addr} {daemon_name}" },
      { stage: 5, names: "i" },
      { stage: 6, names: "" },
    ],
  });
});

test("macro lists are kept back from an MTA that does not take them", () => {
  const needs = { ...NOTHING, macros: { eom: ["i"] } };
  const agreement = negotiate({ version: 6, actions: 0xff, steps: 0x1fffff }, needs, "unix");
  assert.deepEqual([agreement.actions, agreement.macros], [0, []]);
});

test("a macro's name must be one", () => {
  for (const name of ["", "a b", "{}", "a\0", "{{x}}"]) {
    const needs = { ...NOTHING, macros: { eom: [name] } };
    assert.throws(() => negotiate(OFFERS["Postfix, version 6"]!, needs, "unix"), /not a macro name/);
  }
});
