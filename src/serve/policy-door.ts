/**
 * The policy door: requests of Postfix's policy service into the session's
 * words. Runs in a worker; the connections are the primary's.
 */

import { failureVerdict } from "../smtp/decide.ts";
import { DUNNO, type PolicyAnswer } from "../smtp/policy-answer.ts";
import type { PolicyQuestion } from "../smtp/policy-question.ts";
import { SmtpSession } from "../smtp/session.ts";
import { SharedSession } from "../smtp/shared-session.ts";
import type { DoorServices } from "./door.ts";
import type { SharedSessions } from "./shared-sessions.ts";

/** What smtpd_relay_restrictions adds to its requests, so that they can be told from others. */
const RELAYING = "relay";

export interface PolicyMeeting {
  readonly sessions: SharedSessions;
  readonly key: string;
  /** The request's. */
  readonly number: number;
}

/** `attributes`: names and values in turn. */
export function answerPolicy(
  services: DoorServices,
  { sessions, key, number }: PolicyMeeting,
  attributes: readonly string[],
): Promise<PolicyAnswer> {
  const asked = policyQuestion(attributes);
  const session = sessions.ofRequest(key, number, asked, () => newSession(services, asked));
  return session.ask(asked).catch((error: Error) => {
    // A bug of ours.
    services.log.error("policy", { session: session.id, problem: error.stack ?? error.message });
    const verdict = failureVerdict(services.scriptError);
    return verdict.kind === "refuse" ? verdict : DUNNO;
  });
}

function newSession(services: DoorServices, { attributes }: PolicyQuestion): SharedSession {
  const name = attributes.get("client_name") ?? "";
  const address = attributes.get("client_address") || "unknown";
  const client = {
    address,
    port: Number(attributes.get("client_port")) || 0,
    // As a milter is told it.
    hostname: name === "unknown" || name === "" ? `[${address}]` : name,
  };
  return new SharedSession(new SmtpSession(services, client, services.newSessionId()));
}

/** What a request says. */
function policyQuestion(flat: readonly string[]): PolicyQuestion {
  const attributes = new Map<string, string>();
  let step = "";
  for (let at = 0; at < flat.length; at += 2) {
    const name = flat[at] ?? "";
    const value = flat[at + 1] ?? "";
    attributes.set(name, value);
    // The same step may be asked about from several lists, and has its queue file opened in between.
    if (name !== "policy_context" && name !== "queue_id") step += `${value}\n`;
  }
  const of = (name: string) => attributes.get(name) ?? "";
  const state = of("protocol_state");
  return {
    state,
    // At HELO itself protocol_name is still that of the command before.
    extended: state === "EHLO" || (state !== "HELO" && of("protocol_name") === "ESMTP"),
    heloName: of("helo_name"),
    sender: of("sender"),
    recipient: of("recipient"),
    size: Number(of("size")) || 0,
    authUser: of("sasl_username"),
    tlsVersion: of("encryption_protocol"),
    certificate: of("ccert_fingerprint") !== "",
    instance: of("instance"),
    queueId: of("queue_id"),
    relaying: of("policy_context") === RELAYING,
    step,
    attributes,
  };
}
