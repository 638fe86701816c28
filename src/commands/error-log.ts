/**
 * LUAERRORS.LOG for a command that runs beside the service: one entry at its
 * end. The service's own writer rotates the file (scripts/output.ts).
 */
import { closeSync, constants, fchownSync, fstatSync, openSync, statSync, writeSync } from "node:fs";
import { join } from "node:path";
import { toBytes } from "../bytes.ts";
import type { ScriptError } from "../lua/errors.ts";
import { errorEntry } from "../scripts/output.ts";

const NOWHERE = { session: "", queue: "" };

/** @returns why it could not be written, undefined when it is */
export function appendError(directory: string, error: ScriptError): string | undefined {
  const path = join(directory, "LUAERRORS.LOG");
  try {
    const { uid, gid } = statSync(directory);
    // Root follows no link in a directory that belongs to somebody else.
    const { O_APPEND, O_CREAT, O_NOFOLLOW, O_WRONLY } = constants;
    const file = openSync(path, O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW, 0o640);
    try {
      // A file that root makes must stay open to the service.
      if (process.getuid?.() === 0 && fstatSync(file).size === 0) fchownSync(file, uid, gid);
      writeSync(file, toBytes(errorEntry(error, NOWHERE)));
    } finally {
      closeSync(file);
    }
    return undefined;
  } catch (error) {
    return `${path} cannot be written (${(error as NodeJS.ErrnoException).code})`;
  }
}
