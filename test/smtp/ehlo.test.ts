/** What main.cf says about EHLO, and what a script's answer means. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { ehloFacts } from "../../src/config/ehlo.ts";
import { compare } from "../../src/smtp/ehlo.ts";

const facts = (values: Readonly<Record<string, string>>) => ehloFacts(new Map(Object.entries(values)));

test("ehloFacts() - what is offered by default, and with TLS, logins and a discarded keyword", () => {
  assert.deepEqual(facts({ message_size_limit: "10240000", smtputf8_enable: "yes" }), {
    capabilities: [
      "PIPELINING",
      "SIZE 10240000",
      "VRFY",
      "ETRN",
      "ENHANCEDSTATUSCODES",
      "8BITMIME",
      "DSN",
      "SMTPUTF8",
      "CHUNKING",
    ],
    discarded: [],
    asksSocketmap: false,
  });
  const other = facts({
    message_size_limit: "0",
    disable_vrfy_command: "yes",
    smtpd_tls_security_level: "may",
    smtpd_sasl_auth_enable: "yes",
    smtputf8_enable: "no",
    smtpd_discard_ehlo_keywords: "silent-discard, DSN chunking",
    smtpd_discard_ehlo_keyword_address_maps: "socketmap:unix:/x:ehlo",
  });
  assert.deepEqual(other, {
    capabilities: ["PIPELINING", "SIZE", "ETRN", "STARTTLS", "AUTH", "ENHANCEDSTATUSCODES", "8BITMIME"],
    discarded: ["silent-discard", "dsn", "chunking"],
    asksSocketmap: true,
  });
  assert.ok(facts({ smtpd_use_tls: "yes" }).capabilities.includes("STARTTLS"));
  assert.ok(
    !facts({ smtpd_use_tls: "yes", smtpd_tls_security_level: "none" }).capabilities.includes("STARTTLS"),
  );
});

const OFFERED = ["PIPELINING", "SIZE 10240000", "AUTH", "DSN"];

for (const [wanted, removed, unserved] of [
  ["PIPELINING\nSIZE 10240000\nAUTH\nDSN", [], []],
  ["pipelining\r\nsize 10240000\r\n250-AUTH PLAIN LOGIN\r\n250 dsn\r\n", [], []],
  ["PIPELINING\n\nDSN", ["SIZE", "AUTH"], []],
  ["SIZE 5", ["PIPELINING", "AUTH", "DSN"], ["SIZE 5"]],
  ["PIPELINING\nSIZE 10240000\nAUTH\nDSN\nX-OWN", [], ["X-OWN"]],
  ["AUTH=PLAIN", ["PIPELINING", "SIZE", "DSN"], []],
] as const) {
  test(`compare() - ${JSON.stringify(wanted)}`, () => {
    assert.deepEqual(compare(OFFERED, wanted), { removed, unserved });
  });
}
