/**
 * Words of ours in a deferred message's defer log, where `postqueue -p`,
 * delay warnings and bounces find them: written by Postfix's own defer
 * service, as its queue manager and delivery agents do it.
 *
 * For messages in deferred/ only: then nobody else writes the log. What stood
 * there before is removed first, since it would be told, too.
 */
import { unlinkSync } from "node:fs";
import { join } from "node:path";
import { askStatus } from "./attributes.ts";
import type { QueueFile } from "./queue-file.ts";
import { placesInQueue } from "./queue-id.ts";

const APPEND = "0";

/**
 * Replaces the defer log of a message: one entry with these words for each recipient still to do.
 *
 * @param words printable ASCII @throws ServiceError, a system error
 */
export async function writeNote(
  queueDirectory: string,
  file: QueueFile,
  words: string,
  timeoutMs: number,
): Promise<void> {
  removeLog(queueDirectory, file.id);
  for (const recipient of file.recipients) {
    if (recipient.state !== "todo") continue;
    await askStatus(join(queueDirectory, "private", "defer"), timeoutMs, {
      nrequest: APPEND,
      flags: "0",
      queue_id: file.id,
      original_recipient: recipient.original,
      recipient: recipient.address,
      offset: String(recipient.offset),
      dsn_orig_rcpt: recipient.dsnOriginal,
      notify_flags: String(recipient.notify),
      status: NOTE_STATUS,
      diag_type: "",
      diag_text: "",
      mta_type: "",
      mta_mname: "",
      action: "delayed",
      reason: words,
    });
  }
}

/** Of a note: a delay by policy (RFC 3463). */
export const NOTE_STATUS = "4.7.0";

function removeLog(queueDirectory: string, id: string): void {
  for (const place of placesInQueue(id)) {
    try {
      unlinkSync(join(queueDirectory, "defer", place));
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code !== "ENOENT" && code !== "ENOTDIR") throw error;
    }
  }
}
