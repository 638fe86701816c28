/**
 * Edits, filter to MTA at end of message: values to packets.
 *
 * What the MTA did not offer, and values that would break the message or the
 * protocol (a header with a line of its own, say), never become bytes:
 * MilterReplyError names the field and nothing is sent.
 */
import { MilterReplyError } from "./errors.ts";
import {
  actionNames,
  MILTER_CHUNK_SIZE,
  SMFIF_ADDHDRS,
  SMFIF_ADDRCPT,
  SMFIF_ADDRCPT_PAR,
  SMFIF_CHGBODY,
  SMFIF_CHGFROM,
  SMFIF_CHGHDRS,
  SMFIF_DELRCPT,
  SMFIF_QUARANTINE,
  SMFIP_HDR_LEADSPC,
  SMFIR_ADDHEADER,
  SMFIR_ADDRCPT,
  SMFIR_ADDRCPT_PAR,
  SMFIR_CHGFROM,
  SMFIR_CHGHEADER,
  SMFIR_DELRCPT,
  SMFIR_INSHEADER,
  SMFIR_QUARANTINE,
  SMFIR_REPLBODY,
} from "./protocol.ts";
import { packet } from "./writer.ts";

/**
 * One edit; edits are applied in order. Header values carry no CR; folds are LF and white space; with
 * FilterNeeds.leadingSpace the space after the colon is part of the value. Addresses come without <>.
 */
export type MilterEdit =
  | { readonly kind: "addHeader"; readonly name: string; readonly value: string }
  /** `index` 0 is above the MTA's own trace header, 1 right below it. */
  | { readonly kind: "insertHeader"; readonly index: number; readonly name: string; readonly value: string }
  /** `index` counts from 1 among the received fields of that name; "" deletes. */
  | { readonly kind: "changeHeader"; readonly name: string; readonly index: number; readonly value: string }
  /** `parameters` as after RCPT TO:<a>, e.g. "NOTIFY=NEVER"; "" for none. */
  | { readonly kind: "addRecipient"; readonly address: string; readonly parameters: string }
  /** Must be written as it was in RCPT TO: Postfix compares case and all. */
  | { readonly kind: "deleteRecipient"; readonly address: string }
  /** `address` "" is the null sender; `parameters` as after MAIL FROM:<a>, e.g. "RET=HDRS ENVID=x"; "" for none. */
  | { readonly kind: "changeSender"; readonly address: string; readonly parameters: string }
  /** At most once a message: Postfix cannot take a body in separate parts. Lines end in CRLF. */
  | { readonly kind: "replaceBody"; readonly body: Uint8Array }
  | { readonly kind: "quarantine"; readonly reason: string };

/** What was negotiated. */
export interface EditRules {
  readonly version: number;
  readonly actions: number;
  readonly steps: number;
  /** Told of an edit that was replaced by a weaker one (code ERR_MILTER_DEGRADED). */
  readonly onDegraded?: (error: MilterReplyError) => void;
}

/**
 * The packets for all `edits`. The body is not copied: its packets are views, so it must stay as it is until sent.
 *
 * - insertHeader for version 2, which lacks it, becomes addHeader;
 * - addRecipient with parameters, where SMFIF_ADDRCPT_PAR is missing, goes without them.
 *
 * @throws MilterReplyError
 */
export function encodeEdits(edits: readonly MilterEdit[], rules: EditRules): Buffer[] {
  const packets: Buffer[] = [];
  let bodies = 0;
  for (const [position, edit] of edits.entries()) {
    const at = `edits[${position}]`;
    if (edit.kind === "replaceBody" && ++bodies > 1) {
      throw new MilterReplyError("ERR_MILTER_EDIT_VALUE", at, "more than one replaceBody");
    }
    encodeEdit(edit, rules, at, packets);
  }
  return packets;
}

function encodeEdit(edit: MilterEdit, rules: EditRules, at: string, packets: Buffer[]): void {
  switch (edit.kind) {
    case "addHeader":
      need(rules, SMFIF_ADDHDRS, at);
      packets.push(packet(SMFIR_ADDHEADER, fieldName(edit.name, at), fieldValue(edit.value, rules, at)));
      return;
    case "insertHeader":
      packets.push(insertHeader(edit, rules, at));
      return;
    case "changeHeader": {
      need(rules, SMFIF_CHGHDRS, at);
      const index = count(edit.index, 1, `${at}.index`);
      // A value of one space must not turn into "", which deletes.
      const value = edit.value === " " ? " " : fieldValue(edit.value, rules, at);
      packets.push(packet(SMFIR_CHGHEADER, index, fieldName(edit.name, at), value));
      return;
    }
    case "addRecipient":
      packets.push(addRecipient(edit, rules, at));
      return;
    case "deleteRecipient":
      need(rules, SMFIF_DELRCPT, at);
      packets.push(packet(SMFIR_DELRCPT, path(edit.address, at)));
      return;
    case "changeSender": {
      need(rules, SMFIF_CHGFROM, at);
      const parameters = edit.parameters === "" ? [] : [text(edit.parameters, `${at}.parameters`)];
      packets.push(packet(SMFIR_CHGFROM, path(edit.address, at), ...parameters));
      return;
    }
    case "replaceBody":
      need(rules, SMFIF_CHGBODY, at);
      replaceBody(edit.body, packets);
      return;
    case "quarantine":
      need(rules, SMFIF_QUARANTINE, at);
      if (edit.reason === "") throw new MilterReplyError("ERR_MILTER_EDIT_VALUE", `${at}.reason`, "empty");
      packets.push(packet(SMFIR_QUARANTINE, text(edit.reason, `${at}.reason`)));
      return;
    default: {
      const kind = JSON.stringify((edit as { kind?: unknown }).kind);
      throw new MilterReplyError("ERR_MILTER_EDIT_VALUE", `${at}.kind`, `there is no edit ${kind}`);
    }
  }
}

function insertHeader(edit: MilterEdit & { kind: "insertHeader" }, rules: EditRules, at: string): Buffer {
  need(rules, SMFIF_ADDHDRS, at);
  const index = count(edit.index, 0, `${at}.index`);
  const name = fieldName(edit.name, at);
  const value = fieldValue(edit.value, rules, at);
  if (rules.version >= 3) return packet(SMFIR_INSHEADER, index, name, value);
  degraded(rules, at, "version 2 has no insertHeader; the field is added at the end");
  return packet(SMFIR_ADDHEADER, name, value);
}

function addRecipient(edit: MilterEdit & { kind: "addRecipient" }, rules: EditRules, at: string): Buffer {
  const address = path(edit.address, at);
  const parameters = text(edit.parameters, `${at}.parameters`);
  const extended = (rules.actions & SMFIF_ADDRCPT_PAR) !== 0;
  if (extended && (parameters !== "" || (rules.actions & SMFIF_ADDRCPT) === 0)) {
    return parameters === ""
      ? packet(SMFIR_ADDRCPT_PAR, address)
      : packet(SMFIR_ADDRCPT_PAR, address, parameters);
  }
  need(rules, SMFIF_ADDRCPT, at);
  if (parameters !== "") degraded(rules, at, `sent without ${parameters}: no SMFIF_ADDRCPT_PAR`);
  return packet(SMFIR_ADDRCPT, address);
}

/** Head and content are separate buffers, so that a large body leaves without being copied. */
function replaceBody(body: Uint8Array, packets: Buffer[]): void {
  const bytes = Buffer.from(body.buffer, body.byteOffset, body.byteLength);
  let start = 0;
  do {
    const end = Math.min(start + MILTER_CHUNK_SIZE, bytes.length);
    const head = Buffer.allocUnsafe(5);
    head.writeUInt32BE(end - start + 1, 0);
    head[4] = SMFIR_REPLBODY;
    packets.push(head);
    if (end > start) packets.push(bytes.subarray(start, end));
    start = end;
  } while (start < bytes.length);
}

function need(rules: EditRules, action: number, at: string): void {
  if ((rules.actions & action) !== 0) return;
  const message = `${actionNames(action)} is not among the negotiated actions (${actionNames(rules.actions)})`;
  throw new MilterReplyError("ERR_MILTER_EDIT_ACTION", at, message);
}

function degraded(rules: EditRules, at: string, message: string): void {
  rules.onDegraded?.(new MilterReplyError("ERR_MILTER_DEGRADED", at, message));
}

function fieldName(name: string, at: string): string {
  if (/^[!-9;-~]+$/.test(name)) return name;
  const shown = JSON.stringify(name.slice(0, 80));
  throw new MilterReplyError("ERR_MILTER_EDIT_VALUE", `${at}.name`, `not a field name: ${shown}`);
}

function fieldValue(value: string, rules: EditRules, at: string): string {
  if (/[\0\r]|\n(?![ \t])|[^\0-\xff]/.test(value)) {
    const message = "NUL, CR, a character above 255, or LF without white space behind it";
    throw new MilterReplyError("ERR_MILTER_EDIT_VALUE", `${at}.value`, message);
  }
  const keeps = (rules.steps & SMFIP_HDR_LEADSPC) !== 0;
  return !keeps && value.startsWith(" ") ? value.slice(1) : value;
}

function path(address: string, at: string): string {
  const checked = text(address, `${at}.address`);
  return checked.startsWith("<") && checked.endsWith(">") ? checked : `<${checked}>`;
}

function text(value: string, field: string): string {
  if (!/[\0-\x1f\x7f]|[^\0-\xff]/.test(value)) return value;
  const message = "a control character or a character above 255";
  throw new MilterReplyError("ERR_MILTER_EDIT_VALUE", field, message);
}

function count(value: number, least: number, field: string): number {
  if (Number.isInteger(value) && value >= least && value < 0x7fffffff) return value;
  const message = `a number from ${least} expected, got ${value}`;
  throw new MilterReplyError("ERR_MILTER_EDIT_VALUE", field, message);
}
