import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { test } from "node:test";
import * as protocol from "../../src/milter/protocol.ts";

const CONSTANTS = new Map(Object.entries(protocol).filter(([, value]) => typeof value === "number"));
const MFDEF = "/usr/include/libmilter/mfdef.h";

test("codes and bits have names for logs", () => {
  for (const [name, value] of CONSTANTS) {
    const code = Number(value);
    if (name.startsWith("SMFIC_")) assert.equal(protocol.commandName(code), name);
    if (name.startsWith("SMFIR_")) assert.equal(protocol.replyName(code), name);
    if (name.startsWith("SMFIF_") && code !== 0) assert.equal(protocol.actionNames(code), name);
    if (name.startsWith("SMFIP_") && code < 0x200000) assert.equal(protocol.stepNames(code), name);
  }
  assert.equal(protocol.commandName(0x5a), "0x5a");
  assert.equal(protocol.replyName(0x5a), "0x5a");
  assert.equal(protocol.replyName(protocol.SMFIC_OPTNEG), "SMFIC_OPTNEG");
  assert.equal(protocol.actionNames(0), "none");
  assert.equal(protocol.stepNames(0x80000001), "SMFIP_NOCONNECT 0x80000000");
});

test("the numbers are those of mfdef.h", { skip: existsSync(MFDEF) ? false : "no libmilter-dev" }, () => {
  const header = readFileSync(MFDEF, "latin1");
  let compared = 0;
  for (const [, name, value] of header.matchAll(/^#define\s+(SMFI[CRPA]_\w+)\s+('.'|0x[0-9a-fA-F]+L)/gm)) {
    if (name === "SMFIP_TEST") continue;
    const expected = value!.startsWith("'") ? value!.charCodeAt(1) : Number.parseInt(value!, 16);
    assert.equal(CONSTANTS.get(name!), expected, name);
    compared++;
  }
  assert.ok(compared > 55, `${compared} compared`);
});
