/** What tests of the queue share: mail of many shapes in a private Postfix, and postcat's reading of it. */
import type { PrivatePostfix } from "../../postfix/private-instance.ts";
import { SmtpClient } from "../../postfix/smtp-client.ts";
import type { Log } from "../../src/log.ts";
import type { Budget } from "../../src/lua/budget.ts";
import type { QueueRecipient } from "../../src/queue/envelope.ts";
import { headerLines } from "../../src/queue/header.ts";
import type { QueueFile } from "../../src/queue/queue-file.ts";

/** What one CheckFile may take where nothing is said of limits. */
export const BUDGET: Budget = {
  instructions: 5_000_000,
  cpuMs: 60_000,
  wallMs: 60_000,
  stringBytes: 1 << 24,
  outputBytes: 1 << 20,
  openFiles: 4,
};

/** A log that keeps its lines, "event key=value". */
export function keptLog(): Log & { readonly lines: string[] } {
  const lines: string[] = [];
  const keep = (event: string, fields: object = {}) => {
    lines.push([event, ...Object.entries(fields).map(([name, value]) => `${name}=${value}`)].join(" "));
  };
  return { lines, error: keep, warn: keep, info: keep, debug: keep };
}

export interface Mail {
  readonly from?: string;
  /** Parameters of MAIL, such as "ENVID=x". */
  readonly parameters?: string;
  /** Each may have parameters: "<a@b> NOTIFY=NEVER". */
  readonly to: readonly string[];
  readonly message: string;
}

/** Sends mail over one session; resolves with the queue IDs. `before` are commands after EHLO. */
export async function send(
  port: number,
  mails: readonly Mail[],
  before: readonly string[] = [],
): Promise<string[]> {
  const { client } = await SmtpClient.connect({ port });
  const ids: string[] = [];
  const say = async (line: string) => {
    const { code, text } = await client.command(line);
    if (code >= 400) throw new Error(`${line}: ${text}`);
  };
  await say("EHLO client.test");
  for (const command of before) await say(command);
  for (const { from = "<from@example.test>", parameters = "", to, message } of mails) {
    await say(`MAIL FROM:${from} ${parameters}`.trimEnd());
    for (const recipient of to) await say(`RCPT TO:${recipient}`);
    await say("DATA");
    const { text } = await client.message(message.replace(/\r?\n/g, "\r\n"));
    const [, id] = /queued as (\w+)/.exec(text) ?? [];
    if (id === undefined) throw new Error(text);
    ids.push(id);
  }
  await client.command("QUIT");
  return ids;
}

/** Resolves when every message is deferred or on hold. */
export async function parked(postfix: PrivatePostfix, count: number): Promise<void> {
  for (;;) {
    const entries = await postfix.settled();
    if (entries.length >= count) return;
    await new Promise(setImmediate);
  }
}

/** As `postcat -e` shows an envelope, for what both of us know, one line an item. */
export function ourEnvelope(file: QueueFile): string[] {
  const recipient = (one: QueueRecipient) => [
    ...(one.dsnOriginal === "" ? [] : [`dsn_orig_rcpt=${one.dsnOriginal}`]),
    ...(one.notify === 0 ? [] : [`notify_flags=${one.notify}`]),
    ...(one.original === "" ? [] : [`original_recipient: ${one.original}`]),
    `${NAMES[one.state]}: ${one.address}`,
  ];
  return [
    `sender: ${file.sender}`,
    ...(file.fullName === "" ? [] : [`sender_fullname: ${file.fullName}`]),
    ...(file.envelopeId === "" ? [] : [`envelope_id=${file.envelopeId}`]),
    ...(file.dsnReturn === 0 ? [] : [`ret_flags=${file.dsnReturn}`]),
    ...(file.filter === "" ? [] : [`content_filter: ${file.filter}`]),
    ...(file.redirect === "" ? [] : [`redirect_to: ${file.redirect}`]),
    ...(file.verp === "" ? [] : [`verp_delimiters: ${file.verp}`]),
    ...Object.entries(file.attributes).map(([name, value]) => `${name}=${value}`),
    ...file.recipients.flatMap(recipient),
  ].sort();
}

const NAMES = { todo: "recipient", done: "done_recipient", cancelled: "canceled_recipient" } as const;

/** The same from postcat's output. */
export function postcatEnvelope(output: string): string[] {
  return output
    .split("\n")
    .filter((line) => line !== "" && !line.startsWith("***"))
    .filter((line) => !/^(message_size|message_arrival_time|create_time|warning_message_time):/.test(line))
    .map((line) => line.replace(/^named_attribute: /, ""))
    .filter((line) => !/^(pointer_record|killed_record|dsn_envelope_id|deferred_delay)/.test(line))
    .sort();
}

/** The header as `postcat -h` prints it. */
export function ourHeader(file: QueueFile): string {
  return headerLines(file.header)
    .map((line) => `${line}\n`)
    .join("");
}
