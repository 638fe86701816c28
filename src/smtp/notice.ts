/**
 * One notice of Postfix's, from ERRORS.LUA's question to verdict and edits.
 *
 * A notice is never refused: Postfix would then keep the undeliverable message
 * and try the notice again and again. So a script that fails leaves the
 * notice as it was, and what is not wanted is discarded.
 */
import type { Edit } from "../message/edit.ts";
import { NOTICE_NUMBERS, type NoticeKind, type NoticeRecipient } from "../message/notice.ts";
import { fillIn, noticeFormat } from "../message/notice-format.ts";
import { ERRORS_FILE } from "../scripts/callbacks.ts";
import {
  askAboutNotice,
  type ErrorAnswer,
  type ErrorNotice,
  errorsCallback,
  type NoticeContext,
} from "../scripts/errors.ts";
import type { Decisions } from "./decide.ts";
import {
  type NoticeMail,
  senderEdits,
  senderOf,
  subjectEdit,
  targetEdits,
  targetList,
  textEdits,
} from "./notice-edits.ts";
import type { SessionServices } from "./services.ts";
import { CONTINUE, DISCARD, type MessageResult } from "./verdict.ts";

/** Resource ids of the manual: these and the kind's number. */
export const SUBJECT_IDS = 100;
export const FORMAT_IDS = 200;

/** ProcessMessage3's `severity`. */
const SEVERITY: Readonly<Record<NoticeKind, number>> = {
  success: 1,
  verify: 1,
  delay: 2,
  "delay copy": 2,
  "server session": 2,
  "client session": 2,
  bounce: 4,
  "bounce copy": 4,
  "double bounce": 4,
};

const UNCHANGED: MessageResult = { verdict: CONTINUE, edits: [] };
const SUPPRESSED: MessageResult = { verdict: DISCARD, edits: [] };

/** Asks ERRORS.LUA, where it is loaded, and drops repeats. */
export async function processNotice(
  services: SessionServices,
  mail: NoticeMail,
  context: NoticeContext,
  decisions: Decisions,
): Promise<MessageResult> {
  const state = services.script(ERRORS_FILE);
  const loaded = state.kind === "loaded" ? state.loaded : undefined;
  const callback = loaded === undefined ? undefined : errorsCallback(loaded);
  const since = performance.now();
  const decided = (result: MessageResult, text: string): MessageResult => {
    decisions.record(
      callback === undefined ? "" : ERRORS_FILE,
      callback ?? "notice",
      text,
      since,
      mail.notice.kind,
    );
    return result;
  };
  let force = false;
  let edits: Edit[] = [];
  if (loaded !== undefined && callback !== undefined) {
    const asked = errorNotice(mail);
    try {
      const answer = await askAboutNotice(services, loaded, callback, asked, context);
      if (answer.suppress) return decided(SUPPRESSED, "discard");
      force = answer.force;
      edits = editsFor(mail, asked, answer, callback, services.maxMessageSize, decisions);
    } catch (error) {
      decisions.failed(error);
      return decided(UNCHANGED, "unchanged, the script failed");
    }
  }
  const key = repeatKey(mail);
  if (!force && services.repeats.has(key)) return decided(SUPPRESSED, "discard, a repeat");
  services.repeats.add(key);
  const kinds = edits.map(({ kind }) => kind).join(", ");
  return decided({ verdict: CONTINUE, edits }, kinds === "" ? "unchanged" : `changed: ${kinds}`);
}

/** The arguments of the callback (manual, "ProcessError()"). */
function errorNotice({ notice, recipients, store }: NoticeMail): ErrorNotice {
  const [first] = notice.recipients;
  const number = NOTICE_NUMBERS[notice.kind];
  const { format, parameters } = noticeFormat(notice);
  return {
    itemId: notice.queueId,
    errorText: first?.diagnostic ?? "",
    connectionError: first !== undefined && isConnectionError(first),
    subjectId: SUBJECT_IDS + number,
    subject: notice.subject,
    formatId: FORMAT_IDS + number,
    format,
    parameters,
    target: recipients.join("; "),
    sender: senderOf(store),
    message: notice.text,
    type: number,
    severity: SEVERITY[notice.kind],
  };
}

/**
 * No server was reached: 4.1 (nobody answers), 4.3 and 4.4 (no way to the
 * host, which is what Postfix says of the DNS) of RFC 3463, unless it was a
 * server that said so.
 */
function isConnectionError({ status, remote }: NoticeRecipient): boolean {
  return !remote && /^[45]\.4\.[134]$/.test(status);
}

/** @throws ScriptError when the answer cannot be carried out */
function editsFor(
  mail: NoticeMail,
  asked: ErrorNotice,
  answer: ErrorAnswer,
  callback: string,
  maxSize: number,
  decisions: Decisions,
): Edit[] {
  const origin = { script: ERRORS_FILE, callback };
  const changed = (given: string | undefined, before: string) =>
    given === undefined || given === before ? undefined : given;
  const edits: Edit[] = [];
  const target = changed(answer.target, asked.target);
  const listed = target === undefined ? [] : targetList(target, origin);
  const targets = listed.length === 0 ? mail.recipients : listed;
  const sender = changed(answer.sender, asked.sender);
  if (sender !== undefined) edits.push(...senderEdits(mail, sender, targets, origin));
  edits.push(...targetEdits(mail, targets));
  const subject = changed(answer.subject, asked.subject);
  if (subject !== undefined) edits.push(subjectEdit(mail, subject, origin));
  const format = changed(answer.format, asked.format);
  const text =
    format === undefined ? changed(answer.message, asked.message) : fillIn(format, asked.parameters);
  if (text !== undefined && text !== mail.notice.text) {
    const replaced = textEdits(mail, text, maxSize);
    if ("why" in replaced) decisions.warn(ERRORS_FILE, callback, `the text stays: ${replaced.why}`);
    else edits.push(...replaced);
  }
  return edits;
}

/** The same notice again: of the same kind, to the same address, about the same recipients and errors. */
function repeatKey({ notice, recipients }: NoticeMail): string {
  const about = notice.recipients.map(({ address, status }) => [address.toLowerCase(), status]);
  return JSON.stringify([notice.kind, recipients.map((address) => address.toLowerCase()), about]);
}
