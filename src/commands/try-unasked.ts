/**
 * What `postlua try` did not ask of the scripts that lie there, and how to have it asked: a script that is silently
 * passed over looks like one that does nothing.
 */
import {
  COMMAND_SCRIPTS,
  ERRORS_FILE,
  QUEUE_SCRIPTS,
  SIGNATURE_FILE,
  USER_REDIRECT_FILE,
} from "../scripts/callbacks.ts";
import { findScript } from "../scripts/loader.ts";

/** `asked`: scripts with a callback that was called. `delivered`: the message came to its end and was not refused. */
export function unasked(directory: string, asked: ReadonlySet<string>, delivered: boolean): string[] {
  const lies = (name: string) => !asked.has(name) && findScript(directory, name) !== undefined;
  const notes: string[] = [];
  const note = (name: string, why: string) => {
    if (lies(name)) notes.push(`${name}: ${why}`);
  };
  if (delivered) {
    note(USER_REDIRECT_FILE, "no recipient leads to a user of the store who is enabled (postlua user list)");
    note(
      SIGNATURE_FILE,
      "for mail to recipients outside, from a client that has logged in (--user) or is local (--ip)",
    );
  }
  note(ERRORS_FILE, "for notices: postlua try --notice with a saved bounce");
  for (const name of Object.keys(QUEUE_SCRIPTS)) note(name, "for the queue: postlua queue --dry-run");
  for (const name of Object.keys(COMMAND_SCRIPTS)) {
    note(name, "for new passwords: postlua password-check --debug");
  }
  return notes;
}
