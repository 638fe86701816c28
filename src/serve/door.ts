/** What the handlers of the milter door share: their services, and small translations. */
import { MessageStore, type SpillOptions } from "../message/store.ts";
import type { MilterContext } from "../milter/filter.ts";
import { SMFIP_HDR_LEADSPC } from "../milter/protocol.ts";
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

/** A store for a message that comes over a milter connection. */
export function openStore(services: DoorServices, { steps }: MilterContext): MessageStore {
  return new MessageStore({ leadingSpace: (steps & SMFIP_HDR_LEADSPC) !== 0, spill: services.spill });
}

/** Puts into the log what went wrong with keeping a message. */
export function reportStore(
  { log }: DoorServices,
  store: MessageStore,
  session: string,
  queue: string,
): void {
  const { problem, lost } = store;
  if (lost) log.error("message not kept", { session, queue, problem: problem || "no memory is left" });
  else if (problem !== "") log.warn("message kept in memory", { session, queue, problem });
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
