/**
 * What Postfix offers after EHLO, as far as main.cf says: services in
 * master.cf may differ, and what only some clients are offered (XCLIENT,
 * XFORWARD, XVERP, AUTH mechanisms) is not listed.
 */

import { words } from "./postconf.ts";

export interface EhloFacts {
  /** Lines of the answer without the code, in Postfix's order: "PIPELINING", "SIZE 10240000". */
  readonly capabilities: readonly string[];
  /** smtpd_discard_ehlo_keywords: what a table's answer takes the place of. Lower case. */
  readonly discarded: readonly string[];
  /** smtpd_discard_ehlo_keyword_address_maps names a socketmap. */
  readonly asksSocketmap: boolean;
}

export const EHLO_PARAMETERS: readonly string[] = [
  "disable_vrfy_command",
  "smtpd_tls_security_level",
  "smtpd_use_tls",
  "smtpd_enforce_tls",
  "smtpd_sasl_auth_enable",
  "smtputf8_enable",
  "smtpd_discard_ehlo_keywords",
  "smtpd_discard_ehlo_keyword_address_maps",
];

/** `values` by parameter, as postconf gives them; message_size_limit among them. */
export function ehloFacts(values: ReadonlyMap<string, string>): EhloFacts {
  const value = (name: string) => values.get(name) ?? "";
  const yes = (name: string) => value(name) === "yes";
  const level = value("smtpd_tls_security_level");
  const tls = level === "" ? yes("smtpd_use_tls") || yes("smtpd_enforce_tls") : level !== "none";
  const limit = Number(value("message_size_limit")) || 0;
  const discarded = words(value("smtpd_discard_ehlo_keywords").toLowerCase());
  const offered: readonly (readonly [line: string, offered: boolean])[] = [
    ["PIPELINING", true],
    [limit > 0 ? `SIZE ${limit}` : "SIZE", true],
    ["VRFY", !yes("disable_vrfy_command")],
    ["ETRN", true],
    ["STARTTLS", tls],
    ["AUTH", yes("smtpd_sasl_auth_enable")],
    ["ENHANCEDSTATUSCODES", true],
    ["8BITMIME", true],
    ["DSN", true],
    ["SMTPUTF8", value("smtputf8_enable") !== "no"],
    ["CHUNKING", true],
  ];
  return {
    capabilities: offered
      .filter(([line, is]) => is && !discarded.includes(line.split(" ", 1)[0]?.toLowerCase() ?? ""))
      .map(([line]) => line),
    discarded,
    asksSocketmap: /\bsocketmap:/.test(value("smtpd_discard_ehlo_keyword_address_maps")),
  };
}
