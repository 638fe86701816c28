import assert from "node:assert/strict";
import { test } from "node:test";
import { domainOf, isOutside, ownDomains } from "../../src/smtp/outside.ts";

const TRANSPORTS = { outgoing: "smtp", own: ["local", "virtual", "relay", "error"] };
/** Where the outgoing transport is an own one, too. */
const SAME = { outgoing: "smtp", own: ["local", "virtual", "smtp", "error"] };
const LISTED = ["ours.test", ".below.test"];

const CASES: [what: string, domain: string, transport: string, complete: boolean, outside?: boolean][] = [
  ["a listed domain", "ours.test", "local", true, false],
  ["a listed domain that transport_maps sends to another host", "ours.test", "smtp", true, false],
  ["a listed domain with a transport of its own", "ours.test", "lmtp-store", false, false],
  ["below a domain pattern", "a.b.below.test", "custom", false, false],
  ["a domain pattern leaves the domain itself out", "below.test", "smtp", true, true],
  ["below a domain that is listed alone", "mail.ours.test", "smtp", true, true],
  ["no domain", "", "local", false, false],
  ["a table's domain", "table.test", "virtual", false, false],
  ["no table has the alias", "table.test", "error", false, false],
  ["foreign", "theirs.test", "smtp", false, true],
  ["foreign, by a transport of the admin's", "theirs.test", "custom", true, true],
  ["an unknown transport, where tables may have the domain", "theirs.test", "custom", false, undefined],
];

for (const [what, domain, transport, complete, outside] of CASES) {
  test(`${what}: ${outside ?? "nobody knows"}`, () => {
    assert.equal(isOutside(domain, transport, TRANSPORTS, ownDomains(LISTED, complete)), outside);
  });
}

test("where foreign mail takes an own transport, the lists decide as far as they go", () => {
  const tell = (domain: string, complete: boolean) =>
    isOutside(domain, "smtp", SAME, ownDomains(LISTED, complete));
  assert.equal(tell("ours.test", false), false);
  assert.equal(tell("theirs.test", true), true);
  assert.equal(tell("theirs.test", false), undefined);
  assert.equal(isOutside("x.test", "virtual", SAME, ownDomains([], false)), false);
});

test("the domain of an address", () => {
  assert.deepEqual(['"a@b"@C.test', "joe", "", "x@"].map(domainOf), ["c.test", "", "", ""]);
});
