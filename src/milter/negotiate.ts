/**
 * Option negotiation: what the MTA offers and the filter needs, made into the
 * answer. Pure; throws MilterProtocolError for a version not spoken here.
 */
import { MilterProtocolError } from "./errors.ts";
import type { FilterNeeds, Transport } from "./filter.ts";
import {
  knownActions,
  knownSteps,
  type MacroStage,
  type MilterEvent,
  SMFI_V1_ACTS,
  SMFI_V1_PROT,
  SMFI_VERSION_MAX,
  SMFI_VERSION_MIN,
  SMFIC_OPTNEG,
  SMFIF_SETSYMLIST,
  SMFIM,
  SMFIP_HDR_LEADSPC,
  SMFIP_NOBODY,
  SMFIP_NOCONNECT,
  SMFIP_NODATA,
  SMFIP_NOEOH,
  SMFIP_NOHDRS,
  SMFIP_NOHELO,
  SMFIP_NOMAIL,
  SMFIP_NORCPT,
  SMFIP_NOUNKNOWN,
  SMFIP_NR_BODY,
  SMFIP_NR_CONN,
  SMFIP_NR_DATA,
  SMFIP_NR_EOH,
  SMFIP_NR_HDR,
  SMFIP_NR_HELO,
  SMFIP_NR_MAIL,
  SMFIP_NR_RCPT,
  SMFIP_NR_UNKN,
  SMFIP_RCPT_REJ,
  SMFIP_SKIP,
} from "./protocol.ts";
import { packet } from "./writer.ts";

export interface Offer {
  readonly version: number;
  readonly actions: number;
  readonly steps: number;
}

export interface Agreement extends Offer {
  /** Lists for the answer, in the order of the stage numbers. */
  readonly macros: readonly { readonly stage: number; readonly names: string }[];
  /** SMFIF_ bits that the filter needs and the MTA does not offer. */
  readonly missing: number;
}

/** Bit to leave an event out. */
export const NO_EVENT: Readonly<Record<MilterEvent, number>> = {
  connect: SMFIP_NOCONNECT,
  helo: SMFIP_NOHELO,
  mail: SMFIP_NOMAIL,
  rcpt: SMFIP_NORCPT,
  data: SMFIP_NODATA,
  header: SMFIP_NOHDRS,
  eoh: SMFIP_NOEOH,
  body: SMFIP_NOBODY,
  unknown: SMFIP_NOUNKNOWN,
};

/** Bit to promise that an event gets no reply. */
export const NO_REPLY: Readonly<Record<MilterEvent, number>> = {
  connect: SMFIP_NR_CONN,
  helo: SMFIP_NR_HELO,
  mail: SMFIP_NR_MAIL,
  rcpt: SMFIP_NR_RCPT,
  data: SMFIP_NR_DATA,
  header: SMFIP_NR_HDR,
  eoh: SMFIP_NR_EOH,
  body: SMFIP_NR_BODY,
  unknown: SMFIP_NR_UNKN,
};

/** Every event, in the order of the dialogue. */
export const EVENTS: readonly MilterEvent[] = Object.keys(NO_EVENT) as MilterEvent[];

/**
 * DATA must be sent and answered over TCP. Postfix's smtpd passes the socket on to cleanup(8) behind DATA; when
 * the small packet before that was not answered, cleanup's first small packet waits for its acknowledgement,
 * which the filter's system delays by 40 ms (Nagle's algorithm; measured with 3.7). No other event stalls.
 */
const TCP_STALLS = SMFIP_NODATA | SMFIP_NR_DATA;

export function negotiate(offer: Offer, needs: FilterNeeds, transport: Transport): Agreement {
  if (offer.version < SMFI_VERSION_MIN) {
    const text = `version ${SMFI_VERSION_MIN} or later expected, got ${offer.version}`;
    throw new MilterProtocolError("ERR_MILTER_VERSION", 5, "SMFIC_OPTNEG version", text);
  }
  const version = Math.min(offer.version, SMFI_VERSION_MAX);
  const offeredActions = (offer.actions === 0 ? SMFI_V1_ACTS : offer.actions) & knownActions(version);
  const offeredSteps = (offer.steps === 0 ? SMFI_V1_PROT : offer.steps) & knownSteps(version);
  const macros = (offeredActions & SMFIF_SETSYMLIST) === 0 ? [] : macroLists(needs);
  const wanted = needs.actions & ~SMFIF_SETSYMLIST;
  return {
    version,
    actions: (wanted & offeredActions) | (macros.length === 0 ? 0 : SMFIF_SETSYMLIST),
    steps: wantedSteps(needs, transport) & offeredSteps,
    macros,
    missing: wanted & ~offeredActions,
  };
}

function wantedSteps(needs: FilterNeeds, transport: Transport): number {
  let steps = SMFIP_SKIP;
  for (const event of EVENTS) {
    if (!needs.events.includes(event)) steps |= NO_EVENT[event];
    else if (needs.quiet.includes(event)) steps |= NO_REPLY[event];
  }
  if (transport === "tcp") steps &= ~TCP_STALLS;
  if (needs.leadingSpace) steps |= SMFIP_HDR_LEADSPC;
  if (needs.rejectedRecipients === true) steps |= SMFIP_RCPT_REJ;
  return steps;
}

function macroLists(needs: FilterNeeds): { stage: number; names: string }[] {
  return Object.entries(needs.macros ?? {})
    .map(([stage, names]) => ({
      stage: SMFIM[stage as MacroStage],
      names: names.map(macroName).join(" "),
    }))
    .sort((a, b) => a.stage - b.stage);
}

/** As it goes over the wire: "i", but "{client_addr}". */
function macroName(name: string): string {
  const bare = name.replace(/^\{(.*)\}$/, "$1");
  if (!/^[!-z|~]+$/.test(bare)) throw new TypeError(`not a macro name: ${JSON.stringify(name)}`);
  return bare.length === 1 ? bare : `{${bare}}`;
}

export function encodeAgreement(agreement: Agreement): Buffer {
  const lists = agreement.macros.flatMap(({ stage, names }) => [stage, names]);
  return packet(SMFIC_OPTNEG, agreement.version, agreement.actions, agreement.steps, ...lists);
}
