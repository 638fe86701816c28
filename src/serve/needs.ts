/**
 * What a milter connection needs of the MTA: events, which of them wait for an
 * answer, edits, macros. It follows from the scripts that are loaded and from
 * what the configuration and the store give them to do; nothing else is asked for.
 */
import type { FilterNeeds } from "../milter/filter.ts";
import {
  SMFIF_ADDHDRS,
  SMFIF_ADDRCPT,
  SMFIF_ADDRCPT_PAR,
  SMFIF_CHGBODY,
  SMFIF_CHGFROM,
  SMFIF_CHGHDRS,
  SMFIF_DELRCPT,
  SMFIF_QUARANTINE,
} from "../milter/protocol.ts";
import { ERRORS_FILE, SIGNATURE_FILE, SMTPSVR_FILE } from "../scripts/callbacks.ts";
import { errorsCallback } from "../scripts/errors.ts";
import type { ScriptState } from "../scripts/loader.ts";
import { usesBlockLists } from "../smtp/rbl.ts";
import type { DoorServices } from "./door.ts";
import type { InternalWork } from "./internal-mail.ts";

const EDITS =
  SMFIF_ADDHDRS |
  SMFIF_CHGHDRS |
  SMFIF_ADDRCPT |
  SMFIF_ADDRCPT_PAR |
  SMFIF_DELRCPT |
  SMFIF_CHGFROM |
  SMFIF_QUARANTINE;

const ROUTING_EDITS = SMFIF_ADDRCPT | SMFIF_ADDRCPT_PAR | SMFIF_DELRCPT;

const SIGNATURE_EDITS = SMFIF_CHGBODY | SMFIF_CHGHDRS | SMFIF_ADDHDRS;

/** What decides, beside the scripts, which events are of use. */
export interface Circumstances {
  /** A rule of the configuration can refuse. */
  readonly hasRules?: boolean;
  /** It shows at RCPT whether mail is relayed. */
  readonly seesRelaying?: boolean;
  /** Postfix's own mail is looked at, which cannot be told from other mail that early. */
  readonly notices?: boolean;
  /** Clients are looked up in block lists. */
  readonly blockLists?: boolean;
  /** The script may have a listed client's mail redirected or marked. */
  readonly listedMail?: boolean;
  /** Recipients may be exchanged, by what the header says and by size. */
  readonly routing?: boolean;
  /** There are signatures in the store. */
  readonly signatures?: boolean;
}

/** What there is to do for sessions that begin now; the scripts must be loaded. */
export interface DoorWork {
  readonly needs: FilterNeeds;
  /** There is something to do for a client after CONNECT. */
  readonly goesOn: boolean;
  readonly internal: InternalWork;
}

export function doorWork(services: DoorServices): DoorWork {
  const { hasRules, transports, ownDomains } = services;
  const { routing, signatures } = services.uses;
  const { settings } = services.blockLists;
  const notices = wantsNotices(services);
  const smtpsvr = services.script(SMTPSVR_FILE);
  const listedMail = smtpsvr.kind === "loaded" && usesBlockLists(settings, smtpsvr.loaded);
  const blockLists = listedMail || settings.servers.length > 0;
  const seesRelaying = ownDomains.complete || !transports.own.includes(transports.outgoing);
  const common = { hasRules, routing, signatures };
  const submissions = filterNeeds(services, common).events.includes("mail");
  return {
    needs: filterNeeds(services, { ...common, seesRelaying, notices, blockLists, listedMail }),
    // Without notices the MTA was asked for nothing more anyway.
    goesOn: submissions || blockLists || !notices,
    internal: {
      notices,
      submissions,
      content:
        routing ||
        signatures ||
        defines(smtpsvr, "ProcessMessage") ||
        defines(services.script(SIGNATURE_FILE), "GetSignature"),
    },
  };
}

/** Whether what Postfix writes itself is looked at. */
function wantsNotices(services: DoorServices): boolean {
  const state = services.script(ERRORS_FILE);
  const asks = state.kind === "loaded" && errorsCallback(state.loaded) !== undefined;
  return asks || services.repeats.active;
}

/**
 * What the scripts need of the MTA. A broken SMTPSVR.LUA needs every verdict,
 * so that script_error reaches the client whatever it does.
 */
export function filterNeeds(
  services: Pick<DoorServices, "script">,
  {
    hasRules = false,
    seesRelaying = false,
    notices = false,
    blockLists = false,
    listedMail = false,
    routing = false,
    signatures = false,
  }: Circumstances,
): FilterNeeds {
  const state = services.script(SMTPSVR_FILE);
  const signs = signatures || defines(services.script(SIGNATURE_FILE), "GetSignature");
  const loaded = state.kind === "loaded" ? state.loaded : undefined;
  const has = (...names: readonly string[]) => names.some((name) => loaded?.callbacks.has(name) === true);
  const rules = hasRules || state.kind === "broken";
  const any = rules || (loaded !== undefined && loaded.callbacks.size > 0);
  const envelope = has("DoRCPTTO", "DoDATAStart", "ProcessMessage") || listedMail;
  const relaying = seesRelaying && loaded?.mentions("LocalClientAddress") === true;

  const events: FilterNeeds["events"][number][] = ["connect"];
  const quiet: FilterNeeds["quiet"][number][] = [];
  const want = (event: FilterNeeds["events"][number], wanted: boolean, reply: boolean) => {
    if (!wanted) return;
    if (!events.includes(event)) events.push(event);
    if (!reply) quiet.push(event);
  };
  want(
    "helo",
    has("DoHELO", "GetMaxMessageSize", "DoRSET", "End") || rules,
    has("DoHELO", "GetMaxMessageSize"),
  );
  want("mail", any || blockLists || notices || signs || routing, any || blockLists);
  want("rcpt", envelope || relaying || notices || signs || routing, has("DoRCPTTO") || relaying);
  want("data", has("DoDATAStart"), true);
  const content = notices || signs || routing || has("ProcessMessage", "GetMaxMessageSize");
  want("header", content, false);
  want("body", content, false);
  want("unknown", has("DoUnrecognised", "DoHELP"), true);

  return {
    events,
    quiet,
    actions:
      (notices || listedMail || has("DoMAILFROM", "DoRCPTTO", "DoDATAStart", "ProcessMessage") ? EDITS : 0) |
      (notices ? SMFIF_CHGBODY : 0) |
      (signs ? SIGNATURE_EDITS : 0) |
      (routing ? ROUTING_EDITS : 0),
    macros: {
      connect: ["j", "{daemon_name}", "{daemon_port}"],
      helo: ["{tls_version}"],
      mail: ["{auth_authen}", "{tls_version}"],
      rcpt: ["i", "{rcpt_mailer}"],
      data: ["i"],
      eom: ["i"],
    },
    leadingSpace: true,
  };
}

/** Needs that cover those of each; undefined for none. */
export function together(all: readonly FilterNeeds[]): FilterNeeds | undefined {
  const [first, ...others] = all;
  if (first === undefined) return undefined;
  return others.reduce((sum, needs) => {
    const events = [...new Set([...sum.events, ...needs.events])];
    return {
      events,
      // Quiet for those who want the event at all.
      quiet: events.filter((event) =>
        [sum, needs].every((one) => one.quiet.includes(event) || !one.events.includes(event)),
      ),
      actions: sum.actions | needs.actions,
      macros: { ...sum.macros, ...needs.macros },
      leadingSpace: sum.leadingSpace,
    };
  }, first);
}

/** Whether a connection that was negotiated with `given` serves `needed`. */
export function covers(given: FilterNeeds, needed: FilterNeeds): boolean {
  return (
    needed.events.every((event) => given.events.includes(event)) &&
    given.quiet.every((event) => needed.quiet.includes(event) || !needed.events.includes(event)) &&
    (needed.actions & ~given.actions) === 0
  );
}

function defines(state: ScriptState, callback: string): boolean {
  return state.kind === "loaded" && state.loaded.callbacks.has(callback);
}
