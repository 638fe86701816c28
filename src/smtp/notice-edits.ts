/**
 * What ERRORS.LUA wants of a notice, as edits. The report stays a valid
 * multipart/report: of its body only the human-readable part changes, header
 * and all; every other byte stays.
 */
import type { Edit } from "../message/edit.ts";
import { encodeHeaderText, readableText, unfold } from "../message/header-text.ts";
import type { Notice } from "../message/notice.ts";
import { replaceText } from "../message/replace-text.ts";
import type { MessageStore } from "../message/store.ts";
import { type Origin, wrongValue } from "../scripts/results.ts";
import { recipientAddress } from "./actions.ts";

/** A notice with its envelope; addresses without <>. */
export interface NoticeMail {
  readonly sender: string;
  readonly recipients: readonly string[];
  readonly store: MessageStore;
  readonly notice: Notice;
}

/** @throws ScriptError when it is too long for a header field */
export function subjectEdit({ store }: NoticeMail, subject: string, origin: Origin): Edit {
  const text = oneLine(subject, origin, "its subject");
  return headerEdit(store, "Subject", encodeHeaderText(text, "Subject: ".length));
}

/** New recipients instead of the old; the To field follows. @throws ScriptError when one is no address */
export function targetEdits({ store, recipients }: NoticeMail, targets: readonly string[]): Edit[] {
  const edits: Edit[] = [];
  for (const address of new Set(recipients)) {
    if (!targets.includes(address)) edits.push({ kind: "deleteRecipient", address });
  }
  for (const address of targets) {
    if (!recipients.includes(address)) edits.push({ kind: "addRecipient", address, parameters: "" });
  }
  if (edits.length > 0) edits.push(headerEdit(store, "To", targets.join(",\n ")));
  return edits;
}

/** A list of addresses, as users write them. @throws ScriptError when one is no address */
export function targetList(text: string, origin: Origin): string[] {
  const listed = text.split(/[;,]/).filter((address) => address.trim() !== "");
  return [...new Set(listed.map((address) => recipientAddress(address, origin, "its target")))];
}

/**
 * A new sender: the From field, which keeps its name unless the new one has
 * its own, and the envelope. The envelope stays as it is where the notice goes
 * to the new sender itself, since a notice that cannot be delivered would then
 * breed notices without end.
 *
 * @throws ScriptError when it is no address
 */
export function senderEdits(
  { store }: NoticeMail,
  sender: string,
  targets: readonly string[],
  origin: Origin,
): Edit[] {
  const { name, address } = mailbox(oneLine(sender, origin, "its sender"));
  if (!/^(?:[^\s<>()\x00-\x1f\x7f]+)?$/.test(address)) {
    throw wrongValue(origin, `returned "${sender}" as its sender, which is no address`);
  }
  const edits: Edit[] = [];
  const own = targets.some((target) => target.toLowerCase() === address.toLowerCase());
  if (!own) edits.push({ kind: "changeSender", address, parameters: "" });
  // "<>" is for the envelope alone.
  if (address === "") return edits;
  const shown = name === "" ? mailbox(fromField(store)).name : nameText(name);
  edits.push(headerEdit(store, "From", shown === "" ? address : `${shown} <${address}>`));
  return edits;
}

/** The address of the From field. */
export function senderOf(store: MessageStore): string {
  return mailbox(fromField(store)).address;
}

/** A new text for the human-readable part; or why it cannot be had. `maxSize`: of the message in bytes, 0 for no limit. */
export function textEdits(
  { store, notice }: NoticeMail,
  text: string,
  maxSize: number,
): Edit[] | { readonly why: string } {
  const { part } = notice;
  if ("why" in part) return part;
  const ordinary = readableText(text);
  const ended = notice.text.endsWith("\n") && !ordinary.endsWith("\n") ? `${ordinary}\n` : ordinary;
  const edits = replaceText(store, part, ended);
  if (edits === undefined) return { why: "its header cannot be changed" };
  const body = edits.reduce((bytes, edit) => bytes + (edit.kind === "replaceBody" ? edit.body.length : 0), 0);
  const tooBig = maxSize > 0 && store.bodyStart + body + TRACE_BYTES > maxSize;
  return tooBig ? { why: "the notice would be too big" } : edits;
}

/** Postfix cuts fields at header_size_limit, 102,400 bytes; nothing sensible is nearly as long. */
const MAX_FIELD = 8_000;

function oneLine(text: string, origin: Origin, name: string): string {
  if (text.length <= MAX_FIELD) return text.replace(/[\r\n\0]+/g, " ");
  throw wrongValue(origin, `returned ${text.length} bytes as ${name}, where ${MAX_FIELD} are the most`);
}

/** What the MTA may add to the header while it takes the message. */
const TRACE_BYTES = 2_000;

/** Folds stay; what else a field may not hold, and a broken message may bring along, becomes a space. */
function headerEdit(store: MessageStore, name: string, text: string): Edit {
  const value = ` ${text.replace(/\r\n/g, "\n").replace(/[\0\r]|\n(?![ \t])/g, " ")}`;
  if (store.headers.first(name) === undefined) return { kind: "addHeader", name, value };
  return { kind: "changeHeader", name, index: 1, value };
}

function value(store: MessageStore, name: string): string {
  return store.headers.first(name)?.value ?? "";
}

function fromField(store: MessageStore): string {
  return unfold(value(store, "From"));
}

/** "Name <address>", "address (Name)" or an address alone. */
function mailbox(text: string): { name: string; address: string } {
  const angled = /^([^<]*)<([^<>]*)>\s*$/.exec(text);
  if (angled !== null) return { name: (angled[1] ?? "").trim(), address: (angled[2] ?? "").trim() };
  const commented = /^([^()]*)\(([^()]*)\)\s*$/.exec(text);
  if (commented === null) return { name: "", address: text.trim() };
  return { name: phrase((commented[2] ?? "").trim()), address: (commented[1] ?? "").trim() };
}

/** A name as scripts write it; one that is not ASCII becomes encoded words, which may not be quoted. */
function nameText(name: string): string {
  const ascii = /^[\x20-\x7e]*$/.test(name);
  return encodeHeaderText(ascii ? name : name.replace(/^"(.*)"$/, "$1"), "From: ".length);
}

/** A comment's text as a name in front of <> (RFC 5322 section 3.4). */
function phrase(text: string): string {
  return /^[\w !#$%&'*+\-/=?^`{|}~]*$/.test(text) ? text : `"${text.replace(/["\\]/g, "\\$&")}"`;
}
