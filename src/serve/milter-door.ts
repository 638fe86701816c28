/**
 * The milter door: milter events into the session's words, verdicts and edits
 * back into milter replies. It asks the MTA for what the loaded script needs
 * and for nothing else.
 */

import type { MessageStore } from "../message/store.ts";
import type {
  AbortCause,
  CloseCause,
  ConnectEvent,
  FilterNeeds,
  MessageReply,
  MilterContext,
  MilterFilter,
  MilterHandler,
} from "../milter/filter.ts";
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
import type { MilterReply } from "../milter/reply.ts";
import { ERRORS_FILE, SIGNATURE_FILE, SMTPSVR_FILE } from "../scripts/callbacks.ts";
import { errorsCallback } from "../scripts/errors.ts";
import type { ScriptState } from "../scripts/loader.ts";
import type { Client } from "../smtp/client.ts";
import { domainOf, isOutside } from "../smtp/outside.ts";
import { usesBlockLists } from "../smtp/rbl.ts";
import { SmtpSession } from "../smtp/session.ts";
import { SharedSession } from "../smtp/shared-session.ts";
import { type DoorServices, fieldBytes, milterReply, NO_ROOM, openStore, reportStore } from "./door.ts";
import { InternalMail, type InternalWork, isInternal } from "./internal-mail.ts";

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

/** Where a connection's session may have been begun by the policy service. */
export interface Meeting {
  readonly session: (create: () => SharedSession) => SharedSession;
  /** The session is over. */
  readonly ended: (session: SharedSession) => void;
  /** The connection is over, and its client may be there still. */
  readonly kept: (session: SharedSession) => void;
}

export interface MilterDoor extends MilterFilter {
  /** The same as open() for a connection whose session the policy service may know. */
  openFor(context: MilterContext, meeting: Meeting | undefined): MilterHandler;
}

/** One for each set of scripts, which must be loaded: hands out a handler for each connection. */
export function milterDoor(services: DoorServices): MilterDoor {
  const { hasRules } = services;
  const notices = wantsNotices(services);
  const { transports, ownDomains } = services;
  const seesRelaying = ownDomains.complete || !transports.own.includes(transports.outgoing);
  const { settings } = services.blockLists;
  const smtpsvr = services.script(SMTPSVR_FILE);
  const listedMail = smtpsvr.kind === "loaded" && usesBlockLists(settings, smtpsvr.loaded);
  const blockLists = listedMail || settings.servers.length > 0;
  const { routing, signatures } = services.uses;
  const needs = filterNeeds(services, {
    hasRules,
    seesRelaying,
    notices,
    blockLists,
    listedMail,
    routing,
    signatures,
  });
  const work: InternalWork = {
    notices,
    submissions: filterNeeds(services, { hasRules, routing, signatures }).events.includes("mail"),
    content:
      routing ||
      signatures ||
      defines(services.script(SMTPSVR_FILE), "ProcessMessage") ||
      defines(services.script(SIGNATURE_FILE), "GetSignature"),
  };
  const open = (context: MilterContext, meeting?: Meeting) =>
    chosenAtConnect(services, context, work, blockLists, meeting);
  return {
    needs: () => needs,
    open: (context) => open(context),
    openFor: open,
  };
}

/** Whether what Postfix writes itself is looked at. */
function wantsNotices(services: DoorServices): boolean {
  const state = services.script(ERRORS_FILE);
  const asks = state.kind === "loaded" && errorsCallback(state.loaded) !== undefined;
  return asks || services.repeats.active;
}

/** What kind of mail a connection brings shows at CONNECT. Where nothing is to be done, the MTA need not go on. */
function chosenAtConnect(
  services: DoorServices,
  context: MilterContext,
  work: InternalWork,
  blockLists: boolean,
  meeting: Meeting | undefined,
): MilterHandler {
  const { notices, submissions } = work;
  let chosen: MilterHandler | undefined;
  const handler = () => {
    // Without notices the MTA was asked for nothing more anyway.
    chosen ??= new SmtpMail(services, context, submissions || blockLists || !notices, meeting);
    return chosen;
  };
  return {
    connect: (event) => {
      if (!isInternal(event)) return handler().connect?.(event);
      if (!submissions && !notices) return { kind: "accept" };
      chosen = new InternalMail(services, context, work);
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

function defines(state: ScriptState, callback: string): boolean {
  return state.kind === "loaded" && state.loaded.callbacks.has(callback);
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

class SmtpMail implements MilterHandler {
  readonly #services: DoorServices;
  readonly #context: MilterContext;
  readonly #goesOn: boolean;
  /** Whether the message under way is kept; asked once its recipients are known. */
  #keeps: boolean | undefined;
  readonly #meeting: Meeting | undefined;
  #session: SharedSession | undefined;
  /** The client as a whole was refused: Postfix closes the connection and keeps the reply. */
  #refused = false;
  #store: MessageStore | undefined;
  /** The store is in use, even if the connection ends meanwhile. */
  #deciding = false;
  /** Bytes of the message so far, counted also where they are not kept. */
  #size = 0;

  /** `goesOn`: there is something to do after CONNECT. */
  constructor(services: DoorServices, context: MilterContext, goesOn: boolean, meeting?: Meeting) {
    this.#services = services;
    this.#context = context;
    this.#goesOn = goesOn;
    this.#meeting = meeting;
  }

  async connect(event: ConnectEvent): Promise<MilterReply> {
    const { family, address, port, hostname } = event;
    const local = family === "unix" ? "127.0.0.1" : "unknown";
    const client = { address: address === "" || family === "unix" ? local : address, port, hostname };
    const create = () => this.#newSession(client);
    this.#session = this.#meeting?.session(create) ?? create();
    const reply = milterReply(await this.#session.start());
    this.#refused = reply.kind !== "continue";
    return reply.kind === "continue" && !this.#goesOn ? { kind: "accept" } : reply;
  }

  async helo(name: string): Promise<MilterReply> {
    const session = this.#current();
    session.globals.TLSVersion = this.#context.macro("{tls_version}") ?? "";
    const reply = milterReply(await session.helo(name));
    this.#refused = reply.kind !== "continue";
    return reply;
  }

  async mail(args: readonly string[]): Promise<MilterReply> {
    this.#forgetMessage();
    const session = this.#current();
    session.queueId = "";
    session.globals.TLSVersion = this.#context.macro("{tls_version}") ?? "";
    return milterReply(await session.mailFrom(args, this.#context.macro("{auth_authen}") ?? ""));
  }

  async rcpt(args: readonly string[]): Promise<MilterReply> {
    const session = this.#current();
    this.#learnQueueId();
    return milterReply(await session.rcptTo(args, this.#relayed(args[0] ?? "")));
  }

  async data(): Promise<MilterReply> {
    this.#learnQueueId();
    return milterReply(await this.#current().dataStart());
  }

  async unknown(line: string): Promise<MilterReply> {
    return milterReply(await this.#current().unrecognised(line));
  }

  header(name: Buffer, value: Buffer): undefined {
    this.#size += fieldBytes(name, value);
    if (this.#current().wantsHeader && this.#fits()) this.#message().addHeader(name, value);
  }

  body(chunk: Buffer): undefined {
    this.#size += chunk.length;
    if (this.#wanted() && this.#fits()) this.#message().addBody(chunk);
  }

  async endOfMessage(): Promise<MessageReply> {
    const session = this.#current();
    this.#learnQueueId();
    const store = this.#message();
    store.endOfHeaders();
    reportStore(this.#services, store, session.id, session.globals.QueueID);
    this.#deciding = true;
    try {
      if (store.lost) {
        session.abandon();
        this.#services.decided?.(NO_ROOM.kind);
        return { edits: [], reply: milterReply(NO_ROOM) };
      }
      const { verdict, edits } = await session.message(store, this.#size + 2);
      return { edits, reply: milterReply(verdict) };
    } finally {
      this.#deciding = false;
      this.#forgetMessage();
    }
  }

  async abort(cause: AbortCause): Promise<void> {
    this.#forgetMessage();
    if (cause === "reset") await this.#current().rset();
    else this.#current().abandon();
  }

  async close(cause: CloseCause): Promise<void> {
    this.#forgetMessage();
    const session = this.#session;
    if (session === undefined) return;
    const quit = cause === "quit" || cause === "quitnc";
    if (this.#meeting !== undefined && !quit && cause !== "stopped") {
      session.milterGone(this.#refused);
      this.#meeting.kept(session);
      return;
    }
    this.#meeting?.ended(session);
    if (quit) await session.quit();
    await session.end();
  }

  #newSession(client: Client): SharedSession {
    return new SharedSession(new SmtpSession(this.#services, client, this.#services.newSessionId()));
  }

  /** The session; an MTA that leaves CONNECT out gets one for a client nobody knows. */
  #current(): SharedSession {
    this.#session ??= this.#newSession({ address: "unknown", port: 0, hostname: "" });
    return this.#session;
  }

  #learnQueueId(): void {
    const id = this.#context.macro("i");
    if (id !== undefined) this.#current().queueId = id;
  }

  #relayed(recipient: string): boolean | undefined {
    const { transports, ownDomains } = this.#services;
    const transport = this.#context.macro("{rcpt_mailer}");
    if (transport === undefined) return undefined;
    return isOutside(domainOf(recipient.replace(/^<(.*)>$/s, "$1")), transport, transports, ownDomains);
  }

  #wanted(): boolean {
    this.#keeps ??= this.#current().wantsMessage;
    return this.#keeps;
  }

  #message(): MessageStore {
    this.#store ??= openStore(this.#services, this.#context);
    return this.#store;
  }

  /** A message over its limit is refused at its end; until then its bytes need not be kept. */
  #fits(): boolean {
    const limit = this.#current().maxMessageSize;
    return limit === 0 || this.#size <= limit;
  }

  #forgetMessage(): void {
    if (this.#deciding) return;
    this.#store?.close();
    this.#store = undefined;
    this.#keeps = undefined;
    this.#size = 0;
  }
}
