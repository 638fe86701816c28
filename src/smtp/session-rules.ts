/** What the configuration and a script's globals refuse by themselves, and the replies for it. Pure functions. */
import type { Parameters, SmtpGlobals } from "../scripts/smtpsvr.ts";
import { reply } from "./reply.ts";
import { CONTINUE, refuse, type Verdict } from "./verdict.ts";

export const TOO_BIG = refuse(reply(552, "5.3.4", "Message size exceeds limit"));
export const RELAY_DENIED = refuse(reply(554, "5.7.1", "Relay access denied"));
export const HELO_REFUSED = refuse(reply(554, "5.7.1", "Connection refused"));
const ACCESS_DENIED = refuse(reply(554, "5.7.1", "Access denied"));
const AUTHENTICATE = refuse(reply(530, "5.7.0", "Authentication required"));
const USER_NOT_ALLOWED = refuse(reply(535, "5.7.8", "This user may not send from here"));

/** ValidClientAddress; it counts at any step. */
export function clientAccess({ ValidClientAddress }: Readonly<SmtpGlobals>): Verdict {
  return ValidClientAddress ? CONTINUE : ACCESS_DENIED;
}

/** At MAIL: whether the client must log in, or has logged in as somebody who may not send. */
export function senderAccess(globals: Readonly<SmtpGlobals>): Verdict {
  const { AuthenticationRequired, AllowedUsers, AuthUser, Submission } = globals;
  if (Submission === "sendmail") return CONTINUE;
  if (AuthenticationRequired && AuthUser === "") return AUTHENTICATE;
  const allowed = AllowedUsers.split(/[\s]+/).filter((name) => name !== "");
  if (allowed.length === 0) return CONTINUE;
  const user = AuthUser.toLowerCase();
  return allowed.some((name) => name.toLowerCase() === user) ? CONTINUE : USER_NOT_ALLOWED;
}

/** At MAIL: SIZE= against the limit in bytes, 0 for none. */
export function announcedSize(parameters: Parameters, maxSize: number): Verdict {
  return exceeds(Number(parameters.get("SIZE") ?? 0), maxSize) ? TOO_BIG : CONTINUE;
}

/** Whether a message of `size` bytes is over the limit; 0 is no limit. */
export function exceeds(size: number, maxSize: number): boolean {
  return maxSize > 0 && size > maxSize;
}

/** A script took relaying from a client that would have it by its address; a login gives it back. */
export function relayingWithdrawn(globals: Readonly<SmtpGlobals>, enteredLocal: boolean): boolean {
  return enteredLocal && !globals.LocalClientAddress && globals.AuthUser === "";
}
