/**
 * The block-list stage of a session: after Start the client is looked up, the
 * script hears of it in RBLResults, and what then holds for every message of
 * the session is decided (manual, "Start()" and "RBLResults()").
 *
 * Look-ups are net/dnsbl.ts's work, the globals scripts/block-lists.ts's. A
 * list that fails lists nobody. Throws ScriptError for what the script left
 * in its globals; the session turns that into its verdict.
 */
import { isIP } from "node:net";
import type { Config } from "../config/load.ts";
import type { Edit } from "../message/edit.ts";
import { topLines } from "../message/modifiers.ts";
import { type ClientPatterns, clientPatterns } from "../net/client-patterns.ts";
import { type BlockLists, isListName, type Listed, littleEndian } from "../net/dnsbl.ts";
import type { BlockListInput, BlockListOutput } from "../scripts/block-lists.ts";
import { SMTPSVR_FILE } from "../scripts/callbacks.ts";
import type { LoadedScript } from "../scripts/loader.ts";
import type { SmtpGlobals, SmtpScript } from "../scripts/smtpsvr.ts";
import { recipientAddress } from "./actions.ts";
import type { Decisions } from "./decide.ts";
import type { Envelope } from "./envelope.ts";
import { refusalReply, reply, replyText } from "./reply.ts";
import { CONTINUE, refuse, type Verdict } from "./verdict.ts";

export type BlockListSettings = Config["rbl"];

/** What a process shares. */
export interface BlockListServices {
  readonly settings: BlockListSettings;
  readonly whitelist: ClientPatterns;
  readonly lists: Pick<BlockLists, "check">;
}

/** What comes of the stage. Where clients that log in are spared, none of it holds for their messages. */
export interface Listing {
  readonly refusal: Verdict;
  readonly discard: boolean;
  /** An address, or "". */
  readonly redirect: string;
  /** Header lines for the top of every message, or "". */
  readonly header: string;
}

export const UNLISTED: Listing = { refusal: CONTINUE, discard: false, redirect: "", header: "" };

/** More would be a mistake of the script's, and each costs every client a packet. */
const MOST_LISTS = 64;
const STAGE = "block lists";
/** What the log calls the look-ups themselves. */
export const LOOK_UP = "RBL";

/** Told once for each loaded script. */
const uses = new WeakMap<LoadedScript, boolean>();

/** Whether the script may have anything to do with block lists; the globals are for such scripts alone. */
export function usesBlockLists({ servers }: BlockListSettings, loaded: LoadedScript): boolean {
  const known = uses.get(loaded);
  if (known !== undefined) return known;
  const names = (...words: readonly string[]) => words.some((word) => loaded.mentions(word));
  // What the script loads may use them, too; that is worth it where lists are configured.
  const used = names("RBL") || (servers.length > 0 && names("require", "dofile", "loadfile"));
  uses.set(loaded, used);
  return used;
}

/** The globals as they enter: local clients are not looked up, nor is anybody where there are no lists. */
export function blockListInput(
  settings: BlockListSettings,
  { IPAddress, LocalClientAddress }: SmtpGlobals,
): BlockListInput {
  return {
    CheckRBL: settings.servers.length > 0 && !LocalClientAddress && isIP(IPAddress) !== 0,
    RBLServers: settings.servers,
    RBLWhitelist: settings.whitelist,
    RBLCheckAllServers: settings.check_all,
  };
}

export interface Stage {
  readonly services: BlockListServices;
  /** A script that uses block lists. */
  readonly script: SmtpScript | undefined;
  readonly globals: SmtpGlobals;
  /** The client's verified name, "" or "unknown" without one. */
  readonly hostname: string;
  readonly decisions: Decisions;
  /** Calls RBLResults, if there is one. */
  readonly results: () => Promise<Verdict>;
}

/** Between Start and GetMaxMessageSize. @throws ScriptError */
export async function blockListStage(stage: Stage): Promise<Listing> {
  const { services, script, globals, decisions } = stage;
  const { settings } = services;
  const entered = blockListInput(settings, globals);
  const start = { script: script?.name ?? SMTPSVR_FILE, callback: "Start" };
  const input = script?.blockLists?.input(start) ?? entered;
  if (!input.CheckRBL) return UNLISTED;

  const since = performance.now();
  const listed = await lookUp(stage, input, start.script, since);
  const first = listed[0];
  const info = new Map(listed.map(({ list, answers }) => [list, littleEndian(answers[0] ?? "")] as const));
  script?.blockLists?.results(first !== undefined, info);
  const said = await stage.results();
  const found = listed.map(({ list }) => list).join(" and ");
  const output = script?.blockLists?.output({ ...start, callback: "RBLResults" }) ?? {
    ...NOTHING_SAID,
    RBLFound: first !== undefined,
  };
  const listing = judge(said, output, settings.action, globals.IPAddress, found, start.script);
  if (output.RBLFound || said.kind !== "continue") {
    decisions.record(script === undefined ? "" : script.name, STAGE, listingText(listing), since, found);
  }
  return listing;
}

const NOTHING_SAID: BlockListOutput = {
  RBLFound: false,
  RBLBlackhole: false,
  RBLAccept: false,
  RBLRedirect: "",
  RBLRejectMessage: "",
  RBLHeader: "",
};

async function lookUp(
  stage: Stage,
  input: BlockListInput,
  script: string,
  since: number,
): Promise<readonly Listed[]> {
  const { services, globals, hostname, decisions } = stage;
  const warn = (problem: string) => decisions.warn(script, "Start", problem);
  const record = (result: string, detail = "") => decisions.record("", LOOK_UP, result, since, detail);
  const whitelist = whitelistOf(services, input.RBLWhitelist, warn);
  if (whitelist.matches(globals.IPAddress, hostname)) {
    record("whitelisted");
    return [];
  }
  const lists = listsOf(input.RBLServers, warn);
  if (lists.length === 0) return [];
  const { listed, failed } = await services.lists.check(globals.IPAddress, lists, input.RBLCheckAllServers);
  const shown = listed.map(({ list, answers }) => `${list}=${answers.join(",")}`).join(" ");
  const without = failed.length === 0 ? "" : `(no answer from ${failed.join(", ")})`;
  record(listed.length > 0 ? `listed ${shown}` : "not listed", without);
  return listed;
}

function whitelistOf(
  { settings, whitelist }: BlockListServices,
  wanted: readonly string[],
  warn: (problem: string) => void,
): ClientPatterns {
  const same =
    wanted.length === settings.whitelist.length && wanted.every((w, i) => w === settings.whitelist[i]);
  if (same) return whitelist;
  const { patterns, bad } = clientPatterns(wanted);
  if (bad.length > 0) warn(`RBLWhitelist: "${bad[0]}" is no address, range, name or pattern; it is left out`);
  return patterns;
}

function listsOf(wanted: readonly string[], warn: (problem: string) => void): string[] {
  const lists = new Set<string>();
  for (const list of wanted) {
    if (!isListName(list)) warn(`RBLServers: "${list}" is no domain name; it is left out`);
    else lists.add(list);
  }
  if (lists.size > MOST_LISTS)
    warn(`RBLServers: only the first ${MOST_LISTS} of ${lists.size} lists are asked`);
  return [...lists].slice(0, MOST_LISTS);
}

/**
 * What holds, by precedence: the text of RBLResults, then for a listed client RBLAccept, RBLBlackhole, RBLRedirect,
 * RBLRejectMessage, and the action of the configuration.
 * @param said verdict of RBLResults
 * @param found names of the lists, for the reply
 * @throws ScriptError when RBLRedirect is no address
 */
export function judge(
  said: Verdict,
  output: BlockListOutput,
  action: BlockListSettings["action"],
  address: string,
  found: string,
  script: string,
): Listing {
  if (said.kind !== "continue") return { ...UNLISTED, refusal: said };
  if (!output.RBLFound) return UNLISTED;
  const listing = { ...UNLISTED, header: output.RBLHeader };
  if (output.RBLAccept) return listing;
  if (output.RBLBlackhole) return { ...listing, discard: true };
  if (output.RBLRedirect !== "") {
    const origin = { script, callback: "RBLResults" };
    return { ...listing, redirect: recipientAddress(output.RBLRedirect, origin, "RBLRedirect") };
  }
  const by = found === "" ? "" : ` by ${found}`;
  const standard = reply(554, "5.7.1", `Client host [${address}] is listed${by}`);
  if (output.RBLRejectMessage !== "") {
    return { ...listing, refusal: refuse(refusalReply(output.RBLRejectMessage, standard)) };
  }
  if (action === "discard") return { ...listing, discard: true };
  return action === "reject" ? { ...listing, refusal: refuse(standard) } : listing;
}

function listingText({ refusal, discard, redirect, header }: Listing): string {
  if (refusal.kind === "refuse") return `refuse ${replyText(refusal.reply)}`;
  if (discard) return "discard";
  const how = [redirect === "" ? "" : `redirect to ${redirect}`, header === "" ? "" : "header line"];
  return ["accept", ...how.filter((part) => part !== "")].join(", ");
}

/** `edits` with what the listing adds to them: the address that all mail goes to, and the header lines on top. */
export function listedEdits(
  listing: Listing,
  edits: readonly Edit[],
  envelope: Envelope,
  decisions: Decisions,
): readonly Edit[] {
  const { redirect, header } = listing;
  const out = redirect === "" ? [...edits] : redirected(edits, envelope, redirect);
  const top = topLines(header);
  for (const { line, why } of top.ignored) {
    decisions.warn(SMTPSVR_FILE, "RBLResults", `RBLHeader "${line}" left out: ${why}`);
  }
  if (redirect !== "") decisions.record("", STAGE, `redirect to ${redirect}`, performance.now());
  return [...out, ...top.edits];
}

function redirected(edits: readonly Edit[], envelope: Envelope, address: string): Edit[] {
  const out = edits.filter(({ kind }) => kind !== "addRecipient" && kind !== "deleteRecipient");
  const original = new Set(envelope.addresses());
  for (const other of original) if (other !== address) out.push({ kind: "deleteRecipient", address: other });
  if (!original.has(address)) out.push({ kind: "addRecipient", address, parameters: "" });
  return out;
}
