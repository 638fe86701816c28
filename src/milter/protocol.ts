/**
 * The milter protocol's numbers, under the names that Sendmail's mfdef.h and
 * Postfix's milter8.c give them, so that a search for either finds the other.
 *
 * Facts only: nothing here decides anything. A packet is a 32-bit length in
 * network order (which counts the code, not itself), one byte of code, data.
 */

/** Events a filter can do without. End of message and the ends of transaction and session always come. */
export type MilterEvent =
  | "connect"
  | "helo"
  | "mail"
  | "rcpt"
  | "data"
  | "header"
  | "eoh"
  | "body"
  | "unknown";

export type MacroStage = "connect" | "helo" | "mail" | "rcpt" | "data" | "eom" | "eoh";

/** Highest and lowest protocol version spoken here. libmilter refuses version 1 as well. */
export const SMFI_VERSION_MAX = 6;
export const SMFI_VERSION_MIN = 2;

/** Body chunks, in both directions, are never longer; Sendmail disconnects a filter that sends more. */
export const MILTER_CHUNK_SIZE = 65535;

// Commands, MTA to filter.
export const SMFIC_ABORT = 0x41; // A
export const SMFIC_BODY = 0x42; // B
export const SMFIC_CONNECT = 0x43; // C
export const SMFIC_MACRO = 0x44; // D
export const SMFIC_BODYEOB = 0x45; // E: end of message
export const SMFIC_HELO = 0x48; // H
export const SMFIC_HEADER = 0x4c; // L
export const SMFIC_MAIL = 0x4d; // M
export const SMFIC_EOH = 0x4e; // N: end of headers
export const SMFIC_OPTNEG = 0x4f; // O; the filter's answer bears the same code
export const SMFIC_QUIT = 0x51; // Q
export const SMFIC_RCPT = 0x52; // R
export const SMFIC_UNKNOWN = 0x55; // U, since version 3
export const SMFIC_DATA = 0x54; // T, since version 4
export const SMFIC_QUIT_NC = 0x4b; // K, since version 6: the next SMTP client follows on the same socket

// Replies and edits, filter to MTA.
export const SMFIR_ADDRCPT = 0x2b; // +
export const SMFIR_DELRCPT = 0x2d; // -
export const SMFIR_ACCEPT = 0x61; // a
export const SMFIR_REPLBODY = 0x62; // b
export const SMFIR_CONTINUE = 0x63; // c
export const SMFIR_DISCARD = 0x64; // d
export const SMFIR_CONN_FAIL = 0x66; // f
export const SMFIR_ADDHEADER = 0x68; // h
export const SMFIR_CHGHEADER = 0x6d; // m
export const SMFIR_PROGRESS = 0x70; // p
export const SMFIR_REJECT = 0x72; // r
export const SMFIR_TEMPFAIL = 0x74; // t
export const SMFIR_REPLYCODE = 0x79; // y
export const SMFIR_QUARANTINE = 0x71; // q, since version 2
export const SMFIR_SHUTDOWN = 0x34; // 4, since version 3
export const SMFIR_INSHEADER = 0x69; // i, since version 3
export const SMFIR_ADDRCPT_PAR = 0x32; // 2, since version 6
export const SMFIR_CHGFROM = 0x65; // e, since version 6
export const SMFIR_SETSYMLIST = 0x6c; // l, defined, never sent: the lists travel in the OPTNEG answer
export const SMFIR_SKIP = 0x73; // s, since version 6

// Steps: what the MTA shall not send, and where it shall not wait for a reply.
export const SMFIP_NOCONNECT = 0x01;
export const SMFIP_NOHELO = 0x02;
export const SMFIP_NOMAIL = 0x04;
export const SMFIP_NORCPT = 0x08;
export const SMFIP_NOBODY = 0x10;
export const SMFIP_NOHDRS = 0x20;
export const SMFIP_NOEOH = 0x40; // since version 2
export const SMFIP_NR_HDR = 0x80; // a version 3 or 4 extension in some MTAs ("no_header_reply"), standard since 6
export const SMFIP_NOUNKNOWN = 0x100; // since version 3
export const SMFIP_NODATA = 0x200; // since version 4
export const SMFIP_SKIP = 0x400; // this and all below since version 6
export const SMFIP_RCPT_REJ = 0x800; // send recipients that the MTA has refused, too
export const SMFIP_NR_CONN = 0x1000;
export const SMFIP_NR_HELO = 0x2000;
export const SMFIP_NR_MAIL = 0x4000;
export const SMFIP_NR_RCPT = 0x8000;
export const SMFIP_NR_DATA = 0x10000;
export const SMFIP_NR_UNKN = 0x20000;
export const SMFIP_NR_EOH = 0x40000;
export const SMFIP_NR_BODY = 0x80000;
export const SMFIP_HDR_LEADSPC = 0x100000; // header values keep the space after the colon
export const SMFIP_MDS_256K = 0x10000000; // Sendmail's larger body chunks; never asked for here
export const SMFIP_MDS_1M = 0x20000000;

// Actions: what the filter may do to a message.
export const SMFIF_NONE = 0;
export const SMFIF_ADDHDRS = 0x01;
export const SMFIF_CHGBODY = 0x02;
export const SMFIF_ADDRCPT = 0x04;
export const SMFIF_DELRCPT = 0x08;
export const SMFIF_CHGHDRS = 0x10; // since version 2
export const SMFIF_QUARANTINE = 0x20; // since version 2
export const SMFIF_CHGFROM = 0x40; // this and all below since version 6
export const SMFIF_ADDRCPT_PAR = 0x80;
export const SMFIF_SETSYMLIST = 0x100; // the OPTNEG answer may carry lists of macros

/** Stages of macro lists in the OPTNEG answer. UNKNOWN has none. */
export const SMFIM = { connect: 0, helo: 1, mail: 2, rcpt: 3, data: 4, eom: 5, eoh: 6 } as const;

// Address families of SMFIC_CONNECT.
export const SMFIA_UNKNOWN = 0x55; // U
export const SMFIA_UNIX = 0x4c; // L
export const SMFIA_INET = 0x34; // 4
export const SMFIA_INET6 = 0x36; // 6

/** Set in an offer of 0: what an MTA means that does not fill in the field (as libmilter reads it). */
export const SMFI_V1_ACTS = 0x0f;
export const SMFI_V1_PROT = 0x3f;

const V2_ACTIONS = 0x3f;
const V2_STEPS = 0x7f;
const V3_STEPS = V2_STEPS | SMFIP_NR_HDR | SMFIP_NOUNKNOWN;
const V4_STEPS = V3_STEPS | SMFIP_NODATA;

/** Actions that exist in a protocol version. */
export function knownActions(version: number): number {
  return version >= 6 ? 0x1ff : V2_ACTIONS;
}

/** Steps that exist in a protocol version. */
export function knownSteps(version: number): number {
  if (version >= 6) return 0x1fffff;
  if (version >= 4) return V4_STEPS;
  return version === 3 ? V3_STEPS : V2_STEPS;
}

const COMMAND_NAMES: ReadonlyMap<number, string> = new Map([
  [SMFIC_ABORT, "ABORT"],
  [SMFIC_BODY, "BODY"],
  [SMFIC_CONNECT, "CONNECT"],
  [SMFIC_MACRO, "MACRO"],
  [SMFIC_BODYEOB, "BODYEOB"],
  [SMFIC_HELO, "HELO"],
  [SMFIC_QUIT_NC, "QUIT_NC"],
  [SMFIC_HEADER, "HEADER"],
  [SMFIC_MAIL, "MAIL"],
  [SMFIC_EOH, "EOH"],
  [SMFIC_OPTNEG, "OPTNEG"],
  [SMFIC_QUIT, "QUIT"],
  [SMFIC_RCPT, "RCPT"],
  [SMFIC_DATA, "DATA"],
  [SMFIC_UNKNOWN, "UNKNOWN"],
]);

const REPLY_NAMES: ReadonlyMap<number, string> = new Map([
  [SMFIC_OPTNEG, "OPTNEG"],
  [SMFIR_ADDRCPT, "ADDRCPT"],
  [SMFIR_DELRCPT, "DELRCPT"],
  [SMFIR_ADDRCPT_PAR, "ADDRCPT_PAR"],
  [SMFIR_SHUTDOWN, "SHUTDOWN"],
  [SMFIR_ACCEPT, "ACCEPT"],
  [SMFIR_REPLBODY, "REPLBODY"],
  [SMFIR_CONTINUE, "CONTINUE"],
  [SMFIR_DISCARD, "DISCARD"],
  [SMFIR_CHGFROM, "CHGFROM"],
  [SMFIR_CONN_FAIL, "CONN_FAIL"],
  [SMFIR_ADDHEADER, "ADDHEADER"],
  [SMFIR_INSHEADER, "INSHEADER"],
  [SMFIR_SETSYMLIST, "SETSYMLIST"],
  [SMFIR_CHGHEADER, "CHGHEADER"],
  [SMFIR_PROGRESS, "PROGRESS"],
  [SMFIR_QUARANTINE, "QUARANTINE"],
  [SMFIR_REJECT, "REJECT"],
  [SMFIR_SKIP, "SKIP"],
  [SMFIR_TEMPFAIL, "TEMPFAIL"],
  [SMFIR_REPLYCODE, "REPLYCODE"],
]);

const ACTION_NAMES =
  "ADDHDRS CHGBODY ADDRCPT DELRCPT CHGHDRS QUARANTINE CHGFROM ADDRCPT_PAR SETSYMLIST".split(" ");

const STEP_NAMES = (
  "NOCONNECT NOHELO NOMAIL NORCPT NOBODY NOHDRS NOEOH NR_HDR NOUNKNOWN NODATA SKIP RCPT_REJ " +
  "NR_CONN NR_HELO NR_MAIL NR_RCPT NR_DATA NR_UNKN NR_EOH NR_BODY HDR_LEADSPC"
).split(" ");

/** "SMFIC_RCPT" for 0x52; the number for a code that nobody defined. */
export function commandName(code: number): string {
  const name = COMMAND_NAMES.get(code);
  return name === undefined ? hex(code) : `SMFIC_${name}`;
}

/** "SMFIR_CONTINUE" for 0x63; the number for a code that nobody defined. */
export function replyName(code: number): string {
  const name = REPLY_NAMES.get(code);
  if (name === undefined) return hex(code);
  return code === SMFIC_OPTNEG ? "SMFIC_OPTNEG" : `SMFIR_${name}`;
}

/** "SMFIF_ADDHDRS SMFIF_CHGHDRS" for 0x11, "none" for 0. */
export function actionNames(bits: number): string {
  return bitNames(bits, ACTION_NAMES, "SMFIF_");
}

/** "SMFIP_NOHELO SMFIP_NR_HDR" for 0x82, "none" for 0. */
export function stepNames(bits: number): string {
  return bitNames(bits, STEP_NAMES, "SMFIP_");
}

function bitNames(bits: number, names: readonly string[], prefix: string): string {
  const found: string[] = [];
  for (let bit = 0; bit < 32; bit++) {
    const value = 2 ** bit;
    if (Math.floor(bits / value) % 2 === 0) continue;
    const name = names[bit];
    found.push(name === undefined ? hex(value) : prefix + name);
  }
  return found.length === 0 ? "none" : found.join(" ");
}

function hex(value: number): string {
  return `0x${value.toString(16)}`;
}
