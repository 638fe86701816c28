/** What the handlers of the milter door share: their services, and small translations. */
import type { MilterReply } from "../milter/reply.ts";
import type { Transports } from "../smtp/outside.ts";
import type { SessionServices } from "../smtp/services.ts";
import type { Verdict } from "../smtp/verdict.ts";

export interface DoorServices extends SessionServices {
  readonly transports: Transports;
  /** Whether any rule of the configuration can refuse without a script. */
  readonly hasRules: boolean;
  /** Local part of the sender of Postfix's notices to the postmaster. */
  readonly doubleBounceSender: string;
  newSessionId(): string;
}

export function milterReply(verdict: Verdict): MilterReply {
  if (verdict.kind === "refuse") return { kind: "replycode", ...verdict.reply };
  return verdict;
}

/** Bytes of a header field in the message: ":" and CRLF come to it, and a fold's LF becomes CRLF. */
export function fieldBytes(name: Buffer, value: Buffer): number {
  let bytes = name.length + value.length + 3;
  for (let at = value.indexOf(0x0a); at >= 0; at = value.indexOf(0x0a, at + 1)) bytes++;
  return bytes;
}
