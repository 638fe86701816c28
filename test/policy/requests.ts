/** Requests as smtpd sent them: 3.7.11 recorded, 3.11 with the attributes that its smtpd_check.c adds. */

const CLIENT = [
  ["client_address", "192.0.2.7"],
  ["client_name", "unknown"],
  ["client_port", "59052"],
  ["reverse_client_name", "unknown"],
  ["server_address", "127.0.0.1"],
  ["server_port", "25"],
] as const;

const REST = [
  ["etrn_domain", ""],
  ["stress", ""],
  ["sasl_method", ""],
  ["sasl_username", ""],
  ["sasl_sender", ""],
  ["ccert_subject", ""],
  ["ccert_issuer", ""],
  ["ccert_fingerprint", ""],
  ["ccert_pubkey_fingerprint", ""],
  ["encryption_protocol", ""],
  ["encryption_cipher", ""],
  ["encryption_keysize", "0"],
  ["policy_context", ""],
] as const;

export interface Asked {
  readonly state: string;
  readonly helo?: string;
  readonly sender?: string;
  readonly recipient?: string;
  readonly count?: string;
  readonly queue?: string;
  readonly instance?: string;
  readonly size?: string;
  /** Replaces or adds. */
  readonly other?: Readonly<Record<string, string>>;
}

/** A request's attributes, in smtpd's order. */
export function asked(options: Asked): [string, string][] {
  const { state, helo = "", sender = "", recipient = "", count = "0" } = options;
  const { queue = "", instance = "", size = "0", other = {} } = options;
  const early = state === "CONNECT" || state === "HELO" || state === "EHLO";
  const attributes = new Map<string, string>([
    ["request", "smtpd_access_policy"],
    ["protocol_state", state],
    ["protocol_name", early ? "SMTP" : "ESMTP"],
    ...CLIENT,
    ["helo_name", helo],
    ["sender", sender],
    ["recipient", recipient],
    ["recipient_count", count],
    ["queue_id", queue],
    ["instance", instance],
    ["size", size],
    ...REST,
    ...Object.entries(other),
  ]);
  return [...attributes];
}

const MAIL = { helo: "client.test", sender: "a@b.test", size: "100" };
const OPEN = { ...MAIL, queue: "DA86020C26C", instance: "da9.6b037437.d86e5.0" };

/** One session with a message for two, in the order in which 3.7.11 asked. */
export const SESSION: readonly [string, string][][] = [
  asked({ state: "CONNECT" }),
  asked({ state: "EHLO", helo: "client.test" }),
  asked({ state: "MAIL", ...MAIL }),
  asked({ state: "RCPT", ...OPEN, queue: "", recipient: "x@example.test" }),
  asked({ state: "RCPT", ...OPEN, recipient: "q r@example.test" }),
  asked({ state: "DATA", ...OPEN, count: "2" }),
  asked({ state: "END-OF-MESSAGE", ...OPEN, count: "2", size: "18" }),
];

/** The same from 3.11. */
export const SESSION_311: readonly [string, string][][] = SESSION.map((attributes) => [
  ...attributes,
  ["compatibility_level", "3.11"],
  ["mail_version", "3.11.6"],
]);
