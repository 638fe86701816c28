/**
 * A script's file read whole: what is still being written is waited for. A
 * file that an editor has just cut to nothing is a script, too, one that lets
 * everything pass; it must never be taken for what its author meant.
 */
import { createHash } from "node:crypto";
import { type Stats, statSync } from "node:fs";
import { setTimeout } from "node:timers/promises";
import { fromBytes } from "../bytes.ts";
import { ScriptError } from "../lua/errors.ts";
import { findScript, readScript, unreadable } from "../scripts/loader.ts";
import type { ScriptCandidate } from "./messages.ts";

const SETTLE_MS = 100;
const MOST_LOOKS = 50;
const HASH_LENGTH = 12;

/**
 * The file's text, once it has not changed for a moment.
 *
 * @returns undefined when there is no such file
 * @throws ScriptError "missing" when it cannot be read, or does not come to rest
 */
export async function readSettled(directory: string, name: string): Promise<ScriptCandidate | undefined> {
  let before: string | undefined;
  for (let look = 0; look < MOST_LOOKS; look++) {
    const path = findScript(directory, name);
    if (path === undefined) return undefined;
    const stats = statsOf(path, name);
    if (stats !== undefined) {
      const now = identity(stats);
      // An old time stamp, or none newer after a wait: clocks of file servers may differ from ours.
      const settled = now === before || Date.now() - stats.mtimeMs >= SETTLE_MS;
      if (settled) {
        const candidate = read(path, name, stats);
        const after = statsOf(path, name);
        if (after !== undefined && identity(after) === now) return candidate;
      }
      before = now;
    }
    await setTimeout(SETTLE_MS);
  }
  throw new ScriptError(`${name} in ${directory} is being written all the time`, {
    kind: "missing",
    script: name,
    callback: "",
    line: 0,
    traceback: "",
  });
}

/** @returns undefined when it has just gone. @throws ScriptError "missing" when it cannot be looked at */
function statsOf(path: string, name: string): Stats | undefined {
  let stats: Stats | undefined;
  try {
    stats = statSync(path, { throwIfNoEntry: false });
  } catch (error) {
    throw unreadable(name, path, error);
  }
  // Reading a pipe would wait for who writes it.
  if (stats?.isFile() === false) throw unreadable(name, path, { code: "no regular file" });
  return stats;
}

function identity({ mtimeMs, ctimeMs, size, ino }: Stats): string {
  return `${mtimeMs} ${ctimeMs} ${size} ${ino}`;
}

function read(path: string, name: string, stats: Stats): ScriptCandidate {
  const bytes = readScript(path, name);
  return {
    name,
    path,
    source: fromBytes(bytes),
    hash: createHash("sha256").update(bytes).digest("hex").slice(0, HASH_LENGTH),
    modified: stats.mtime.toISOString(),
  };
}
