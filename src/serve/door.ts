/** What the handlers of the milter door share: their services, and small translations. */
import type { SpillOptions } from "../message/store.ts";
import type { MilterReply } from "../milter/reply.ts";
import type { Transports } from "../smtp/outside.ts";
import { reply } from "../smtp/reply.ts";
import type { SessionServices } from "../smtp/services.ts";
import { refuse, type Verdict } from "../smtp/verdict.ts";

export interface DoorServices extends SessionServices {
  readonly transports: Transports;
  /** Where messages go that are too large for memory. */
  readonly spill: SpillOptions;
  /** Whether any rule of the configuration can refuse without a script. */
  readonly hasRules: boolean;
  /** Local part of the sender of Postfix's notices to the postmaster. */
  readonly doubleBounceSender: string;
  newSessionId(): string;
}

/** For a message whose bytes had no room; the sender is to come back. */
export const NO_ROOM = refuse(reply(452, "4.3.1", "Insufficient system storage"));

export function milterReply(verdict: Verdict): MilterReply {
  if (verdict.kind === "refuse") return { kind: "replycode", ...verdict.reply };
  return verdict;
}
