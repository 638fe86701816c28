/**
 * Where the files are that scripts name: relative names start in the data
 * directory, and reading falls back to the scripts directory. Names are byte
 * strings and stay bytes down to the system.
 */
import { toBytes } from "../bytes.ts";
import type { Session } from "./session.ts";

const SLASH = 0x2f;

function below(directory: string, name: Buffer): Buffer {
  // The empty name is no file; it must not become the directory itself.
  if (name.length === 0 || name[0] === SLASH) return name;
  return Buffer.concat([Buffer.from(`${directory}/`), name]);
}

/** The file to write, remove or rename. */
export function pathOf(session: Session, name: string): Buffer {
  return below(session.dataDir, toBytes(name));
}

/** The files to try for reading, in order. */
export function pathsToRead(session: Session, name: string): Buffer[] {
  const bytes = toBytes(name);
  const first = below(session.dataDir, bytes);
  const second = below(session.scriptsDir, bytes);
  return first.equals(second) ? [first] : [first, second];
}
