/**
 * The milter door: hands out a handler for each milter connection, by the kind
 * of mail that comes over it. It asks the MTA for what the loaded scripts need
 * and for nothing else (needs.ts).
 */
import type { MilterContext, MilterFilter, MilterHandler } from "../milter/filter.ts";
import type { DoorServices } from "./door.ts";
import { InternalMail, isInternal } from "./internal-mail.ts";
import { type DoorWork, doorWork } from "./needs.ts";
import { type Meeting, SmtpMail } from "./smtp-mail.ts";

export interface MilterDoor extends MilterFilter {
  /** The same as open() for a connection whose session the policy service may know. */
  openFor(context: MilterContext, meeting: Meeting | undefined): MilterHandler;
}

/** One for each set of scripts, which must be loaded. */
export function milterDoor(services: DoorServices): MilterDoor {
  const work = doorWork(services);
  const open = (context: MilterContext, meeting?: Meeting) =>
    chosenAtConnect(services, context, work, meeting);
  return {
    needs: () => work.needs,
    open: (context) => open(context),
    openFor: open,
  };
}

/** What kind of mail a connection brings shows at CONNECT. Where nothing is to be done, the MTA need not go on. */
function chosenAtConnect(
  services: DoorServices,
  context: MilterContext,
  { goesOn, internal }: DoorWork,
  meeting: Meeting | undefined,
): MilterHandler {
  let chosen: MilterHandler | undefined;
  const handler = () => {
    chosen ??= new SmtpMail(services, context, goesOn, meeting);
    return chosen;
  };
  return {
    connect: (event) => {
      if (!isInternal(event)) return handler().connect?.(event);
      if (!internal.submissions && !internal.notices) return { kind: "accept" };
      chosen = new InternalMail(services, context, internal);
      return undefined;
    },
    helo: (name) => handler().helo?.(name),
    mail: (args) => handler().mail?.(args),
    rcpt: (args) => handler().rcpt?.(args),
    data: () => handler().data?.(),
    unknown: (line) => handler().unknown?.(line),
    header: (name, value) => handler().header?.(name, value),
    body: (chunk) => handler().body?.(chunk),
    endOfMessage: () => handler().endOfMessage?.(),
    abort: (cause) => handler().abort?.(cause),
    close: (cause, error) => handler().close?.(cause, error),
  };
}
